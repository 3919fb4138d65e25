/* SPDX-License-Identifier: BSD-2-Clause */
/* Regular files: written by one process or several, and read by others. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "data.h"
#include "ring.h"

static int chan; /* the only one, or the first */

enum { WRITTEN, TAKEN };

/* One request, by a ring of the process's own. */
static ssize_t by_ring(const struct end *e, bool writes, char *buf, size_t n, off_t at)
{
	static struct ring r;
	static bool is_open;
	struct io_uring_sqe *sqe;

	if (!is_open)
		ring__open(&r, 0);
	is_open = true;
	sqe = ring__put(&r, writes ? IORING_OP_WRITE : IORING_OP_READ, e,
			writes ? ROLE_WRITE : ROLE_READ, buf, n);
	sqe->off = at;
	return ring__run(&r);
}

static ssize_t put(const struct end *e, char *buf, size_t n, off_t at)
{
	struct iovec iov[2] = { { buf, n / 2 }, { buf + n / 2, n - n / 2 } };

	if (arg_is("put", "uring"))
		return by_ring(e, true, buf, n, at);
	if (arg_is("put", "pwrite"))
		return x_pwrite(e, buf, n, at);
	if (arg_is("put", "writev"))
		return x_writev(e, iov, 2);
	if (arg_is("put", "pwritev2"))
		return x_pwritev2(e, iov, 2, 0);
	return x_write(e, buf, n);
}

static ssize_t take(const struct end *e, char *buf, size_t n, off_t at)
{
	struct iovec iov[2] = { { buf, n / 2 }, { buf + n / 2, n - n / 2 } };

	if (arg_is("take", "uring"))
		return by_ring(e, false, buf, n, at);
	if (arg_is("take", "pread"))
		return x_pread(e, buf, n, at);
	if (arg_is("take", "readv"))
		return x_readv(e, iov, 2);
	if (arg_is("take", "preadv2"))
		return x_preadv2(e, iov, 2, 0);
	return x_read(e, buf, n);
}

#define PUT_PARAM                                                           \
	{                                                                   \
		"put", "write", "write|pwrite|writev|pwritev2|uring", 0, 0, \
			"how the writer writes"                             \
	}
#define TAKE_PARAM                                                                           \
	{                                                                                    \
		"take", "read", "read|pread|readv|preadv2|uring", 0, 0, "how a reader reads" \
	}

/* ---- one writes, others read ---- */

static void producer(void *arg)
{
	struct end e;

	(void)arg;
	memory__open(&e, chan, O_WRONLY);
	data__write(&e, put);
	if (arg_is("writer", "gone"))
		return;
	turn__pass(WRITTEN);
	turn__await(TAKEN, arg_num("readers"));
}

static void consumer(void *arg)
{
	struct end e;

	(void)arg;
	memory__open(&e, chan, O_RDONLY);
	turn__await(WRITTEN, 1);
	data__read(&e, arg_num("chunk"), true, take);
	turn__pass(TAKEN);
}

static void run_produce(void)
{
	int writer;

	chan = data__file("data");
	writer = proc__spawn("writer", producer, NULL);
	if (arg_is("writer", "gone")) {
		proc__wait(writer);
		turn__pass(WRITTEN);
	}
	for (unsigned int i = 0; i < arg_num("readers"); i++)
		proc__spawnf(consumer, NULL, "r%u", i);
	procs__join();
	memory__unlink(chan);
}

/* ---- several write to the end of it, and one reads what is new ---- */

static void logger(void *arg)
{
	uint32_t me = (uintptr_t)arg, all = arg_num("writers") + 1;
	size_t n = arg_num("line");
	struct end e;

	memory__open(&e, chan, O_WRONLY | O_APPEND);
	memset(data__buffer(), self, n);
	for (uint32_t i = 0; i < arg_num("lines"); i++) {
		if (arg_is("order", "turns"))
			turn__await(WRITTEN, i * all + me);
		must(x_write(&e, data__buffer(), n) == (ssize_t)n, "write");
		turn__pass(WRITTEN);
	}
}

static void tail(void *arg)
{
	uint32_t lines = arg_num("lines"), all = arg_num("writers") + 1;
	bool turns = arg_is("order", "turns");
	struct end e;

	(void)arg;
	memory__open(&e, chan, O_RDONLY);
	for (uint32_t i = 0; turns && i < lines; i++) {
		turn__await(WRITTEN, (i + 1) * all - 1);
		data__read(&e, DATA_MAX, true, NULL);
		turn__pass(WRITTEN);
	}
	if (turns)
		return;
	while (*turn__word(WRITTEN) < lines * (all - 1))
		data__read(&e, 1000, false, NULL);
	data__read(&e, 1000, false, NULL);
}

