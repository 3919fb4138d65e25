/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "human.h"
#include "map.h"
#include "mech.h"
#include "quiet.h"
#include "reduce.h"
#include "util.h"
#include "weigh.h"

struct view {
	struct graph g; /* first: this is what the caller has */
	struct gproc *procs;
	struct gchan *chans;
	struct gedge *edges;
	struct gflow *flows;
	struct gproc outside;
	char **names; /* of "other" channels */
	char *notes[2]; /* our own */
	uint64_t **
		errors; /* of edges that were put together, by their index; NULL: the first one's */
	size_t nr_names;
};

/* Where each node of the original goes. */
struct ctx {
	const struct graph *from; /* without edges and flows of what is quiet */
	struct graph heard;
	struct quiet quiet;
	const struct reduce_opts *opts;
	struct view *to;
	uint32_t *class; /* processes, then channels */
	size_t nr_classes;
	struct weights weights;
	uint64_t total, shown; /* bytes */
	bool *kept, *live; /* by class; live: it has nodes that are not quiet */
	struct gproc **proc_of; /* by class */
	struct gchan **chan_of;
	struct gproc *other_proc;
	struct gchan *other_chan[256]; /* by mechanism */
	struct map edges, flows;
};

static uint32_t chan_class(const struct ctx *x, const struct gchan *c)
{
	return x->class[x->from->nr_procs + c->index];
}

static int alloc_view(struct ctx *x)
{
	const struct graph *g = x->from;
	struct view *v = x->to;

	v->procs = calloc(g->nr_procs + 1, sizeof(*v->procs));
	v->chans = calloc(g->nr_chans + 256, sizeof(*v->chans));
	v->edges = calloc(g->nr_edges + 1, sizeof(*v->edges));
	v->flows = calloc(g->nr_flows + 1, sizeof(*v->flows));
	v->names = calloc(g->nr_chans + 256, sizeof(*v->names));
	v->errors = calloc(g->nr_edges + 1, sizeof(*v->errors));
	v->g.procs = calloc(g->nr_procs + 1, sizeof(*v->g.procs));
	v->g.chans = calloc(g->nr_chans + 256, sizeof(*v->g.chans));
	v->g.edges = calloc(g->nr_edges + 1, sizeof(*v->g.edges));
	v->g.flows = calloc(g->nr_flows + 1, sizeof(*v->g.flows));
	return v->procs && v->chans && v->edges && v->flows && v->names && v->errors &&
			       v->g.procs && v->g.chans && v->g.edges && v->g.flows
		       ? 0
		       : -ENOMEM;
}

static int alloc_ctx(struct ctx *x)
{
	size_t n = x->from->nr_procs + x->from->nr_chans + 1;

	x->class = calloc(n, sizeof(*x->class));
	x->kept = calloc(n, sizeof(*x->kept));
	x->live = calloc(n, sizeof(*x->live));
	x->proc_of = calloc(n, sizeof(*x->proc_of));
	x->chan_of = calloc(n, sizeof(*x->chan_of));
	return x->class && x->kept && x->live && x->proc_of && x->chan_of ? 0 : -ENOMEM;
}

static void free_ctx(struct ctx *x)
{
	free(x->class);
	free(x->kept);
	free(x->live);
	free(x->proc_of);
	free(x->chan_of);
	free(x->heard.edges);
	free(x->heard.flows);
	quiet__free(&x->quiet);
	weigh__free(&x->weights);
	map__free(&x->edges);
	map__free(&x->flows);
}

/* The graph without what is quiet; its nodes have the indices that they had. */
static int hear(struct ctx *x, const struct graph *g)
{
	struct graph *h = &x->heard;

	*h = *g;
	h->nr_edges = h->nr_flows = 0;
	h->edges = calloc(g->nr_edges + 1, sizeof(*h->edges));
	h->flows = calloc(g->nr_flows + 1, sizeof(*h->flows));
	if (!h->edges || !h->flows || quiet__find(&x->quiet, g))
		return -ENOMEM;
	for (size_t i = 0; i < g->nr_edges; i++)
		if (!x->quiet.chans[g->edges[i]->chan->index])
			h->edges[h->nr_edges++] = g->edges[i];
	for (size_t i = 0; i < g->nr_flows; i++)
		if (!x->quiet.chans[g->flows[i]->chan->index])
			h->flows[h->nr_flows++] = g->flows[i];
	return 0;
}

static bool is_quiet(const struct ctx *x, size_t node)
{
	return node < x->from->nr_procs ? x->quiet.procs[node]
					: x->quiet.chans[node - x->from->nr_procs];
}

static size_t count_live(struct ctx *x)
{
	size_t n = 0;

	memset(x->live, 0, x->nr_classes * sizeof(*x->live));
	for (size_t i = 0; i < x->from->nr_procs + x->from->nr_chans; i++) {
		if (is_quiet(x, i))
			continue;
		n += !x->live[x->class[i]];
		x->live[x->class[i]] = true;
	}
	return n;
}

