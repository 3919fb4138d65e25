/* SPDX-License-Identifier: BSD-2-Clause */
/* The traced command: made and held before its first instruction, then let go. */
#ifndef IPCTRACE_LAUNCH_H
#define IPCTRACE_LAUNCH_H

#include <stdbool.h>
#include <sys/types.h>

struct launch;

/*
 * Fork; the child waits. Before that the name is looked up as execvp() would.
 * -ENOENT, -EACCES: nothing was started; others: could not fork.
 */
int launch__prepare(struct launch **l, char **argv);
pid_t launch__pid(const struct launch *l);

/* Let it exec. */
void launch__go(struct launch *l);

/*
 * Has it ended? *status is what a shell would say of it (126 and 127 if exec failed, for which
 * launch__errno() then tells why).
 */
bool launch__ended(struct launch *l, int *status);
int launch__errno(const struct launch *l);

/* Ends a child that was never let go. NULL is legal. */
void launch__free(struct launch *l);

#endif
