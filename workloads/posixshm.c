/* SPDX-License-Identifier: BSD-2-Clause */
/* POSIX shared memory (shm_open) and memfd: files in memory, mapped or read and written. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory_use.h"

#define SEED 11

static enum memory_kind kind(void)
{
	return strncmp(factory->name, "memfd", 5) ? KIND_POSIXSHM : KIND_MEMFD;
}

static void run_touch(void)
{
	touch__run(kind());
}

static void run_turns(void)
{
	turns__run(kind());
}

static void run_inherit(void)
{
	inherit__run(kind());
}

static void run_again(void)
{
	again__run(kind());
}

static void run_busy(void)
{
	busy__run(kind());
}

static void run_seqlock(void)
{
	seqlock__run(kind());
}

/* ---- the textbooks' ---- */

static void hello_producer(void *arg)
{
	static const char *const words[] = { "Hello", "World!" };
	const struct shared *s = arg;
	struct mem m = shared__attach(s, false);
	char *at = m.at;

	mem__write(&m, 0, 0);
	for (int i = 0; i < 2; i++)
		at += sprintf(at, "%s", words[i]);
}

static void hello_consumer(void *arg)
{
	const struct shared *s = arg;
	struct mem m = shared__attach(s, true);

	mem__read(&m, 0);
	die_if(strcmp(m.at, "HelloWorld!"), "it says %.20s", m.at);
}

static void run_hello(void)
{
	struct shared s = shared__make(kind(), "m0", 1);

	proc__wait(proc__spawn("producer", hello_producer, &s));
	proc__wait(proc__spawn("consumer", hello_consumer, &s));
	shared__remove(&s);
}

/* ---- one name, two files ---- */

static void named_user(void *arg)
{
	struct shared *s = arg;
	struct mem m = shared__attach(s, false);

	mem__write(&m, s->chan, mem__value(s->chan, SEED));
	turn__pass(s->chan);
	turn__await(2, 1);
	mem__write(&m, s->chan + 2, mem__value(s->chan + 2, SEED));
}

static void run_unlinked(void)
{
	struct shared s[2];
	char file[64];
	struct mem m;

	s[0] = s[1] = shared__make(KIND_POSIXSHM, "m0", 4);
	proc__spawn("first", named_user, &s[0]);
	turn__await(s[0].chan, 1);
	/* Unlinked while mapped; the name is another file's then. */
	memory__unlink(s[0].chan);
	snprintf(file, sizeof(file), "%s", strrchr(arena->chans[s[0].chan].path, '/') + 1);
	s[1].chan = posixshm__make("m1", file, 4, &s[1].e);
	proc__spawn("second", named_user, &s[1]);
	turn__await(s[1].chan, 1);
	turn__pass(2);
	procs__join();
	for (int i = 0; i < 2; i++) {
		mem__map(&m, &s[i].e, PROT_READ);
		mem__expect(&m, s[i].chan, SEED);
		mem__expect(&m, s[i].chan + 2, SEED);
		mem__unmap(&m);
	}
	memory__unlink(s[1].chan);
}

/* ---- two descriptors, two mappings, one file ---- */

static void run_two_opens(void)
{
	struct shared s = shared__make(KIND_POSIXSHM, "m0", 2);
	struct mem w, r;
	struct end ro;

	memory__open(&ro, s.chan, O_RDONLY);
	mem__map(&w, &s.e, PROT_READ | PROT_WRITE);
	mem__map(&r, &ro, PROT_READ);
	/* What a descriptor does not allow. */
	x_mmap(&r, &ro, places_size(2), PROT_READ | PROT_WRITE, 0);
	die_if(r.at != MAP_FAILED || errno != EACCES, "no EACCES");
	mem__map(&r, &ro, PROT_READ);
	mem__write(&w, 0, mem__value(0, SEED));
	mem__expect(&r, 0, SEED);
	shared__remove(&s);
}

/* ---- read() and write() ---- */

static void calls_writer(void *arg)
{
	struct shared *s = arg;
	size_t n = arg_num("chunk");
	char buf[4096];

	for (uint64_t i = 0; i < arg_num("count"); i++) {
		pattern__fill(buf, n, SEED, i);
		if (arg_is("at", "position"))
			die_if(x_write(&s->e, buf, n) != (ssize_t)n, "write: %s", strerror(errno));
		else
			die_if(x_pwrite(&s->e, buf, n, i * n) != (ssize_t)n, "pwrite: %s",
			       strerror(errno));
	}
	turn__pass(0);
}