static void run_log(void)
{
	chan = data__file("log");
	for (uintptr_t i = 0; i < arg_num("writers"); i++)
		proc__spawnf(logger, (void *)i, "w%u", (unsigned int)i);
	proc__spawn("reader", tail, NULL);
	procs__join();
	memory__unlink(chan);
}

/* ---- pieces of one file are written by different processes ---- */

static void patcher(void *arg)
{
	uint32_t me = (uintptr_t)arg, all = arg_num("writers");
	size_t n = arg_num("piece");
	struct end e;

	memory__open(&e, chan, O_WRONLY);
	memset(data__buffer(), self, n);
	for (uint32_t i = me; i < arg_num("pieces"); i += all) {
		turn__await(WRITTEN, i);
		must(x_pwrite(&e, data__buffer(), n, i * (n - arg_num("overlap"))) == (ssize_t)n,
		     "pwrite");
		turn__pass(WRITTEN);
	}
}

static void patched(void *arg)
{
	struct end e;

	(void)arg;
	memory__open(&e, chan, O_RDONLY);
	turn__await(WRITTEN, arg_num("pieces"));
	data__read(&e, arg_num("chunk"), true, NULL);
}

static void run_patch(void)
{
	die_if(arg_num("overlap") >= arg_num("piece"), "they overlap as a whole");
	chan = data__file("data");
	for (uintptr_t i = 0; i < arg_num("writers"); i++)
		proc__spawnf(patcher, (void *)i, "w%u", (unsigned int)i);
	proc__spawn("reader", patched, NULL);
	procs__join();
	memory__unlink(chan);
}

/* ---- a number in a file, which each reads and writes anew ---- */

static void adder(void *arg)
{
	uint32_t me = (uintptr_t)arg, all = arg_num("procs");
	char text[32] = "";
	ssize_t n;
	struct end e;

	memory__open(&e, chan, O_RDWR);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		uint32_t turn = i * all + me;

		turn__await(WRITTEN, turn);
		n = x_pread(&e, text, sizeof(text), 0);
		must(n >= 0, "pread");
		if (n && all > 1)
			flow__add(self == 1 ? (int)all : self - 1, self, chan, n, false);
		n = snprintf(text, sizeof(text), "%u\n", turn + 1);
		if (arg_is("how", "truncate"))
			must(!ftruncate(e.fd, 0), "ftruncate");
		must(x_pwrite(&e, text, n, 0) == n, "pwrite");
		turn__pass(WRITTEN);
	}
}

static void run_count(void)
{
	chan = data__file("number");
	for (uintptr_t i = 0; i < arg_num("procs"); i++)
		proc__spawnf(adder, (void *)i, "p%u", (unsigned int)i);
	procs__join();
	memory__unlink(chan);
}

const struct factory file_factories[] = {
	{
		.name = "file-producer-consumer",
		.help = "one writes a file, and others read it",
		.params = {
			COMMON_PARAMS, DATA_PARAMS, PUT_PARAM, TAKE_PARAM,
			PROCS_PARAM("readers", "1", "that read it"),
			{ "writer", "there", "there|gone", 0, 0, "when it is read" },
		},
		.selftest = ";readers=3 put=pwrite take=pread writer=gone;put=writev take=readv;"
			    "put=pwritev2 take=preadv2 chunk=4096",
		.run = run_produce,
	},
	{
		.name = "file-append-log",
		.help = "several write lines to the end of a file, and one reads what is new",
		.params = {
			COMMON_PARAMS,
			PROCS_PARAM("writers", "3", "of lines"),
			NUM_PARAM("lines", "20", 1, 100000, "of each"),
			NUM_PARAM("line", "100", 1, 65536, "bytes of one"),
			{ "order", "turns", "turns|free", 0, 0, "one after the other, or at once" },
		},
		.selftest = ";order=free;line=5000",
		.run = run_log,
	},
	{
		.name = "file-pieces",
		.help = "one after the other writes a piece of a file, and one reads it all",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("chunk", "5000", 1, DATA_MAX, "bytes asked of a read"),
			PROCS_PARAM("writers", "3", "of pieces"),
			NUM_PARAM("pieces", "20", 1, 10000, "in all"),
			NUM_PARAM("piece", "1000", 1, 65536, "bytes of one"),
			NUM_PARAM("overlap", "0", 0, 65535, "of its bytes are written again by the next"),
		},
		.selftest = ";piece=4096;piece=3000 overlap=500",
		.run = run_patch,
	},
	{
		.name = "file-counter",
		.help = "by turns processes read a number in a file, and write the next",
		.params = {
			COMMON_PARAMS,
			PROCS_PARAM("procs", "3", "by turns"),
			NUM_PARAM("rounds", "5", 1, 10000, "of each"),
			{ "how", "over", "over|truncate", 0, 0, "written over it, or after truncating" },
		},
		.selftest = ";how=truncate procs=2",
		.run = run_count,
	},
	{ 0 },
};
