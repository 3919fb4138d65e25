/* SPDX-License-Identifier: BSD-2-Clause */
/* Pipes at their edges: ends that close, die, multiply or grow, and calls that fail. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define SEED 2

static void close_both(struct end p[2])
{
	end__close(&p[0]);
	end__close(&p[1]);
}

/* ---- EPIPE ---- */

static void epipe_reader(void *arg)
{
	struct end *p = arg;
	char buf[PIPE_BUF];

	end__close(&p[1]);
	exact__read(&p[0], buf, arg_num("chunk"));
	die_if(!pattern__check(buf, arg_num("chunk"), SEED, 0), "payload differs");
}

static void epipe_writer(void *arg)
{
	struct end *p = arg;
	char buf[PIPE_BUF];
	size_t chunk = arg_num("chunk");

	end__close(&p[0]);
	pattern__fill(buf, chunk, SEED, 0);
	signal(SIGPIPE, arg_is("mode", "die") ? SIG_DFL : SIG_IGN);
	exact__write(&p[1], buf, chunk);
	turn__await(0, 1);
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_write(&p[1], buf, chunk) >= 0 || errno != EPIPE, "no EPIPE");
	die_if(arg_is("mode", "die"), "survived SIGPIPE");
}

static void run_epipe(void)
{
	struct end p[2];
	int w, r, chan = pipe__open("c0", p, 0);

	r = proc__spawn("r0", epipe_reader, p);
	w = proc__spawn("w0", epipe_writer, p);
	if (arg_is("mode", "die"))
		proc__expect_signal(w, SIGPIPE);
	close_both(p);
	proc__wait(r);
	turn__pass(0);
	proc__wait(w);
	/* Its write returned EPIPE, and the signal came before it could count: its death tells. */
	if (arg_is("mode", "die"))
		edge__count(edge__get(w, chan, ROLE_WRITE), false, -1, EPIPE);
}

/* ---- calls of no bytes, and calls that fail ---- */

/* Bad memory for the kernel, without the compiler knowing. */
static void *bad_pointer(void)
{
	return (void *)(uintptr_t)strtoul("8", NULL, 10);
}

static void zero_writer(void *arg)
{
	struct end *p = arg, closed = { .chan = -1 };
	char byte = 'x';

	end__close(&p[0]);
	closed.fd = dup(p[1].fd);
	close(closed.fd);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_write(&p[1], &byte, 0) != 0, "zero-length write");
		die_if(x_write(&p[1], bad_pointer(), 1) >= 0 || errno != EFAULT, "no EFAULT");
		/* No file, no channel: not in the facts. */
		die_if(x_write(&closed, &byte, 1) >= 0 || errno != EBADF, "no EBADF");
	}
	exact__write(&p[1], &byte, 1);
	turn__pass(0);
}

static void zero_reader(void *arg)
{
	struct end *p = arg, closed = { .chan = -1 };
	char byte = 0;

	end__close(&p[1]);
	closed.fd = dup(p[0].fd);
	close(closed.fd);
	turn__await(0, 1);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_read(&p[0], &byte, 0) != 0, "zero-length read");
		/* The byte stays in the pipe. */
		die_if(x_read(&p[0], bad_pointer(), 1) >= 0 || errno != EFAULT, "no EFAULT");
		die_if(x_read(&closed, &byte, 1) >= 0 || errno != EBADF, "no EBADF");
	}
	exact__read(&p[0], &byte, 1);
	die_if(byte != 'x', "payload differs");
	die_if(x_read(&p[0], &byte, 1) != 0, "no end of file");
}

static void run_zero(void)
{
	struct end p[2];

	pipe__open("c0", p, 0);
	proc__spawn("w0", zero_writer, p);
	proc__spawn("r0", zero_reader, p);
	close_both(p);
}

/* ---- many descriptors of one end ---- */

#define NR_DUPS 6

