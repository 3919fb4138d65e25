/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TCP connection that several write to one after the other, and several read from so, as when a server
 * hands it on to a child. There is no ledger, but sequence numbers tell: as the last call of a writer
 * ended, so much had been written by all. If that is no more than what it and those before it wrote,
 * then nobody else had written by then, and all from where those before it ended is its own. The same
 * of readers. Who took turns several times fails that, and is left to the others' rules.
 */
#include <errno.h>
#include <stdlib.h>

#include "graph_priv.h"

/* From there on it is not clear which of two sequence numbers is the later one. */
#define SEQ_HALF 0x80000000ULL

struct turn {
	struct edge *edge;
	uint64_t start, end; /* in the stream */
};

static int compare_turns(const void *a, const void *b)
{
	const struct turn *t = a, *u = b;

	return t->end < u->end ? -1 : t->end > u->end;
}

/* In their order; 0: they took no turns, or there are none. */
static size_t find_turns(const struct list *edges, uint32_t first, struct turn *turns)
{
	uint64_t sum = 0;
	struct edge *e;
	size_t nr = 0;

	list_for_each(e, edges, by_chan)
		if (e->e.bytes)
			turns[nr++] = (struct turn){ e, 0, (uint32_t)(e->e.upto - first) };
	qsort(turns, nr, sizeof(*turns), compare_turns);
	for (size_t i = 0; i < nr; i++) {
		turns[i].start = sum;
		sum += turns[i].edge->e.bytes;
		if (turns[i].end != sum || sum >= SEQ_HALF)
			return 0;
	}
	return nr;
}

/* What both have of the stream. */
static int give_common(struct graph *g, struct chan *c, struct turn *from, struct turn *to)
{
	const uint64_t start = from->start > to->start ? from->start : to->start;
	const uint64_t end = from->end < to->end ? from->end : to->end;
	struct gflow f = {
		.from = from->edge->e.proc,
		.to = to->edge->e.proc,
		.ops = from->edge->e.ops < to->edge->e.ops ? from->edge->e.ops : to->edge->e.ops,
		.bytes = end - start,
	};

	if (start >= end)
		return 0;
	from->edge->left -= f.bytes;
	to->edge->left -= f.bytes;
	return flow_add(g, c, &f);
}

static size_t length(const struct list *edges)
{
	const struct edge *e;
	size_t n = 0;

	list_for_each(e, edges, by_chan)
		n++;
	return n;
}

int flow_take_turns(struct graph *g, struct chan *c, unsigned int end)
{
	const struct list *writers = &c->edges[ROLE_WRITE][end];
	const struct list *readers = &c->edges[ROLE_READ][chan_other_end(c, end)];
	const uint32_t firsts[2] = { c->c.row.gone_pos[0], c->c.row.gone_pos[1] };
	struct turn *from, *to;
	size_t nr_from = 0, nr_to = 0;
	int err = 0;

	if (c->c.row.key.mech != MECH_TCP || c->c.folded || !chan_has_two_ends(c))
		return 0;
	from = calloc(length(writers) + 1, sizeof(*from));
	to = calloc(length(readers) + 1, sizeof(*to));
	if (!from || !to)
		err = -ENOMEM;
	for (int i = 0; i < 2 && !err && !(nr_from && nr_to); i++) {
		nr_from = find_turns(writers, firsts[i], from);
		nr_to = find_turns(readers, firsts[i], to);
	}
	for (size_t i = 0; i < nr_from && nr_to; i++)
		for (size_t j = 0; j < nr_to && !err; j++)
			err = give_common(g, c, &from[i], &to[j]);
	free(from);
	free(to);
	return err;
}
