/* SPDX-License-Identifier: BSD-2-Clause */
/* System V shared memory. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "memory_use.h"

#define SEED 9

static void run_touch(void)
{
	touch__run(KIND_SHM);
}

static void run_turns(void)
{
	turns__run(KIND_SHM);
}

static void run_inherit(void)
{
	inherit__run(KIND_SHM);
}

static void run_busy(void)
{
	busy__run(KIND_SHM);
}

static void run_again(void)
{
	again__run(KIND_SHM);
}

/* ---- found by its key ---- */

static void keyed_writer(void *arg)
{
	struct shared *s = arg;
	struct mem m;
	int id = shmget(arena->chans[s->chan].key, 0, 0);

	die_if(id != s->id, "shmget: %s", id < 0 ? strerror(errno) : "another segment");
	mem__shmat(&m, s->chan, id, 0);
	mem__write(&m, 0, mem__value(0, SEED));
	turn__pass(0);
	turn__await(1, 1);
	/* After IPC_RMID, nothing is different for those who have it. */
	mem__write(&m, 1, mem__value(1, SEED));
	turn__pass(0);
	if (arg_is("end", "shmdt"))
		mem__shmdt(&m);
}

static void keyed_reader(void *arg)
{
	struct shared *s = arg;
	struct mem m;

	turn__await(0, 1);
	mem__shmat(&m, s->chan, s->id, SHM_RDONLY);
	mem__expect(&m, 0, SEED);
	shared__remove(s);
	die_if(shmget(arena->chans[s->chan].key, 0, 0) >= 0, "the key is still there");
	turn__pass(1);
	turn__await(0, 2);
	mem__expect(&m, 1, SEED);
	if (arg_is("end", "shmdt"))
		mem__shmdt(&m);
}

static void run_removed(void)
{
	struct shared s = shared__make(KIND_SHM, "m0", 2);

	proc__spawn("w0", keyed_writer, &s);
	proc__spawn("r0", keyed_reader, &s);
}

/* ---- one key, two segments ---- */

static void use_segment(void *arg)
{
	struct shared *s = arg;
	struct mem m = shared__attach(s, false);

	for (int i = 0; i <= s->chan; i++)
		mem__write(&m, i, mem__value(i, s->chan));
}

static void run_recreate(void)
{
	struct shared s = shared__make(KIND_SHM, "m0", 4), second;
	struct mem m;
	char name[16];

	for (int round = 0; round < 2; round++) {
		snprintf(name, sizeof(name), "w%d", round);
		proc__wait(proc__spawn(name, use_segment, &s));
		m = shared__attach(&s, true);
		for (int i = 0; i <= s.chan; i++)
			mem__expect(&m, i, s.chan);
		shared__detach(&s, &m);
		shared__remove(&s);
		if (round)
			break;
		second = s;
		second.chan = shm__make("m1", arena->chans[s.chan].key, 4, &second.id);
		s = second;
	}
}

/* ---- namespaces ---- */

static void in_namespace(void *arg)
{
	struct shared s = { .kind = KIND_SHM }, *was = arg;
	struct mem m;
	char name[16];

	if (unshare(CLONE_NEWIPC))
		skip("an ipc namespace: %s", strerror(errno));
	snprintf(name, sizeof(name), "m%d", self);
	/* The first of each: they have the same id and key. */
	s.chan = shm__make(name, 0x1234, was->chan, &s.id);
	m = shared__attach(&s, false);
	for (uint32_t i = 0; i < m.places; i++)
		mem__write(&m, i, mem__value(i, self));
	turn__pass(0);
	turn__await(0, arg_num("namespaces"));
	for (uint32_t i = 0; i < m.places; i++)
		mem__expect(&m, i, self);
	die_if(shmctl(s.id, IPC_RMID, NULL), "IPC_RMID: %s", strerror(errno));
}

static void run_namespaces(void)
{
	struct shared s = { 0 };

	for (uint64_t i = 0; i < arg_num("namespaces"); i++) {
		s.chan = i + 1; /* pages */
		proc__spawnf(in_namespace, &s, "ns%d", (int)i);
	}
}

/* ---- what the kernel refuses ---- */

