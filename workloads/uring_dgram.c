/* SPDX-License-Identifier: BSD-2-Clause */
/* Datagrams that io_uring sends to addresses of their own, all through one socket of each sender. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"
#include "ring.h"
#include "unix.h"

#define SEED 33
#define MAX_BOXES 16

enum { ROUND, RECEIVED, SUBMITTED };

struct box {
	struct end in;
	union {
		struct sockaddr sa;
		union addr inet;
		struct sockaddr_un un;
	} at;
	socklen_t len;
};

struct job {
	struct box box[MAX_BOXES];
	uint32_t boxes;
	int index;
};

/* One request: what it sends, and where to. */
struct letter {
	struct end out;
	struct msghdr msg;
	struct iovec iov;
	struct box to;
};

static void box__open(struct box *b, int i)
{
	struct unix_addr a;
	char name[16];

	snprintf(name, sizeof(name), "b%d", i);
	if (arg_is("over", "udp")) {
		addr__server(&b->at.inet);
		udp__open(&b->in, name, &b->at.inet);
		addr__client(&b->at.inet, addr__port(&b->at.inet));
		b->len = addr__len(&b->at.inet);
		return;
	}
	unix__name(&a, name);
	unix__mailbox(&b->in, name, unix__bound(SOCK_DGRAM, &a), &a);
	b->at.un = a.un;
	b->len = a.len;
}

static int sender_socket(const struct job *job)
{
	int fd = socket(job->box[0].at.sa.sa_family, SOCK_DGRAM, 0);

	die_if(fd < 0, "socket: %s", strerror(errno));
	return fd;
}

static void letter__put(struct letter *l, struct ring *r, void *buf, size_t len)
{
	struct io_uring_sqe *sqe;

	if (arg_is("how", "msg")) {
		l->iov = (struct iovec){ buf, len };
		l->msg = (struct msghdr){ .msg_iov = &l->iov,
					  .msg_iovlen = 1,
					  .msg_name = &l->to.at,
					  .msg_namelen = l->to.len };
		sqe = ring__put(r, IORING_OP_SENDMSG, &l->out, ROLE_WRITE, &l->msg, 1);
	} else {
		sqe = ring__put(r, arg_is("how", "zc") ? IORING_OP_SEND_ZC : IORING_OP_SEND,
				&l->out, ROLE_WRITE, buf, len);
		sqe->addr2 = (uintptr_t)&l->to.at;
		sqe->addr_len = l->to.len;
	}
	if (arg_is("mode", "async"))
		sqe->flags = IOSQE_ASYNC;
}

/* What is submitted need not stay where it was: other addresses come there. */
static void forget(struct letter *letters, uint32_t n)
{
	if (arg_is("mode", "sqpoll")) /* it may not have been taken yet */
		return;
	for (uint32_t i = 0; i < n; i++) {
		memset(&letters[i].to.at, 0xee, sizeof(letters[i].to.at));
		memset(&letters[i].msg, 0, sizeof(letters[i].msg));
	}
}

static void sender(void *arg)
{
	size_t size = arg_num("size");
	struct letter letters[MAX_BOXES];
	struct job *job = arg;
	char *buf = xmalloc(size);
	struct ring ring;
	int fd;

	for (uint32_t i = 0; i < job->boxes; i++)
		end__close(&job->box[i].in);
	ring__open(&ring, ring__setup_of_mode());
	fd = sender_socket(job);
	pattern__fill(buf, size, SEED, job->index);
	for (uint64_t n = 0; n < arg_num("count"); n++) {
		turn__await(ROUND, n);
		for (uint32_t i = 0; i < job->boxes; i++) {
			letters[i].to = job->box[i];
			end__init(&letters[i].out, fd, job->box[i].in.chan);
			letter__put(&letters[i], &ring, buf, size - i);
		}
		ring__submit(&ring);
		turn__pass(SUBMITTED);
		forget(letters, job->boxes);
		while (ring.pending) {
			struct done d = ring__wait(&ring);

			die_if(d.res < 0, "send: %s", strerror(-d.res));
		}
	}
	close(fd);
	ring__close(&ring);
	free(buf);
}

/* One that has waited for room was seen to arrive empty, on Linux 6.18. */
static void receive(const struct end *e, char *buf, size_t size)
{
	ssize_t n = x_recv(e, buf, size, 0);

	die_if(n != (ssize_t)size && (n || !arg_num("late")), "received %zd: %s", n,
	       strerror(errno));
}

static void receiver(void *arg)
{
	uint64_t senders = arg_num("senders"), count = arg_num("count");
	struct job *job = arg;
	size_t size = arg_num("size") - job->index;
	char *buf = xmalloc(size);

	if (arg_num("late"))
		turn__await(SUBMITTED, senders);
	for (uint64_t i = 0; i < count; i++) {
		for (uint64_t j = 0; j < senders; j++)
			receive(&job->box[job->index].in, buf, size);
		turn__pass(RECEIVED);
		if (job->index)
			continue;
		/* All of this round have arrived: the next one has room. */
		turn__await(RECEIVED, (i + 1) * job->boxes);
		turn__pass(ROUND);
	}
	free(buf);
}

static void run(void)
{
	struct job job = { .boxes = arg_num("boxes") };

	die_if(arg_num("size") <= job.boxes, "size must be more than boxes");
	if (arg_is("how", "zc") && !arg_is("over", "udp"))
		skip("unix sockets have no zero-copy send");
	for (uint32_t i = 0; i < job.boxes; i++)
		box__open(&job.box[i], i);
	for (job.index = 0; job.index < (int)job.boxes; job.index++)
		proc__spawnf(receiver, &job, "r%d", job.index);
	for (job.index = 0; job.index < (int)arg_num("senders"); job.index++)
		proc__spawnf(sender, &job, "s%d", job.index);
	for (uint32_t i = 0; i < job.boxes; i++)
		end__close(&job.box[i].in);
}

const struct factory uring_dgram_factories[] = {
	{
		.name = "uring-dgram",
		.help = "datagrams to many addresses at once, by io_uring through one socket",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, NAME_PARAM,
			NUM_PARAM("boxes", "5", 1, MAX_BOXES, "processes that receive"),
			NUM_PARAM("senders", "2", 1, 100, "processes that send to all of them"),
			NUM_PARAM("count", "10", 1, 1 << 20, "datagrams of each to each"),
			NUM_PARAM("late", "0", 0, 1, "1: nobody receives before all have sent: some wait"),
			NUM_PARAM("size", "100", 2, 8192, "bytes of each, to each receiver one less"),
			{ "over", "unix", "unix|udp", 0, 0, "unix mailboxes, or UDP" },
			{ "how", "msg", "msg|to|zc", 0, 0,
			  "sendmsg, or send and zero-copy send, with an address" },
			{ "mode", "plain", "plain|async|sqpoll|defer", 0, 0,
			  "IOSQE_ASYNC, a thread that submits, completions in the submitter only" },
		},
		.selftest = "count=3;over=udp count=3;mode=async count=3 name=abstract;"
			    "over=udp how=to mode=sqpoll count=3 family=v6",
		.run = run,
	},
	{ .name = NULL }
};
