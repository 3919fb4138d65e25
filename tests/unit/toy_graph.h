/* SPDX-License-Identifier: BSD-2-Clause */
/* Finished graphs made by hand, for tests of the writers. */
#ifndef IPCTRACE_TOY_GRAPH_H
#define IPCTRACE_TOY_GRAPH_H

#include "user/graph.h"

/* The caller frees it, with all that is added to it, by toy__free(). */
struct graph *toy__new(void);
void toy__free(struct graph *g);

struct gproc *toy__proc(struct graph *g, const char *comm);
struct gchan *toy__chan(struct graph *g, enum mech mech, const char *name);
struct gedge *toy__edge(struct graph *g, struct gproc *p, struct gchan *c, enum role role,
			uint64_t bytes, uint64_t ops);
struct gflow *toy__flow(struct graph *g, struct gproc *from, struct gproc *to, struct gchan *c,
			uint64_t bytes);

/* A chain of n processes over pipes. */
struct graph *toy__chain(size_t n, uint64_t bytes);

/* Every string of it is meant to break something. */
struct graph *toy__hostile(void);

#define HOSTILE "\"];<script>\n\x1b[31m"

/* What a writer makes of it; the caller frees it. */
struct out_ops;
char *toy__write(const struct graph *g, const struct out_ops *ops);

#endif
