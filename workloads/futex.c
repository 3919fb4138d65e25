/* SPDX-License-Identifier: BSD-2-Clause */
/* Futexes in shared memory, by their system calls. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "changer.h"
#include "factory.h"
#include "ops.h"
#include "words.h"

#define ROUNDS_PARAM(value) NUM_PARAM("rounds", value, 1, 1000000, "how often")
#define PROCS_PARAM(value) NUM_PARAM("procs", value, 1, 30, "that wait")
#define PAGE 4096

/* What the processes of a factory have from their parent. */
static struct region mem;
static struct word one, two;
static int waiters[64];

static uint32_t load(const struct word *w)
{
	return __atomic_load_n(word__at(w), __ATOMIC_SEQ_CST);
}

static void store(const struct word *w, uint32_t value)
{
	__atomic_store_n(word__at(w), value, __ATOMIC_SEQ_CST);
}

static void sleeps_each_time(const struct word *w, uint64_t n, uint64_t ns_min)
{
	edge__set_blocked(self, w->chan, ROLE_WAIT, n, ns_min);
}

static void await_asleep(int slot, const struct word *w)
{
	proc__await_futex(slot, &mem, w->offset, sizeof(uint32_t));
}

/* ---- ping and pong ---- */

static void ping(void *arg)
{
	(void)arg;
	turn__await(0, 1);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		await_asleep(arena->scratch[1], &one);
		die_if(x_wake(&one, 1) != 1, "woke nobody");
		die_if(x_wait(&two, 0), "wait: %s", strerror(errno));
	}
	sleeps_each_time(&two, arg_num("rounds"), 0);
}

static void pong(void *arg)
{
	(void)arg;
	turn__await(0, 1);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		die_if(x_wait(&one, 0), "wait: %s", strerror(errno));
		await_asleep(arena->scratch[0], &two);
		die_if(x_wake(&two, 1) != 1, "woke nobody");
	}
	sleeps_each_time(&one, arg_num("rounds"), 0);
}

static void run_pingpong(void)
{
	uint32_t *slots = arena->scratch;

	region__make(&mem, 2 * PAGE);
	one = word__new(&mem, arg_num("offset") * 4, "one");
	two = word__new(&mem, PAGE + 40, "two");
	slots[0] = proc__spawn("ping", ping, NULL);
	slots[1] = proc__spawn("pong", pong, NULL);
	turn__pass(0);
	flow__add_ops(slots[0], slots[1], one.chan, arg_num("rounds"));
	flow__add_ops(slots[1], slots[0], two.chan, arg_num("rounds"));
}

/* Who waits has the memory elsewhere; where it sleeps is not where the waker would look. */
static void wait_elsewhere(void *arg)
{
	(void)arg;
	region__move(&mem);
	arena->scratch[0] = (uintptr_t)word__at(&one);
	turn__pass(0);
	die_if(x_wait(&one, 0), "wait: %s", strerror(errno));
	sleeps_each_time(&one, 1, 0);
}

static void run_elsewhere(void)
{
	int slot;

	region__make(&mem, 2 * PAGE);
	one = word__new(&mem, PAGE + 8, "one");
	slot = proc__spawn("waiter", wait_elsewhere, NULL);
	turn__await(0, 1);
	proc__await_sleep(slot, SYS_futex, (int)arena->scratch[0], &arena->procs[slot].done);
	die_if(x_wake(&one, 1) != 1, "woke nobody");
	flow__add_ops(self, slot, one.chan, 1);
	procs__join();
}

/* ---- one wakes many ---- */

static void wait_once(void *arg)
{
	(void)arg;
	die_if(x_wait(&one, 0), "wait: %s", strerror(errno));
	sleeps_each_time(&one, 1, 0);
}

static void wait_bit(void *arg)
{
	uint32_t bit = 1U << (uintptr_t)arg;

	die_if(x_futex(&one, FUTEX_WAIT_BITSET, 0, NULL, bit), "wait: %s", strerror(errno));
	sleeps_each_time(&one, 1, 0);
}

