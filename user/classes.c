/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Colour refinement: nodes that look alike get the same class, and classes are split as long as
 * their nodes have neighbours in different ones. Sets of neighbours, not counts: a master with 16
 * workers is like one with 17.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "words.h"

/* Longer chains of like processes than this may be put together in their middle. */
#define ROUNDS_MAX 32

struct look {
	uint32_t class; /* so far */
	uint32_t nr; /* of neighbours */
	const uint64_t *neighbours; /* class and role, sorted, each once */
};

struct ctx {
	const struct graph *g;
	size_t nr; /* nodes */
	size_t *first; /* index in ends[] by node; nr + 1 of them */
	uint64_t *ends; /* node << 1 | role, of the edges of each node */
	uint64_t *pool;
	struct look *looks;
	uint32_t *order;
};

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_texts(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

static int compare_callings(const struct gproc *a, const struct gproc *b)
{
	const char *s, *t;
	const size_t n = proc__calling(a, &s), m = proc__calling(b, &t);
	int d = memcmp(s, t, n < m ? n : m);

	return d ? d : (n > m) - (n < m);
}

/* A master is not one of its workers. */
static bool is_fork_of_its_like(const struct gproc *p)
{
	return p->parent && !compare_texts(p->comm, p->parent->comm) &&
	       !compare_texts(p->exe, p->parent->exe);
}

static int compare_procs(const struct gproc *a, const struct gproc *b)
{
	int d = compare_texts(a->comm, b->comm);

	if (!d)
		d = compare_texts(a->exe, b->exe);
	if (!d)
		d = compare_callings(a, b);
	if (!d)
		d = compare_texts(a->container, b->container);
	if (!d)
		d = is_fork_of_its_like(a) - is_fork_of_its_like(b);
	if (!d && a->uid != b->uid)
		d = a->uid < b->uid ? -1 : 1;
	/* What was asked for stays for itself. */
	if (!d && (a->flags ^ b->flags) & PROC_ROOT)
		d = a->flags & PROC_ROOT ? -1 : 1;
	return d;
}

/* In themselves. */
static int compare_alone(const void *a, const void *b, void *arg)
{
	const struct graph *g = ((struct ctx *)arg)->g;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint32_t mech_x, mech_y;

	if (x < g->nr_procs && y < g->nr_procs)
		return compare_procs(g->procs[x], g->procs[y]);
	if (x < g->nr_procs || y < g->nr_procs)
		return x < y ? -1 : 1;
	mech_x = g->chans[x - g->nr_procs]->row.key.mech;
	mech_y = g->chans[y - g->nr_procs]->row.key.mech;
	return mech_x < mech_y ? -1 : mech_x > mech_y;
}

static int compare_looks(const void *a, const void *b, void *arg)
{
	const struct ctx *x = arg;
	const struct look *l = &x->looks[*(const uint32_t *)a];
	const struct look *m = &x->looks[*(const uint32_t *)b];

	if (l->class != m->class)
		return l->class < m->class ? -1 : 1;
	if (l->nr != m->nr)
		return l->nr < m->nr ? -1 : 1;
	return memcmp(l->neighbours, m->neighbours, l->nr * sizeof(*l->neighbours));
}

/* Numbers the classes in sorted order. */
static size_t number(struct ctx *x, uint32_t *class,
		     int (*compare)(const void *, const void *, void *))
{
	uint32_t n = 0;

	for (size_t i = 0; i < x->nr; i++)
		x->order[i] = i;
	qsort_r(x->order, x->nr, sizeof(*x->order), compare, x);
	for (size_t i = 0; i < x->nr; i++) {
		if (i && compare(&x->order[i - 1], &x->order[i], x))
			n++;
		class[x->order[i]] = n;
	}
	return x->nr ? n + 1 : 0;
}

/* The nodes before from stay as they are. */
static size_t split(struct ctx *x, uint32_t *class, size_t from)
{
	for (size_t i = 0; i < x->nr; i++) {
		uint64_t *mine = x->pool + x->first[i];
		size_t n = i < from ? 0 : x->first[i + 1] - x->first[i], kept = 0;

		for (size_t j = 0; j < n; j++) {
			uint64_t end = x->ends[x->first[i] + j];

			mine[j] = (uint64_t) class[end >> 1] << 1 | (end & 1);
		}
		if (n)
			qsort(mine, n, sizeof(*mine), compare_numbers);
		for (size_t j = 0; j < n; j++)
			if (!kept || mine[kept - 1] != mine[j])
				mine[kept++] = mine[j];
		x->looks[i] = (struct look){ class[i], kept, mine };
	}
	return number(x, class, compare_looks);
}

static void join(struct ctx *x)
{
	const struct graph *g = x->g;
	size_t *at = x->first;

	for (size_t i = 0; i < g->nr_edges; i++) {
		at[g->edges[i]->proc->index + 1]++;
		at[g->nr_procs + g->edges[i]->chan->index + 1]++;
	}
	for (size_t i = 0; i < x->nr; i++)
		at[i + 1] += at[i];
	/* Filling moves each start to its end, that is to the next one's start: moved back below. */
	for (size_t i = 0; i < g->nr_edges; i++) {
		const struct gedge *e = g->edges[i];
		size_t p = e->proc->index, c = g->nr_procs + e->chan->index;

		x->ends[at[p]++] = (uint64_t)c << 1 | e->role;
		x->ends[at[c]++] = (uint64_t)p << 1 | e->role;
	}
	for (size_t i = x->nr; i > 0; i--)
		at[i] = at[i - 1];
	at[0] = 0;
}

int classes__find(const struct graph *g, uint32_t *class, size_t *nr, bool coarse)
{
	struct ctx x = { .g = g, .nr = g->nr_procs + g->nr_chans };
	size_t before = 0;
	int err = -ENOMEM;

	x.first = calloc(x.nr + 2, sizeof(*x.first));
	x.ends = calloc(2 * g->nr_edges + 1, sizeof(*x.ends));
	x.pool = calloc(2 * g->nr_edges + 1, sizeof(*x.pool));
	x.looks = calloc(x.nr + 1, sizeof(*x.looks));
	x.order = calloc(x.nr + 1, sizeof(*x.order));
	if (!x.first || !x.ends || !x.pool || !x.looks || !x.order)
		goto out;
	join(&x);
	*nr = number(&x, class, compare_alone);
	if (coarse)
		*nr = split(&x, class, g->nr_procs);
	for (int i = 0; !coarse && i < ROUNDS_MAX && *nr != before; i++) {
		before = *nr;
		*nr = split(&x, class, 0);
	}
	err = 0;
out:
	free(x.first);
	free(x.ends);
	free(x.pool);
	free(x.looks);
	free(x.order);
	return err;
}
