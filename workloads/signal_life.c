/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals that end a process, that tell of one, and those that no process sends. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "factory.h"
#include "signals.h"

#define TAKEN 0
#define READY 1

/* ---- the end of a process ---- */

static void *idle(void *arg)
{
	(void)arg;
	turn__pass(READY);
	for (;;)
		pause();
	return NULL;
}

static void victim(void *arg)
{
	struct rlimit none = { 0, 0 };
	pthread_t thread;

	(void)arg;
	setrlimit(RLIMIT_CORE, &none);
	for (uint32_t i = 1; i < arg_num("threads"); i++)
		die_if(pthread_create(&thread, NULL, idle, NULL), "pthread_create");
	idle(NULL);
}

static int lethal(void)
{
	return arg_is("sig", "term")   ? SIGTERM
	       : arg_is("sig", "kill") ? SIGKILL
	       : arg_is("sig", "abrt") ? SIGABRT
	       : arg_is("sig", "quit") ? SIGQUIT
				       : SIGRTMIN;
}

static void run_fatal(void)
{
	int to = proc__spawn("victim", victim, NULL), chan = signal__chan(to, lethal());

	proc__expect_signal(to, lethal());
	turn__await(READY, arg_num("threads"));
	die_if(kill(proc__pid(to), lethal()), "kill: %s", strerror(errno));
	signal__sent(0, chan, SENT, 1);
	signal__taken_by(to, chan, 0, 1);
	signal__children_ended();
}

/* ---- SIGCHLD ---- */

static void stopping_child(void *arg)
{
	uint32_t rounds = arg_num("rounds");

	(void)arg;
	/* Not before the parent has taken what it was told last, or both were one. */
	for (uint32_t i = 0; i < rounds; i++) {
		turn__await(READY, i + 1);
		die_if(raise(SIGSTOP), "raise: %s", strerror(errno));
	}
	turn__await(READY, rounds + 1);
}

/* It stops, is continued, and ends: three times the parent is told, and takes it. */
static void run_child(void)
{
	uint32_t rounds = arg_num("rounds"), told = 0;
	int child, status, chld = signal__chan(0, SIGCHLD), stop, cont;

	signal__handle(SIGCHLD, TAKEN);
	child = proc__spawn("child", stopping_child, NULL);
	stop = signal__chan(child, SIGSTOP);
	cont = signal__chan(child, SIGCONT);
	for (uint32_t i = 0; i < rounds; i++) {
		turn__pass(READY);
		turn__await(TAKEN, ++told);
		die_if(waitpid(proc__pid(child), &status, WUNTRACED) < 0 || !WIFSTOPPED(status),
		       "the child has not stopped");
		die_if(kill(proc__pid(child), SIGCONT), "kill: %s", strerror(errno));
		turn__await(TAKEN, ++told);
	}
	turn__pass(READY);
	turn__await(TAKEN, ++told);
	signal__sent(child, stop, SENT, rounds);
	signal__taken_by(child, stop, child, rounds);
	signal__sent(0, cont, IGNORED, rounds);
	edge__get(child, cont, ROLE_RECEIVE_SIGNAL);
	signal__sent(child, chld, SENT, told);
	signal__taken_by(0, chld, child, told);
}

/* ---- from nobody ---- */

static void broken_pipe(void *arg)
{
	struct end p[2];

	(void)arg;
	pipe__open("p", p, 0);
	end__close(&p[0]);
	if (arg_is("mode", "ignore"))
		signal(SIGPIPE, SIG_IGN);
	if (arg_is("mode", "handler"))
		signal__handle(SIGPIPE, TAKEN);
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_write(&p[1], "x", 1) >= 0 || errno != EPIPE, "no EPIPE");
}

/* Nobody reads the pipe any more: the kernel sends SIGPIPE to who writes. */
static void run_pipe(void)
{
	int kernel = signal__origin("[kernel]");
	int child = proc__spawn("writer", broken_pipe, NULL);
	int chan = signal__chan(child, SIGPIPE);
	uint64_t count = arg_num("count");

	if (arg_is("mode", "ignore")) {
		signal__sent(kernel, chan, IGNORED, count);
		edge__get(child, chan, ROLE_RECEIVE_SIGNAL);
	} else {
		signal__sent(kernel, chan, SENT, count);
		signal__taken_by(child, chan, kernel, count);
	}
	signal__children_ended();
}