static void spawn_waiters(proc_fn fn, uint32_t n)
{
	for (uintptr_t i = 0; i < n; i++)
		waiters[i] = proc__spawnf(fn, (void *)i, "w%u", (unsigned int)i);
	for (uint32_t i = 0; i < n; i++)
		await_asleep(waiters[i], &one);
}

static void all_from_me(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		flow__add_ops(self, waiters[i], one.chan, 1);
	procs__join();
}

static void run_wake(void)
{
	uint32_t n = arg_num("procs"), step = arg_is("by", "one") ? 1 : n;

	region__make(&mem, PAGE);
	one = word__new(&mem, 4, "one");
	spawn_waiters(wait_once, n);
	for (uint32_t i = 0; i < n; i += step)
		die_if(x_wake(&one, step) != (long)step, "woke fewer");
	die_if(x_wake(&one, INT_MAX), "woke more");
	all_from_me(n);
}

/* Each by its own bit, and by a process of its own: who wakes whom is known though they run freely. */
static void wake_bit(void *arg)
{
	uint32_t bit = 1U << (uintptr_t)arg;

	turn__await(0, 1);
	die_if(x_futex(&one, FUTEX_WAKE_BITSET, 1, NULL, bit) != 1, "woke nobody");
}

static void run_bitset(void)
{
	uint32_t n = arg_num("procs");

	region__make(&mem, PAGE);
	one = word__new(&mem, 0, "one");
	spawn_waiters(wait_bit, n);
	for (uintptr_t i = 0; i < n; i++)
		flow__add_ops(proc__spawnf(wake_bit, (void *)i, "k%u", (unsigned int)i), waiters[i],
			      one.chan, 1);
	turn__pass(0);
}

/* One is woken, the others wait on for the second word: the call that they made was on the first. */
static void run_requeue(void)
{
	uint32_t n = arg_num("procs");
	int op = arg_is("op", "cmp") ? FUTEX_CMP_REQUEUE : FUTEX_REQUEUE;

	region__make(&mem, 2 * PAGE);
	one = word__new(&mem, 0, "one");
	two = word__new(&mem, PAGE, "two");
	spawn_waiters(wait_once, n);
	die_if(x_requeue(&one, &two, op, 1, INT_MAX, 0) < 1, "requeue: %s", strerror(errno));
	die_if(x_wake(&two, INT_MAX) != (long)n - 1, "woke others");
	all_from_me(n);
}

static void wait_two(void *arg)
{
	(void)arg;
	die_if(x_wait(&two, 0), "wait: %s", strerror(errno));
	sleeps_each_time(&two, 1, 0);
}

/* *two = 5; wake on one; and on two, if it was 0 before. */
static void run_wake_op(void)
{
	int slot;

	region__make(&mem, 2 * PAGE);
	one = word__new(&mem, 0, "one");
	two = word__new(&mem, PAGE, "two");
	spawn_waiters(wait_once, arg_num("procs"));
	slot = proc__spawn("v", wait_two, NULL);
	await_asleep(slot, &two);
	die_if(x_wake_op(&one, &two, INT_MAX, INT_MAX,
			 FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 0)) !=
		       (long)arg_num("procs") + 1,
	       "woke others");
	flow__add_ops(self, slot, two.chan, 1);
	all_from_me(arg_num("procs"));
}

/* ---- what fails, and what ends by itself ---- */

#define WHILE_NS 20000000

static void run_fails(void)
{
	struct timespec t = { .tv_nsec = WHILE_NS }, none = {};

	region__make(&mem, PAGE);
	one = word__new(&mem, 12, "one");
	for (uint32_t i = 0; i < arg_num("rounds"); i++)
		die_if(!x_wait(&one, 1) || errno != EAGAIN, "it was 1");
	die_if(!x_futex(&one, FUTEX_WAIT, 0, &t, 0) || errno != ETIMEDOUT, "somebody woke me");
	sleeps_each_time(&one, 1, WHILE_NS / 2); /* the time runs before it sleeps */
	die_if(!x_futex(&one, FUTEX_WAIT, 1, &none, 0) || errno != EAGAIN, "it was 1");
	die_if(x_wake(&one, 1), "somebody was there");
}

