/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What people need not see: that a child ended, and that its parent had a SIGCHLD for it. Every
 * process says so, and the list of processes too.
 */
#ifndef IPCTRACE_QUIET_H
#define IPCTRACE_QUIET_H

#include "graph.h"

/* Both by index; quiet__free() frees them. */
struct quiet {
	bool *procs; /* that did nothing else */
	bool *chans;
	size_t nr_procs, nr_chans, nr_flows; /* that are quiet */
	uint64_t signals; /* on those */
};

/* None, if signals were asked for by name. -ENOMEM. */
int quiet__find(struct quiet *q, const struct graph *g);
void quiet__free(struct quiet *q);

#endif
