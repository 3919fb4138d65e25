/* SPDX-License-Identifier: BSD-2-Clause */
/* What was found by sampling shared memory, as a table for people. */
#ifndef IPCTRACE_SAMPLED_H
#define IPCTRACE_SAMPLED_H

#include <stdio.h>

#include "graph.h"
#include "table.h"

/* NULL: no memory. The caller frees it. *nr: its rows. */
struct table *sampled__table(const struct graph *g, size_t *nr);

/* What that means, in a line each; nothing if it was not asked for. */
void sampled__explain(FILE *f, const struct graph *g);

#endif
