/* SPDX-License-Identifier: BSD-2-Clause */
/* MAP_SHARED of files, of /dev/zero, and of nothing but memory, inherited. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "changer.h"
#include "memory_use.h"

#define SEED 13

static enum memory_kind kind(void)
{
	return arg_is("of", "file") ? KIND_FILE : arg_is("of", "zero") ? KIND_ZERO : KIND_ANON;
}

static void run_touch(void)
{
	touch__run(KIND_FILE);
}

static void run_turns(void)
{
	turns__run(kind());
}

static void run_inherit(void)
{
	inherit__run(kind());
}

static void run_busy(void)
{
	busy__run(kind());
}

static void run_seqlock(void)
{
	seqlock__run(kind());
}

static void run_again(void)
{
	again__run(KIND_FILE);
}

/* ---- not shared ---- */

static void private_user(void *arg)
{
	struct shared *s = arg;
	size_t size = places_size(4);
	volatile char *at;

	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, s->e.fd, 0);
	die_if(at == MAP_FAILED, "mmap: %s", strerror(errno));
	for (uint32_t i = 0; i < 4; i++) {
		die_if(at[i * PLACE_SIZE], "place %u is not zero", i);
		at[i * PLACE_SIZE] = 1;
	}
}

static void run_private(void)
{
	struct shared s = shared__make(KIND_FILE, "m0", 4);
	struct mem m = shared__attach(&s, false);

	proc__spawn("private0", private_user, &s);
	proc__spawn("private1", private_user, &s);
	procs__join();
	for (uint32_t i = 0; i < 4; i++)
		die_if(mem__read(&m, i), "a private page was written through");
	shared__remove(&s);
}

/* ---- moved, grown, forbidden and allowed again ---- */

