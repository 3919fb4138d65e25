/* SPDX-License-Identifier: BSD-2-Clause */
/* Pipes used through other calls than read and write. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define SEED 3

/*
 * source -> "in" -> mover -> "out" -> sink. The source fills "in" from a file or from memory, the
 * mover moves it on, the sink takes it out; each by the call that its parameter names.
 */
struct line {
	struct end in[2], out[2], copy[2];
};

/* A regular file that holds the stream, without a name: no channel, and not counted. */
static struct end make_file(uint64_t bytes)
{
	struct end e = { .chan = -1 };
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX], *buf = xmalloc(bytes + 1);

	snprintf(path, sizeof(path), "%s/workload-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	e.fd = mkostemp(path, O_CLOEXEC);
	die_if(e.fd < 0, "%s: %s", path, strerror(errno));
	unlink(path);
	pattern__fill(buf, bytes, SEED, 0);
	die_if(write(e.fd, buf, bytes) != (ssize_t)bytes, "%s: %s", path, strerror(errno));
	free(buf);
	lseek(e.fd, 0, SEEK_SET);
	return e;
}

static void close_all(struct end *a, struct end *b, struct end *c, struct end *d)
{
	end__close(a);
	end__close(b);
	end__close(c);
	end__close(d);
}

/* Two unequal pieces, to see that vectors are summed up. */
static int cut(struct iovec iov[2], void *buf, size_t len)
{
	iov[0] = (struct iovec){ buf, len / 3 };
	iov[1] = (struct iovec){ (char *)buf + len / 3, len - len / 3 };
	return 2;
}

static ssize_t put(const struct end *out, const struct end *file, char *buf, size_t len)
{
	struct iovec iov[2];
	int n = cut(iov, buf, len);

	if (arg_is("put", "splice"))
		return x_splice(file, out, len, 0);
	if (arg_is("put", "sendfile"))
		return x_sendfile(out, file, len);
	if (arg_is("put", "vmsplice"))
		return x_vmsplice(out, ROLE_WRITE, iov, n, 0);
	if (arg_is("put", "writev"))
		return x_writev(out, iov, n);
	if (arg_is("put", "pwritev2"))
		return x_pwritev2(out, iov, n, 0);
	return x_write(out, buf, len);
}

static void source(void *arg)
{
	struct line *l = arg;
	uint64_t bytes = arg_num("bytes"), offset = 0;
	struct end file = make_file(bytes);
	char *buf = xmalloc(bytes + 1);

	close_all(&l->in[0], &l->out[0], &l->out[1], &l->copy[0]);
	end__close(&l->copy[1]);
	/* vmsplice gives the pipe these pages themselves: they stay as they are to the end. */
	pattern__fill(buf, bytes, SEED, 0);
	while (offset < bytes) {
		uint64_t left = bytes - offset, chunk = arg_num("chunk");
		ssize_t n = put(&l->in[1], &file, buf + offset, left < chunk ? left : chunk);

		die_if(n <= 0, "put=%s: %s", arg_str("put"), n ? strerror(errno) : "nothing");
		offset += n;
	}
	end__close(&l->in[1]);
	turn__await(0, 1);
	free(buf);
}

/* Copy what lies in the pipe to the second pipe, then move just as much on. */
static ssize_t tee_and_move(struct line *l, size_t chunk)
{
	ssize_t n = x_tee(&l->in[0], &l->copy[1], chunk, 0), done = 0;

	while (n > 0 && done < n) {
		ssize_t moved = x_splice(&l->in[0], &l->out[1], n - done, 0);

		die_if(moved <= 0, "splice: %s", moved ? strerror(errno) : "nothing");
		done += moved;
	}
	return n;
}

static ssize_t copy(struct line *l, char *buf, size_t chunk)
{
	ssize_t n = x_read(&l->in[0], buf, chunk);

	if (n > 0)
		exact__write(&l->out[1], buf, n);
	return n;
}

static void mover(void *arg)
{
	struct line *l = arg;
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	uint64_t moved = 0;
	ssize_t n;

	close_all(&l->in[1], &l->out[0], &l->copy[0], &l->copy[0]);
	do {
		if (arg_is("move", "splice"))
			n = x_splice(&l->in[0], &l->out[1], chunk, 0);
		else if (arg_is("move", "tee"))
			n = tee_and_move(l, chunk);
		else
			n = copy(l, buf, chunk);
		die_if(n < 0, "move=%s: %s", arg_str("move"), strerror(errno));
		moved += n;
	} while (n);
	die_if(moved != arg_num("bytes"), "moved %llu bytes", (unsigned long long)moved);
	free(buf);
}

