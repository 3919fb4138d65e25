/* SPDX-License-Identifier: BSD-2-Clause */
/* Anonymous pipes between one writer and one reader at a time. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define SEED 1

/* What a child of the simple factories is given; it inherits both ends and closes one. */
struct job {
	struct end *p;
	uint64_t bytes;
};

static void writer(void *arg)
{
	struct job *job = arg;

	end__close(&job->p[0]);
	stream__write(&job->p[1], SEED, job->bytes, arg_num("chunk"));
	end__close(&job->p[1]);
}

static void reader(void *arg)
{
	struct job *job = arg;
	uint64_t got;

	end__close(&job->p[1]);
	got = stream__read(&job->p[0], SEED, arg_num("rchunk"));
	die_if(got != job->bytes, "read %llu of %llu bytes", (unsigned long long)got,
	       (unsigned long long)job->bytes);
	end__close(&job->p[0]);
}

/* ---- parent and child, siblings ---- */

static void run_parent_child(void)
{
	struct end p[2];
	struct job job = { p, arg_num("bytes") };
	bool down = arg_is("direction", "down");

	pipe__open("c0", p, 0);
	proc__spawn("child", down ? reader : writer, &job);
	(down ? writer : reader)(&job);
}

static void run_siblings(void)
{
	struct end p[2];
	struct job job = { p, arg_num("bytes") };

	pipe__open("c0", p, 0);
	proc__spawn("w0", writer, &job);
	proc__spawn("r0", reader, &job);
	end__close(&p[0]);
	end__close(&p[1]);
}

/* ---- a chain through dup2, like a shell pipeline ---- */

static const struct end std_in = { .fd = 0, .chan = 0 }, std_out = { .fd = 1, .chan = 0 };

static void copy_stage(int index, uint64_t n)
{
	/* Channel i joins process i to process i + 1: the order in which they were made. */
	struct end in = std_in, out = std_out;
	uint64_t got, chunk = arg_num("chunk"), bytes = arg_num("bytes"), done = 0;
	char *buf = xmalloc(chunk);

	in.chan = index - 1;
	out.chan = index;
	if (index == 0) {
		stream__write(&out, SEED, bytes, chunk);
	} else if (index == (int)n - 1) {
		got = stream__read(&in, SEED, chunk);
		die_if(got != bytes, "the last process read %llu bytes", (unsigned long long)got);
	} else {
		ssize_t len;

		while ((len = x_read(&in, buf, chunk)) > 0) {
			exact__write(&out, buf, len);
			done += len;
		}
		die_if(len < 0 || done != bytes, "copied %llu bytes", (unsigned long long)done);
	}
	free(buf);
}

static void chain_stage(const char *arg)
{
	copy_stage(atoi(arg), arg_num("n"));
}

struct link {
	int index, n;
	struct end in, out, next_in;
};

static void put_on(struct end *e, int fd)
{
	if (e->fd == fd)
		return;
	die_if(dup2(e->fd, fd) < 0, "dup2: %s", strerror(errno));
	end__close(e);
}

static void chain_process(void *arg)
{
	struct link *link = arg;
	char index[16];

	if (link->index > 0)
		put_on(&link->in, 0);
	if (link->index < link->n - 1) {
		put_on(&link->out, 1);
		end__close(&link->next_in);
	}
	snprintf(index, sizeof(index), "%d", link->index);
	if (arg_num("exec"))
		proc__exec_self(index);
	chain_stage(index);
}

static void run_chain(void)
{
	struct link link = { .n = arg_num("n"), .in = { .fd = -1 } };

	/* Low descriptors must be taken, or a pipe would land on 0 or 1 and be dup2'ed over. */
	while (fcntl(2, F_GETFD) < 0)
		die_if(open("/dev/null", O_RDWR) < 0, "open /dev/null: %s", strerror(errno));
	for (link.index = 0; link.index < link.n; link.index++) {
		struct end p[2] = { { .fd = -1 }, { .fd = -1 } };

		if (link.index < link.n - 1)
			pipe__openf(p, 0, "c%d", link.index);
		link.out = p[1];
		link.next_in = p[0];
		proc__spawnf(chain_process, &link, "s%d", link.index);
		end__close(&link.in);
		end__close(&link.out);
		link.in = link.next_in;
	}
}

