/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending and taking signals, counted. */
#ifndef WORKLOAD_SIGNALS_H
#define WORKLOAD_SIGNALS_H

#include <signal.h>

#include "ops.h"

/* The signal of that number to that process: a channel. */
int signal__chan(int receiver, int sig);
/* Who sends where no process does: "[kernel]" or "[timer]". */
int signal__origin(const char *name);

/* Count what was sent: where it went, and what became of it. */
enum fate { SENT, IGNORED, MERGED };
void signal__sent(int from, int chan, enum fate fate, uint64_t n);
void signal__value(int from, int chan, int value);
/* The calling process has taken n, of one sender. */
void signal__taken(int chan, int from, uint64_t n);
void signal__taken_by(int by, int chan, int from, uint64_t n);

/* A handler that counts, and tells whoever waits on that turn. */
void signal__handle(int sig, int turn);
void signal__set(int how, int sig); /* SIG_BLOCK, SIG_UNBLOCK */
pid_t signal__pid(int slot); /* waits until it is known */

/* Each child tells the first process that it has ended, which by default ignores that. Call last. */
void signal__children_ended(void);

int sys_tgkill(pid_t pid, pid_t tid, int sig);

#endif
