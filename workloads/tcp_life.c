/* SPDX-License-Identifier: BSD-2-Clause */
/* How TCP connections begin and end in other ways than by connect, accept and close. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 19

struct job {
	int listener;
	union addr to;
};

static void job__listen(struct job *job)
{
	union addr a;

	addr__server(&a);
	job->listener = tcp__listen(&a, 16, false);
	addr__client(&job->to, addr__port(&a));
}

static void put(const struct end *e, size_t bytes, uint64_t offset)
{
	char *buf = xmalloc(bytes);

	pattern__fill(buf, bytes, SEED, offset);
	exact__write(e, buf, bytes);
	free(buf);
}

static void get(const struct end *e, size_t bytes, uint64_t offset)
{
	char *buf = xmalloc(bytes);

	exact__read(e, buf, bytes);
	die_if(!pattern__check(buf, bytes, SEED, offset), "payload differs");
	free(buf);
}

static void read_eof(const struct end *e)
{
	char byte;

	die_if(x_read(e, &byte, 1) != 0, "no end of file");
}

/* ---- data in the first packet, before there is a connection ---- */

#define FASTOPEN "/proc/sys/net/ipv4/tcp_fastopen"

/* Client and server, both without a cookie; only in this namespace. */
static void allow_fastopen(void)
{
	int fd;

	inet__new_ns(1);
	fd = open(FASTOPEN, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "519", 3) != 3)
		skip("%s: %s", FASTOPEN, strerror(errno));
	close(fd);
}

static void fast_client(void *arg)
{
	size_t bytes = arg_num("bytes");
	char *buf = xmalloc(bytes), name[16];
	struct job *job = arg;
	struct end e;

	close(job->listener);
	pattern__fill(buf, bytes, SEED, 0);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		snprintf(name, sizeof(name), "t%d", (int)i);
		tcp__socket(&e, name, &job->to, 0);
		die_if(x_sendto(&e, buf, bytes, MSG_FASTOPEN, &job->to.sa, addr__len(&job->to)) !=
			       (ssize_t)bytes,
		       "sendto: %s", strerror(errno));
		get(&e, bytes, 1);
		end__close(&e);
	}
	free(buf);
}

static void fast_server(void *arg)
{
	struct job *job = arg;
	int queue = 16;
	struct end e;

	die_if(setsockopt(job->listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)),
	       "TCP_FASTOPEN: %s", strerror(errno));
	turn__pass(0);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		tcp__accept(&e, job->listener);
		get(&e, arg_num("bytes"), 0);
		put(&e, arg_num("bytes"), 1);
		read_eof(&e);
		end__close(&e);
	}
}

static void run_fastopen(void)
{
	struct job job;

	allow_fastopen();
	job__listen(&job);
	proc__spawn("s0", fast_server, &job);
	turn__await(0, 1);
	proc__spawn("c0", fast_client, &job);
	close(job.listener);
}

/* ---- a socket that connects to itself ---- */

static void run_self(void)
{
	size_t bytes = arg_num("bytes");
	struct end e;
	union addr a;
	int chan;

	addr__v4(&a, "127.0.0.1", 0);
	end__init(&e, inet__bound(SOCK_STREAM, &a, false), -1);
	chan = chan__add("t0", "tcp", 0, 0);
	snprintf(arena->chans[chan].label, sizeof(arena->chans[chan].label), "127.0.0.1:%u",
		 addr__port(&a));
	arena->chans[chan].any_ino = 1;
	e.chan = chan;
	die_if(connect(e.fd, &a.sa, addr__len(&a)), "connect: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		put(&e, bytes, i);
		get(&e, bytes, i);
	}
	end__close(&e);
}

/* ---- connected, but who listened is gone before it accepts ---- */

static void refused_client(void *arg)
{
	struct job *job = arg;
	struct end e;
	char byte;

	close(job->listener);
	tcp__connect(&e, "t0", &job->to);
	put(&e, arg_num("bytes"), 0);
	turn__pass(0);
	turn__await(0, 2);
	die_if(x_read(&e, &byte, 1) >= 0 || errno != ECONNRESET, "no ECONNRESET");
	arena->chans[e.chan].leftover = arg_num("bytes");
	end__close(&e);
}

static void run_unaccepted(void)
{
	struct job job;

	job__listen(&job);
	proc__spawn("c0", refused_client, &job);
	turn__await(0, 1);
	close(job.listener);
	turn__pass(0);
}

/* ---- urgent data: a byte beside the stream, or marked in it ---- */

