/* SPDX-License-Identifier: BSD-2-Clause */
/* Debuggers: one process stops another, looks at it and changes it. */
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "factory.h"
#include "vms.h"

#define READY 0 /* turn */
#define DONE 1

#define WORDS 64
#define WORD sizeof(long)

static long *words; /* of the one that is traced */

struct traced {
	int slot, chan;
	pid_t tid; /* 0: its first thread */
};

static void must(long ret, const char *what)
{
	die_if(ret < 0, "ptrace %s: %s", what, strerror(errno));
}

static void control(const struct traced *t, long request, void *data)
{
	must(x_ptrace(t->chan, t->tid, request, NULL, data, ROLE_WRITE, 0), "control");
}

/* It has stopped, by a signal or an event. */
static void await_stop(const struct traced *t)
{
	pid_t pid = t->tid ? t->tid : vm__pid(t->slot);
	int status;

	die_if(waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status), "no stop: %#x", status);
}

/* ---- looking and changing ---- */

static void peek_and_poke(const struct traced *t, long i)
{
	long value = 0;

	must(x_ptrace(t->chan, t->tid, i % 2 ? PTRACE_PEEKTEXT : PTRACE_PEEKDATA, &words[i % WORDS],
		      &value, ROLE_READ, WORD),
	     "peek");
	die_if(value != i % WORDS, "peeked %ld at %ld", value, i);
	must(x_ptrace(t->chan, t->tid, i % 2 ? PTRACE_POKETEXT : PTRACE_POKEDATA, &words[i % WORDS],
		      (void *)value, ROLE_WRITE, WORD),
	     "poke");
}

static void registers(const struct traced *t)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };
	long value;

	must(x_ptrace(t->chan, t->tid, PTRACE_PEEKUSER, (void *)offsetof(struct user, regs.rip),
		      &value, ROLE_READ, WORD),
	     "peekuser");
	must(x_ptrace(t->chan, t->tid, PTRACE_GETREGS, NULL, &regs, ROLE_READ, sizeof(regs)),
	     "getregs");
	die_if(regs.rip != (unsigned long)value, "two instruction pointers");
	must(x_ptrace(t->chan, t->tid, PTRACE_SETREGS, NULL, &regs, ROLE_WRITE, sizeof(regs)),
	     "setregs");
	must(x_ptrace(t->chan, t->tid, PTRACE_GETREGSET, (void *)NT_PRSTATUS, &iov, ROLE_READ,
		      sizeof(regs)),
	     "getregset");
	die_if(iov.iov_len != sizeof(regs), "a set of %zu bytes", iov.iov_len);
	must(x_ptrace(t->chan, t->tid, PTRACE_SETREGSET, (void *)NT_PRSTATUS, &iov, ROLE_WRITE,
		      sizeof(regs)),
	     "setregset");
}

static void signals(const struct traced *t)
{
	struct __ptrace_peeksiginfo_args none = { .nr = 4 };
	siginfo_t info[4];
	uint64_t mask;

	must(x_ptrace(t->chan, t->tid, PTRACE_GETSIGINFO, NULL, info, ROLE_READ, sizeof(*info)),
	     "getsiginfo");
	must(x_ptrace(t->chan, t->tid, PTRACE_SETSIGINFO, NULL, info, ROLE_WRITE, sizeof(*info)),
	     "setsiginfo");
	must(x_ptrace(t->chan, t->tid, PTRACE_GETSIGMASK, (void *)sizeof(mask), &mask, ROLE_READ,
		      sizeof(mask)),
	     "getsigmask");
	must(x_ptrace(t->chan, t->tid, PTRACE_SETSIGMASK, (void *)sizeof(mask), &mask, ROLE_WRITE,
		      sizeof(mask)),
	     "setsigmask");
	/* Nothing waits there. */
	must(x_ptrace(t->chan, t->tid, PTRACE_PEEKSIGINFO, &none, info, ROLE_READ, 0),
	     "peeksiginfo");
}

/* Nothing is at that address; and only who stands still can be looked at. */
static void mistakes(const struct traced *t, int want)
{
	long value;

	die_if(x_ptrace(t->chan, t->tid, PTRACE_PEEKDATA, (void *)WORD, &value, ROLE_READ, 0) >= 0,
	       "peeked at nothing");
	die_if(errno != want, "peek: %s", strerror(errno));
}

