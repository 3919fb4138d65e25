/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which regular files are communication: one that somebody wrote and somebody else used, too, or that
 * was locked. Most files are read by many and written by nobody, or are one process's own.
 */
#include "graph_priv.h"
#include "mech.h"

static bool is_shared(const struct chan *c)
{
	const struct gproc *one = NULL;
	bool several = false, written = false;
	const struct edge *e;

	if (!list__empty(&c->flows) || chan_is_inotify(&c->c.row))
		return true;
	for_each_edges(list, c) list_for_each(e, list, by_chan)
	{
		if (e->e.role >= ROLES_IO)
			return true;
		if (e->e.holder)
			continue;
		written |= e->e.role == ROLE_WRITE;
		several |= one && one != e->e.proc;
		one = e->e.proc;
	}
	return several && written;
}

/* Its calls are none of communication after all. */
static void uncount(struct rec_lost *lost, const struct gedge *e)
{
	uint64_t calls = e->ops;

	for (int i = 0; i < 256; i++)
		calls += e->errors[i];
	lost->seen -= calls < lost->seen ? calls : lost->seen;
	lost->delivered -= calls < lost->delivered ? calls : lost->delivered;
}

void files_drop_private(struct graph *g)
{
	struct edge *e, *next;
	struct ledger_row *r, *next_row;
	struct chan *c;

	list_for_each(c, &g->priv->chans, all) {
		if (c->c.row.key.mech != MECH_FILE || is_shared(c))
			continue;
		for_each_edges(list, c) list_for_each_safe(e, next, list, by_chan)
		{
			uncount(&g->lost, &e->e);
			graph_free_edge(g, e);
		}
		list_for_each_safe(r, next_row, &c->ledger, by_chan)
			ledger_free_row(g, r);
	}
}
