/* SPDX-License-Identifier: BSD-2-Clause */
/* System V semaphores as the textbooks use them, by processes that run freely. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "sync.h"

static struct semset set;

static void setval(int which, int value)
{
	die_if(x_setval(&set, which, value), "SETVAL: %s", strerror(errno));
}

/* ---- the bounded buffer ---- */

enum { MUTEX, FREE, USED, NR_BUFFER };
enum { IN, OUT, SUM, CELLS };

static void produce(void *arg)
{
	uint32_t *buf = arena->scratch, items = arg_num("items"), slots = arg_num("slots");
	uint32_t who = (uintptr_t)arg;

	for (uint32_t i = 0; i < items; i++) {
		sem__op(&set, FREE, -1, 0);
		sem__op(&set, MUTEX, -1, 0);
		buf[CELLS + buf[IN]++ % slots] = who * items + i;
		sem__op(&set, MUTEX, 1, 0);
		sem__op(&set, USED, 1, 0);
	}
}

static void consume(void *arg)
{
	uint32_t *buf = arena->scratch, slots = arg_num("slots");
	uint32_t all = arg_num("items") * arg_num("producers"), n = arg_num("consumers");
	uint32_t mine = all / n + ((uintptr_t)arg < all % n);

	for (uint32_t i = 0; i < mine; i++) {
		sem__op(&set, USED, -1, 0);
		sem__op(&set, MUTEX, -1, 0);
		buf[SUM] += buf[CELLS + buf[OUT]++ % slots];
		sem__op(&set, MUTEX, 1, 0);
		sem__op(&set, FREE, 1, 0);
	}
}

static void run_bounded_buffer(void)
{
	uint32_t all = arg_num("items") * arg_num("producers");

	set = sem__make("s0", IPC_PRIVATE, NR_BUFFER);
	arena->chans[set.chan].unordered = 1;
	setval(MUTEX, 1);
	setval(FREE, arg_num("slots"));
	for (uintptr_t i = 0; i < arg_num("producers"); i++)
		proc__spawnf(produce, (void *)i, "p%u", (unsigned int)i);
	for (uintptr_t i = 0; i < arg_num("consumers"); i++)
		proc__spawnf(consume, (void *)i, "c%u", (unsigned int)i);
	procs__join();
	die_if(arena->scratch[SUM] != all * (all - 1) / 2, "items were lost or doubled");
}

/* ---- dining philosophers: both forks in one call ---- */

static void dine(void *arg)
{
	uint32_t n = arg_num("philosophers"), me = (uintptr_t)arg, rounds = arg_num("rounds");
	struct sembuf take[2] = { { .sem_num = me, .sem_op = -1 },
				  { .sem_num = (me + 1) % n, .sem_op = -1 } };
	struct sembuf put[2] = { { .sem_num = me, .sem_op = 1 },
				 { .sem_num = (me + 1) % n, .sem_op = 1 } };

	for (uint32_t i = 0; i < rounds; i++) {
		die_if(x_semop(&set, take, 2), "semop: %s", strerror(errno));
		arena->scratch[me]++;
		sched_yield();
		arena->scratch[(me + 1) % n]++;
		die_if(x_semop(&set, put, 2), "semop: %s", strerror(errno));
	}
}

static void run_philosophers(void)
{
	unsigned short forks[200];
	uint32_t n = arg_num("philosophers");

	set = sem__make("s0", IPC_PRIVATE, n);
	arena->chans[set.chan].unordered = 1;
	for (uint32_t i = 0; i < n; i++)
		forks[i] = 1;
	die_if(x_setall(&set, forks), "SETALL: %s", strerror(errno));
	for (uintptr_t i = 0; i < n; i++)
		proc__spawnf(dine, (void *)i, "p%u", (unsigned int)i);
	procs__join();
	for (uint32_t i = 0; i < n; i++)
		die_if(arena->scratch[i] != 2 * arg_num("rounds"), "two had a fork at once");
}

/* ---- readers and writers ---- */

enum { COUNT_MUTEX, ROOM, NR_ROOM };
enum { READERS, VALUE, COPY };