static int make_dup(int fd, int how)
{
	switch (how) {
	case 0:
		return fd;
	case 1:
		return dup(fd);
	case 2:
		return dup2(fd, 100);
	case 3:
		return dup3(fd, 101, O_CLOEXEC);
	case 4:
		return fcntl(fd, F_DUPFD, 50);
	default:
		return fcntl(fd, F_DUPFD_CLOEXEC, 60);
	}
}

static void dup_all(const struct end *e, struct end dups[NR_DUPS])
{
	for (int i = 0; i < NR_DUPS; i++) {
		dups[i] = *e;
		dups[i].fd = make_dup(e->fd, i);
		die_if(dups[i].fd < 0, "dup: %s", strerror(errno));
	}
}

static void dup_move(struct end p[2], bool write)
{
	size_t chunk = arg_num("chunk");
	struct end dups[NR_DUPS];
	char buf[PIPE_BUF];
	uint64_t offset = 0;

	end__close(&p[!write]);
	dup_all(&p[write], dups);
	for (uint64_t i = 0; i < arg_num("rounds") * NR_DUPS; i++, offset += chunk) {
		if (write) {
			pattern__fill(buf, chunk, SEED, offset);
			exact__write(&dups[i % NR_DUPS], buf, chunk);
		} else {
			exact__read(&dups[i % NR_DUPS], buf, chunk);
			die_if(!pattern__check(buf, chunk, SEED, offset), "payload differs");
		}
	}
}

static void dup_writer(void *arg)
{
	dup_move(arg, true);
}

static void dup_reader(void *arg)
{
	dup_move(arg, false);
}

static void run_dup(void)
{
	struct end p[2];

	pipe__open("c0", p, 0);
	proc__spawn("w0", dup_writer, p);
	proc__spawn("r0", dup_reader, p);
	close_both(p);
}

/* ---- ends that outlive their makers ---- */

static void orphan_writer(void *arg)
{
	struct end *p = arg;
	uint64_t bytes = arg_num("bytes");

	end__close(&p[0]);
	if (arg_is("mode", "parent-first"))
		turn__await(0, 1);
	stream__write(&p[1], SEED, bytes, bytes ? bytes : 1);
	end__mark_fill(&p[1]);
}

static void orphan_reader(void *arg)
{
	struct end *p = arg;
	uint64_t bytes = arg_num("bytes");

	end__close(&p[1]);
	/* Writer-first: the writer is gone before the first read. */
	turn__await(1, 1);
	die_if(stream__read(&p[0], SEED, 1000) != bytes, "read too little");
}

/* Makes the pipe and both its users, and goes away at once. */
static void orphan_middle(void *arg)
{
	struct end p[2];
	int *slots = arg;

	pipe__open("c0", p, 0);
	slots[0] = proc__spawn("w0", orphan_writer, p);
	slots[1] = proc__spawn("r0", orphan_reader, p);
	if (arg_is("mode", "writer-first"))
		proc__wait(slots[0]);
}

static void run_orphan(void)
{
	int slots[2], middle = proc__spawn("middle", orphan_middle, slots);

	proc__wait(middle);
	turn__pass(0);
	if (arg_is("mode", "parent-first"))
		proc__wait(middle + 1);
	turn__pass(1);
}

/* ---- one process alone ---- */

static void run_self(void)
{
	size_t chunk = arg_num("chunk");
	char buf[PIPE_BUF];
	struct end p[2];

	pipe__open("c0", p, O_CLOEXEC | O_NONBLOCK);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		pattern__fill(buf, chunk, SEED, i);
		exact__write(&p[1], buf, chunk);
		end__mark_fill(&p[0]);
		exact__read(&p[0], buf, chunk);
		die_if(!pattern__check(buf, chunk, SEED, i), "payload differs");
		die_if(x_read(&p[0], buf, chunk) >= 0 || errno != EAGAIN, "no EAGAIN");
	}
}

/* ---- another size ---- */

static void resize_reader(void *arg)
{
	struct end *p = arg;

	end__close(&p[1]);
	turn__await(0, 1);
	stream__read(&p[0], SEED, PIPE_BUF);
}

