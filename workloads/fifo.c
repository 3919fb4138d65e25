/* SPDX-License-Identifier: BSD-2-Clause */
/* Named pipes: opened by name, by processes that need not be related. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "record.h"

#define SEED 4

/* ---- unrelated processes ---- */

struct user {
	int chan;
	const char *name;
};

static void unrelated_writer(void *arg)
{
	struct user *u = arg;
	struct end e;

	turn__await(0, 1);
	fifo__open(&e, u->chan, O_WRONLY);
	stream__write(&e, SEED, arg_num("bytes"), arg_num("chunk"));
	end__close(&e);
}

static void unrelated_reader(void *arg)
{
	struct user *u = arg;
	struct end e;

	turn__await(0, 1);
	fifo__open(&e, u->chan, O_RDONLY);
	die_if(stream__read(&e, SEED, arg_num("rchunk")) != arg_num("bytes"), "read too little");
	end__close(&e);
}

static void run_unrelated(void)
{
	int chan = fifo__make("f0", arg_str("file"));
	struct user u = { .chan = chan };

	proc__orphan("w0", unrelated_writer, &u);
	proc__orphan("r0", unrelated_reader, &u);
	turn__pass(0);
}

/* ---- both ways over one FIFO ---- */

/* In turns: a writes, b reads it and writes back, a reads that. */
static void both_ways(const struct end *r, const struct end *w, bool first)
{
	size_t chunk = arg_num("chunk");
	char buf[PIPE_BUF];

	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		for (uint32_t way = 0; way < 2; way++) {
			bool write = first == !way;

			turn__await(0, i * 4 + way * 2 + !write);
			if (write) {
				pattern__fill(buf, chunk, SEED, i * 2 + way);
				exact__write(w, buf, chunk);
				end__mark_fill(w);
			} else {
				exact__read(r, buf, chunk);
				die_if(!pattern__check(buf, chunk, SEED, i * 2 + way),
				       "payload differs");
			}
			turn__pass(0);
		}
	}
}

static void both_ways_process(void *arg)
{
	struct user *u = arg;
	struct end r, w;

	if (arg_is("open", "rdwr")) {
		fifo__open(&r, u->chan, O_RDWR);
		w = r;
	} else {
		/* Non-blocking for the open only: there may be no writer yet. */
		fifo__open(&r, u->chan, O_RDONLY | O_NONBLOCK);
		fifo__open(&w, u->chan, O_WRONLY);
		die_if(fcntl(r.fd, F_SETFL, 0), "F_SETFL: %s", strerror(errno));
		r.nonblock = false;
	}
	/* Nobody begins before both have both ends: an end of file cannot happen. */
	turn__pass(1);
	turn__await(1, 2);
	both_ways(&r, &w, *u->name == 'a');
	turn__pass(2);
	turn__await(2, 2);
	edge__set_blocked(self, u->chan, ROLE_READ, 0, 0);
	edge__set_blocked(self, u->chan, ROLE_WRITE, 0, 0);
}

static void run_both_ways(void)
{
	int chan = fifo__make("f0", "both"), one, two;
	struct user a = { .chan = chan, .name = "a" }, b = { .chan = chan, .name = "b" };
	uint64_t bytes = arg_num("rounds") * arg_num("chunk");

	one = proc__spawn("a", both_ways_process, &a);
	two = proc__spawn("b", both_ways_process, &b);
	procs__join();
	/* Turns: what one wrote only the other read. */
	flow__add(one, two, chan, bytes, false);
	flow__add(two, one, chan, bytes, false);
}

/* ---- many writers ---- */

struct fifo_writer {
	int chan, index;
};

static void many_writer(void *arg)
{
	struct fifo_writer *w = arg;
	struct end e;

	fifo__open(&e, w->chan, O_WRONLY);
	records__write(&e, w->index, arg_num("records"), arg_num("record"));
	/* The FIFO has no end of file before the last is through. */
	turn__pass(0);
	turn__await(0, arg_num("writers"));
	end__close(&e);
}

static void run_many_writers(void)
{
	struct fifo_writer w = { .chan = fifo__make("f0", "many") };
	struct sums sums = { .writers = arg_num("writers"), .ordered = true };
	struct end e;

	for (w.index = 0; w.index < (int)sums.writers; w.index++)
		proc__spawnf(many_writer, &w, "w%d", w.index);
	fifo__open(&e, w.chan, O_RDONLY);
	records__read(&e, &sums, arg_num("record"));
	for (uint32_t i = 0; i < sums.writers; i++)
		die_if(sums.records[i] != arg_num("records"), "writer %u: %llu records", i,
		       (unsigned long long)sums.records[i]);
	end__close(&e);
}