/* ---- a mutex, by processes that run freely: 0 free, 1 taken, 2 taken and waited for ---- */

static void mutex_lock(const struct word *w)
{
	uint32_t seen = 0;

	if (__atomic_compare_exchange_n(word__at(w), &seen, 1, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		return;
	while (__atomic_exchange_n(word__at(w), 2, __ATOMIC_SEQ_CST))
		die_if(x_wait(w, 2) && errno != EAGAIN, "wait: %s", strerror(errno));
}

static void mutex_unlock(const struct word *w)
{
	if (__atomic_exchange_n(word__at(w), 0, __ATOMIC_SEQ_CST) == 2)
		x_wake(w, 1);
}

static void count_up(void *arg)
{
	volatile uint32_t *sum = &arena->scratch[0];

	(void)arg;
	x_wake(&one, 1); /* or who never has to wait would have made no call at all */
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		uint32_t was;

		mutex_lock(&one);
		was = *sum;
		if (i % 8 == 0)
			sched_yield();
		*sum = was + 1;
		mutex_unlock(&one);
	}
}

static void run_mutex(void)
{
	region__make(&mem, PAGE);
	one = word__new(&mem, 128, "one");
	arena->chans[one.chan].unordered = 1;
	for (unsigned int i = 0; i < arg_num("procs"); i++)
		proc__spawnf(count_up, NULL, "m%u", i);
	procs__join();
	die_if(arena->scratch[0] != arg_num("procs") * arg_num("rounds"), "a count was lost");
}

/* ---- a ring buffer: one word says how much was put in, the other how much was taken ---- */

static void produce(void *arg)
{
	uint32_t *ring = word__at(&one) + 64, size = arg_num("slots");

	(void)arg;
	for (uint32_t put = 0; put < arg_num("rounds"); put++) {
		uint32_t taken;

		while (put - (taken = load(&two)) == size)
			die_if(x_wait(&two, taken) && errno != EAGAIN, "wait: %s", strerror(errno));
		ring[put % size] = put * 3;
		store(&one, put + 1);
		if (x_wake(&one, 1))
			arena->scratch[0]++;
	}
}

static void consume(void *arg)
{
	uint32_t *ring = word__at(&one) + 64, size = arg_num("slots");

	(void)arg;
	for (uint32_t taken = 0; taken < arg_num("rounds"); taken++) {
		uint32_t put;

		while ((put = load(&one)) == taken)
			die_if(x_wait(&one, put) && errno != EAGAIN, "wait: %s", strerror(errno));
		die_if(ring[taken % size] != taken * 3, "payload differs");
		store(&two, taken + 1);
		if (x_wake(&two, 1))
			arena->scratch[1]++;
	}
}

static void run_ring(void)
{
	int p, c;

	region__make(&mem, 2 * PAGE);
	one = word__new(&mem, 0, "put");
	two = word__new(&mem, 4, "taken");
	p = proc__spawn("producer", produce, NULL);
	c = proc__spawn("consumer", consume, NULL);
	procs__join();
	/* With one waiter on each word, who wakes knows how often it did. */
	flow__add_ops(p, c, one.chan, arena->scratch[0]);
	flow__add_ops(c, p, two.chan, arena->scratch[1]);
}

/* ---- calls while another thread changes the map of memory ---- */

static void changing_waker(void *arg)
{
	struct changer c;

	(void)arg;
	if (arg_is("changes", "same"))
		changer__start(&c, mem.addr + PAGE, PAGE);
	else
		changer__start(&c, NULL, 0);
	for (uint32_t i = 0; i < arg_num("rounds"); i++)
		die_if(x_wake(&one, 1), "woke somebody");
	changer__stop(&c);
}

static void run_changing(void)
{
	region__make(&mem, 4 * PAGE);
	/* Of the part behind the split, where it begins is another place of the file, too. */
	one = word__new(&mem, 3 * PAGE + 16, "word");
	proc__wait(proc__spawn("waker", changing_waker, NULL));
}

/* ---- private ones are not between processes ---- */

static uint32_t private_word;

static void *private_thread(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		struct timespec t = { .tv_nsec = 1000 };

		syscall(SYS_futex, &private_word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
		syscall(SYS_futex, &private_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		/* Memory that nobody shares makes them private too, whatever they say. */
		syscall(SYS_futex, &private_word, FUTEX_WAIT, 0, &t, NULL, 0);
		syscall(SYS_futex, &private_word, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	return NULL;
}

static void run_private(void)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		die_if(pthread_create(&threads[i], NULL, private_thread, NULL), "pthread_create");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

const struct factory futex_factories[] = {
	{
		.name = "futex-pingpong",
		.help = "futexes: two processes wake each other, in turns",
		.params = {
			ROUNDS_PARAM("20"),
			MEMORY_PARAM("anon"),
			NUM_PARAM("offset", "0", 0, 1023, "of one of the words, in words"),
			COMMON_PARAMS,
		},
		.selftest = ";memory=zero;memory=file;memory=posixshm;memory=memfd offset=1023;"
			    "memory=shm rounds=3",
		.run = run_pingpong,
	},
	{
		.name = "futex-elsewhere",
		.help = "one word at different addresses",
		.params = { MEMORY_PARAM("anon"), COMMON_PARAMS },
		.selftest = ";memory=zero;memory=file;memory=posixshm;memory=memfd;memory=shm",
		.run = run_elsewhere,
	},
	{
		.name = "futex-wake",
		.help = "one wakes many",
		.params = {
			PROCS_PARAM("4"),
			MEMORY_PARAM("anon"),
			{ "by", "one", "one|all", 0, 0, "how many with one call" },
			COMMON_PARAMS,
		},
		.selftest = ";by=all procs=10",
		.run = run_wake,
	},
	{
		.name = "futex-bitset",
		.help = "many wake many, each its own by a bit",
		.params = { PROCS_PARAM("8"), MEMORY_PARAM("anon"), COMMON_PARAMS },
		.selftest = ";procs=30 memory=file",
		.run = run_bitset,
	},
	{
		.name = "futex-requeue",
		.help = "who waits on one word is moved to another",
		.params = {
			PROCS_PARAM("4"),
			MEMORY_PARAM("anon"),
			{ "op", "cmp", "cmp|plain", 0, 0, "FUTEX_CMP_REQUEUE or FUTEX_REQUEUE" },
			COMMON_PARAMS,
		},
		.selftest = ";op=plain memory=memfd",
		.run = run_requeue,
	},
	{
		.name = "futex-wake-op",
		.help = "FUTEX_WAKE_OP: one call wakes on two words",
		.params = { PROCS_PARAM("3"), MEMORY_PARAM("anon"), COMMON_PARAMS },
		.selftest = "",
		.run = run_wake_op,
	},
	{
		.name = "futex-fails",
		.help = "waits that end at once, or by their timeout",
		.params = { ROUNDS_PARAM("5"), MEMORY_PARAM("anon"), COMMON_PARAMS },
		.selftest = "",
		.run = run_fails,
	},
	{
		.name = "futex-mutex",
		.help = "a mutex of processes that run freely",
		.params = {
			NUM_PARAM("procs", "4", 1, 100, "that count"),
			ROUNDS_PARAM("200"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = ";procs=10 memory=posixshm",
		.run = run_mutex,
	},
	{
		.name = "futex-ring",
		.help = "a ring buffer of one producer and one consumer",
		.params = {
			ROUNDS_PARAM("1000"),
			NUM_PARAM("slots", "4", 1, 512, "in the buffer"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = ";slots=1 memory=shm",
		.run = run_ring,
	},
	{
		.name = "futex-changing",
		.help = "calls while another thread changes the map of memory",
		.params = { ROUNDS_PARAM("200"), COMMON_PARAMS, MEMORY_PARAM("anon"),
			    CHANGES_PARAM },
		.selftest = "rounds=10;rounds=10 changes=same memory=file",
		.run = run_changing,
	},
	{
		.name = "futex-private",
		.help = "threads of one process: no channel",
		.params = { ROUNDS_PARAM("50"), COMMON_PARAMS },
		.selftest = "",
		.run = run_private,
	},
	{ 0 },
};