static void run_resize(void)
{
	struct end p[2];
	int chan = pipe__open("c0", p, 0), size;

	size = fcntl(p[1].fd, F_SETPIPE_SZ, (int)arg_num("size"));
	if (size < 0 && errno == EPERM)
		skip("F_SETPIPE_SZ: not permitted above fs.pipe-max-size");
	die_if(size < 0, "F_SETPIPE_SZ: %s", strerror(errno));
	arena->chans[chan].capacity = fcntl(p[0].fd, F_GETPIPE_SZ);
	die_if(arena->chans[chan].capacity != size, "F_GETPIPE_SZ says another size");
	proc__spawn("r0", resize_reader, p);
	end__close(&p[0]);
	/* Exactly full, without a call that could block. */
	stream__write(&p[1], SEED, size, PIPE_BUF);
	die_if(end__mark_fill(&p[1]) != (uint64_t)size, "not full");
	die_if(size > 4096 && (fcntl(p[1].fd, F_SETPIPE_SZ, 4096) >= 0 || errno != EBUSY),
	       "a full pipe shrank");
	end__close(&p[1]);
	edge__set_blocked(self, chan, ROLE_WRITE, 0, 0);
	turn__pass(0);
}

/* ---- a foreign program at the other ends ---- */

struct cat_io {
	unsigned long long rchar, wchar, syscr, syscw;
};

/* cat cannot count for us; the kernel's own accounting of it can, also when it is a zombie. */
static struct cat_io cat_account(pid_t pid)
{
	struct cat_io io;
	char path[64];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/io", pid);
	f = fopen(path, "re");
	if (!f)
		skip("%s: %s", path, strerror(errno));
	n = fscanf(f, "rchar: %llu wchar: %llu syscr: %llu syscw: %llu", &io.rchar, &io.wchar,
		   &io.syscr, &io.syscw);
	fclose(f);
	die_if(n != 4, "%s: not understood", path);
	return io;
}

static pid_t cat_start(struct end in[2], struct end out[2])
{
	char *spawn_argv[] = { "cat", NULL }, *sh_argv[] = { "sh", "-c", "exec cat", NULL };
	bool sh = arg_is("how", "sh");
	posix_spawn_file_actions_t fa;
	extern char **environ;
	pid_t pid;
	int err;

	if (arg_is("how", "vfork")) {
		pid = vfork();
		if (!pid) {
			dup2(in[0].fd, 0);
			dup2(out[1].fd, 1);
			execv("/bin/cat", spawn_argv);
			_exit(127);
		}
		die_if(pid < 0, "vfork: %s", strerror(errno));
		return pid;
	}
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in[0].fd, 0);
	posix_spawn_file_actions_adddup2(&fa, out[1].fd, 1);
	err = posix_spawn(&pid, sh ? "/bin/sh" : "/bin/cat", &fa, NULL, sh ? sh_argv : spawn_argv,
			  environ);
	posix_spawn_file_actions_destroy(&fa);
	die_if(err, "posix_spawn: %s", strerror(err));
	return pid;
}

/* Add what the first round trip, and the kernel's accounting since then, say of cat's calls. */
static void cat_facts(int cat, int in, int out, const struct cat_io *first,
		      const struct cat_io *last)
{
	struct edge *r = edge__get(cat, in, ROLE_READ), *w = edge__get(cat, out, ROLE_WRITE);

	r->ops = 1 + last->syscr - first->syscr;
	r->bytes = arg_num("chunk") + last->rchar - first->rchar;
	w->ops = last->syscw;
	w->bytes = last->wchar;
}