/* ---- opened, never used ---- */

static void unused_process(void *arg)
{
	struct user *u = arg;
	struct end e, second = { .fd = -1 };

	if (arg_is("open", "rdwr")) {
		fifo__open(&e, u->chan, O_RDWR | O_NONBLOCK);
	} else {
		fifo__open(&e, u->chan, O_RDONLY | O_NONBLOCK);
		fifo__open(&second, u->chan, O_WRONLY);
	}
	turn__pass(0);
	turn__await(0, arg_num("procs"));
	end__close(&e);
	end__close(&second);
}

static void run_unused(void)
{
	struct user u = { .chan = fifo__make("f0", "unused") };

	for (uint64_t i = 0; i < arg_num("procs"); i++)
		proc__spawnf(unused_process, &u, "u%d", (int)i);
}

/* ---- closed by all and opened again ---- */

static void reopen_writer(void *arg)
{
	struct user *u = arg;
	uint64_t bytes = arg_num("bytes"), lost = arg_num("discard");
	char buf[PIPE_BUF];
	struct end e;

	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 3 * i);
		fifo__open(&e, u->chan, O_RDWR);
		turn__pass(0);
		pattern__fill(buf, bytes + lost, SEED, i);
		exact__write(&e, buf, bytes + lost);
		end__mark_fill(&e);
		turn__pass(1);
		turn__await(0, 3 * i + 2);
		/* The reader has closed: what it left is thrown away with this close. */
		end__mark_leftover(&e);
		end__close(&e);
		turn__pass(0);
	}
}

static void reopen_reader(void *arg)
{
	struct user *u = arg;
	uint64_t bytes = arg_num("bytes");
	char buf[PIPE_BUF];
	struct end e;

	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 3 * i + 1);
		fifo__open(&e, u->chan, O_RDONLY);
		turn__await(1, i + 1);
		exact__read(&e, buf, bytes);
		die_if(!pattern__check(buf, bytes, SEED, i), "old data was not thrown away");
		end__close(&e);
		turn__pass(0);
	}
}

static void run_reopen(void)
{
	struct user u = { .chan = fifo__make("f0", "reopen") };

	die_if(arg_num("bytes") + arg_num("discard") > PIPE_BUF, "bytes + discard exceed PIPE_BUF");
	proc__spawn("w0", reopen_writer, &u);
	proc__spawn("r0", reopen_reader, &u);
}

/* ---- one name, two channels ---- */

struct named {
	int chan;
	uint64_t bytes;
};

static void named_writer(void *arg)
{
	struct named *n = arg;
	struct end e;

	fifo__open(&e, n->chan, O_WRONLY);
	stream__write(&e, SEED, n->bytes, 100);
	/* Kept open until both exist, or the second could be the same inode again. */
	turn__pass(0);
	turn__await(0, 3);
}

static void named_reader(void *arg)
{
	struct named *n = arg;
	struct end e;

	fifo__open(&e, n->chan, O_RDONLY);
	turn__pass(1);
	die_if(stream__read(&e, SEED, 100) != n->bytes, "read too little");
}

static void run_two_same_name(void)
{
	struct named n = { .bytes = arg_num("bytes") };

	n.chan = fifo__make("f0", "same");
	proc__spawn("w0", named_writer, &n);
	proc__spawn("r0", named_reader, &n);
	turn__await(0, 1);
	turn__await(1, 1);
	fifo__unlink(n.chan);
	n.chan = fifo__make("f1", "same");
	n.bytes *= 2;
	die_if(arena->chans[0].ino == arena->chans[1].ino, "the inode was used again");
	proc__spawn("w1", named_writer, &n);
	proc__spawn("r1", named_reader, &n);
	turn__await(0, 2);
	turn__pass(0);
}

/* ---- non-blocking ---- */

static void nonblock_reader(void *arg)
{
	struct user *u = arg;
	char buf[PIPE_BUF];
	struct end e;
	size_t chunk = arg_num("chunk");

	fifo__open(&e, u->chan, O_RDONLY | O_NONBLOCK);
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_read(&e, buf, chunk) != 0, "no end of file without a writer");
	turn__pass(0);
	turn__await(0, 2);
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_read(&e, buf, chunk) >= 0 || errno != EAGAIN, "no EAGAIN with a writer");
	turn__pass(0);
	turn__await(0, 4);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		exact__read(&e, buf, chunk);
		die_if(!pattern__check(buf, chunk, SEED, i), "payload differs");
	}
	die_if(x_read(&e, buf, chunk) >= 0 || errno != EAGAIN, "no EAGAIN with a writer");
	turn__pass(0);
}

