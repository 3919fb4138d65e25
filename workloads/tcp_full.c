/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP connections that nobody reads from, until no more goes in: how much was that? */
#include <errno.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 31

enum { FULL, ACCEPTED, LOOKED };

struct job {
	int listener;
	union addr to;
	bool blocks;
};

static void set_room(int fd, int option, const char *name)
{
	int bytes = arg_num(name);

	die_if(bytes && setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes)), "%s: %s", name,
	       strerror(errno));
}

static int room(int fd, int option)
{
	socklen_t len = sizeof(int);
	int bytes = 0;

	die_if(getsockopt(fd, SOL_SOCKET, option, &bytes, &len), "room: %s", strerror(errno));
	return bytes;
}

static uint32_t queued(int fd, int which)
{
	int bytes = 0;

	die_if(ioctl(fd, which, &bytes), "queued bytes: %s", strerror(errno));
	return bytes;
}

static void set_patience(int fd)
{
	struct timeval wait = { .tv_usec = 1000 * arg_num("wait_ms") };

	die_if(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)), "SO_SNDTIMEO: %s",
	       strerror(errno));
}

/* Returns all that was accepted. */
static uint64_t send_until_full(const struct end *e)
{
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	uint64_t sent = 0;
	ssize_t n;

	do {
		pattern__fill(buf, chunk, SEED, sent);
		n = x_write(e, buf, chunk);
		sent += n > 0 ? n : 0;
	} while (n > 0);
	die_if(errno != EAGAIN, "write: %s", strerror(errno));
	free(buf);
	return sent;
}

/* What was accepted lies in one of both sockets; what is not acknowledged yet, for a moment in both. */
static void find_all(int fd, uint64_t sent)
{
	while (queued(fd, SIOCOUTQ) + __atomic_load_n(turn__word(LOOKED), __ATOMIC_SEQ_CST) != sent)
		sched_yield();
}

static void client(void *arg)
{
	struct job *job = arg;
	struct chan *c;
	struct end e;
	uint64_t sent;

	close(job->listener);
	tcp__socket(&e, "t0", &job->to, 0);
	c = &arena->chans[e.chan];
	set_room(e.fd, SO_SNDBUF, "sndbuf");
	die_if(connect(e.fd, &job->to.sa, addr__len(&job->to)), "connect: %s", strerror(errno));
	if (arg_is("accept", "first"))
		turn__await(ACCEPTED, 1);
	if (job->blocks)
		set_patience(e.fd);
	else
		end__set_nonblock(&e);
	sent = c->highwater = send_until_full(&e);
	if (arg_num("sndbuf") && arg_num("rcvbuf"))
		c->capacity = room(e.fd, SO_SNDBUF);
	turn__pass(FULL);
	turn__await(ACCEPTED, 1);
	find_all(e.fd, sent);
	turn__pass(FULL);
	end__close(&e);
}

static void server(void *arg)
{
	size_t rchunk = arg_num("rchunk");
	struct job *job = arg;
	struct chan *c;
	struct end e;

	if (arg_is("accept", "late"))
		turn__await(FULL, 1);
	tcp__accept(&e, job->listener);
	c = &arena->chans[e.chan];
	turn__pass(ACCEPTED);
	turn__await(FULL, 1);
	if (c->capacity >= 0)
		c->capacity += room(e.fd, SO_RCVBUF);
	while (__atomic_load_n(turn__word(FULL), __ATOMIC_SEQ_CST) < 2) {
		__atomic_store_n(turn__word(LOOKED), queued(e.fd, SIOCINQ), __ATOMIC_SEQ_CST);
		sched_yield();
	}
	die_if(stream__read(&e, SEED, rchunk) != (uint64_t)c->highwater, "read too little");
	end__close(&e);
}

static void run(bool blocks)
{
	struct job job = { .blocks = blocks };
	union addr a;

	addr__server(&a);
	job.listener = inet__bound(SOCK_STREAM, &a, false);
	set_room(job.listener, SO_RCVBUF, "rcvbuf");
	die_if(listen(job.listener, 1), "listen: %s", strerror(errno));
	addr__client(&job.to, addr__port(&a));
	proc__spawn("s0", server, &job);
	proc__spawn("c0", client, &job);
	close(job.listener);
}

static void run_full(void)
{
	run(false);
}

static void run_fill(void)
{
	run(true);
}

#define ROOM_PARAMS                                                                       \
	NUM_PARAM("sndbuf", "0", 0, 1 << 24, "asked for with SO_SNDBUF; 0: as it comes"), \
		NUM_PARAM("rcvbuf", "0", 0, 1 << 24, "and with SO_RCVBUF"),               \
	{                                                                                 \
		"accept", "first", "first|late", 0, 0,                                    \
			"before anything is sent, or when it is full"                     \
	}

const struct factory tcp_full_factories[] = {
	{
		.name = "tcp-full",
		.help = "nobody reads: the client sends until EAGAIN",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, CHUNK_PARAM("4096"), RCHUNK_PARAM("65536"),
			ROOM_PARAMS,
		},
		.selftest = "sndbuf=10000 rcvbuf=10000;accept=late family=v6",
		.run = run_full,
	}, {
		.name = "tcp-fill",
		.help = "nobody reads: the client's write waits for room, and gives up",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, CHUNK_PARAM("32M"), RCHUNK_PARAM("65536"),
			ROOM_PARAMS,
			NUM_PARAM("wait_ms", "200", 1, 999, "SO_SNDTIMEO: how long a write waits"),
		},
		.selftest = "sndbuf=10000 rcvbuf=10000;accept=late",
		.run = run_fill,
	},
	{ .name = NULL }
};
