/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much of what there is: as a part of all that was seen of the same kind, because a page or a
 * signal may be as much worth knowing of as a megabyte in a pipe is.
 */
#ifndef IPCTRACE_WEIGH_H
#define IPCTRACE_WEIGH_H

#include "graph.h"

struct weights {
	double *total; /* by kind */
	double *part; /* by class of nodes: of the kind of which it has most; 0 to 1 */
};

/* class: of processes, then of channels. weigh__free() frees what is in w. -ENOMEM. */
int weigh__classes(struct weights *w, const struct graph *g, const uint32_t *class, size_t nr);
double weigh__edge(const struct weights *w, const struct gedge *e);
void weigh__free(struct weights *w);

#endif