static void *page;

static void on_fault(int sig)
{
	(void)sig;
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	turn__pass(TAKEN);
}

static void run_fault(void)
{
	int kernel = signal__origin("[kernel]"), chan = signal__chan(0, SIGSEGV);
	uint64_t count = arg_num("count");
	struct sigaction sa = { .sa_handler = on_fault };

	sigaction(SIGSEGV, &sa, NULL);
	page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	die_if(page == MAP_FAILED, "mmap: %s", strerror(errno));
	for (uint64_t i = 0; i < count; i++) {
		mprotect(page, 4096, PROT_NONE);
		*(volatile char *)page = 1;
	}
	signal__sent(kernel, chan, SENT, count);
	signal__taken(chan, kernel, count);
	signal__children_ended();
}

/* ---- timers ---- */

static void arm(timer_t timer)
{
	struct itimerval it = { .it_value.tv_usec = 1000 };
	struct itimerspec its = { .it_value.tv_nsec = 1000000 };

	if (arg_is("how", "setitimer"))
		die_if(setitimer(ITIMER_PROF, &it, NULL), "setitimer: %s", strerror(errno));
	else
		die_if(timer_settime(timer, 0, &its, NULL), "timer_settime: %s", strerror(errno));
}

static void run_timer(void)
{
	int timer = signal__origin("[timer]"), sig = SIGRTMIN + 2, chan;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL };
	uint64_t count = arg_num("count");
	timer_t id = NULL;

	/* SIGALRM is the deadline's. */
	if (arg_is("how", "setitimer"))
		sig = SIGPROF;
	chan = signal__chan(0, sig);
	ev.sigev_signo = sig;
	signal__handle(sig, TAKEN);
	if (arg_is("how", "timer_create"))
		die_if(timer_create(CLOCK_MONOTONIC, &ev, &id), "timer_create: %s",
		       strerror(errno));
	for (uint32_t i = 0; i < count; i++) {
		arm(id);
		/* SIGPROF comes to who works. */
		while (__atomic_load_n(turn__word(TAKEN), __ATOMIC_SEQ_CST) <= i)
			;
	}
	signal__sent(timer, chan, SENT, count);
	signal__taken(chan, timer, count);
	signal__children_ended();
}

const struct factory signal_life_factories[] = {
	{
		.name = "signal-fatal",
		.help = "a signal that ends a process",
		.params = {
			COMMON_PARAMS,
			{ "sig", "term", "term|kill|abrt|quit|rt", 0, 0, "which" },
			NUM_PARAM("threads", "1", 1, 100, "threads of that process"),
		},
		.selftest = "sig=kill;sig=abrt;sig=rt threads=3",
		.run = run_fatal,
	}, {
		.name = "signal-child",
		.help = "SIGCHLD when a child stops, goes on, and ends",
		.params = { COMMON_PARAMS, NUM_PARAM("rounds", "2", 1, 1000, "stops") },
		.selftest = "rounds=2;rounds=20",
		.run = run_child,
	}, {
		.name = "signal-pipe",
		.help = "SIGPIPE from the kernel",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "3", 1, 10000, "writes"),
			{ "mode", "handler", "handler|ignore", 0, 0, "what the writer does" },
		},
		.selftest = "count=2;mode=ignore",
		.run = run_pipe,
	}, {
		.name = "signal-fault",
		.help = "SIGSEGV from the kernel, for touching memory",
		.params = { COMMON_PARAMS, NUM_PARAM("count", "3", 1, 10000, "touches") },
		.selftest = "count=2",
		.run = run_fault,
	}, {
		.name = "signal-timer",
		.help = "signals of a timer, each taken before it is armed again",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "3", 1, 10000, "times"),
			{ "how", "timer_create", "timer_create|setitimer", 0, 0, "which timer" },
		},
		.selftest = "count=2;how=setitimer",
		.run = run_timer,
	},
	{ .name = NULL }
};
