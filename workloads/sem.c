/* SPDX-License-Identifier: BSD-2-Clause */
/* System V semaphores: processes that wait for each other, and who let whom go on. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "sync.h"

#define ROUNDS_PARAM(value) NUM_PARAM("rounds", value, 1, 1000000, "how often")
#define PROCS_PARAM(value) NUM_PARAM("procs", value, 1, 200, "that wait")

static void sleeps_each_time(const struct semset *s, uint64_t n)
{
	edge__set_blocked(self, s->chan, ROLE_WAIT, n, 0);
}

static int spawn_all(proc_fn fn, const char *fmt, uint32_t n, int *slots)
{
	for (uint32_t i = 0; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%s%u", fmt, i);
		slots[i] = proc__spawn(name, fn, (void *)(uintptr_t)i);
	}
	return n;
}

/* What the processes of a factory have from their parent. */
static struct semset set;
static int waiters[256];

/* ---- ping and pong: each lets the other go on as soon as that is seen asleep ---- */

struct game {
	struct semset set;
	uint32_t rounds;
	int turn; /* passed when both are there */
	uint32_t *slots; /* of both */
};

static void play(const struct game *g, bool first)
{
	int other;

	turn__await(g->turn, 1);
	other = g->slots[first];
	for (uint32_t i = 0; i < g->rounds; i++) {
		if (first) {
			proc__await_semop(other, &g->set);
			sem__op(&g->set, 1, 1, 0);
		}
		sem__op(&g->set, !first, -1, 0);
		if (!first) {
			proc__await_semop(other, &g->set);
			sem__op(&g->set, 0, 1, 0);
		}
	}
	sleeps_each_time(&g->set, g->rounds);
}

static void play_ping(void *arg)
{
	play(arg, true);
}

static void play_pong(void *arg)
{
	play(arg, false);
}

static void play_both(struct game *g, const char *a, const char *b)
{
	g->slots[0] = proc__spawn(a, play_ping, g);
	g->slots[1] = proc__spawn(b, play_pong, g);
	turn__pass(g->turn);
	proc__wait(g->slots[0]);
	proc__wait(g->slots[1]);
	flow__add_ops(g->slots[0], g->slots[1], g->set.chan, g->rounds);
	flow__add_ops(g->slots[1], g->slots[0], g->set.chan, g->rounds);
}

static void run_pingpong(void)
{
	struct game g = { .rounds = arg_num("rounds"), .slots = arena->scratch };

	g.set = sem__make("s0", arg_is("key", "none") ? IPC_PRIVATE : sem__key(0), 2);
	play_both(&g, "ping", "pong");
}

/* Two ipc namespaces: the same key and the same id are two sets. */
static void play_inside(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	struct game g = { .rounds = 3 + i, .turn = 1 + i, .slots = arena->scratch + i * 2 };

	if (unshare(CLONE_NEWIPC))
		skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
	g.set = sem__make_inside(i ? "s1" : "s0", 0x5757, 2);
	turn__pass(0);
	turn__await(0, 2);
	die_if(arena->chans[0].ino != arena->chans[1].ino, "ids differ");
	play_both(&g, i ? "ping1" : "ping0", i ? "pong1" : "pong0");
}

static void run_two_namespaces(void)
{
	int slots[2];

	spawn_all(play_inside, "inside", 2, slots);
}

/* ---- all who wait are let go by one call ---- */

static void wait_once(void *arg)
{
	uint32_t i = (uintptr_t)arg;

	if (arg_is("by", "zero"))
		sem__op(&set, 0, 0, 0);
	else
		sem__op(&set, i, -1, 0);
	sleeps_each_time(&set, 1);
}

static void let_go(uint32_t n)
{
	unsigned short ones[256];
	struct sembuf ups[256];

	for (uint32_t i = 0; i < n; i++) {
		ones[i] = 1;
		ups[i] = (struct sembuf){ .sem_num = i, .sem_op = 1 };
	}
	if (arg_is("by", "setall"))
		die_if(x_setall(&set, ones), "SETALL: %s", strerror(errno));
	for (uint32_t i = 0; arg_is("by", "setval") && i < n; i++)
		die_if(x_setval(&set, i, 1), "SETVAL: %s", strerror(errno));
	for (uint32_t i = 0; arg_is("by", "up") && i < n; i++)
		sem__op(&set, i, 1, 0);
	if (arg_is("by", "ups"))
		die_if(x_semop(&set, ups, n), "semop: %s", strerror(errno));
	/* The last down makes it zero. */
	for (uint32_t i = 0; arg_is("by", "zero") && i < n; i++)
		sem__op(&set, 0, -1, 0);
}

static void run_release(void)
{
	uint32_t n = arg_num("procs");

	set = sem__make("s0", IPC_PRIVATE, n);
	if (arg_is("by", "zero"))
		die_if(x_setval(&set, 0, n), "SETVAL: %s", strerror(errno));
	spawn_all(wait_once, "w", n, waiters);
	for (uint32_t i = 0; i < n; i++)
		proc__await_semop(waiters[i], &set);
	let_go(n);
	for (uint32_t i = 0; i < n; i++)
		flow__add_ops(self, waiters[i], set.chan, 1);
	procs__join();
}

/* ---- the set is removed under those who wait ---- */

static void wait_in_vain(void *arg)
{
	struct sembuf down = { .sem_op = -1 };

	(void)arg;
	die_if(x_semop(&set, &down, 1) != -1 || errno != EIDRM, "it was not removed");
	sleeps_each_time(&set, 1);
}

