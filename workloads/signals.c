/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "signals.h"

int signal__chan(int receiver, int sig)
{
	char name[32];
	int chan;

	for (uint32_t i = 0; i < arena->nr_chans; i++)
		if (arena->chans[i].receiver == receiver + 1 &&
		    arena->chans[i].tag == (uint32_t)sig)
			return i;
	snprintf(name, sizeof(name), "%d-%s", sig, arena->procs[receiver].name);
	chan = chan__add(name, "signal", 0, 0);
	arena->chans[chan].receiver = receiver + 1;
	arena->chans[chan].tag = sig;
	return chan;
}

int signal__origin(const char *name)
{
	int slot = proc__slot(name, -1);

	arena->procs[slot].reaped = 1;
	return slot;
}

void signal__sent(int from, int chan, enum fate fate, uint64_t n)
{
	struct edge *e = edge__get(from, chan, ROLE_SEND_SIGNAL);

	e->ops += n;
	if (fate == IGNORED)
		e->ignored += n;
	if (fate == MERGED)
		e->merged += n;
}

void signal__value(int from, int chan, int value)
{
	struct edge *e = edge__get(from, chan, ROLE_SEND_SIGNAL);

	e->value = value;
	e->has_value = 1;
}

void signal__taken_by(int by, int chan, int from, uint64_t n)
{
	edge__get(by, chan, ROLE_RECEIVE_SIGNAL)->ops += n;
	if (n)
		flow__add_ops(from, by, chan, n);
}

void signal__taken(int chan, int from, uint64_t n)
{
	signal__taken_by(self, chan, from, n);
}

static int told_turn;

static void on_signal(int sig)
{
	int err = errno;

	(void)sig;
	turn__pass(told_turn);
	errno = err;
}

void signal__handle(int sig, int turn)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	told_turn = turn;
	sigfillset(&sa.sa_mask);
	die_if(sigaction(sig, &sa, NULL), "sigaction %d: %s", sig, strerror(errno));
}

void signal__set(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	die_if(sigprocmask(how, &set, NULL), "sigprocmask: %s", strerror(errno));
}

pid_t signal__pid(int slot)
{
	pid_t pid;

	while (!(pid = proc__pid(slot)))
		usleep(100);
	return pid;
}

void signal__children_ended(void)
{
	procs__join();
	for (uint32_t i = 1; i < arena->nr_procs; i++) {
		const struct proc *p = &arena->procs[i];
		const int chan = p->parent < 0 ? -1 : signal__chan(p->parent, SIGCHLD);

		if (chan >= 0)
			signal__sent(i, chan, IGNORED, 1);
	}
}

int sys_tgkill(pid_t pid, pid_t tid, int sig)
{
	return syscall(SYS_tgkill, pid, tid, sig);
}
