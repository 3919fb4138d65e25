/* SPDX-License-Identifier: BSD-2-Clause */
/* What must be known of the whole graph before its first node is drawn. */
#ifndef IPCTRACE_DOT_PLAN_H
#define IPCTRACE_DOT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "graph.h"

#define NO_GROUP SIZE_MAX

struct dot_plan {
	const char *engine;
	uint64_t max_bytes; /* of an edge */
	const char **groups; /* sorted; one cluster each */
	size_t nr_groups; /* 0: everything is in the same one */
	size_t *chan_group; /* NO_GROUP: nobody's alone */
	uint64_t *outside[ROLES_IO]; /* by channel: bytes that nobody watched wrote or read */
	size_t *row; /* of processes, then of channels: a long chain goes on in the next one */
};

/* The strings stay the graph's. The caller calls dot_plan__done(), also after an error. */
int dot_plan__make(struct dot_plan *p, const struct graph *g, const char *engine);
void dot_plan__done(struct dot_plan *p);

/* Index of the group that a process runs in, or NO_GROUP. */
size_t dot_plan__group(const struct dot_plan *p, const struct gproc *proc);

/* An edge that goes on in another row does not push its end to the right. */
bool dot_plan__same_row(const struct dot_plan *p, const struct graph *g, const struct gedge *e);

#endif