/*
 * Which classes there are: one for each node if they need not be put together. Where those that are
 * alike are too many still, programs that are the same are alike enough.
 */
static int choose_classes(struct ctx *x)
{
	size_t n = x->from->nr_procs + x->from->nr_chans;
	int err = 0;

	for (size_t i = 0; i < n; i++)
		x->class[i] = i;
	x->nr_classes = n;
	if (count_live(x) > x->opts->merge_above)
		err = classes__find(x->from, x->class, &x->nr_classes, false);
	if (!err && count_live(x) > x->opts->max_nodes)
		err = classes__find(x->from, x->class, &x->nr_classes, true);
	return err;
}

static int weigh(struct ctx *x)
{
	for (size_t i = 0; i < x->from->nr_edges; i++)
		x->total += x->from->edges[i]->bytes;
	return weigh__classes(&x->weights, x->from, x->class, x->nr_classes);
}

static int compare_weights(const void *a, const void *b, void *arg)
{
	const double *part = ((const struct ctx *)arg)->weights.part;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	if (part[x] != part[y])
		return part[x] > part[y] ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* The heaviest ones that there is room for, and nothing that weighs next to nothing. */
static int choose_kept(struct ctx *x)
{
	uint32_t *order = calloc(x->nr_classes + 1, sizeof(*order));
	size_t room = x->opts->max_nodes, nr = 0;
	double least = x->opts->node_fraction;

	if (!order)
		return -ENOMEM;
	if (count_live(x) <= room)
		least = 0;
	for (size_t i = 0; i < x->nr_classes; i++)
		if (x->live[i])
			order[nr++] = i;
	qsort_r(order, nr, sizeof(*order), compare_weights, x);
	for (size_t i = 0; i < nr; i++)
		x->kept[order[i]] = i < room && x->weights.part[order[i]] >= least;
	free(order);
	return 0;
}

static struct gproc *new_proc(struct ctx *x, const struct gproc *like)
{
	struct graph *g = &x->to->g;
	struct gproc *p = &x->to->procs[g->nr_procs];

	*p = *like;
	p->index = g->nr_procs;
	g->procs[g->nr_procs++] = p;
	return p;
}

static void add_proc(struct gproc *p, const struct gproc *one)
{
	if (p->count && one->start_ns < p->start_ns)
		p->start_ns = one->start_ns;
	p->count += one->count;
	p->folded |= one->folded;
}

/* The first of a class lends its id and its looks; what only one process can have goes. */
static struct gproc *put_proc(struct ctx *x, const struct gproc *one)
{
	static char comm[] = "other", none[] = "";
	const struct gproc other = { .id = "other",
				     .comm = comm,
				     .exe = none,
				     .args = none,
				     .flags = PROC_DEAD,
				     .folded = true };
	uint32_t class = x->class[one->index];
	struct gproc **p = x->kept[class] ? &x->proc_of[class] : &x->other_proc;

	if (!*p) {
		*p = new_proc(x, x->kept[class] ? one : &other);
		(*p)->count = 0;
		(*p)->start_ns = one->start_ns;
	} else if (x->kept[class]) {
		(*p)->pid = 0;
		(*p)->title = (*p)->title ?: (*p)->args; /* it has its class by that */
		(*p)->args = none;
		(*p)->args_len = 0;
		(*p)->parent = NULL;
		(*p)->folded = true;
	}
	add_proc(*p, one);
	x->proc_of[class] = *p;
	return *p;
}

static struct gchan *new_chan(struct ctx *x, const struct gchan *like)
{
	struct graph *g = &x->to->g;
	struct gchan *c = &x->to->chans[g->nr_chans];

	*c = *like;
	c->index = g->nr_chans;
	c->count = 0;
	g->chans[g->nr_chans++] = c;
	return c;
}

static int name_chan(struct ctx *x, struct gchan *c, bool other)
{
	const char *mech = mech__get(c->row.key.mech)->name;
	char *name;

	if (asprintf(&name, "%s%s", other ? "other " : "", mech) < 0)
		return -ENOMEM;
	c->name = name;
	c->path = NULL;
	c->row.key.ino = 0;
	c->folded = true;
	if (other)
		snprintf(c->id, sizeof(c->id), "other-%u", c->row.key.mech & 0xff);
	x->to->names[x->to->nr_names++] = name;
	return 0;
}

static const char *common(const char *a, const char *b)
{
	return !a || !b || strcmp(a, b) ? "mixed" : a;
}

static void add_chan(struct gchan *c, const struct gchan *one)
{
	if (c->count) {
		if (c->row.highwater < one->row.highwater)
			c->row.highwater = one->row.highwater;
		c->relation = common(c->relation, one->relation);
		c->direction = common(c->direction, one->direction);
	}
	c->count += one->count;
}

static int put_chan(struct ctx *x, const struct gchan *one)
{
	uint32_t class = chan_class(x, one);
	bool kept = x->kept[class];
	struct gchan **c = kept ? &x->chan_of[class] : &x->other_chan[one->row.key.mech & 0xff];
	int err = 0;

	if (!*c) {
		*c = new_chan(x, one);
		if (!kept)
			err = name_chan(x, *c, true);
	} else if (kept && (*c)->count == 1) {
		err = name_chan(x, *c, false);
	}
	add_chan(*c, one);
	x->chan_of[class] = *c;
	return err;
}

static struct gproc *end_of(struct ctx *x, const struct gproc *p)
{
	return p == x->from->outside ? &x->to->outside : x->proc_of[x->class[p->index]];
}

static int add_errors(struct view *v, struct gedge *a, const struct gedge *b)
{
	uint64_t **sum = &v->errors[a - v->edges];
	bool any = false;

	for (int i = 0; i < 256; i++)
		any |= b->errors[i] > 0;
	if (!any)
		return 0;
	if (!*sum) {
		*sum = malloc(256 * sizeof(**sum));
		if (!*sum)
			return -ENOMEM;
		memcpy(*sum, a->errors, 256 * sizeof(**sum));
		a->errors = *sum;
	}
	for (int i = 0; i < 256; i++)
		(*sum)[i] += b->errors[i];
	return 0;
}

static void add_edge(struct gedge *a, const struct gedge *b)
{
	a->ops += b->ops;
	a->bytes += b->bytes;
	a->nonblocking_ops += b->nonblocking_ops;
	a->peeked_bytes += b->peeked_bytes;
	a->pages += b->pages;
	a->sampled_pages += b->sampled_pages;
	a->samples += b->samples;
	tags__merge(&a->tags, &b->tags);
	graph__add_events(a, b);
	graph__add_credentials(a, b);
	a->passes.others += passes__total(&b->passes); /* at[] is the original's */
	a->blocked_ops += b->blocked_ops;
	a->blocked_ns += b->blocked_ns;
	a->blocked_now += b->blocked_now;
	if (a->max_blocked_ns < b->max_blocked_ns)
		a->max_blocked_ns = b->max_blocked_ns;
	if (b->first_ns && (!a->first_ns || b->first_ns < a->first_ns))
		a->first_ns = b->first_ns;
	if (a->last_ns < b->last_ns)
		a->last_ns = b->last_ns;
	a->holder &= b->holder;
}

/* A thin edge of many is drawn from "other", so that its channel still sums up. */
static struct gproc *drawn_from(struct ctx *x, const struct gedge *e)
{
	struct gproc *p = end_of(x, e->proc);
	bool thin = weigh__edge(&x->weights, e) < x->opts->edge_fraction;

	return x->other_proc && thin && p->count == 1 ? x->other_proc : p;
}

static int put_edge(struct ctx *x, const struct gedge *one)
{
	struct graph *g = &x->to->g;
	struct gproc *p = drawn_from(x, one);
	struct gchan *c = x->chan_of[chan_class(x, one->chan)];
	uint64_t key = (uint64_t)p->index << 32 | c->index;
	struct gedge *e = map__get(&x->edges, key, one->role);

	if (p != x->other_proc && x->kept[chan_class(x, one->chan)])
		x->shown += one->bytes;
	if (e) {
		add_edge(e, one);
		return add_errors(x->to, e, one);
	}
	e = &x->to->edges[g->nr_edges];
	*e = *one;
	e->proc = p;
	e->chan = c;
	g->edges[g->nr_edges++] = e;
	return map__put(&x->edges, key, one->role, e);
}

static int put_flow(struct ctx *x, const struct gflow *one)
{
	struct graph *g = &x->to->g;
	struct gproc *from = end_of(x, one->from), *to = end_of(x, one->to);
	struct gchan *c = x->chan_of[chan_class(x, one->chan)];
	uint64_t key = (uint64_t)from->index << 32 | to->index;
	struct gflow *f = map__get(&x->flows, key, c->index);

	if (f) {
		f->ops += one->ops;
		f->bytes += one->bytes;
		f->pages += one->pages;
		f->blocked_ns += one->blocked_ns;
		f->shared_bytes += one->shared_bytes;
		f->shared_fds += one->shared_fds;
		f->passes.others += passes__total(&one->passes);
		if (f->certainty < one->certainty)
			f->certainty = one->certainty;
		return 0;
	}
	f = &x->to->flows[g->nr_flows];
	*f = *one;
	f->from = from;
	f->to = to;
	f->chan = c;
	g->flows[g->nr_flows++] = f;
	return map__put(&x->flows, key, c->index, f);
}

/* Of one process only: a parent that stands for several is nobody's. */
static void link_parents(struct ctx *x)
{
	struct graph *g = &x->to->g;

	for (size_t i = 0; i < g->nr_procs; i++) {
		struct gproc *p = g->procs[i], *up;

		if (!p->parent)
			continue;
		up = x->proc_of[x->class[p->parent->index]];
		p->parent = up && up->count == 1 && up != x->other_proc ? up : NULL;
	}
}

static bool any_other(const struct ctx *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(x->other_chan); i++)
		if (x->other_chan[i])
			return true;
	return x->other_proc;
}