static void calls_reader(void *arg)
{
	struct shared *s = arg;
	size_t n = arg_num("chunk");
	char buf[4096];

	turn__await(0, 1);
	die_if(lseek(s->e.fd, 0, SEEK_SET), "lseek: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		if (arg_is("at", "position"))
			die_if(x_read(&s->e, buf, n) != (ssize_t)n, "read: %s", strerror(errno));
		else
			die_if(x_pread(&s->e, buf, n, i * n) != (ssize_t)n, "pread: %s",
			       strerror(errno));
		die_if(!pattern__check(buf, n, SEED, i), "payload differs");
	}
}

static void run_calls(void)
{
	struct shared s = shared__make(kind(), "m0", 8);

	die_if(arg_num("count") * arg_num("chunk") > places_size(8), "too much");
	proc__spawn("w0", calls_writer, &s);
	proc__spawn("r0", calls_reader, &s);
	procs__join();
	/* All of it is the writer's. */
	flow__add(1, 2, s.chan, arg_num("count") * arg_num("chunk"), false);
	shared__remove(&s);
}

/* clang-format off */
#define BOTH_KINDS(mech, what)                                                                 \
	{                                                                                      \
		.name = mech "-producer-consumer",                                             \
		.help = "one maps " what " and writes pages, others map it and read some",     \
		.params = { TOUCH_PARAMS },                                                    \
		.selftest = "readers=2;write=0,2 read=0,1,2 relation=orphan;write= read=0",    \
		.run = run_touch,                                                              \
	}, {                                                                                   \
		.name = mech "-both-ways",                                                     \
		.help = "two processes by turns write a page of " what " and read the other's", \
		.params = { TURNS_PARAMS },                                                    \
		.selftest = "rounds=3",                                                        \
		.run = run_turns,                                                              \
	}, {                                                                                   \
		.name = mech "-inherit",                                                       \
		.help = what " mapped before fork",                                            \
		.params = { INHERIT_PARAMS },                                                  \
		.selftest = "children=3",                                                      \
		.run = run_inherit,                                                            \
	}, {                                                                                   \
		.name = mech "-map-again",                                                     \
		.help = "one process maps " what " several times",                             \
		.params = { AGAIN_PARAMS },                                                    \
		.selftest = "order=together;order=one-by-one",                                 \
		.run = run_again,                                                              \
	}, {                                                                                   \
		.name = mech "-seqlock",                                                       \
		.help = "a sequence lock in " what ": no call, only touches",                  \
		.params = { SEQLOCK_PARAMS },                                                  \
		.selftest = "updates=50",                                                      \
		.run = run_seqlock,                                                            \
	}, {                                                                                   \
		.name = mech "-busy",                                                          \
		.help = "written and read on and on in " what ", and by one only once",        \
		.params = { BUSY_PARAMS },                                                     \
		.selftest = "ms=1",                                                            \
		.run = run_busy,                                                               \
	}, {                                                                                   \
		.name = mech "-calls",                                                         \
		.help = "read() and write() of " what,                                         \
		.params = {                                                                    \
			COMMON_PARAMS,                                                         \
			NUM_PARAM("count", "10", 1, 100000, "calls each way"),                 \
			NUM_PARAM("chunk", "1000", 1, 4096, "bytes of each"),                  \
			{ "at", "position", "position|offset", 0, 0,                           \
			  "read() and write(), or pread() and pwrite()" },                     \
		},                                                                             \
		.selftest = "count=3;count=3 at=offset",                                                         \
		.run = run_calls,                                                              \
	}

const struct factory posixshm_factories[] = {
	BOTH_KINDS("posixshm", "POSIX shared memory"),
	{
		.name = "posixshm-hello",
		.help = "the textbooks' producer and consumer of \"Hello\", \"World!\"",
		.params = { COMMON_PARAMS },
		.run = run_hello,
	}, {
		.name = "posixshm-unlinked",
		.help = "unlinked while mapped, and the name made anew: two channels",
		.params = { COMMON_PARAMS },
		.run = run_unlinked,
	}, {
		.name = "posixshm-two-opens",
		.help = "opened twice by one process, once for reading only",
		.params = { COMMON_PARAMS },
		.run = run_two_opens,
	},
	{ .name = NULL }
};

const struct factory memfd_factories[] = {
	BOTH_KINDS("memfd", "a memfd"),
	{ .name = NULL }
};
/* clang-format on */