/* ---- request and reply over two pipes ---- */

struct both {
	struct end req[2], rep[2];
};

static void two_way_child(void *arg)
{
	struct both *b = arg;
	size_t req = arg_num("request"), rep = arg_num("reply"), rounds = arg_num("rounds");
	char *buf = xmalloc(req > rep ? req : rep);

	end__close(&b->req[1]);
	end__close(&b->rep[0]);
	for (size_t i = 0; i < rounds; i++) {
		exact__read(&b->req[0], buf, req);
		die_if(!pattern__check(buf, req, i, 0), "request %zu differs", i);
		pattern__fill(buf, rep, i, 1);
		exact__write(&b->rep[1], buf, rep);
	}
	free(buf);
}

static void run_two_way(void)
{
	struct both b;
	size_t req = arg_num("request"), rep = arg_num("reply"), rounds = arg_num("rounds");
	char *buf = xmalloc(req > rep ? req : rep);

	pipe__open("request", b.req, 0);
	pipe__open("reply", b.rep, 0);
	proc__spawn("child", two_way_child, &b);
	end__close(&b.req[0]);
	end__close(&b.rep[1]);
	for (size_t i = 0; i < rounds; i++) {
		pattern__fill(buf, req, i, 0);
		exact__write(&b.req[1], buf, req);
		exact__read(&b.rep[0], buf, rep);
		die_if(!pattern__check(buf, rep, i, 1), "reply %zu differs", i);
	}
	free(buf);
}

/* ---- non-blocking: fill until EAGAIN, drain until EAGAIN, in turns ---- */

static ssize_t try_write(const struct end *e, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	ssize_t n;

	if (!arg_is("how", "nowait"))
		return x_write(e, buf, len);
	n = x_pwritev2(e, &iov, 1, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP)
		skip("no RWF_NOWAIT on pipes here");
	return n;
}

static ssize_t try_read(const struct end *e, void *buf, size_t len)
{
	struct iovec iov = { buf, len };

	return arg_is("how", "nowait") ? x_preadv2(e, &iov, 1, RWF_NOWAIT) : x_read(e, buf, len);
}

static void filler(void *arg)
{
	struct end *p = arg;
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	uint64_t offset = 0;

	end__close(&p[0]);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		ssize_t n;

		turn__await(0, 2 * i);
		for (;; offset += n) {
			pattern__fill(buf, chunk, SEED, offset);
			n = try_write(&p[1], buf, chunk);
			if (n <= 0)
				break;
		}
		die_if(errno != EAGAIN, "write: %s", strerror(errno));
		end__mark_fill(&p[1]);
		turn__pass(0);
	}
	turn__await(0, 2 * arg_num("rounds"));
	free(buf);
}

static void drainer(void *arg)
{
	struct end *p = arg;
	size_t chunk = arg_num("rchunk");
	char *buf = xmalloc(chunk);
	uint64_t offset = 0;

	end__close(&p[1]);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		ssize_t n;

		turn__await(0, 2 * i + 1);
		while ((n = try_read(&p[0], buf, chunk)) > 0) {
			die_if(!pattern__check(buf, n, SEED, offset), "payload differs");
			offset += n;
		}
		die_if(!n || errno != EAGAIN, "read: %s", n ? strerror(errno) : "end of file");
		turn__pass(0);
	}
	free(buf);
}

static void run_nonblock(void)
{
	struct end p[2];

	pipe__open("c0", p, arg_is("how", "flag") ? O_NONBLOCK : 0);
	if (arg_is("how", "fcntl")) {
		end__set_nonblock(&p[0]);
		end__set_nonblock(&p[1]);
	}
	proc__spawn("w0", filler, p);
	proc__spawn("r0", drainer, p);
	end__close(&p[0]);
	end__close(&p[1]);
}