static void readonly_user(void *arg)
{
	struct shared *s = arg;
	struct mem m = shared__attach(s, true);

	for (uint32_t i = 0; i < arg_num("places"); i++)
		die_if(!mem__faults(&m, i, true, SIGSEGV), "wrote to SHM_RDONLY");
	mem__expect(&m, 0, SEED);
}

static void run_readonly(void)
{
	struct shared s = shared__make(KIND_SHM, "m0", arg_num("places"));
	struct mem m = shared__attach(&s, false);

	mem__write(&m, 0, mem__value(0, SEED));
	proc__wait(proc__spawn("readonly", readonly_user, &s));
	shared__detach(&s, &m);
	shared__remove(&s);
}

/* ---- exec ---- */

static void exec_stage(const char *arg)
{
	int chan, id;
	struct mem m;

	die_if(sscanf(arg, "%d:%d", &chan, &id) != 2, "stage %s", arg);
	/* The old attachment went with the old image. */
	mem__shmat(&m, chan, id, 0);
	mem__expect(&m, 0, SEED);
	mem__write(&m, 1, mem__value(1, SEED));
}

static void exec_user(void *arg)
{
	struct shared *s = arg;
	struct mem m = shared__attach(s, false);
	char text[32];

	mem__expect(&m, 0, SEED);
	snprintf(text, sizeof(text), "%d:%d", s->chan, s->id);
	proc__exec_self(text);
}

static void run_exec(void)
{
	struct shared s = shared__make(KIND_SHM, "m0", 2);
	struct mem m = shared__attach(&s, false);

	mem__write(&m, 0, mem__value(0, SEED));
	proc__wait(proc__spawn("user", exec_user, &s));
	mem__expect(&m, 1, SEED);
	shared__detach(&s, &m);
	shared__remove(&s);
}

const struct factory shm_factories[] = {
	{
		.name = "shm-producer-consumer",
		.help = "one writes pages of a System V segment, others attach it read-only and read some",
		.params = { TOUCH_PARAMS },
		.selftest = "readers=2;write=0,2 read=0,1,2 relation=orphan;write= read=0",
		.run = run_touch,
	}, {
		.name = "shm-both-ways",
		.help = "two processes by turns write a page of a segment and read the other's",
		.params = { TURNS_PARAMS },
		.selftest = "rounds=3",
		.run = run_turns,
	}, {
		.name = "shm-inherit",
		.help = "attached before fork: children read the parent's pages and write their own",
		.params = { INHERIT_PARAMS },
		.selftest = "children=3",
		.run = run_inherit,
	}, {
		.name = "shm-attach-again",
		.help = "one process attaches a segment several times",
		.params = { AGAIN_PARAMS },
		.selftest = "order=together;order=one-by-one",
		.run = run_again,
	}, {
		.name = "shm-busy",
		.help = "written and read on and on in a segment, and by one only once",
		.params = { BUSY_PARAMS },
		.selftest = "ms=1",
		.run = run_busy,
	}, {
		.name = "shm-removed",
		.help = "found by key, IPC_RMID while attached, and used on",
		.params = {
			COMMON_PARAMS,
			{ "end", "shmdt", "shmdt|exit", 0, 0, "how it is detached" },
		},
		.selftest = "end=shmdt;end=exit",
		.run = run_removed,
	}, {
		.name = "shm-recreate",
		.help = "removed, and the same key made anew: two channels",
		.params = { COMMON_PARAMS },
		.run = run_recreate,
	}, {
		.name = "shm-namespaces",
		.help = "the same key and id in several ipc namespaces",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("namespaces", "2", 1, 50, "each with one process"),
		},
		.selftest = "namespaces=2",
		.run = run_namespaces,
	}, {
		.name = "shm-readonly",
		.help = "writes to a read-only attachment fail, and are none",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("places", "3", 1, MAX_PLACES, "pages that are tried"),
		},
		.selftest = "places=2",
		.run = run_readonly,
	}, {
		.name = "shm-exec",
		.help = "attached, exec, attached again",
		.params = { COMMON_PARAMS },
		.exec = true,
		.run = run_exec,
		.stage = exec_stage,
	},
	{ .name = NULL }
};
