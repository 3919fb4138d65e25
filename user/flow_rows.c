/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flows that the kernel side counts itself. Of files it cannot always tell the writers apart; of events
 * it can only infer them.
 */
#include "graph_priv.h"
#include "mech.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Bytes of a file that were not told apart: of whom the reader may have them. */
static int take_parts(struct graph *g, struct chan *c, const struct ledger_row *r)
{
	bool alone = !c->c.row.found_bytes && !(c->c.row.flags & CHAN_PREEXISTING);
	const bool events = chan_is_inotify(&c->c.row);
	const struct edge *from;
	size_t writers = 0;
	int err = 0;

	list_for_each(from, &c->edges[ROLE_WRITE][0], by_chan)
		writers += from->e.bytes > 0;
	list_for_each(from, &c->edges[ROLE_WRITE][0], by_chan) {
		struct gflow f = { .from = from->e.proc, .to = &r->to->p };

		if (alone && writers == 1) {
			f.bytes = r->bytes;
			f.ops = r->ops;
		} else {
			f.shared_bytes = events ? r->bytes : min_u64(r->bytes, from->e.bytes);
			f.certainty = CERTAIN_SHARED;
		}
		if (!err && from->e.proc != &r->to->p)
			err = flow_add(g, c, &f);
	}
	return err;
}

int flow_resolve_rows(struct graph *g, struct chan *c)
{
	const bool parts = mech__get(c->c.row.key.mech)->measured == IN_BOTH;
	enum certainty certainty;
	struct ledger_row *r;
	int err = 0;

	list_for_each(r, &c->ledger, by_chan) {
		if (parts && r->from_key == PROC_SHARED) {
			err = err ?: take_parts(g, c, r);
			continue;
		}
		certainty = r->from_key == PROC_SHARED ? CERTAIN_SHARED : CERTAIN_EXACT;
		if (chan_is_inotify(&c->c.row))
			certainty = CERTAIN_INFERRED;
		struct gflow f = {
			.from = r->from ? &r->from->p : &g->priv->outside.p,
			.to = &r->to->p,
			.ops = r->ops,
			.bytes = r->bytes,
			.pages = r->pages,
			.blocked_ns = r->blocked_ns,
			.certainty = certainty,
		};

		if (!err)
			err = flow_add(g, c, &f);
	}
	if (!err)
		err = wakers_resolve(g, c);
	flow_find_two_way(g, c);
	return err;
}