/* ---- one side waits until the other really sleeps ---- */

/* Turn words: which call the blocking side is in, that it is done, that it is gone. */
enum { CALL, DONE, GONE };

struct slow {
	struct end *p;
	int peer, peer_fd;
};

static void full_writer(void *arg)
{
	struct slow *slow = arg;
	size_t chunk = arg_num("chunk"), calls = arg_num("calls");
	char *buf = xmalloc(chunk);

	end__close(&slow->p[0]);
	for (size_t i = 0; i < calls; i++) {
		pattern__fill(buf, chunk, SEED, i * chunk);
		turn__take(CALL);
		die_if(x_write(&slow->p[1], buf, chunk) != (ssize_t)chunk, "short write");
	}
	turn__pass(DONE);
	free(buf);
}

/* Read only when the writer sleeps in write(): every call that sleeps is seen, and counted once. */
static void full_reader(void *arg)
{
	struct slow *slow = arg;
	size_t chunk = arg_num("chunk");
	uint64_t asleep, total_ns = 0, blocked = 0, last = 0, offset = 0;
	char *buf = xmalloc(chunk);
	ssize_t n;

	end__close(&slow->p[1]);
	for (;;) {
		asleep = proc__await_sleep(slow->peer, SYS_write, slow->peer_fd, turn__word(DONE));
		if (!asleep)
			break;
		if (last != *turn__word(CALL))
			blocked++;
		last = *turn__word(CALL);
		end__mark_fill(&slow->p[0]);
		total_ns += now_ns() - asleep;
		n = x_read(&slow->p[0], buf, chunk);
		die_if(n <= 0 || !pattern__check(buf, n, SEED, offset), "payload differs");
		offset += n;
	}
	turn__await(GONE, 1);
	end__mark_fill(&slow->p[0]);
	while ((n = x_read(&slow->p[0], buf, chunk)) > 0) {
		die_if(!pattern__check(buf, n, SEED, offset), "payload differs");
		offset += n;
	}
	die_if(n < 0 || offset != chunk * arg_num("calls"), "read %llu bytes",
	       (unsigned long long)offset);
	edge__set_blocked(slow->peer, slow->p[0].chan, ROLE_WRITE, blocked, total_ns);
	edge__set_blocked(self, slow->p[0].chan, ROLE_READ, 0, 0);
	free(buf);
}

static void empty_reader(void *arg)
{
	struct slow *slow = arg;
	size_t chunk = arg_num("chunk"), calls = arg_num("calls");
	char *buf = xmalloc(chunk);

	end__close(&slow->p[1]);
	for (size_t i = 0; i < calls; i++) {
		die_if(x_read(&slow->p[0], buf, chunk) != (ssize_t)chunk, "short read");
		die_if(!pattern__check(buf, chunk, SEED, i * chunk), "payload differs");
	}
	die_if(x_read(&slow->p[0], buf, chunk) != 0, "no end of file");
	free(buf);
}

/* Write, and close, only when the reader sleeps in read(): each of its calls does, the last too. */
static void empty_writer(void *arg)
{
	struct slow *slow = arg;
	size_t chunk = arg_num("chunk"), calls = arg_num("calls");
	uint64_t asleep, total_ns = 0;
	char *buf = xmalloc(chunk);

	end__close(&slow->p[0]);
	for (size_t i = 0; i <= calls; i++) {
		asleep = proc__await_sleep(slow->peer, SYS_read, slow->peer_fd, turn__word(DONE));
		pattern__fill(buf, chunk, SEED, i * chunk);
		total_ns += now_ns() - asleep;
		if (i == calls)
			end__close(&slow->p[1]);
		else
			die_if(x_write(&slow->p[1], buf, chunk) != (ssize_t)chunk, "short write");
	}
	edge__set_blocked(slow->peer, slow->p[0].chan, ROLE_READ, calls + 1, total_ns);
	edge__set_blocked(self, slow->p[0].chan, ROLE_WRITE, 0, 0);
	free(buf);
}