static int add_note(struct ctx *x, size_t nr, const char *fmt, ...)
{
	char **note = x->to->notes[0] ? &x->to->notes[1] : &x->to->notes[0];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(note, fmt, ap);
	va_end(ap);
	if (len < 0) {
		*note = NULL;
		return -ENOMEM;
	}
	while (x->to->g.meta.notes[nr])
		nr++;
	x->to->g.meta.notes[nr] = *note;
	return 0;
}

/* What is shown of what. */
static int add_notes(struct ctx *x)
{
	struct view *v = x->to;
	const size_t shown = v->g.nr_procs + v->g.nr_chans;
	char outside[64] = "", number[HUMAN_LEN];
	size_t n = 0, all = 0;
	int err = 0;

	while (x->from->meta.notes && x->from->meta.notes[n])
		n++;
	v->g.meta.notes = calloc(n + 3, sizeof(*v->g.meta.notes));
	if (!v->g.meta.notes)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		v->g.meta.notes[i] = x->from->meta.notes[i];
	for (size_t i = 0; i < x->from->nr_procs + x->from->nr_chans; i++)
		all += !is_quiet(x, i);
	if (any_other(x))
		snprintf(outside, sizeof(outside), ", %.1f %% of the bytes outside of 'other'",
			 x->total ? 100.0 * x->shown / x->total : 100.0);
	if (shown != all || any_other(x))
		err = add_note(x, n, "shown: %zu of %zu nodes, like ones together%s", shown, all,
			       outside);
	if (!err && x->quiet.signals)
		err = add_note(x, n,
			       "not shown: SIGCHLD of children, %s in all (-m signal shows them)",
			       human__count(number, x->quiet.signals));
	return err;
}

