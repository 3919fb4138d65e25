/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mech.h"
#include "quiet.h"

/* "mechanism=pipe,signal" */
static bool asked_for_signals(const struct graph *g)
{
	for (char *const *s = g->meta.filters; s && *s; s++)
		if (!strncmp(*s, "mechanism=", 10) && strstr(*s, "signal"))
			return true;
	return false;
}

static bool is_sigchld(const struct gchan *c)
{
	return mech__get(c->row.key.mech)->is_signal && c->row.key.dev == SIGCHLD && !c->folded;
}

/*
 * From a child to its parent, or as it ended to somebody who is not watched and has taken over from
 * that: whoever else sends it has something to say.
 */
static bool is_of_child(const struct gedge *e, bool watched)
{
	if (e->role != ROLE_SEND_SIGNAL || e->proc->parent_key == e->chan->row.key.ino)
		return true;
	return !watched && e->proc->flags & PROC_DEAD && e->ops <= 1;
}

static bool is_watched(const struct graph *g, uint32_t key)
{
	for (size_t i = 0; i < g->nr_procs; i++)
		if (g->procs[i]->key == key)
			return !(g->procs[i]->flags & PROC_HOLDER);
	return false;
}

static void need(struct quiet *q, const struct gproc *p)
{
	for (; p && q->procs[p->index]; p = p->parent)
		q->procs[p->index] = false;
}

static void find_chans(struct quiet *q, const struct graph *g)
{
	for (size_t i = 0; i < g->nr_chans; i++)
		q->chans[i] = is_sigchld(g->chans[i]);
	for (size_t i = 0; i < g->nr_edges; i++) {
		const struct gchan *c = g->edges[i]->chan;

		if (q->chans[c->index] && !is_of_child(g->edges[i], true) &&
		    (!is_of_child(g->edges[i], false) || is_watched(g, c->row.key.ino)))
			q->chans[c->index] = false;
	}
	for (size_t i = 0; i < g->nr_edges; i++)
		if (q->chans[g->edges[i]->chan->index] && g->edges[i]->role == ROLE_SEND_SIGNAL)
			q->signals += g->edges[i]->ops;
	for (size_t i = 0; i < g->nr_chans; i++)
		q->nr_chans += q->chans[i];
	for (size_t i = 0; i < g->nr_flows; i++)
		q->nr_flows += q->chans[g->flows[i]->chan->index];
}

/* As in the whole graph: who has edges, what was asked for, and their ancestors are needed. */
static void find_procs(struct quiet *q, const struct graph *g)
{
	bool any = false;

	for (size_t i = 0; i < g->nr_chans; i++)
		any |= q->chans[i];
	if (!any)
		return;
	memset(q->procs, true, g->nr_procs * sizeof(*q->procs));
	for (size_t i = 0; i < g->nr_procs; i++)
		if (g->procs[i]->flags & PROC_ROOT)
			need(q, g->procs[i]);
	for (size_t i = 0; i < g->nr_edges; i++)
		if (!q->chans[g->edges[i]->chan->index])
			need(q, g->edges[i]->proc);
	for (size_t i = 0; i < g->nr_flows; i++) {
		if (q->chans[g->flows[i]->chan->index])
			continue;
		if (g->flows[i]->from != g->outside)
			need(q, g->flows[i]->from);
		if (g->flows[i]->to != g->outside)
			need(q, g->flows[i]->to);
	}
}

int quiet__find(struct quiet *q, const struct graph *g)
{
	q->nr_procs = q->nr_chans = q->nr_flows = q->signals = 0;
	q->procs = calloc(g->nr_procs + 1, sizeof(*q->procs));
	q->chans = calloc(g->nr_chans + 1, sizeof(*q->chans));
	if (!q->procs || !q->chans)
		return -ENOMEM;
	if (asked_for_signals(g))
		return 0;
	find_chans(q, g);
	find_procs(q, g);
	for (size_t i = 0; i < g->nr_procs; i++)
		q->nr_procs += q->procs[i];
	return 0;
}

void quiet__free(struct quiet *q)
{
	free(q->procs);
	free(q->chans);
}
