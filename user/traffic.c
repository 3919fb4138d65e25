/* SPDX-License-Identifier: BSD-2-Clause */
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>

#include "human.h"
#include "mech.h"
#include "words.h"

/* Edges come process by process. */
static void add_traffic(struct traffic *t, const struct gedge *e)
{
	const enum side side = e->role % SIDES;

	t->used |= !e->holder;
	if (e->role == ROLE_LOCK) {
		t->locks += e->ops;
		t->lock_waits += e->blocked_ops;
	}
	if (e->role == ROLE_ATTACH)
		t->attached += e->ops;
	if (e->role >= ROLE_ATTACH)
		return;
	t->bytes[side] += e->bytes;
	t->pages[side] += e->pages;
	t->events[side] += e->ops;
	if (t->last[side] == e->proc)
		return;
	if (!t->users[side]++)
		t->first[side] = e->proc;
	t->last[side] = e->proc;
}

void traffic__count(struct traffic *traffic, const struct graph *g)
{
	for (size_t i = 0; i < g->nr_edges; i++)
		add_traffic(&traffic[g->edges[i]->chan->index], g->edges[i]);
	for (size_t i = 0; i < g->nr_flows; i++)
		traffic[g->flows[i]->chan->index].nr_flows++;
}

int traffic__users(struct table *t, const struct traffic *traffic, enum side side)
{
	char *label;

	if (!traffic->users[side]) {
		table__add(t, "nobody");
		return 0;
	}
	if (traffic->users[side] == 1)
		return proc__add_label(t, "", traffic->first[side]);
	label = proc__label(traffic->first[side]);
	if (!label)
		return -ENOMEM;
	table__addf(t, "%s +%zu", label, traffic->users[side] - 1);
	free(label);
	return 0;
}

void traffic__why(struct table *to, const struct gchan *c, const struct traffic *t)
{
	const struct mech_desc *m = mech__get(c->row.key.mech);
	char n[HUMAN_LEN], taken[HUMAN_LEN], amount[AMOUNT_LEN];

	if (t->bytes[TAKES])
		table__addf(to, "%s written, %s read: who was at the other end is not known",
			    human__exact(n, t->bytes[GIVES]), human__exact(taken, t->bytes[TAKES]));
	else if (t->bytes[GIVES] || t->pages[GIVES])
		table__addf(to, "%s written, none read",
			    amount__text(amount, c, t->bytes[GIVES], t->pages[GIVES]));
	else if (c->row.found_bytes)
		table__addf(to, "%s lay in it all the time", human__exact(n, c->row.found_bytes));
	else if (m->measured == IN_OPS && m->is_signal && t->events[GIVES])
		table__addf(to, "%s sent, none taken", human__count(n, t->events[GIVES]));
	else if (m->measured == IN_OPS && t->events[GIVES] && !t->events[TAKES])
		table__add(to, "nobody waited");
	else if (t->lock_waits)
		table__addf(to, "calls to lock: %s, %s waited", human__count(n, t->locks),
			    human__count(taken, t->lock_waits));
	else if (t->locks)
		table__addf(to, "calls to lock: %s, nobody waited", human__count(n, t->locks));
	else if (t->attached)
		table__addf(to, "times mapped: %s, no touch seen", human__count(n, t->attached));
	else if (t->used)
		table__add(to, "nothing came");
	else
		table__add(to, "never used");
}
