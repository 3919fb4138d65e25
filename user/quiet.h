/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is not drawn, as every program has it that has children: when they end, it is sent SIGCHLD.
 * Where signals were asked for (-m signal), they are.
 */
#ifndef IPCTRACE_QUIET_H
#define IPCTRACE_QUIET_H

#include "graph.h"

struct quiet {
	bool *chan; /* by index; the caller frees it. NULL: no memory */
	size_t nr_chans, nr_flows; /* that are left out */
};

struct quiet quiet__find(const struct graph *g);

#endif