static void run_vfork_exec(void)
{
	size_t chunk = arg_num("chunk"), rounds = arg_num("rounds");
	int cin, cout, cat = proc__slot("cat", 0);
	struct end in[2], out[2];
	struct cat_io first, last;
	char buf[PIPE_BUF];
	siginfo_t info;

	snprintf(arena->procs[cat].comm, sizeof(arena->procs[cat].comm), "cat");
	cin = pipe__open("to-cat", in, O_CLOEXEC);
	cout = pipe__open("from-cat", out, O_CLOEXEC);
	arena->procs[cat].pid = cat_start(in, out);
	end__close(&in[0]);
	end__close(&out[1]);
	for (size_t i = 0; i < rounds; i++) {
		pattern__fill(buf, chunk, SEED, i);
		exact__write(&in[1], buf, chunk);
		exact__read(&out[0], buf, chunk);
		die_if(!pattern__check(buf, chunk, SEED, i), "payload differs");
		/* Its start-up with the loader's reads is over, its next read has not ended. */
		if (!i)
			first = cat_account(proc__pid(cat));
	}
	end__close(&in[1]);
	die_if(x_read(&out[0], buf, chunk) != 0, "no end of file");
	die_if(waitid(P_PID, proc__pid(cat), &info, WEXITED | WNOWAIT), "waitid");
	last = cat_account(proc__pid(cat));
	cat_facts(cat, cin, cout, &first, &last);
}

const struct factory pipe_life_factories[] = {
	{
		.name = "pipe-epipe",
		.help = "the reader goes away, the writer gets EPIPE or dies of SIGPIPE",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("chunk", "100", 1, PIPE_BUF, "bytes of each write"),
			NUM_PARAM("count", "3", 1, 1 << 30, "failing writes (mode=ignore)"),
			{ "mode", "ignore", "ignore|die", 0, 0, "what SIGPIPE does" },
		},
		.selftest = "count=2;mode=die",
		.run = run_epipe,
	}, {
		.name = "pipe-zero",
		.help = "zero-length calls, EFAULT, and EBADF which is on no channel",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "3", 0, 1 << 30, "calls of each kind"),
		},
		.selftest = "count=2;count=0",
		.run = run_zero,
	}, {
		.name = "pipe-dup",
		.help = "both ends used through dup, dup2, dup3 and F_DUPFD in turn",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("chunk", "100", 1, PIPE_BUF, "bytes of each write"),
			NUM_PARAM("rounds", "10", 1, 1 << 30, "calls through each descriptor"),
		},
		.selftest = "rounds=3",
		.run = run_dup,
	}, {
		.name = "pipe-orphan",
		.help = "the writer ends before the first read, or the parent before any write",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("bytes", "10000", 0, 65536, "length of the stream"),
			{ "mode", "writer-first", "writer-first|parent-first", 0, 0,
			  "who ends early" },
		},
		.selftest = "bytes=5000;mode=parent-first",
		.run = run_orphan,
	}, {
		.name = "pipe-self",
		.help = "one process writes to itself, non-blocking, as around a signal handler",
		.params = {
			COMMON_PARAMS, NUM_PARAM("chunk", "1", 1, PIPE_BUF, "bytes of each write"),
			NUM_PARAM("rounds", "10", 1, 1 << 30, "writes"),
		},
		.selftest = "rounds=5",
		.run = run_self,
	}, {
		.name = "pipe-resize",
		.help = "F_SETPIPE_SZ, then exactly full, then drained by a child",
		.params = {
			COMMON_PARAMS, NUM_PARAM("size", "1M", 4096, 1 << 26, "size to ask for"),
		},
		.selftest = "size=1M;size=4096;size=100000",
		.run = run_resize,
	}, {
		.name = "pipe-vfork-exec",
		.help = "/bin/cat between two pipes of its parent, one chunk at a time",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("chunk", "100", 1, PIPE_BUF, "bytes of each write"),
			NUM_PARAM("rounds", "10", 1, 1 << 30, "round trips"),
			{ "how", "spawn", "spawn|vfork|sh", 0, 0,
			  "posix_spawn, vfork and exec, sh -c 'exec cat'" },
		},
		.selftest = "rounds=3;how=vfork;how=sh",
		.run = run_vfork_exec,
	},
	{ .name = NULL }
};