static void run_remove(void)
{
	uint32_t n = arg_num("procs");

	set = sem__make("s0", IPC_PRIVATE, 1);
	spawn_all(wait_in_vain, "w", n, waiters);
	for (uint32_t i = 0; i < n; i++)
		proc__await_semop(waiters[i], &set);
	sem__remove(&set);
	procs__join();
}

/* ---- what a process took with SEM_UNDO comes back when it ends ---- */

static void holder(void *arg)
{
	(void)arg;
	sem__op(&set, 0, -1, SEM_UNDO);
	turn__pass(0);
	turn__await(1, 1);
	if (arg_is("end", "kill"))
		kill(getpid(), SIGKILL);
}

static void heir(void *arg)
{
	(void)arg;
	turn__await(0, 1);
	sem__op(&set, 0, -1, 0);
	sleeps_each_time(&set, 1);
}

static void run_undo(void)
{
	int one, two;

	set = sem__make("s0", IPC_PRIVATE, 1);
	die_if(x_setval(&set, 0, 1), "SETVAL: %s", strerror(errno));
	one = proc__spawn("holder", holder, NULL);
	if (arg_is("end", "kill"))
		proc__expect_signal(one, SIGKILL);
	two = proc__spawn("heir", heir, NULL);
	turn__await(0, 1);
	proc__await_semop(two, &set);
	turn__pass(1);
	flow__add_ops(one, two, set.chan, 1);
	procs__join();
}

/* ---- not waiting, and waiting for a while ---- */

#define WHILE_NS 20000000

static void run_nowait(void)
{
	struct sembuf down = { .sem_op = -1, .sem_flg = IPC_NOWAIT };
	struct sembuf slow = { .sem_op = -1 };
	struct timespec t = { .tv_nsec = WHILE_NS }, none = {};
	uint32_t n = arg_num("rounds");

	set = sem__make("s0", IPC_PRIVATE, 1);
	for (uint32_t i = 0; i < n; i++) {
		die_if(!x_semop(&set, &down, 1) || errno != EAGAIN, "it was there");
		sem__op(&set, 0, 1, 0);
		die_if(x_semop(&set, &down, 1), "semop: %s", strerror(errno));
	}
	die_if(!x_semtimedop(&set, &slow, 1, &t) || errno != EAGAIN, "it was there");
	sem__op(&set, 0, 1, 0);
	die_if(x_semtimedop(&set, &slow, 1, &none), "semtimedop: %s", strerror(errno));
	/* The time runs before it sleeps. */
	edge__set_blocked(self, set.chan, ROLE_WAIT, 1, WHILE_NS / 2);
}

/* ---- many operations in one call ---- */

static void run_many_ops(void)
{
	uint32_t n = arg_num("ops"), rounds = arg_num("rounds");
	struct sembuf *ops = xmalloc(n * sizeof(*ops));

	set = sem__make("s0", IPC_PRIVATE, n);
	for (uint32_t r = 0; r < rounds * 2; r++) {
		/* In every other call the last one goes the other way. */
		for (uint32_t i = 0; i < n; i++)
			ops[i] = (struct sembuf){ .sem_num = i, .sem_op = r % 2 ? -1 : 1 };
		if (n > 1)
			ops[n - 1].sem_op = r % 2 ? 1 : 0;
		if (n > 1 && r % 2)
			ops[n - 1].sem_num = 0;
		die_if(x_semop(&set, ops, n), "semop: %s", strerror(errno));
		if (n > 1 && r % 2)
			sem__op(&set, 0, -1, 0);
	}
	edge__set_blocked(self, set.chan, ROLE_WAIT, 0, 0);
}

/* ---- the tables ---- */

const struct factory sem_factories[] = {
	{
		.name = "sem-pingpong",
		.help = "System V semaphores: two processes let each other go on, in turns",
		.params = {
			ROUNDS_PARAM("20"),
			{ "key", "none", "none|key", 0, 0, "how the set is found" },
			COMMON_PARAMS,
		},
		.selftest = ";rounds=3 key=key",
		.run = run_pingpong,
	},
	{
		.name = "sem-two-namespaces",
		.help = "sets of the same key and id in two ipc namespaces",
		.params = { COMMON_PARAMS },
		.selftest = "",
		.run = run_two_namespaces,
	},
	{
		.name = "sem-release",
		.help = "processes wait, and one lets them all go on",
		.params = {
			PROCS_PARAM("4"),
			{ "by", "up", "up|ups|setval|setall|zero", 0, 0, "how" },
			COMMON_PARAMS,
		},
		.selftest = ";by=ups;by=setval;by=setall procs=20;by=zero",
		.run = run_release,
	},
	{
		.name = "sem-remove",
		.help = "a set is removed under those who wait",
		.params = { PROCS_PARAM("2"), COMMON_PARAMS },
		.selftest = "",
		.run = run_remove,
	},
	{
		.name = "sem-undo",
		.help = "a process that ends gives back what it took with SEM_UNDO",
		.params = {
			{ "end", "exit", "exit|kill", 0, 0, "how it ends" },
			COMMON_PARAMS,
		},
		.selftest = ";end=kill",
		.run = run_undo,
	},
	{
		.name = "sem-nowait",
		.help = "IPC_NOWAIT, and a wait that ends by its timeout",
		.params = { ROUNDS_PARAM("10"), COMMON_PARAMS },
		.selftest = "",
		.run = run_nowait,
	},
	{
		.name = "sem-many-ops",
		.help = "several semaphores of a set changed by one call",
		.params = {
			NUM_PARAM("ops", "3", 1, 500, "in one call"),
			ROUNDS_PARAM("10"),
			COMMON_PARAMS,
		},
		.selftest = ";ops=1;ops=40",
		.run = run_many_ops,
	},
	{ 0 },
};