static void urgent_client(void *arg)
{
	struct job *job = arg;
	struct end e;
	char byte = '!';

	close(job->listener);
	tcp__connect(&e, "t0", &job->to);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		put(&e, arg_num("bytes"), i);
		die_if(x_send(&e, &byte, 1, MSG_OOB) != 1, "send: %s", strerror(errno));
		turn__pass(0);
		turn__await(0, 2 * i + 2);
	}
	end__close(&e);
}

static void urgent_server(void *arg)
{
	bool in_line = arg_num("inline");
	struct job *job = arg;
	int one = 1;
	struct end e;
	char byte;

	tcp__accept(&e, job->listener);
	die_if(in_line && setsockopt(e.fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)),
	       "SO_OOBINLINE: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		turn__await(0, 2 * i + 1);
		if (!in_line)
			die_if(x_recv(&e, &byte, 1, MSG_OOB) != 1 || byte != '!',
			       "the urgent byte: %s", strerror(errno));
		get(&e, arg_num("bytes"), i);
		if (in_line)
			die_if(x_read(&e, &byte, 1) != 1 || byte != '!', "the urgent byte: %s",
			       strerror(errno));
		turn__pass(0);
	}
	read_eof(&e);
	end__close(&e);
}

static void run_urgent(void)
{
	struct job job;

	job__listen(&job);
	proc__spawn("s0", urgent_server, &job);
	proc__spawn("c0", urgent_client, &job);
	close(job.listener);
}

/* ---- one client of several servers ---- */

static void one_server(void *arg)
{
	struct job *job = arg;
	struct end e;

	tcp__accept(&e, job->listener);
	get(&e, arg_num("bytes"), 0);
	put(&e, arg_num("bytes"), 1);
	read_eof(&e);
	end__close(&e);
}

static void run_fan_out(void)
{
	size_t bytes = arg_num("bytes"), n = arg_num("servers");
	struct end *e = xmalloc(n * sizeof(*e));
	struct job *jobs = xmalloc(n * sizeof(*jobs));
	char name[16];

	for (size_t i = 0; i < n; i++) {
		job__listen(&jobs[i]);
		proc__spawnf(one_server, &jobs[i], "s%d", (int)i);
		close(jobs[i].listener);
	}
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "t%d", (int)i);
		tcp__connect(&e[i], name, &jobs[i].to);
	}
	for (size_t i = 0; i < n; i++)
		put(&e[i], bytes, 0);
	for (size_t i = 0; i < n; i++) {
		get(&e[i], bytes, 1);
		end__close(&e[i]);
	}
	free(e);
	free(jobs);
}

#define SIZE_PARAM(value) NUM_PARAM("bytes", value, 1, 1 << 14, "bytes of each message")
#define COUNT_PARAM(value, what) NUM_PARAM("count", value, 1, 1 << 14, what)

const struct factory tcp_life_factories[] = {
	{
		.name = "tcp-fastopen",
		.help = "TCP Fast Open: requests in the first packet of their connections",
		.params = { COMMON_PARAMS, FAMILY_PARAM, SIZE_PARAM("100"),
			    COUNT_PARAM("5", "connections") },
		.selftest = "count=2;family=v6 count=1",
		.run = run_fastopen,
	}, {
		.name = "tcp-self",
		.help = "a socket that connects to its own address, and talks to itself",
		.params = { COMMON_PARAMS, SIZE_PARAM("100"), COUNT_PARAM("5", "messages") },
		.selftest = "count=2",
		.run = run_self,
	}, {
		.name = "tcp-unaccepted",
		.help = "who listens closes its socket before it accepts: ECONNRESET",
		.params = { COMMON_PARAMS, FAMILY_PARAM, SIZE_PARAM("100") },
		.selftest = "bytes=1;family=v6",
		.run = run_unaccepted,
	}, {
		.name = "tcp-urgent",
		.help = "MSG_OOB: a byte beside each message",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, SIZE_PARAM("100"), COUNT_PARAM("5", "messages"),
			NUM_PARAM("inline", "0", 0, 1, "1: SO_OOBINLINE, it is read in its place"),
		},
		.selftest = "count=2;inline=1 family=v6",
		.run = run_urgent,
	}, {
		.name = "tcp-fan-out",
		.help = "one client of several servers at once",
		.params = { COMMON_PARAMS, FAMILY_PARAM, SIZE_PARAM("100"),
			    NUM_PARAM("servers", "4", 1, 100, "processes that serve") },
		.selftest = "servers=2;family=v6",
		.run = run_fan_out,
	},
	{ .name = NULL }
};
