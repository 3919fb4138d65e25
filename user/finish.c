/* SPDX-License-Identifier: BSD-2-Clause */
/* Derive, leave out what nobody needs, sort, give ids. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "graph_priv.h"

static int default_text(char **s, const char *value)
{
	if (!*s)
		*s = strdup(value);
	return *s ? 0 : -ENOMEM;
}

static int default_proc(struct gproc *p, const char *comm)
{
	int err = default_text(&p->comm, comm);

	if (!err)
		err = default_text(&p->exe, "");
	if (!err)
		err = default_text(&p->args, "");
	return err;
}

/* Records that came after the channel was folded: the rows are exact, the rest stays open. */
static int resolve_late(struct graph *g, struct chan *c)
{
	struct ledger_row *r;
	int err = 0;

	list_for_each(r, &c->ledger, by_chan) {
		struct gflow f = {
			.from = r->from ? &r->from->p : &g->priv->outside.p,
			.to = &r->to->p,
			.ops = r->ops,
			.bytes = r->bytes,
		};
		const struct edge *e =
			graph_find_edge(g, r->to, c, ROLE_READ, chan_other_end(c, r->end));
		const struct flow *other;
		uint64_t room = e ? e->e.bytes : 0;

		/* Most were told when it was folded. */
		list_for_each(other, &c->flows, by_chan)
			if (other->f.to == f.to)
				room -= other->f.bytes < room ? other->f.bytes : room;
		if (f.bytes > room)
			f.bytes = room;
		if (!err && r->from_key != PROC_SHARED)
			err = flow_add(g, c, &f);
	}
	return err;
}

static int derive(struct graph *g)
{
	struct chan *c;
	struct edge *e;
	int err = 0;

	list_for_each(c, &g->priv->chans, all) {
		if (!err)
			err = c->c.folded ? resolve_late(g, c) : flow_resolve(g, c);
		if (!err)
			err = names_chan(&c->c);
		classify_chan(g, c);
		for_each_edges(list, c) list_for_each(e, list, by_chan) e->e.holder =
			!e->e.ops && !e->e.pages && !e->e.samples && !e->e.ignored_ops &&
			!e->errors && !e->e.blocked_ops && !e->e.blocked_now &&
			!e->e.nonblocking_ops;
	}
	return err;
}

/* Needed: who has edges, what was asked for, and their ancestors. */
static void mark_needed(struct graph *g)
{
	struct proc *p, *up;

	list_for_each(p, &g->priv->procs, all) {
		if (list__empty(&p->edges) && list__empty(&p->given) && list__empty(&p->taken) &&
		    !(p->p.flags & PROC_ROOT))
			continue;
		for (up = p; up && !up->needed;) {
			up->needed = true;
			up = map__get(&g->priv->proc_map, up->p.parent_key, 0);
		}
	}
}