static int fill(struct ctx *x)
{
	const struct graph *g = x->from;
	struct view *v = x->to;
	int err = 0;

	v->g.meta = g->meta;
	v->g.meta.notes = NULL;
	v->g.lost = g->lost;
	v->g.has_lost = g->has_lost;
	for (size_t i = 0; i < g->nr_procs; i++)
		if (!x->quiet.procs[i])
			put_proc(x, g->procs[i]);
	link_parents(x);
	for (size_t i = 0; !err && i < g->nr_chans; i++)
		if (!x->quiet.chans[i])
			err = put_chan(x, g->chans[i]);
	if (g->outside) {
		v->outside = *g->outside;
		v->outside.index = v->g.nr_procs;
		v->g.outside = &v->outside;
	}
	for (size_t i = 0; !err && i < g->nr_edges; i++)
		err = put_edge(x, g->edges[i]);
	for (size_t i = 0; !err && i < g->nr_flows; i++)
		err = put_flow(x, g->flows[i]);
	return err;
}

struct graph *reduce__for_drawing(const struct graph *g, const struct reduce_opts *opts)
{
	struct ctx x = { .opts = opts };
	int err;

	x.to = calloc(1, sizeof(*x.to));
	if (!x.to)
		return NULL;
	x.from = &x.heard;
	err = hear(&x, g);
	if (!err)
		err = alloc_view(&x);
	if (!err)
		err = alloc_ctx(&x);
	if (!err)
		err = choose_classes(&x);
	if (!err)
		err = weigh(&x);
	if (!err)
		err = choose_kept(&x);
	if (!err)
		err = fill(&x);
	if (!err)
		err = add_notes(&x);
	free_ctx(&x);
	if (!err)
		return &x.to->g;
	reduce__free(&x.to->g);
	return NULL;
}

void reduce__free(struct graph *reduced)
{
	struct view *v = (struct view *)reduced;

	if (!v)
		return;
	for (size_t i = 0; v->names && i < v->nr_names; i++)
		free(v->names[i]);
	free(v->names);
	for (size_t i = 0; v->errors && i < v->g.nr_edges; i++)
		free(v->errors[i]);
	free(v->errors);
	for (size_t i = 0; i < ARRAY_SIZE(v->notes); i++)
		free(v->notes[i]);
	free(v->procs);
	free(v->chans);
	free(v->edges);
	free(v->flows);
	free(v->g.procs);
	free(v->g.chans);
	free(v->g.edges);
	free(v->g.flows);
	free(v->g.meta.notes);
	free(v);
}
