/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who woke those who were woken before they could fall asleep: the kernel does not tell by whom. But
 * it told each waker how many it woke. If all of these but so many are known, and only one waker has
 * any left, then it was that one. Else the edge says how many were woken by somebody unknown.
 */
#include "graph_priv.h"

/* How many of those that it woke are in no flow yet; an upper bound. */
static uint64_t slack(const struct edge *waker)
{
	const struct chan *c = to_chan(waker->e.chan);
	uint64_t left = waker->e.woken;
	const struct flow *f;

	list_for_each(f, &c->flows, by_chan)
		if (f->f.from == waker->e.proc)
			left -= f->f.ops < left ? f->f.ops : left;
	return left;
}

int wakers_resolve(struct graph *g, struct chan *c)
{
	uint64_t open = 0, all = 0;
	struct edge *e, *one = NULL;
	size_t wakers = 0;
	int err = 0;

	list_for_each(e, &c->edges[ROLE_WAIT][0], by_chan)
		open += e->e.woken;
	if (!open)
		return 0;
	list_for_each(e, &c->edges[ROLE_WAKE][0], by_chan) {
		if (!slack(e))
			continue;
		wakers++;
		all += slack(e);
		one = e;
	}
	if (wakers != 1 || all < open)
		return 0;
	list_for_each(e, &c->edges[ROLE_WAIT][0], by_chan) {
		struct gflow f = {
			.from = one->e.proc,
			.to = e->e.proc,
			.ops = e->e.woken,
			/* Somebody who is not watched may have been woken, too. */
			.certainty = all == open ? CERTAIN_EXACT : CERTAIN_INFERRED,
		};

		e->e.woken = 0;
		if (!err)
			err = flow_add(g, c, &f);
	}
	return err;
}