static void look(const struct traced *t)
{
	for (uint64_t i = 0; i < arg_num("count"); i++)
		peek_and_poke(t, i);
	if (arg_is("what", "all")) {
		registers(t);
		signals(t);
		mistakes(t, EIO);
	}
}

/* ---- who ---- */

static void *sleeper(void *arg)
{
	(void)arg;
	arena->scratch[0] = syscall(SYS_gettid);
	turn__pass(READY);
	turn__await(DONE, 1);
	return NULL;
}

static void prey(void *arg)
{
	pthread_t thread;

	(void)arg;
	if (arg_num("thread")) {
		die_if(pthread_create(&thread, NULL, sleeper, NULL), "pthread_create");
		pthread_join(thread, NULL);
		return;
	}
	turn__pass(READY);
	turn__await(DONE, 1);
}

static void tracer(void *arg)
{
	struct traced *t = arg;

	turn__await(READY, 1);
	t->tid = arena->scratch[0];
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		if (arg_is("by", "attach")) {
			control(t, PTRACE_ATTACH, NULL);
		} else {
			control(t, PTRACE_SEIZE, NULL);
			control(t, PTRACE_INTERRUPT, NULL);
		}
		await_stop(t);
		look(t);
		control(t, PTRACE_DETACH, NULL);
	}
	mistakes(t, ESRCH);
	turn__pass(DONE);
}

static void fill_words(void)
{
	words = (long *)vm__memory(WORDS * sizeof(*words));
	for (int i = 0; i < WORDS; i++)
		words[i] = i;
}

static void run_ptrace(void)
{
	struct traced t = { 0 };

	fill_words();
	t.slot = proc__spawn("owner", prey, NULL);
	t.chan = vm__chan(t.slot);
	if (arg_is("rel", "child"))
		tracer(&t);
	else
		proc__spawn("tracer", tracer, &t);
	procs__join();
	vm__finish();
}

/* ---- who asks for it ---- */

static void volunteer(void *arg)
{
	(void)arg;
	die_if(syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0), "traceme: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("stops"); i++)
		raise(SIGSTOP);
}

static void run_traceme(void)
{
	const int n = arg_num("tracees");
	int first = arena->nr_procs;

	fill_words();
	for (int i = 0; i < n; i++) {
		struct traced t = { 0 };

		t.slot = proc__spawnf(volunteer, NULL, "t%d", i);
		t.chan = vm__chan(t.slot);
		for (uint64_t k = 0; k < arg_num("stops"); k++) {
			await_stop(&t);
			look(&t);
			control(&t, PTRACE_CONT, NULL);
		}
	}
	procs__join();
	vm__finish();
	for (int i = first; i < first + n; i++) {
		const int chan = vm__chan(i);

		edge__at(i, chan, ROLE_WRITE, 1)->ops++;
		edge__get(0, chan, ROLE_READ)->ops++;
		flow__add_ops(i, 0, chan, 1);
	}
}

#define COUNT_PARAM(value) NUM_PARAM("count", value, 1, 100000, "words that are read and written")
#define WHAT_PARAM                                                                           \
	{                                                                                    \
		"what", "words", "words|all", 0, 0, "also registers, signals and what fails" \
	}

const struct factory vm_trace_factories[] = {
	{
		.name = "vm-ptrace",
		.help = "a process stops another one, and reads and writes words of its memory",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("100"), WHAT_PARAM,
			NUM_PARAM("rounds", "1", 1, 100, "times that it does so"),
			NUM_PARAM("thread", "0", 0, 1, "1: to a thread that is not the first one"),
			{ "by", "seize", "seize|attach", 0, 0, "how it begins" },
			{ "rel", "child", "child|siblings", 0, 0, "what the other is to it" },
		},
		.selftest = "what=all;by=attach rounds=3 what=all;thread=1;rel=siblings thread=1",
		.run = run_ptrace,
	}, {
		.name = "vm-traceme",
		.help = "children ask to be traced, and stop",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("10"), WHAT_PARAM,
			NUM_PARAM("tracees", "3", 1, 100, "children"),
			NUM_PARAM("stops", "2", 1, 100, "of each"),
		},
		.selftest = "what=all",
		.run = run_traceme,
	},
	{ .name = NULL }
};
