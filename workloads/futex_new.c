/* SPDX-License-Identifier: BSD-2-Clause */
/* The later futex calls: one that waits on several words (Linux 5.16), and those of Linux 6.7. */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "words.h"

/* Newer than the headers; the same numbers everywhere. */
#define NR_FUTEX_WAITV 449
#define NR_FUTEX_WAKE 454
#define NR_FUTEX_WAIT 455
#define NR_FUTEX_REQUEUE 456

#define SIZE_U32 2U /* FUTEX2_SIZE_U32 */
#define ANY 0xffffffffU
#define WORDS_MAX 128
#define PAGE 4096

struct waiter {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

/* What the processes have from their parent, all at the same addresses. */
static struct region mem;
static struct word words[WORDS_MAX];
static struct waiter list[WORDS_MAX];

static void make_words(int n)
{
	region__make(&mem, 2 * PAGE);
	for (int i = 0; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "word%d", i);
		words[i] = word__new(&mem, (i + 1) * 16, name);
		list[i] = (struct waiter){ .uaddr = (uintptr_t)word__at(&words[i]),
					   .flags = SIZE_U32 };
	}
}

static long count(const struct word *w, enum role role, long ret)
{
	int err = errno;

	if (ret < 0 && err == ENOSYS)
		skip("this kernel does not have that call");
	edge__count(edge__mine(w->chan, role), false, ret < 0 ? ret : 0, err);
	errno = err;
	return ret;
}

static long x_wait2(const struct word *w, uint64_t val)
{
	return count(w, ROLE_WAIT,
		     syscall(NR_FUTEX_WAIT, word__at(w), val, (uint64_t)ANY, SIZE_U32, NULL, 0));
}

static long x_wake2(const struct word *w, int n)
{
	return count(w, ROLE_WAKE, syscall(NR_FUTEX_WAKE, word__at(w), (uint64_t)ANY, n, SIZE_U32));
}

/* It is the one that was woken that counts; if it fails, the first one. */
static long x_waitv(int n)
{
	long ret = syscall(NR_FUTEX_WAITV, list, n, 0, NULL, 0);

	return count(&words[ret > 0 ? ret : 0], ROLE_WAIT, ret);
}

/* ---- wait and wake ---- */

static void wait_rounds(void *arg)
{
	(void)arg;
	die_if(x_wait2(&words[0], 1) >= 0 || errno != EAGAIN, "waited: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("rounds"); i++)
		die_if(x_wait2(&words[0], 0), "wait: %s", strerror(errno));
	edge__set_blocked(self, words[0].chan, ROLE_WAIT, arg_num("rounds"), 0);
}

static void await_in(int slot, long nr, const void *first)
{
	proc__await_sleep(slot, nr, (int)(uintptr_t)first, &arena->procs[slot].done);
}

static void run_wake(void)
{
	int slot;

	make_words(1);
	die_if(x_wake2(&words[0], 1), "woke somebody");
	slot = proc__spawn("waiter", wait_rounds, NULL);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		await_in(slot, NR_FUTEX_WAIT, word__at(&words[0]));
		die_if(x_wake2(&words[0], 1) != 1, "woke nobody");
	}
	flow__add_ops(self, slot, words[0].chan, arg_num("rounds"));
	procs__join();
}

/* ---- one wait on several words ---- */

static void wait_on_all(void *arg)
{
	const int n = arg_num("words");
	uint64_t rounds = arg_num("rounds");

	(void)arg;
	list[n - 1].val = 1;
	die_if(x_waitv(n) >= 0 || errno != EAGAIN, "waited: %s", strerror(errno));
	list[n - 1].val = 0;
	for (uint64_t i = 0; i < rounds; i++)
		die_if(x_waitv(n) != (long)(i * 3 % n), "another one: %s", strerror(errno));
	for (int k = 0; k < n; k++) {
		uint64_t slept = 0;

		for (uint64_t i = 0; i < rounds; i++)
			slept += i * 3 % n == (uint64_t)k;
		if (slept)
			edge__set_blocked(self, words[k].chan, ROLE_WAIT, slept, 0);
	}
}

static void run_waitv(void)
{
	const int n = arg_num("words");
	int slot;

	make_words(n);
	slot = proc__spawn("waiter", wait_on_all, NULL);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		const struct word *w = &words[i * 3 % n];

		await_in(slot, NR_FUTEX_WAITV, list);
		die_if(x_wake(w, 1) != 1, "woke nobody");
		flow__add_ops(self, slot, w->chan, 1);
	}
	procs__join();
}

/* ---- some are woken, others moved to another word ---- */

static void wait_once(void *arg)
{
	(void)arg;
	die_if(x_wait2(&words[0], 0), "wait: %s", strerror(errno));
	edge__set_blocked(self, words[0].chan, ROLE_WAIT, 1, 0);
}

static void run_requeue(void)
{
	const int n = arg_num("procs");
	int first = arena->nr_procs;

	make_words(2);
	for (int i = 0; i < n; i++)
		await_in(proc__spawnf(wait_once, NULL, "w%d", i), NR_FUTEX_WAIT,
			 word__at(&words[0]));
	die_if(count(&words[0], ROLE_WAKE, syscall(NR_FUTEX_REQUEUE, list, 0, 1, n)) != n,
	       "moved not all: %s", strerror(errno));
	die_if(x_wake2(&words[1], n) != n - 1, "woke not the others");
	procs__join();
	for (int i = 0; i < n; i++)
		flow__add_ops(self, first + i, words[0].chan, 1);
}

#define ROUNDS_PARAM(value) NUM_PARAM("rounds", value, 1, 1000000, "how often")

const struct factory futex_new_factories[] = {
	{
		.name = "futex-wake2",
		.help = "wait and wake by the calls of Linux 6.7",
		.params = { COMMON_PARAMS, ROUNDS_PARAM("20"), MEMORY_PARAM("anon") },
		.selftest = "rounds=3;memory=memfd",
		.run = run_wake,
	}, {
		.name = "futex-waitv",
		.help = "a process waits on several words at once, and is woken on one",
		.params = {
			COMMON_PARAMS, ROUNDS_PARAM("20"), MEMORY_PARAM("anon"),
			NUM_PARAM("words", "5", 1, WORDS_MAX, "that it waits on"),
		},
		.selftest = "rounds=7;words=1 rounds=3;words=100",
		.run = run_waitv,
	}, {
		.name = "futex-requeue2",
		.help = "one is woken, the others moved, by the call of Linux 6.7",
		.params = {
			COMMON_PARAMS, MEMORY_PARAM("anon"),
			NUM_PARAM("procs", "5", 2, 60, "processes that wait"),
		},
		.selftest = "procs=3",
		.run = run_requeue,
	},
	{ .name = NULL }
};