static int compare_procs(const void *a, const void *b)
{
	const struct gproc *x = *(struct gproc *const *)a, *y = *(struct gproc *const *)b;

	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static int compare_chans(const void *a, const void *b)
{
	const struct gchan *x = *(struct gchan *const *)a, *y = *(struct gchan *const *)b;
	const struct chan_row *r = &x->row, *s = &y->row;

	if (r->first_ns != s->first_ns)
		return r->first_ns < s->first_ns ? -1 : 1;
	if (r->key.mech != s->key.mech)
		return r->key.mech < s->key.mech ? -1 : 1;
	if (r->key.dev != s->key.dev)
		return r->key.dev < s->key.dev ? -1 : 1;
	if (r->key.ino != s->key.ino)
		return r->key.ino < s->key.ino ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static int compare_edges(const void *a, const void *b)
{
	const struct gedge *x = *(struct gedge *const *)a, *y = *(struct gedge *const *)b;

	if (x->proc != y->proc)
		return x->proc->index < y->proc->index ? -1 : 1;
	if (x->chan != y->chan)
		return x->chan->index < y->chan->index ? -1 : 1;
	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

static int compare_flows(const void *a, const void *b)
{
	const struct gflow *x = *(struct gflow *const *)a, *y = *(struct gflow *const *)b;

	if (x->from != y->from)
		return x->from->index < y->from->index ? -1 : 1;
	if (x->to != y->to)
		return x->to->index < y->to->index ? -1 : 1;
	return x->chan->index < y->chan->index ? -1 : x->chan->index > y->chan->index;
}

static int name_cgroup(struct graph *g, struct gproc *p)
{
	const char *path = p->cgroup ? map__get(&g->priv->cgroups, p->cgroup, 0) : NULL;

	if (!path)
		return 0;
	p->cgroup_path = strdup(path);
	p->container = cgroup__container(path);
	return p->cgroup_path ? 0 : -ENOMEM;
}

static int list_procs(struct graph *g)
{
	struct gproc *outside = &g->priv->outside.p;
	size_t n = 0;
	struct proc *p;
	int err = 0;

	mark_needed(g);
	list_for_each(p, &g->priv->procs, all)
		n += p->needed;
	g->procs = calloc(n + 1, sizeof(*g->procs));
	if (!g->procs)
		return -ENOMEM;
	list_for_each(p, &g->priv->procs, all) {
		struct proc *up = map__get(&g->priv->proc_map, p->p.parent_key, 0);

		if (!p->needed)
			continue;
		p->p.parent = up ? &up->p : NULL;
		if (!err)
			err = default_proc(&p->p, "?");
		if (!err)
			err = name_cgroup(g, &p->p);
		g->procs[g->nr_procs++] = &p->p;
	}
	qsort(g->procs, n, sizeof(*g->procs), compare_procs);
	for (size_t i = 0; i < n; i++) {
		g->procs[i]->index = i;
		snprintf(g->procs[i]->id, sizeof(g->procs[i]->id), "p%u", (unsigned)i + 1);
	}
	if (!err)
		err = default_proc(outside, "outside");
	strcpy(outside->id, "outside");
	outside->index = n;
	g->outside = g->priv->outside_used ? outside : NULL;
	return err;
}

static int list_chans(struct graph *g)
{
	struct chan *c;
	size_t n = 0;

	list_for_each(c, &g->priv->chans, all)
		n += c->nr_edges > 0;
	g->chans = calloc(n + 1, sizeof(*g->chans));
	if (!g->chans)
		return -ENOMEM;
	list_for_each(c, &g->priv->chans, all)
		if (c->nr_edges)
			g->chans[g->nr_chans++] = &c->c;
	qsort(g->chans, n, sizeof(*g->chans), compare_chans);
	for (size_t i = 0; i < n; i++) {
		g->chans[i]->index = i;
		snprintf(g->chans[i]->id, sizeof(g->chans[i]->id), "c%u", (unsigned)i + 1);
	}
	return 0;
}

static int list_edges(struct graph *g)
{
	struct proc *p;
	struct edge *e;

	g->edges = calloc(g->priv->edge_map.used + 1, sizeof(*g->edges));
	if (!g->edges)
		return -ENOMEM;
	list_for_each(p, &g->priv->procs, all)
		list_for_each(e, &p->edges, by_proc)
			g->edges[g->nr_edges++] = &e->e;
	qsort(g->edges, g->nr_edges, sizeof(*g->edges), compare_edges);
	return 0;
}

static int list_flows(struct graph *g)
{
	struct chan *c;
	struct flow *f;

	g->flows = calloc(g->priv->flow_map.used + 1, sizeof(*g->flows));
	if (!g->flows)
		return -ENOMEM;
	list_for_each(c, &g->priv->chans, all)
		list_for_each(f, &c->flows, by_chan)
			g->flows[g->nr_flows++] = &f->f;
	qsort(g->flows, g->nr_flows, sizeof(*g->flows), compare_flows);
	return 0;
}

int graph__finish(struct graph *g)
{
	static const struct rec_meta none;
	int err = 0;

	if (g->priv->finished)
		return -EINVAL;
	g->priv->finished = true;
	if (!g->meta.version)
		err = meta_set(&g->meta, &none);
	if (!err)
		err = strangers_merge(g);
	if (!err)
		err = fold_rest(g);
	if (!err)
		err = derive(g);
	if (!err)
		err = passed_finish(g);
	if (!err)
		files_drop_private(g);
	if (!err)
		err = list_procs(g);
	if (!err)
		err = list_chans(g);
	if (!err)
		err = list_edges(g);
	if (!err)
		err = list_flows(g);
	return err;
}