static void run_full(void)
{
	bool full = arg_is("side", "writer");
	struct end p[2];
	struct slow slow = { .p = p };

	pipe__open("c0", p, 0);
	slow.peer_fd = p[full].fd;
	die_if(!full && arg_num("chunk") > PIPE_BUF,
	       "side=reader needs a chunk of at most PIPE_BUF");
	slow.peer = proc__spawn(full ? "w0" : "r0", full ? full_writer : empty_reader, &slow);
	proc__spawn(full ? "r0" : "w0", full ? full_reader : empty_writer, &slow);
	end__close(&p[0]);
	end__close(&p[1]);
	if (full) {
		proc__wait(slow.peer);
		turn__pass(GONE);
	}
}

const struct factory pipe_factories[] = {
	{
		.name = "pipe-parent-child",
		.help = "a stream from parent to child or back over one pipe",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("1M"), CHUNK_PARAM("4096"), RCHUNK_PARAM("4096"),
			{ "direction", "down", "down|up", 0, 0,
			  "who writes: the parent or the child" },
		},
		.selftest = "bytes=10000 chunk=100;direction=up rchunk=7 bytes=5000;bytes=0",
		.run = run_parent_child,
	}, {
		.name = "pipe-siblings",
		.help = "a stream between two children of one parent",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("1M"), CHUNK_PARAM("4096"), RCHUNK_PARAM("4096"),
		},
		.selftest = "bytes=100000 chunk=999;rchunk=65536",
		.run = run_siblings,
	}, {
		.name = "pipe-chain",
		.help = "n processes in a row, each with dup2 between two pipes, the ends verify",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("256K"), CHUNK_PARAM("4096"),
			NUM_PARAM("n", "4", 2, 1000, "processes"),
			NUM_PARAM("exec", "0", 0, 1, "1: each executes this program anew"),
		},
		.selftest = "n=2 bytes=1000;n=5 bytes=100000;n=4 exec=1 chunk=1000",
		.exec = true,
		.run = run_chain,
		.stage = chain_stage,
	}, {
		.name = "pipe-two-way",
		.help = "requests and replies between parent and child over two pipes",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("rounds", "1000", 1, 1ULL << 32, "requests"),
			NUM_PARAM("request", "100", 1, PIPE_BUF, "bytes of each request"),
			NUM_PARAM("reply", "1000", 1, PIPE_BUF, "bytes of each reply"),
		},
		.selftest = "rounds=100;rounds=10 request=1 reply=4096",
		.run = run_two_way,
	}, {
		.name = "pipe-nonblock",
		.help = "the writer fills until EAGAIN, the reader drains until EAGAIN, in turns",
		.params = {
			COMMON_PARAMS, CHUNK_PARAM("4096"), RCHUNK_PARAM("4096"),
			NUM_PARAM("rounds", "3", 1, 1 << 30, "times that it is filled"),
			{ "how", "flag", "flag|fcntl|nowait", 0, 0,
			  "pipe2, F_SETFL, or RWF_NOWAIT each call" },
		},
		.selftest = "rounds=2;how=fcntl chunk=1000 rchunk=999;how=nowait;chunk=100000",
		.run = run_nonblock,
	}, {
		.name = "pipe-full",
		.help = "one side waits until the other sleeps: exact numbers of blocked calls",
		.params = {
			COMMON_PARAMS, NUM_PARAM("chunk", "4096", 1, 1 << 20, "bytes of each call"),
			NUM_PARAM("calls", "48", 1, 1 << 30, "calls of the side that blocks"),
			{ "side", "writer", "writer|reader", 0, 0,
			  "who blocks, on a full or an empty pipe" },
		},
		.selftest = "calls=30;side=reader calls=10 chunk=100;chunk=100000 calls=3;"
			    "chunk=1000 calls=80",
		.run = run_full,
	},
	{ .name = NULL }
};
