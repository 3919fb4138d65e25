/* SPDX-License-Identifier: BSD-2-Clause */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mech.h"
#include "quiet.h"

static bool asked_for_signals(const struct gmeta *meta)
{
	for (size_t i = 0; meta->filters && meta->filters[i]; i++)
		if (!strncmp(meta->filters[i], "mechanism=", 10) &&
		    strstr(meta->filters[i], "signal"))
			return true;
	return false;
}

static bool is_of_child(const struct gedge *e)
{
	return e->proc->parent && e->proc->parent->pid == e->chan->row.key.gen;
}

struct quiet quiet__find(const struct graph *g)
{
	struct quiet q = { .chan = calloc(g->nr_chans + 1, sizeof(*q.chan)) };

	if (!q.chan || asked_for_signals(&g->meta))
		return q;
	for (size_t i = 0; i < g->nr_chans; i++)
		q.chan[i] = mech__get(g->chans[i]->row.key.mech)->is_signal &&
			    g->chans[i]->row.key.dev == SIGCHLD;
	for (size_t i = 0; i < g->nr_edges; i++)
		if (g->edges[i]->role == ROLE_SEND_SIGNAL && !is_of_child(g->edges[i]))
			q.chan[g->edges[i]->chan->index] = false;
	for (size_t i = 0; i < g->nr_chans; i++)
		q.nr_chans += q.chan[i];
	for (size_t i = 0; i < g->nr_flows; i++)
		q.nr_flows += q.chan[g->flows[i]->chan->index];
	return q;
}
