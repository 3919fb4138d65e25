/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the C library builds on shared futexes. It makes the calls, so each step waits until those who
 * must sleep do: then it is known which calls there are. Which word of an object somebody sleeps on
 * is seen, not known from the library's source.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "words.h"

#define ROUNDS_PARAM(value) NUM_PARAM("rounds", value, 1, 10000, "how often")
#define PAGE 4096

static struct region mem;
static size_t at; /* where in it the object is */

static void must(int err, const char *what)
{
	die_if(err, "%s: %s", what, strerror(err));
}

static void *make_object(void)
{
	at = 64;
	region__make(&mem, PAGE);
	return mem.addr + at;
}

static int word_chan(size_t offset)
{
	char name[16];

	for (uint32_t i = 0; i < arena->nr_chans; i++)
		if (arena->chans[i].offset == offset)
			return i;
	snprintf(name, sizeof(name), "word%u", (unsigned int)offset);
	return word__new(&mem, offset, name).chan;
}

/* The channel of the word of the object on which the process sleeps. */
static int asleep_on(int slot, size_t size)
{
	return word_chan(proc__await_futex(slot, &mem, at, size));
}

/* Somebody slept there, and a call of another one has woken it. */
static void slept(int slot, int chan, int waker)
{
	struct edge *e = edge__get(slot, chan, ROLE_WAIT);

	futex__made(slot, chan, ROLE_WAIT, 1);
	e->blocked = e->ops;
	flow__add_ops(waker, slot, chan, 1);
}

/* ---- POSIX semaphores ---- */

static sem_t *sem;

static void sem_waiter(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < arg_num("rounds"); i++)
		die_if(sem_wait(sem), "sem_wait: %s", strerror(errno));
}

/* The C library maps the semaphore's file itself. */
static void sem_make_named(char *path, size_t size)
{
	char name[64];

	snprintf(name, sizeof(name), "/workload-%d", getpid());
	snprintf(path, size, "/dev/shm/sem.%s", name + 1);
	sem = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	die_if(sem == SEM_FAILED, "sem_open: %s", strerror(errno));
	mem = (struct region){ .addr = (char *)sem, .fd = -1, .shmid = -1 };
	die_if(mapped_file(sem, &mem.dev, &mem.ino), "it is not in /proc/self/maps");
}

static void run_sem(void)
{
	char path[96] = "";
	int slot, chan = -1;

	if (arg_is("kind", "named")) {
		sem_make_named(path, sizeof(path));
	} else {
		sem = make_object();
		die_if(sem_init(sem, 1, 0), "sem_init: %s", strerror(errno));
	}
	slot = proc__spawn("waiter", sem_waiter, NULL);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		chan = asleep_on(slot, sizeof(*sem));
		slept(slot, chan, self);
		futex__made(self, chan, ROLE_WAKE, 1);
		strcpy(arena->chans[chan].path, path); /* which is removed at the end */
		die_if(sem_post(sem), "sem_post: %s", strerror(errno));
	}
	procs__join();
}

/* ---- mutexes ---- */

static pthread_mutex_t *mutex;

static void mutex_make(void)
{
	pthread_mutexattr_t a;

	mutex = make_object();
	must(pthread_mutexattr_init(&a), "mutexattr");
	must(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED), "pshared");
	if (arg_is("kind", "robust"))
		must(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST), "robust");
	if (arg_is("kind", "pi"))
		must(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT), "inherit");
	must(pthread_mutex_init(mutex, &a), "mutex_init");
}

/* Does the word say that unlocking must wake somebody? By its state, as the library sees it. */
static bool mutex_waited_for(void)
{
	uint32_t word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_SEQ_CST);

	return arg_is("kind", "normal") ? word == 2 : word & FUTEX_WAITERS;
}

static void mutex_give_back(void)
{
	if (mutex_waited_for())
		futex__made(self, word_chan((char *)mutex - mem.addr), ROLE_WAKE, 1);
	must(pthread_mutex_unlock(mutex), "unlock");
}

static void mutex_waiter(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, i + 1);
		must(pthread_mutex_lock(mutex), "lock");
		mutex_give_back();
		turn__pass(1);
	}
}

static void run_pmutex(void)
{
	int slot, chan;

	mutex_make();
	word_chan(at);
	slot = proc__spawn("waiter", mutex_waiter, NULL);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		must(pthread_mutex_lock(mutex), "lock");
		turn__pass(0);
		chan = asleep_on(slot, sizeof(*mutex));
		die_if(!mutex_waited_for(), "nobody waits");
		slept(slot, chan, self);
		mutex_give_back();
		turn__await(1, i + 1);
	}
	procs__join();
}

/* The kernel wakes the next one when the owner has died. */
static void dying_owner(void *arg)
{
	(void)arg;
	must(pthread_mutex_lock(mutex), "lock");
	turn__pass(0);
	turn__await(1, 1);
}

static void mutex_heir(void *arg)
{
	(void)arg;
	turn__await(0, 1);
	die_if(pthread_mutex_lock(mutex) != EOWNERDEAD, "the owner is not dead");
	must(pthread_mutex_consistent(mutex), "consistent");
	mutex_give_back();
}

static void run_owner_dies(void)
{
	int owner, heir;

	mutex_make();
	owner = proc__spawn("owner", dying_owner, NULL);
	heir = proc__spawn("heir", mutex_heir, NULL);
	turn__await(0, 1);
	slept(heir, asleep_on(heir, sizeof(*mutex)), owner);
	turn__pass(1);
	procs__join();
}

/* ---- condition variables ---- */

static pthread_cond_t *cond;