static void read_often(void *arg)
{
	uint32_t *m = arena->scratch;

	(void)arg;
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		sem__op(&set, COUNT_MUTEX, -1, 0);
		if (++m[READERS] == 1)
			sem__op(&set, ROOM, -1, 0);
		sem__op(&set, COUNT_MUTEX, 1, 0);
		die_if(m[VALUE] != m[COPY], "read in the middle of a write");
		sem__op(&set, COUNT_MUTEX, -1, 0);
		if (--m[READERS] == 0)
			sem__op(&set, ROOM, 1, 0);
		sem__op(&set, COUNT_MUTEX, 1, 0);
	}
}

static void write_often(void *arg)
{
	uint32_t *m = arena->scratch;

	(void)arg;
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		sem__op(&set, ROOM, -1, 0);
		m[VALUE]++;
		sched_yield();
		m[COPY]++;
		sem__op(&set, ROOM, 1, 0);
	}
}

static void run_readers_writers(void)
{
	set = sem__make("s0", IPC_PRIVATE, NR_ROOM);
	arena->chans[set.chan].unordered = 1;
	setval(COUNT_MUTEX, 1);
	setval(ROOM, 1);
	for (unsigned int i = 0; i < arg_num("readers"); i++)
		proc__spawnf(read_often, NULL, "r%u", i);
	for (unsigned int i = 0; i < arg_num("writers"); i++)
		proc__spawnf(write_often, NULL, "w%u", i);
	procs__join();
	die_if(arena->scratch[COPY] != arg_num("writers") * arg_num("rounds"), "a write is lost");
}

/* ---- strangers that find the set by its key ---- */

static void stranger(void *arg)
{
	struct semset s = set;

	(void)arg;
	s.id = semget(arena->chans[set.chan].key, 1, 0);
	die_if(s.id != set.id, "semget: %s", strerror(errno));
	turn__await(0, 1);
	if (self == (int)arena->scratch[0]) {
		turn__pass(1);
		sem__op(&s, 0, -1, 0);
		edge__set_blocked(self, s.chan, ROLE_WAIT, 1, 0);
	} else {
		turn__await(1, 1);
		proc__await_semop(arena->scratch[0], &s);
		sem__op(&s, 0, 1, 0);
	}
}

/* The first fork starts a session and is gone before its child does anything. */
static void detach(void *arg)
{
	uint32_t *slot = arg;

	die_if(setsid() < 0, "setsid: %s", strerror(errno));
	*slot = proc__spawn(slot == arena->scratch ? "waits" : "wakes", stranger, NULL);
}

static void run_unrelated(void)
{
	set = sem__make("s0", sem__key(1), 1);
	proc__wait(proc__spawn("launch-a", detach, &arena->scratch[0]));
	proc__wait(proc__spawn("launch-b", detach, &arena->scratch[1]));
	turn__pass(0);
	flow__add_ops(arena->scratch[1], arena->scratch[0], set.chan, 1);
}

const struct factory sem_many_factories[] = {
	{
		.name = "sem-bounded-buffer",
		.help = "producers and consumers around a buffer, with three semaphores",
		.params = {
			NUM_PARAM("producers", "2", 1, 100, "processes"),
			NUM_PARAM("consumers", "2", 1, 100, "processes"),
			NUM_PARAM("items", "200", 1, 1000000, "of each producer"),
			NUM_PARAM("slots", "4", 1, 200, "in the buffer"),
			COMMON_PARAMS,
		},
		.selftest = ";producers=1 consumers=1 slots=1;producers=3 consumers=5 items=20",
		.run = run_bounded_buffer,
	},
	{
		.name = "sem-philosophers",
		.help = "dining philosophers, who take both forks in one call",
		.params = {
			NUM_PARAM("philosophers", "5", 2, 200, "and as many forks"),
			NUM_PARAM("rounds", "50", 1, 1000000, "meals of each"),
			COMMON_PARAMS,
		},
		.selftest = "",
		.run = run_philosophers,
	},
	{
		.name = "sem-readers-writers",
		.help = "many may read at once, or one write",
		.params = {
			NUM_PARAM("readers", "3", 1, 100, "processes"),
			NUM_PARAM("writers", "2", 1, 100, "processes"),
			NUM_PARAM("rounds", "50", 1, 1000000, "of each"),
			COMMON_PARAMS,
		},
		.selftest = "",
		.run = run_readers_writers,
	},
	{
		.name = "sem-unrelated",
		.help = "processes that find a set by its key and have nothing else in common",
		.params = { COMMON_PARAMS },
		.selftest = "",
		.run = run_unrelated,
	},
	{ 0 },
};