static ssize_t take(const struct end *in, struct end *file, char *buf, size_t len)
{
	struct iovec iov[2];
	int n = cut(iov, buf, len);
	ssize_t got;

	if (arg_is("take", "vmsplice"))
		return x_vmsplice(in, ROLE_READ, iov, n, 0);
	if (arg_is("take", "readv"))
		return x_readv(in, iov, n);
	if (arg_is("take", "preadv2"))
		return x_preadv2(in, iov, n, 0);
	if (!arg_is("take", "splice"))
		return x_read(in, buf, len);
	got = x_splice(in, file, len, 0);
	if (got > 0)
		die_if(pread(file->fd, buf, got, lseek(file->fd, 0, SEEK_CUR) - got) != got,
		       "reading the file back: %s", strerror(errno));
	return got;
}

static void sink(void *arg)
{
	struct line *l = arg;
	struct end file = make_file(0);
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	uint64_t offset = 0;
	ssize_t n;

	close_all(&l->in[0], &l->in[1], &l->out[1], &l->copy[0]);
	end__close(&l->copy[1]);
	while ((n = take(&l->out[0], &file, buf, chunk)) > 0) {
		die_if(!pattern__check(buf, n, SEED, offset), "payload differs");
		offset += n;
	}
	die_if(n < 0, "take=%s: %s", arg_str("take"), strerror(errno));
	die_if(offset != arg_num("bytes"), "took %llu bytes", (unsigned long long)offset);
	free(buf);
}

static void copy_sink(void *arg)
{
	struct line *l = arg;

	close_all(&l->in[0], &l->in[1], &l->out[0], &l->out[1]);
	end__close(&l->copy[1]);
	die_if(stream__read(&l->copy[0], SEED, arg_num("chunk")) != arg_num("bytes"),
	       "the copy is too short");
}

static void run_splice(void)
{
	bool tee = arg_is("move", "tee");
	struct line l = { .copy = { { .fd = -1 }, { .fd = -1 } } };
	int from;

	pipe__open("in", l.in, 0);
	pipe__open("out", l.out, 0);
	if (tee)
		pipe__open("copy", l.copy, 0);
	from = proc__spawn("source", source, &l);
	proc__spawn("mover", mover, &l);
	proc__spawn("sink", sink, &l);
	if (tee)
		proc__spawn("copy-sink", copy_sink, &l);
	close_all(&l.in[0], &l.in[1], &l.out[0], &l.out[1]);
	end__close(&l.copy[0]);
	end__close(&l.copy[1]);
	for (uint32_t i = from + 1; i < arena->nr_procs; i++)
		proc__wait(i);
	turn__pass(0);
}

/* ---- non-blocking splice and tee: between an empty and a full pipe both fail ---- */

static void run_splice_nonblock(void)
{
	struct end a[2], b[2];
	char buf[PIPE_BUF] = "";
	uint64_t count = arg_num("count");
	unsigned int flags = arg_is("how", "flag") ? SPLICE_F_NONBLOCK : 0;

	pipe__open("a", a, flags ? 0 : O_NONBLOCK);
	pipe__open("b", b, flags ? 0 : O_NONBLOCK);
	for (uint64_t i = 0; i < count; i++) {
		die_if(x_splice(&a[0], &b[1], 100, flags) >= 0 || errno != EAGAIN,
		       "splice: no EAGAIN");
		exact__write(&a[1], buf, 100);
		die_if(x_tee(&a[0], &b[1], 100, flags) != 100, "tee: %s", strerror(errno));
		die_if(x_splice(&a[0], &b[1], 60, flags) != 60, "splice: %s", strerror(errno));
		die_if(x_splice(&a[0], &b[1], 100, flags) != 40, "splice: %s", strerror(errno));
		exact__read(&b[0], buf, 200);
	}
}

const struct factory pipe_splice_factories[] = {
	{
		.name = "pipe-splice",
		.help = "source, mover and sink over two pipes (three with tee), by named calls",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("bytes", "256K", 1, 1 << 30, "length of the stream"),
			NUM_PARAM("chunk", "4096", 1, 1 << 20, "bytes asked of each call"),
			{ "put", "splice", "splice|sendfile|vmsplice|writev|pwritev2|write", 0, 0,
			  "how the source writes; splice and sendfile from a regular file" },
			{ "move", "splice", "splice|tee|copy", 0, 0, "how the mover moves on" },
			{ "take", "read", "read|readv|preadv2|vmsplice|splice", 0, 0,
			  "how the sink reads; splice into a regular file" },
		},
		.selftest = "bytes=100000;bytes=100000 put=sendfile move=tee take=vmsplice;"
			    "put=vmsplice take=splice bytes=50000;put=writev take=readv chunk=1000;"
			    "put=pwritev2 take=preadv2 chunk=100 bytes=10000;put=write move=copy",
		.run = run_splice,
	}, {
		.name = "pipe-splice-nonblock",
		.help = "non-blocking splice and tee in one process: EAGAIN, short moves",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "5", 1, 1 << 30, "rounds"),
			{ "how", "flag", "flag|open", 0, 0,
			  "SPLICE_F_NONBLOCK, or O_NONBLOCK pipes" },
		},
		.selftest = "count=3;how=open",
		.run = run_splice_nonblock,
	},
	{ .name = NULL }
};
