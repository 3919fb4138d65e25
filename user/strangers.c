/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who is not watched may be known twice: as the holder of channels that was there when the trace began,
 * and later as somebody who sent a signal to one who is watched, or did something else to it. Here
 * both become one.
 */
#include <errno.h>

#include "graph_priv.h"

/* Known as a holder, and not by anything that it did. */
static bool only_holds(const struct proc *p)
{
	const struct edge *e;

	list_for_each(e, &p->edges, by_proc)
		if (!e->held || e->e.ops || to_chan(e->e.chan)->c.folded)
			return false;
	return !list__empty(&p->edges) && list__empty(&p->given) && list__empty(&p->taken);
}

static int move_holds(struct graph *g, struct proc *from, struct proc *to)
{
	struct edge *e, *next;

	list_for_each_safe(e, next, &from->edges, by_proc) {
		struct edge *into = graph_get_edge(g, to, to_chan(e->e.chan), e->e.role, e->e.end);

		if (!into)
			return -ENOMEM;
		into->held = true;
		graph_free_edge(g, e);
	}
	/* One that has ended meanwhile has no program any more that could be asked for. */
	if (!to->p.exe || !*to->p.exe) {
		char *exe = to->p.exe;

		to->p.exe = from->p.exe;
		from->p.exe = exe;
	}
	return 0;
}

static int meet(struct graph *g, struct map *known, struct proc *p)
{
	struct proc *other = map__get(known, p->p.start_ns, p->p.pid);

	if (!other)
		return map__put(known, p->p.start_ns, p->p.pid, p);
	if (only_holds(p))
		return move_holds(g, p, other);
	return only_holds(other) ? move_holds(g, other, p) : 0;
}

int strangers_merge(struct graph *g)
{
	struct map known = {};
	struct proc *p;
	int err = 0;

	list_for_each(p, &g->priv->procs, all)
		if (!err && p->p.flags & PROC_HOLDER && p->p.pid)
			err = meet(g, &known, p);
	map__free(&known);
	return err;
}
