/* SPDX-License-Identifier: BSD-2-Clause */
#include "sampled.h"

#include <errno.h>
#include <stdlib.h>

#include "human.h"
#include "mech.h"
#include "util.h"
#include "words.h"

static const struct column columns[] = {
	{ .title = "TOUCHED AGAIN BY", .elastic = true },
	{ .title = "" },
	{ .title = "MECH" },
	{ .title = "CHANNEL", .elastic = true },
	{ .title = "PAGES", .right = true },
	{ .title = "SAMPLES", .right = true },
};

/* Attaching is what both have in common. */
static const char *doing(const struct gedge *e)
{
	return e->role < ROLES_IO ? role__doing(e->role) : "either";
}

static int add(struct table *t, const struct gedge *e)
{
	char n[HUMAN_LEN];

	if (proc__add_label(t, "", e->proc))
		return -ENOMEM;
	table__add(t, doing(e));
	table__add(t, mech__get(e->chan->row.key.mech)->name);
	table__add(t, e->chan->name ? e->chan->name : "");
	table__add(t, human__count(n, e->sampled_pages));
	table__add(t, human__count(n, e->samples));
	return 0;
}

struct table *sampled__table(const struct graph *g, size_t *nr)
{
	struct table *t = table__new(columns, ARRAY_SIZE(columns));

	*nr = 0;
	for (size_t i = 0; t && i < g->nr_edges; i++) {
		if (!g->edges[i]->samples)
			continue;
		if (add(t, g->edges[i])) {
			table__free(t);
			return NULL;
		}
		(*nr)++;
	}
	return t;
}

void sampled__explain(FILE *f, const struct graph *g)
{
	const char *interval = meta__sample(&g->meta);
	bool either = false;

	if (!interval)
		return;
	for (size_t i = 0; i < g->nr_edges; i++)
		either |= g->edges[i]->samples && g->edges[i]->role >= ROLES_IO;
	fprintf(f,
		"Shared memory was looked at every %g s: a page touched again counts once in each "
		"such sample, at least\n",
		strtod(interval, NULL));
	if (either)
		fputs("either: written or read, which a kernel without soft-dirty marks does not tell\n",
		      f);
}
