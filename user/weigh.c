/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "mech.h"
#include "weigh.h"

#define BYTES MECH_MAX
#define PAGES (MECH_MAX + 1)
#define COLUMNS (MECH_MAX + 2)

/* What can be compared: bytes with bytes, pages with pages, and events of one mechanism. */
static size_t column_of(const struct gchan *c)
{
	const struct mech_desc *m = mech__get(c->row.key.mech);

	if (m->measured == IN_OPS && c->row.key.mech < MECH_MAX)
		return c->row.key.mech;
	return m->measured == IN_PAGES ? PAGES : BYTES;
}

/* A call counts like a byte, so that those that move none are there. */
static double weight_of(const struct gedge *e)
{
	return (double)e->bytes + (double)(e->pages << 12) + (double)e->ops;
}

static void add(double *sums, const struct graph *g, const uint32_t *class, const struct gedge *e)
{
	const size_t column = column_of(e->chan);

	sums[(size_t) class[e->proc->index] * COLUMNS + column] += weight_of(e);
	sums[(size_t) class[g->nr_procs + e->chan->index] * COLUMNS + column] += weight_of(e);
}

int weigh__classes(struct weights *w, const struct graph *g, const uint32_t *class, size_t nr)
{
	double *sums = calloc(nr + 1, COLUMNS * sizeof(*sums));

	w->total = calloc(COLUMNS, sizeof(*w->total));
	w->part = calloc(nr + 1, sizeof(*w->part));
	if (!sums || !w->total || !w->part) {
		free(sums);
		return -ENOMEM;
	}
	for (size_t i = 0; i < g->nr_edges; i++) {
		add(sums, g, class, g->edges[i]);
		w->total[column_of(g->edges[i]->chan)] += weight_of(g->edges[i]);
	}
	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < COLUMNS; j++)
			if (w->part[i] * w->total[j] < sums[i * COLUMNS + j])
				w->part[i] = sums[i * COLUMNS + j] / w->total[j];
	free(sums);
	return 0;
}

double weigh__edge(const struct weights *w, const struct gedge *e)
{
	const double total = w->total[column_of(e->chan)];

	return total > 0 ? weight_of(e) / total : 0;
}

void weigh__free(struct weights *w)
{
	free(w->total);
	free(w->part);
}
