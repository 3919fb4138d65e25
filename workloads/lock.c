/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks on files: flock(), and fcntl() for processes and for open files. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "sync.h"

#define ROUNDS_PARAM(value) NUM_PARAM("rounds", value, 1, 1000000, "how often")
#define KIND_PARAM                                                           \
	{                                                                    \
		"kind", "flock", "flock|fcntl|ofd", 0, 0, "which call locks" \
	}

static int chan;
static int waiters[256];

static int lock(const struct lockfile *l, bool shared, bool wait)
{
	if (arg_is("kind", "flock"))
		return x_flock(l, (shared ? LOCK_SH : LOCK_EX) | (wait ? 0 : LOCK_NB));
	if (arg_is("kind", "fcntl"))
		return x_lock(l, wait ? F_SETLKW : F_SETLK, shared ? F_RDLCK : F_WRLCK, 0, 0);
	return x_lock(l, wait ? F_OFD_SETLKW : F_OFD_SETLK, shared ? F_RDLCK : F_WRLCK, 0, 0);
}

static void must_lock(const struct lockfile *l, bool shared)
{
	die_if(lock(l, shared, true), "%s: %s", arg_str("kind"), strerror(errno));
}

static void unlock(const struct lockfile *l)
{
	int ret;

	if (arg_is("kind", "flock"))
		ret = x_flock(l, LOCK_UN);
	else
		ret = x_lock(l, arg_is("kind", "fcntl") ? F_SETLK : F_OFD_SETLK, F_UNLCK, 0, 0);
	die_if(ret, "unlocking: %s", strerror(errno));
}

static long lock_call(void)
{
	return arg_is("kind", "flock") ? SYS_flock : SYS_fcntl;
}

/* ---- one holds it, others wait for it ---- */

static void waiter(void *arg)
{
	uint32_t i = (uintptr_t)arg;
	struct lockfile l;

	lockfile__open(&l, chan);
	arena->scratch[i] = l.fd;
	turn__pass(0);
	turn__await(1, 1);
	must_lock(&l, arg_is("waits", "shared"));
	edge__set_blocked(self, chan, ROLE_LOCK, 1, 0);
	unlock(&l);
}

static void holder(void *arg)
{
	uint32_t n = arg_num("procs");
	struct lockfile l;

	(void)arg;
	lockfile__open(&l, chan);
	must_lock(&l, false);
	edge__set_blocked(self, chan, ROLE_LOCK, 0, 0);
	turn__await(0, n);
	turn__pass(1);
	for (uint32_t i = 0; i < n; i++)
		die_if(!proc__await_sleep(waiters[i], lock_call(), arena->scratch[i],
					  &arena->procs[waiters[i]].done),
		       "it did not wait");
	if (arg_is("end", "unlock"))
		unlock(&l);
	if (arg_is("end", "close"))
		close(l.fd);
	if (arg_is("end", "kill"))
		kill(getpid(), SIGKILL);
}

/* One waits, or all wait for a shared lock, so that each is let go by the holder. */
static void run_wait(void)
{
	uint32_t n = arg_num("procs");
	int slot;

	die_if(n > 1 && !arg_is("waits", "shared"), "several can only share it");
	chan = lockfile__make("l0", "lock");
	for (uintptr_t i = 0; i < n; i++)
		waiters[i] = proc__spawnf(waiter, (void *)i, "w%u", (unsigned int)i);
	slot = proc__spawn("holder", holder, NULL);
	if (arg_is("end", "kill"))
		proc__expect_signal(slot, SIGKILL);
	for (uint32_t i = 0; i < n; i++)
		flow__add_ops(slot, waiters[i], chan, 1);
	procs__join();
}

/* ---- a lock file as programs use it: who finds it locked goes away and tries again ---- */

static void try_often(void *arg)
{
	volatile uint32_t *sum = &arena->scratch[0];
	struct lockfile l;

	(void)arg;
	lockfile__open(&l, chan);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		uint32_t was;

		while (lock(&l, false, false))
			die_if(errno != EAGAIN && errno != EACCES, "lock: %s", strerror(errno));
		was = *sum;
		*sum = was + 1;
		unlock(&l);
	}
	edge__set_blocked(self, chan, ROLE_LOCK, 0, 0);
}

static void run_try(void)
{
	chan = lockfile__make("l0", "lock");
	for (unsigned int i = 0; i < arg_num("procs"); i++)
		proc__spawnf(try_often, NULL, "p%u", i);
	procs__join();
	die_if(arena->scratch[0] != arg_num("procs") * arg_num("rounds"), "a count was lost");
}

/* ---- two who wait for each other: the kernel refuses the second ---- */

static void cross(void *arg)
{
	uint32_t me = (uintptr_t)arg;
	struct lockfile l;

	lockfile__open(&l, chan);
	arena->scratch[me] = l.fd;
	die_if(x_lock(&l, F_SETLKW, F_WRLCK, me, 1), "lock: %s", strerror(errno));
	turn__pass(0);
	turn__await(0, 2);
	if (me) {
		turn__await(1, 1);
		die_if(!x_lock(&l, F_SETLKW, F_WRLCK, 0, 1) || errno != EDEADLK, "no deadlock");
		edge__set_blocked(self, chan, ROLE_LOCK, 0, 0);
	} else {
		die_if(x_lock(&l, F_SETLKW, F_WRLCK, 1, 1), "lock: %s", strerror(errno));
		edge__set_blocked(self, chan, ROLE_LOCK, 1, 0);
	}
}

static void run_deadlock(void)
{
	int one, two;

	chan = lockfile__make("l0", "lock");
	one = proc__spawn("one", cross, (void *)0);
	two = proc__spawn("two", cross, (void *)1);
	turn__await(0, 2);
	proc__await_sleep(one, SYS_fcntl, arena->scratch[0], &arena->procs[one].done);
	turn__pass(1);
	flow__add_ops(two, one, chan, 1);
	procs__join();
}

const struct factory lock_factories[] = {
	{
		.name = "lock-wait",
		.help = "a file is locked, and others wait for it",
		.params = {
			KIND_PARAM,
			NUM_PARAM("procs", "1", 1, 100, "that wait; several only for a shared lock"),
			{ "waits", "exclusive", "exclusive|shared", 0, 0, "for which lock" },
			{ "end", "unlock", "unlock|close|exit|kill", 0, 0, "of the holder's lock" },
			COMMON_PARAMS,
		},
		.selftest = ";kind=fcntl end=close;kind=ofd end=exit;procs=5 waits=shared end=kill",
		.run = run_wait,
	},
	{
		.name = "lock-try",
		.help = "processes try to lock a file until they can",
		.params = {
			KIND_PARAM,
			NUM_PARAM("procs", "3", 1, 100, "that try"),
			ROUNDS_PARAM("50"),
			COMMON_PARAMS,
		},
		.selftest = ";kind=fcntl;kind=ofd",
		.run = run_try,
	},
	{
		.name = "lock-deadlock",
		.help = "two wait for each other's lock, and the kernel refuses one of them",
		.params = { COMMON_PARAMS },
		.selftest = "",
		.run = run_deadlock,
	},
	{ 0 },
};
