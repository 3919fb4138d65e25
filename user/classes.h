/* SPDX-License-Identifier: BSD-2-Clause */
/* Which nodes of a graph are alike. */
#ifndef IPCTRACE_CLASSES_H
#define IPCTRACE_CLASSES_H

#include "graph.h"

/*
 * class[i] of process i, and of channel i at g->nr_procs + i: two have the same if they are alike
 * in themselves (program, user, being begun by the same program; mechanism) and in which classes they
 * are joined to. Classes count up from 0; *nr of them. The caller owns class[]. 0 or -ENOMEM. coarse:
 * processes are alike if they are in themselves, and channels if their processes are.
 */
int classes__find(const struct graph *g, uint32_t *class, size_t *nr, bool coarse);

#endif