static void cond_waiter(void *arg)
{
	volatile uint32_t *value = &arena->scratch[0];

	(void)arg;
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		must(pthread_mutex_lock(mutex), "lock");
		while (*value <= i)
			must(pthread_cond_wait(cond, mutex), "cond_wait");
		mutex_give_back();
	}
}

static void run_pcond(void)
{
	volatile uint32_t *value = &arena->scratch[0];
	pthread_condattr_t a;
	int slot, chan;

	mutex_make();
	cond = (pthread_cond_t *)(mem.addr + 1024);
	must(pthread_condattr_init(&a), "condattr");
	must(pthread_condattr_setpshared(&a, PTHREAD_PROCESS_SHARED), "pshared");
	must(pthread_cond_init(cond, &a), "cond_init");
	word_chan(at);
	at = 1024;
	slot = proc__spawn("waiter", cond_waiter, NULL);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		chan = asleep_on(slot, sizeof(*cond));
		slept(slot, chan, self);
		futex__made(self, chan, ROLE_WAKE, 1);
		/* Who sleeps has unlocked it, and takes it only when it is woken, after this. */
		must(pthread_mutex_lock(mutex), "lock");
		*value = i + 1;
		mutex_give_back();
		must(pthread_cond_signal(cond), "cond_signal");
	}
	procs__join();
}

/* ---- barriers ---- */

static pthread_barrier_t *barrier;

static void at_barrier(void *arg)
{
	int ret = pthread_barrier_wait(barrier);

	(void)arg;
	die_if(ret && ret != PTHREAD_BARRIER_SERIAL_THREAD, "barrier_wait: %s", strerror(ret));
}

static void run_pbarrier(void)
{
	uint32_t n = arg_num("procs");
	pthread_barrierattr_t a;
	int slots[100], chan = -1;

	barrier = make_object();
	must(pthread_barrierattr_init(&a), "barrierattr");
	must(pthread_barrierattr_setpshared(&a, PTHREAD_PROCESS_SHARED), "pshared");
	must(pthread_barrier_init(barrier, &a, n + 1), "barrier_init");
	for (uint32_t i = 0; i < n; i++)
		slots[i] = proc__spawnf(at_barrier, NULL, "b%u", i);
	for (uint32_t i = 0; i < n; i++) {
		chan = asleep_on(slots[i], sizeof(*barrier));
		slept(slots[i], chan, self);
	}
	futex__made(self, chan, ROLE_WAKE, 1);
	at_barrier(NULL);
	procs__join();
}

/* ---- locks of readers and writers ---- */

static pthread_rwlock_t *rwlock;

static void rw_waiter(void *arg)
{
	(void)arg;
	must(arg_is("waits", "reader") ? pthread_rwlock_rdlock(rwlock)
				       : pthread_rwlock_wrlock(rwlock),
	     "lock");
	must(pthread_rwlock_unlock(rwlock), "unlock");
}

static void run_prwlock(void)
{
	pthread_rwlockattr_t a;
	int slot, chan;

	rwlock = make_object();
	must(pthread_rwlockattr_init(&a), "rwlockattr");
	must(pthread_rwlockattr_setpshared(&a, PTHREAD_PROCESS_SHARED), "pshared");
	must(pthread_rwlock_init(rwlock, &a), "rwlock_init");
	must(arg_is("waits", "reader") ? pthread_rwlock_wrlock(rwlock)
				       : pthread_rwlock_rdlock(rwlock),
	     "lock");
	slot = proc__spawn("waiter", rw_waiter, NULL);
	chan = asleep_on(slot, sizeof(*rwlock));
	slept(slot, chan, self);
	futex__made(self, chan, ROLE_WAKE, 1);
	must(pthread_rwlock_unlock(rwlock), "unlock");
	procs__join();
}

#define KIND_PARAM(choices, value)                    \
	{                                             \
		"kind", value, choices, 0, 0, "of it" \
	}

const struct factory futex_lib_factories[] = {
	{
		.name = "futex-sem",
		.help = "POSIX semaphores: a process waits, another posts",
		.params = {
			ROUNDS_PARAM("10"),
			KIND_PARAM("named|unnamed", "named"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = ";kind=unnamed;kind=unnamed memory=file rounds=2",
		.run = run_sem,
	},
	{
		.name = "futex-pmutex",
		.help = "a mutex of two processes",
		.params = {
			ROUNDS_PARAM("10"),
			KIND_PARAM("normal|robust|pi", "normal"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = ";kind=robust;kind=pi memory=shm",
		.run = run_pmutex,
	},
	{
		.name = "futex-owner-dies",
		.help = "a robust mutex, whose owner ends without unlocking it",
		.params = {
			KIND_PARAM("robust", "robust"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = "",
		.run = run_owner_dies,
	},
	{
		.name = "futex-pcond",
		.help = "a condition variable and its mutex",
		.params = {
			ROUNDS_PARAM("10"),
			KIND_PARAM("normal", "normal"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = "",
		.run = run_pcond,
	},
	{
		.name = "futex-pbarrier",
		.help = "processes meet at a barrier",
		.params = {
			NUM_PARAM("procs", "3", 1, 100, "that wait for the last one"),
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = ";procs=10",
		.run = run_pbarrier,
	},
	{
		.name = "futex-prwlock",
		.help = "a lock for many readers or one writer",
		.params = {
			{ "waits", "reader", "reader|writer", 0, 0, "for the other" },
			MEMORY_PARAM("anon"),
			COMMON_PARAMS,
		},
		.selftest = ";waits=writer",
		.run = run_prwlock,
	},
	{ 0 },
};
