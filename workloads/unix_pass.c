/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors handed from process to process. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "pass.h"
#include "unix.h"

#define SEED 9

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
	got = take__fds(&job->l[1].in, fds, room < n ? room : n, &byte, 1);
	die_if(got != (room < n ? room : n), "%u descriptors came", got);
	for (uint32_t i = 0; i < got; i++) {
		/* Channel 0 is the one that they came over. */
		end__init(&e, fds[i], (unix__type() == SOCK_DGRAM ? 2 : 1) + i);
		pass__count(&job->l[1].in, 0, fds[i], e.chan);
		stream__write(&e, SEED, arg_num("bytes"), 1000);
		end__close(&e);
	}
}

static void run_pass(void)
{
	uint32_t n = arg_num("fds"), room = arg_num("room");
	struct end p[MAX_FDS][2];
	struct pass_job job;
	int fds[MAX_FDS], whats[MAX_FDS];
	char byte = 'x';

	unix__pair("over", unix__type(), job.l);
	proc__spawn("taker", pass_taker, &job);
	link__close(&job.l[1]);
	for (uint32_t i = 0; i < n; i++) {
		pipe__openf(p[i], O_CLOEXEC, "p%u", i);
		fds[i] = p[i][1].fd;
		whats[i] = p[i][1].chan;
	}
	pass__fds(&job.l[0].out, fds, whats, n, &byte, 1);
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
		die_if(take__fds(&job->l[1].in, &fd, 1, &chan, sizeof(chan)) != 1, "no descriptor");
		end__init(&l.in, fd, chan);
		pass__count(&job->l[1].in, 0, fd, chan);
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
		pass__fds(&job.l[0].out, &l.in.fd, &l.in.chan, 1, &l.in.chan, sizeof(l.in.chan));
		link__close(&l);
	}
}

/* ---- who sent it: credentials ---- */

static void credentials_child(void *arg)
{
	struct ucred me = { getpid(), getuid(), getgid() };
	bool many = arg_is("put", "sendmmsg");
	char text[] = "hello";
	struct link *l = arg;
	struct parcel p;

	link__close(&l[0]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		struct mmsghdr one;

		parcel__init(&p, text, 5);
		if (arg_num("explicit"))
			parcel__put_credentials(&p, &me);
		one = (struct mmsghdr){ .msg_hdr = p.msg };
		die_if(many ? x_sendmmsg(&l[1].out, &one, 1, 0) != 1
			    : x_sendmsg(&l[1].out, &p.msg, 0) != 5,
		       "sendmsg: %s", strerror(errno));
		if (arg_num("explicit"))
			credentials__count(&l[1].out, ROLE_WRITE, &me);
	}
}

static void run_credentials(void)
{
	int child, on = 1;
	struct parcel p;
	struct link l[2];

	unix__pair("c0", unix__type(), l);
	die_if(setsockopt(l[0].in.fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), "SO_PASSCRED");
	child = proc__spawn("child", credentials_child, l);
	link__close(&l[1]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		struct ucred you;
		char buf[5];

		parcel__init(&p, buf, sizeof(buf));
		parcel__room(&p, 0, true);
		die_if(x_recvmsg(&l[0].in, &p.msg, 0) != 5, "recvmsg: %s", strerror(errno));
		die_if(!parcel__credentials(&p, &you), "no credentials");
		die_if(you.pid != proc__pid(child), "credentials of another one");
		credentials__count(&l[0].in, ROLE_READ, &you);
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
			NUM_PARAM("explicit", "1", 0, 1, "sent; 0: the kernel adds them"),
			{ "put", "sendmsg", "sendmsg|sendmmsg", 0, 0, "the call that sends" },
		},
		.selftest = "count=3;type=dgram;explicit=0;put=sendmmsg",
		.run = run_credentials,
	},
	{ .name = NULL }
};
