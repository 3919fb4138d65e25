/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A graph that can be read by eye. One that is small enough stays as it is. In others like nodes
 * become one (same program, and like it at the other ends of like channels), then the ones with
 * the fewest bytes become "other" ones: bytes always sum up.
 */
#ifndef IPCTRACE_REDUCE_H
#define IPCTRACE_REDUCE_H

#include "graph.h"

struct reduce_opts {
	size_t merge_above; /* processes and channels together: like ones become one */
	size_t max_nodes; /* that are then drawn */
	double node_fraction; /* of all bytes: nodes with less become "other" */
	double edge_fraction; /* and edges with less are drawn from "other" */
};

#define REDUCE_DEFAULTS                                                                          \
	{                                                                                        \
		.merge_above = 40, .max_nodes = 80, .node_fraction = .005, .edge_fraction = .001 \
	}

/*
 * The result uses the strings of g, which must live longer; the caller frees it with reduce__free(),
 * not graph__free(). If something was put together, the last of meta.notes says how much is shown.
 * NULL: no memory.
 */
struct graph *reduce__for_drawing(const struct graph *g, const struct reduce_opts *opts);
void reduce__free(struct graph *reduced);

#endif