static void nonblock_writer(void *arg)
{
	struct user *u = arg;
	size_t chunk = arg_num("chunk");
	char buf[PIPE_BUF];
	struct end e;

	turn__await(0, 1);
	fifo__open(&e, u->chan, O_WRONLY | O_NONBLOCK);
	turn__pass(0);
	turn__await(0, 3);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		pattern__fill(buf, chunk, SEED, i);
		die_if(x_write(&e, buf, chunk) != (ssize_t)chunk, "write: %s", strerror(errno));
	}
	end__mark_fill(&e);
	turn__pass(0);
	turn__await(0, 5);
}

static void run_nonblock(void)
{
	struct user u = { .chan = fifo__make("f0", "nonblock") };

	die_if(arg_num("count") > 16, "count is at most 16");
	/* Nobody reads: no file, no channel. */
	die_if(open(arena->chans[u.chan].path, O_WRONLY | O_NONBLOCK) >= 0 || errno != ENXIO,
	       "no ENXIO");
	proc__spawn("r0", nonblock_reader, &u);
	proc__spawn("w0", nonblock_writer, &u);
}

#define SMALL_CHUNK NUM_PARAM("chunk", "100", 1, PIPE_BUF, "bytes of each write")

const struct factory fifo_factories[] = {
	{
		.name = "fifo-unrelated",
		.help = "a stream between two orphans in sessions of their own, over a FIFO",
		.params = {
			COMMON_PARAMS,
			BYTES_PARAM("256K"), CHUNK_PARAM("4096"), RCHUNK_PARAM("4096"),
			{ "file", "fifo", NULL, 0, 0, "the FIFO's file name, without /" },
		},
		.selftest = "bytes=10000;bytes=0",
		.run = run_unrelated,
	}, {
		.name = "fifo-both-ways",
		.help = "two processes in turns write to and read from one FIFO",
		.params = {
			COMMON_PARAMS, SMALL_CHUNK,
			NUM_PARAM("rounds", "10", 1, 1 << 29, "messages each way"),
			{ "open", "rdwr", "rdwr|ends", 0, 0,
			  "O_RDWR, or one descriptor for each end" },
		},
		.selftest = "rounds=5;open=ends chunk=4096",
		.run = run_both_ways,
	}, {
		.name = "fifo-many-writers",
		.help = "several processes write tagged records into one FIFO, the parent reads",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("writers", "3", 1, 500, "processes that write"),
			NUM_PARAM("records", "200", 1, 1 << 30, "records of each writer"),
			NUM_PARAM("record", "4096", 16, PIPE_BUF, "bytes of a record"),
		},
		.selftest = "records=20;writers=20 records=5 record=100",
		.run = run_many_writers,
	}, {
		.name = "fifo-unused",
		.help = "a FIFO opened for reading and writing by several processes and never used",
		.params = {
			COMMON_PARAMS, NUM_PARAM("procs", "2", 1, 500, "processes"),
			{ "open", "rdwr", "rdwr|ends", 0, 0, "O_RDWR | O_NONBLOCK, or each end" },
		},
		.selftest = "procs=2;open=ends procs=1",
		.run = run_unused,
	}, {
		.name = "fifo-reopen",
		.help = "closed by all and opened again: the same channel, unread data gone",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("bytes", "100", 1, PIPE_BUF, "bytes read each time"),
			NUM_PARAM("discard", "50", 0, PIPE_BUF, "bytes written and thrown away"),
			NUM_PARAM("rounds", "3", 1, 1 << 29, "times"),
		},
		.selftest = "rounds=3;discard=0 rounds=2",
		.run = run_reopen,
	}, {
		.name = "fifo-two-same-name",
		.help = "unlinked while in use and made again: two channels of one name",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("bytes", "1000", 1, 16384,
				  "through the first; twice as many then"),
		},
		.selftest = "bytes=500",
		.run = run_two_same_name,
	}, {
		.name = "fifo-nonblock",
		.help = "ENXIO without a reader, end of file without a writer, EAGAIN without data",
		.params = {
			COMMON_PARAMS, SMALL_CHUNK,
			NUM_PARAM("count", "3", 1, 16, "calls of each kind"),
		},
		.selftest = "count=2;chunk=4096 count=16",
		.run = run_nonblock,
	},
	{ .name = NULL }
};
