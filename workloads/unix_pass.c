/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors handed from process to process. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "unix.h"

#define SEED 9
#define MAX_FDS 64

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int) * MAX_FDS) + CMSG_SPACE(sizeof(struct ucred))];
};

static void count_fds(const struct end *e, enum role role, uint32_t n)
{
	if (n)
		end__edge(e, role)->ops += n;
}

static void pass(const struct end *e, const int *fds, uint32_t n, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };
	union control control = {};
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	die_if(x_sendmsg(e, &msg, 0) != (ssize_t)len, "sendmsg: %s", strerror(errno));
	count_fds(e, ROLE_PASS_FD, n);
}

/* Returns how many there were; room: for how many there is. */
static uint32_t take(const struct end *e, int *fds, uint32_t room, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	union control control = {};
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_LEN(room * sizeof(int)) };
	uint32_t n = 0;

	die_if(x_recvmsg(e, &msg, MSG_CMSG_CLOEXEC) != (ssize_t)len, "recvmsg: %s",
	       strerror(errno));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	count_fds(e, ROLE_TAKE_FD, n);
	return n;
}

/* ---- the write ends of pipes, to somebody who then writes into them ---- */

struct pass_job {
	struct link l[2];
	struct unix_addr addr;
	int listener;
	struct link client;
};

static void pass_taker(void *arg)
{
	struct pass_job *job = arg;
	uint32_t n = arg_num("fds"), room = arg_num("room");
	int fds[MAX_FDS];
	struct end e;
	uint32_t got;
	char byte;

	link__close(&job->l[0]);
	got = take(&job->l[1].in, fds, room < n ? room : n, &byte, 1);
	die_if(got != (room < n ? room : n), "%u descriptors came", got);
	for (uint32_t i = 0; i < got; i++) {
		/* Channel 0 is the one that they came over. */
		end__init(&e, fds[i], (unix__type() == SOCK_DGRAM ? 2 : 1) + i);
		stream__write(&e, SEED, arg_num("bytes"), 1000);
		end__close(&e);
	}
}

static void run_pass(void)
{
	uint32_t n = arg_num("fds"), room = arg_num("room");
	struct end p[MAX_FDS][2];
	struct pass_job job;
	int fds[MAX_FDS];

	unix__pair("over", unix__type(), job.l);
	proc__spawn("taker", pass_taker, &job);
	link__close(&job.l[1]);
	for (uint32_t i = 0; i < n; i++) {
		pipe__openf(p[i], O_CLOEXEC, "p%u", i);
		fds[i] = p[i][1].fd;
	}
	pass(&job.l[0].out, fds, n, "x", 1);
	for (uint32_t i = 0; i < n; i++)
		end__close(&p[i][1]);
	for (uint32_t i = 0; i < n; i++)
		die_if(stream__read(&p[i][0], SEED, 700) != (i < room ? arg_num("bytes") : 0),
		       "not all of it came");
}

/* ---- a server that accepts, and hands the connection to a worker ---- */

static void handed_worker(void *arg)
{
	struct pass_job *job = arg;
	struct link l;
	int fd, chan;

	link__close(&job->l[0]);
	link__close(&job->client);
	close(job->listener);
	for (uint64_t i = 0; i < arg_num("connections"); i++) {
		die_if(take(&job->l[1].in, &fd, 1, &chan, sizeof(chan)) != 1, "no descriptor");
		end__init(&l.in, fd, chan);
		l.in.side = 1;
		l.out = l.in;
		unix__answer(&l);
		link__close(&l);
	}
}

static void handed_client(void *arg)
{
	struct pass_job *job = arg;
	struct link l;
	char name[16], byte;

	link__close(&job->l[0]);
	link__close(&job->l[1]);
	close(job->listener);
	for (uint64_t i = 0; i < arg_num("connections"); i++) {
		snprintf(name, sizeof(name), "c%u", (unsigned int)i);
		unix__socket(&l, name, SOCK_STREAM, &job->addr);
		*turn__word(1) = l.in.chan;
		turn__pass(0);
		unix__connect(&l, &job->addr);
		unix__ask(&l);
		die_if(x_read(&l.in, &byte, 1) != 0, "no end of file");
		link__close(&l);
	}
}

static void run_handover(void)
{
	struct pass_job job = { .client = { .in = { .fd = -1 } } };
	struct link l;

	unix__name(&job.addr, "accept");
	job.listener = unix__listen(&job.addr, 8);
	unix__pair("over", SOCK_SEQPACKET, job.l);
	proc__spawn("worker", handed_worker, &job);
	link__close(&job.l[1]);
	proc__spawn("client", handed_client, &job);
	for (uint32_t i = 0; i < arg_num("connections"); i++) {
		/* Never read from or written to by the one that accepts. */
		turn__await(0, i + 1);
		unix__accept(&l, job.listener, *turn__word(1));
		pass(&job.l[0].out, &l.in.fd, 1, &l.in.chan, sizeof(l.in.chan));
		link__close(&l);
	}
}

/* ---- who sent it: credentials ---- */

static void credentials_child(void *arg)
{
	struct link *l = arg;
	struct iovec iov = { "hello", 5 };
	union control control = {};
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE(sizeof(struct ucred)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct ucred me = { getpid(), getuid(), getgid() };

	link__close(&l[0]);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(me));
	memcpy(CMSG_DATA(c), &me, sizeof(me));
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_sendmsg(&l[1].out, &msg, 0) != 5, "sendmsg: %s", strerror(errno));
}

static void run_credentials(void)
{
	int child, on = 1;
	struct link l[2];

	unix__pair("c0", unix__type(), l);
	die_if(setsockopt(l[0].in.fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), "SO_PASSCRED");
	child = proc__spawn("child", credentials_child, l);
	link__close(&l[1]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		char buf[5];
		struct iovec iov = { buf, 5 };
		union control control = {};
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		struct ucred you;

		die_if(x_recvmsg(&l[0].in, &msg, 0) != 5, "recvmsg: %s", strerror(errno));
		die_if(!CMSG_FIRSTHDR(&msg), "no credentials");
		memcpy(&you, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(you));
		die_if(you.pid != proc__pid(child), "credentials of another one");
	}
}

const struct factory unix_pass_factories[] = {
	{
		.name = "fd-pass",
		.help = "the write ends of pipes are passed to a process that then writes to them",
		.params = {
			COMMON_PARAMS, TYPE_PARAM("stream|seqpacket|dgram"),
			NUM_PARAM("fds", "3", 1, MAX_FDS, "descriptors in one message"),
			NUM_PARAM("room", "64", 1, MAX_FDS, "for so many of them"),
			NUM_PARAM("bytes", "5000", 0, 1 << 30, "through each"),
		},
		.selftest = "fds=1;type=dgram;fds=5 room=2;type=seqpacket fds=64 bytes=10",
		.run = run_pass,
	}, {
		.name = "fd-handover",
		.help = "a server accepts, and passes each connection to a worker that answers",
		.params = {
			COMMON_PARAMS, ECHO_PARAMS, NAME_PARAM, TYPE_PARAM("stream"),
			NUM_PARAM("connections", "3", 1, 1000, "one after the other"),
		},
		.selftest = "rounds=3;connections=1 name=abstract",
		.run = run_handover,
	}, {
		.name = "unix-credentials",
		.help = "each message carries the credentials of its sender",
		.params = {
			COMMON_PARAMS, TYPE_PARAM("stream|seqpacket|dgram"),
			NUM_PARAM("count", "10", 0, 1 << 20, "messages"),
		},
		.selftest = "count=3;type=dgram",
		.run = run_credentials,
	},
	{ .name = NULL }
};