static void moving_user(void *arg)
{
	struct shared *s = arg;
	size_t size = places_size(4), more = places_size(8);
	struct mem m;
	void *at;

	x_mmap(&m, &s->e, size, PROT_READ | PROT_WRITE, 0);
	die_if(m.at == MAP_FAILED, "mmap: %s", strerror(errno));
	mem__write(&m, 0, mem__value(0, SEED));
	/* Somewhere else: what was mapped moves along and faults no more. */
	at = mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	die_if(at == MAP_FAILED, "mmap: %s", strerror(errno));
	at = mremap(m.at, size, more, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	die_if(at == MAP_FAILED, "mremap: %s", strerror(errno));
	m.at = at;
	m.places = 8;
	mem__write(&m, 0, mem__value(0, SEED));
	mem__write(&m, 7, mem__value(7, SEED));
	die_if(msync(m.at, more, MS_ASYNC), "msync: %s", strerror(errno));
	die_if(mprotect(m.at, more, PROT_READ), "mprotect: %s", strerror(errno));
	die_if(!mem__faults(&m, 3, true, SIGSEGV), "wrote without leave");
	die_if(mprotect(m.at, more, PROT_READ | PROT_WRITE), "mprotect: %s", strerror(errno));
	mem__write(&m, 3, mem__value(3, SEED));
	/* A hole: private memory in its place is none of the file. */
	at = mmap(m.at + 5 * PLACE_SIZE, PLACE_SIZE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	die_if(at == MAP_FAILED, "mmap: %s", strerror(errno));
	*(volatile char *)at = 1;
}

static void run_moving(void)
{
	struct shared s = shared__make(KIND_FILE, "m0", 8);
	struct mem m;

	proc__wait(proc__spawn("mover", moving_user, &s));
	m = shared__attach(&s, true);
	mem__expect(&m, 0, SEED);
	mem__expect(&m, 7, SEED);
	mem__expect(&m, 3, SEED);
	die_if(mem__read(&m, 5), "the hole is in the file");
	shared__remove(&s);
}

/* ---- beyond the end ---- */

static void run_truncated(void)
{
	struct shared s = shared__make(KIND_FILE, "m0", 4);
	struct mem m = shared__attach(&s, false);

	mem__write(&m, 3, mem__value(3, SEED));
	die_if(ftruncate(s.e.fd, places_size(2)), "ftruncate: %s", strerror(errno));
	die_if(!mem__faults(&m, 3, false, SIGBUS), "no SIGBUS beyond the end");
	die_if(!mem__faults(&m, 2, true, SIGBUS), "no SIGBUS beyond the end");
	mem__write(&m, 1, mem__value(1, SEED));
	die_if(ftruncate(s.e.fd, places_size(4)), "ftruncate: %s", strerror(errno));
	die_if(mem__read(&m, 2), "place 2 is not zero");
	shared__remove(&s);
}

/* ---- exec ---- */

static void exec_stage(const char *arg)
{
	struct end e;
	struct mem m;
	int chan;

	die_if(sscanf(arg, "%d", &chan) != 1, "stage %s", arg);
	memory__open(&e, chan, O_RDWR);
	mem__map(&m, &e, PROT_READ | PROT_WRITE);
	mem__expect(&m, 0, SEED);
	mem__write(&m, 1, mem__value(1, SEED));
}

static void exec_user(void *arg)
{
	struct shared *s = arg;
	struct mem m = shared__attach(s, false);
	char text[32];

	mem__expect(&m, 0, SEED);
	snprintf(text, sizeof(text), "%d", s->chan);
	proc__exec_self(text);
}

static void run_exec(void)
{
	struct shared s = shared__make(KIND_FILE, "m0", 2);
	struct mem m = shared__attach(&s, false);

	mem__write(&m, 0, mem__value(0, SEED));
	proc__wait(proc__spawn("user", exec_user, &s));
	mem__expect(&m, 1, SEED);
	shared__remove(&s);
}

/* ---- touched while another thread changes the map of memory ---- */

static void changing_user(void *arg)
{
	struct shared *s = arg;
	struct mem m = shared__attach(s, false);
	struct changer c;

	/* Pages that are no places. */
	if (arg_is("changes", "same"))
		changer__start(&c, m.at + PLACE_SIZE / 2, PLACE_SIZE / 2);
	else
		changer__start(&c, NULL, 0);
	for (uint32_t i = 0; i < m.places; i++)
		mem__write(&m, i, mem__value(i, SEED));
	changer__stop(&c);
}

static void run_changing(void)
{
	struct shared s = shared__make(KIND_FILE, "m0", arg_num("places"));
	struct mem m;

	proc__wait(proc__spawn("changer", changing_user, &s));
	m = shared__attach(&s, true);
	for (uint32_t i = 0; i < m.places; i++)
		mem__expect(&m, i, SEED);
	shared__remove(&s);
}

/* ---- mapped and unmapped by several threads, each of which comes to lie where another one was ---- */

#define MAX_THREADS 16

static void *thread_user(void *arg)
{
	const struct shared *s = arg;

	for (uint32_t i = 0; i < arg_num("times"); i++) {
		struct mem m = shared__attach(s, false);

		mem__write(&m, 0, mem__value(0, i));
		shared__detach(s, &m);
	}
	return NULL;
}

static void threads_user(void *arg)
{
	pthread_t threads[MAX_THREADS];
	struct shared *s = arg;

	for (uint32_t i = 0; i < arg_num("threads"); i++)
		die_if(pthread_create(&threads[i], NULL, thread_user, &s[i]), "pthread_create");
	for (uint32_t i = 0; i < arg_num("threads"); i++)
		die_if(pthread_join(threads[i], NULL), "pthread_join");
}

static void run_threads(void)
{
	struct shared s[MAX_THREADS];
	char name[16];

	for (uint32_t i = 0; i < arg_num("threads"); i++) {
		snprintf(name, sizeof(name), "m%u", i);
		s[i] = shared__make(KIND_FILE, name, 1);
	}
	proc__wait(proc__spawn("threads", threads_user, s));
	for (uint32_t i = 0; i < arg_num("threads"); i++)
		shared__remove(&s[i]);
}

/* ---- mapped where another thread has unmapped, which has not come back from that yet ---- */

/* Who unmaps that mapping waits, when it is gone, until what is returned was read from. */
static int tell_of_unmapping(const struct mem *m)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_UNMAP };
	struct uffdio_register reg = { .range = { (uintptr_t)m->at, places_size(m->places) },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		skip("userfaultfd: %s", strerror(errno));
	die_if(ioctl(fd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER: %s", strerror(errno));
	return fd;
}

static void *unmapper(void *arg)
{
	mem__unmap(arg);
	return NULL;
}

static void reused_user(void *arg)
{
	struct mem gone, m;
	struct uffd_msg msg;
	struct pollfd told;
	pthread_t thread;
	char *was;

	mem__map_new(&gone, "gone", 1, -1);
	was = gone.at;
	told = (struct pollfd){ .fd = tell_of_unmapping(&gone), .events = POLLIN };
	die_if(pthread_create(&thread, NULL, unmapper, &gone), "pthread_create");
	die_if(poll(&told, 1, -1) != 1, "poll: %s", strerror(errno));
	m = shared__attach(arg, false);
	die_if(m.at != was, "mapped at another place");
	die_if(read(told.fd, &msg, sizeof(msg)) != sizeof(msg), "read: %s", strerror(errno));
	die_if(pthread_join(thread, NULL), "pthread_join");
	mem__write(&m, 0, mem__value(0, SEED));
}

static void run_reused(void)
{
	struct shared s = shared__make(KIND_FILE, "m0", 1);

	proc__wait(proc__spawn("user", reused_user, &s));
	shared__remove(&s);
}

#define OF_PARAM                                                                 \
	{                                                                        \
		"of", "anonymous", "anonymous|zero|file", 0, 0, "what is mapped" \
	}

const struct factory mmap_factories[] = {
	{
		.name = "mmap-producer-consumer",
		.help = "one maps a file and writes pages, others map it and read some",
		.params = { TOUCH_PARAMS },
		.selftest = "readers=2;write=0,2 read=0,1,2 relation=orphan;write= read=0",
		.run = run_touch,
	},
	{
		.name = "mmap-both-ways",
		.help = "two processes by turns write a page and read the other's",
		.params = { TURNS_PARAMS, OF_PARAM },
		.selftest = "rounds=3;of=zero;of=file",
		.run = run_turns,
	},
	{
		.name = "mmap-inherit",
		.help = "shared memory mapped before fork",
		.params = { INHERIT_PARAMS, OF_PARAM },
		.selftest = "children=3;of=zero;of=file",
		.run = run_inherit,
	},
	{
		.name = "mmap-seqlock",
		.help = "a sequence lock: no call, only touches",
		.params = { SEQLOCK_PARAMS, OF_PARAM },
		.selftest = "updates=50;of=zero updates=50;of=file updates=50",
		.run = run_seqlock,
	},
	{
		.name = "mmap-busy",
		.help = "written and read on and on, and by one only once",
		.params = { BUSY_PARAMS, OF_PARAM },
		.selftest = "ms=1;of=zero ms=1;of=file ms=1",
		.run = run_busy,
	},
	{
		.name = "mmap-again",
		.help = "one process maps a file several times",
		.params = { AGAIN_PARAMS },
		.selftest = "order=together;order=one-by-one",
		.run = run_again,
	},
	{
		.name = "mmap-private",
		.help = "MAP_PRIVATE of a file is no channel",
		.params = { COMMON_PARAMS },
		.run = run_private,
	},
	{
		.name = "mmap-moving",
		.help = "mremap, mprotect, msync, and a hole made with MAP_FIXED",
		.params = { COMMON_PARAMS },
		.run = run_moving,
	},
	{
		.name = "mmap-truncated",
		.help = "a file truncated while mapped: SIGBUS is no touch",
		.params = { COMMON_PARAMS },
		.run = run_truncated,
	},
	{
		.name = "mmap-exec",
		.help = "mapped, exec, mapped again",
		.params = { COMMON_PARAMS },
		.exec = true,
		.run = run_exec,
		.stage = exec_stage,
	},
	{
		.name = "mmap-changing",
		.help = "pages touched while another thread changes the map of memory",
		.params = { COMMON_PARAMS,
			    NUM_PARAM("places", "64", 1, MAX_PLACES, "pages touched"),
			    CHANGES_PARAM },
		.selftest = "places=8;places=8 changes=same",
		.run = run_changing,
	},
	{
		.name = "mmap-threads",
		.help = "threads map, write and unmap, each a file of its own",
		.params = { COMMON_PARAMS,
			    NUM_PARAM("threads", "4", 1, MAX_THREADS, "of one process"),
			    NUM_PARAM("times", "100", 1, 1 << 30, "by each") },
		.selftest = "times=10",
		.run = run_threads,
	},
	{
		.name = "mmap-reused",
		.help = "mapped where another thread is about to have unmapped something",
		.params = { COMMON_PARAMS },
		.run = run_reused,
	},
	{ .name = NULL }
};
