/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dot.h"
#include "dot_plan.h"

/* Beyond these a layout is slow or unreadable; measured with Graphviz 2.42. */
#define MOST_FOR_DOT 150
#define MOST_FOR_FDP 400

/* Levels (processes and channels alternate) that fit beside each other, and those of a row if not. */
#define MOST_LEVELS 17
#define ROW_LEVELS 12

const char *dot__engine(size_t nr_nodes)
{
	return nr_nodes <= MOST_FOR_DOT ? "dot" : nr_nodes <= MOST_FOR_FDP ? "fdp" : "sfdp";
}

/* Where a process runs; NULL: not known. */
static const char *place_of(const struct gproc *p)
{
	return p->container ? p->container : p->cgroup_path;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

size_t dot_plan__group(const struct dot_plan *p, const struct gproc *proc)
{
	const char *place = place_of(proc);
	const char **found;

	if (!place || !p->nr_groups)
		return NO_GROUP;
	found = bsearch(&place, p->groups, p->nr_groups, sizeof(*p->groups), compare_strings);
	return found ? (size_t)(found - p->groups) : NO_GROUP;
}

static int find_groups(struct dot_plan *p, const struct graph *g)
{
	size_t nr = 0;

	p->groups = calloc(g->nr_procs + 1, sizeof(*p->groups));
	if (!p->groups)
		return -ENOMEM;
	for (size_t i = 0; i < g->nr_procs; i++)
		if (place_of(g->procs[i]))
			p->groups[nr++] = place_of(g->procs[i]);
	if (nr)
		qsort(p->groups, nr, sizeof(*p->groups), compare_strings);
	for (size_t i = 0; i < nr; i++)
		if (!p->nr_groups || strcmp(p->groups[p->nr_groups - 1], p->groups[i]))
			p->groups[p->nr_groups++] = p->groups[i];
	/* One box around everything says nothing. */
	if (p->nr_groups < 2)
		p->nr_groups = 0;
	return 0;
}

/* A channel that only one group uses is drawn among that group's processes. */
static int find_chan_groups(struct dot_plan *p, const struct graph *g)
{
	bool *seen = calloc(g->nr_chans + 1, sizeof(*seen));

	p->chan_group = calloc(g->nr_chans + 1, sizeof(*p->chan_group));
	if (!p->chan_group || !seen) {
		free(seen);
		return -ENOMEM;
	}
	for (size_t i = 0; i < g->nr_chans; i++)
		p->chan_group[i] = NO_GROUP;
	for (size_t i = 0; p->nr_groups && i < g->nr_edges; i++) {
		const size_t chan = g->edges[i]->chan->index;
		const size_t group = dot_plan__group(p, g->edges[i]->proc);

		if (!seen[chan])
			p->chan_group[chan] = group;
		else if (p->chan_group[chan] != group)
			p->chan_group[chan] = NO_GROUP;
		seen[chan] = true;
	}
	free(seen);
	return 0;
}

static void ends_of(const struct graph *g, const struct gedge *e, size_t *from, size_t *to)
{
	const size_t proc = e->proc->index, chan = g->nr_procs + e->chan->index;

	*from = e->role % 2 == 0 ? proc : chan;
	*to = e->role % 2 == 0 ? chan : proc;
}

/*
 * The level of the next node: one whose predecessors all have theirs, else (in a cycle) simply the
 * first one left. It is small graphs that are laid out so, and looking at all edges is cheap enough.
 */
static void place_next(const struct graph *g, size_t *level, bool *waits, size_t nr)
{
	size_t node = nr, from, to;

	memset(waits, 0, nr * sizeof(*waits));
	for (size_t i = 0; i < g->nr_edges; i++) {
		ends_of(g, g->edges[i], &from, &to);
		waits[to] |= !level[from];
	}
	for (size_t i = 0; i < nr; i++)
		if (!level[i] && (node == nr || (waits[node] && !waits[i])))
			node = i;
	level[node] = 1;
	for (size_t i = 0; i < g->nr_edges; i++) {
		ends_of(g, g->edges[i], &from, &to);
		if (to == node && level[from] && level[from] >= level[node] && from != node)
			level[node] = level[from] + 1;
	}
}

static int find_rows(struct dot_plan *p, const struct graph *g)
{
	const size_t nr = g->nr_procs + g->nr_chans;
	bool *waits = calloc(nr + 1, sizeof(*waits));
	size_t deepest = 0;

	p->row = calloc(nr + 1, sizeof(*p->row));
	if (!p->row || !waits) {
		free(waits);
		return -ENOMEM;
	}
	for (size_t i = 0; i < nr && nr <= MOST_FOR_DOT; i++)
		place_next(g, p->row, waits, nr);
	for (size_t i = 0; i < nr; i++)
		deepest = p->row[i] > deepest ? p->row[i] : deepest;
	for (size_t i = 0; i < nr; i++)
		p->row[i] = deepest > MOST_LEVELS ? (p->row[i] - 1) / ROW_LEVELS : 0;
	free(waits);
	return 0;
}

bool dot_plan__same_row(const struct dot_plan *p, const struct graph *g, const struct gedge *e)
{
	size_t from, to;

	ends_of(g, e, &from, &to);
	return p->row[from] == p->row[to];
}

int dot_plan__make(struct dot_plan *p, const struct graph *g, const char *engine)
{
	int err;

	memset(p, 0, sizeof(*p));
	p->engine = engine ? engine : dot__engine(g->nr_procs + g->nr_chans);
	for (size_t i = 0; i < g->nr_edges; i++)
		if (g->edges[i]->bytes > p->max_bytes)
			p->max_bytes = g->edges[i]->bytes;
	for (int role = 0; role < ROLES_IO; role++) {
		p->outside[role] = calloc(g->nr_chans + 1, sizeof(*p->outside[role]));
		if (!p->outside[role])
			return -ENOMEM;
	}
	err = find_groups(p, g);
	if (!err)
		err = find_chan_groups(p, g);
	if (!err)
		err = find_rows(p, g);
	return err;
}

void dot_plan__done(struct dot_plan *p)
{
	free(p->groups);
	free(p->chan_group);
	free(p->row);
	for (int role = 0; role < ROLES_IO; role++)
		free(p->outside[role]);
}
