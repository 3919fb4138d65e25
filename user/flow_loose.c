/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flows over channels on which bytes do not tell who got what from whom:
 *
 * - A counter (eventfd) adds up what is written, and a read takes some or all of it. With one writer
 *   all reads are of what it wrote, unless something was there before. With several they are shared.
 * - A terminal's line discipline echoes, edits and translates between its two ends. What was read is
 *   of the writers at the other end as far as they wrote that much; the rest is nobody's. Of several
 *   writers each one's bytes are known where one reader has read at least what all of them wrote.
 */
#include "graph_priv.h"
#include "mech.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t bytes_of(const struct list *edges)
{
	const struct edge *e;
	uint64_t sum = 0;

	list_for_each(e, edges, by_chan)
		sum += e->e.bytes;
	return sum;
}

static size_t users(const struct list *edges)
{
	const struct edge *e;
	size_t n = 0;

	list_for_each(e, edges, by_chan)
		n += e->e.bytes > 0;
	return n;
}

/* What one reader got of one of several writers, or of the only one. */
static int give(struct graph *g, struct chan *c, const struct edge *from, const struct edge *to,
		bool several)
{
	const uint64_t bytes = min_u64(from->e.bytes, to->e.bytes);
	struct gflow f = {
		.from = from->e.proc,
		.to = to->e.proc,
		.ops = to->e.ops,
		.certainty = several ? CERTAIN_SHARED : CERTAIN_INFERRED,
	};

	if (mech__get(c->c.row.key.mech)->flows == FLOWS_EVENTS) {
		/* found_bytes: what the counter began with. */
		if (!several && !c->c.row.found_bytes)
			f.certainty = CERTAIN_EXACT;
	} else if (several) {
		f.shared_bytes = bytes;
	} else {
		f.bytes = bytes;
	}
	return flow_add(g, c, &f);
}

static int resolve_lane(struct graph *g, struct chan *c, unsigned int end)
{
	const struct list *writers = &c->edges[ROLE_WRITE][end];
	const struct list *readers = &c->edges[ROLE_READ][chan_other_end(c, end)];
	bool several = users(writers) > 1;
	const struct edge *from, *to;
	int err = 0;

	/* The only reader of a terminal, who read as much as all wrote, read what each of them wrote. */
	if (mech__get(c->c.row.key.mech)->flows != FLOWS_EVENTS && users(readers) == 1 &&
	    bytes_of(readers) >= bytes_of(writers))
		several = false;

	list_for_each(to, readers, by_chan)
		list_for_each(from, writers, by_chan)
			if (!err && from->e.bytes && to->e.bytes)
				err = give(g, c, from, to, several);
	return err;
}

int flow_resolve_loose(struct graph *g, struct chan *c)
{
	int err;

	if (mech__get(c->c.row.key.mech)->flows == FLOWS_NONE) {
		c->two_way = users(&c->edges[ROLE_WRITE][0]) && users(&c->edges[ROLE_READ][0]);
		return 0;
	}
	err = resolve_lane(g, c, 0);
	if (!err && chan_has_two_ends(c))
		err = resolve_lane(g, c, 1);
	flow_find_two_way(g, c);
	return err;
}
