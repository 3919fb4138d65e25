/* SPDX-License-Identifier: BSD-2-Clause */
/* Records in: processes, channels and edges by their ids. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph_priv.h"
#include "recfile.h"

static const uint64_t no_errors[256];

struct graph *graph__new(void)
{
	struct graph *g = calloc(1, sizeof(*g));
	struct graph_priv *priv = g ? calloc(1, sizeof(*priv)) : NULL;

	if (!priv) {
		free(g);
		return NULL;
	}
	g->priv = priv;
	priv->fold_limit = SIZE_MAX;
	list__init(&priv->procs);
	list__init(&priv->chans);
	list__init(&priv->resting);
	list__init(&priv->ended);
	list__init(&priv->gone_chans);
	priv->outside.p = (struct gproc){ .key = PROC_OUTSIDE, .count = 1 };
	return g;
}

struct proc *graph_new_proc(struct graph *g, uint32_t key)
{
	struct proc *p = calloc(1, sizeof(*p));

	if (!p || map__put(&g->priv->proc_map, key, 0, p)) {
		free(p);
		return NULL;
	}
	p->p.key = key;
	p->p.count = 1;
	list__init(&p->edges);
	list__init(&p->given);
	list__init(&p->taken);
	list__init(&p->aged);
	list__add_tail(&g->priv->procs, &p->all);
	return p;
}

struct proc *graph_get_proc(struct graph *g, uint32_t key)
{
	struct proc *p = map__get(&g->priv->proc_map, key, 0);

	if (!p)
		p = fold_find_proc(g, key);
	return p ? p : graph_new_proc(g, key);
}

struct chan *graph_new_chan(struct graph *g, uint32_t key)
{
	struct chan *c = calloc(1, sizeof(*c));

	if (!c || map__put(&g->priv->chan_map, key, 0, c)) {
		free(c);
		return NULL;
	}
	c->c.key = key;
	c->c.count = 1;
	for_each_edges(list, c) list__init(list);
	list__init(&c->gone);
	list__init(&c->ledger);
	list__init(&c->flows);
	list__add_tail(&g->priv->chans, &c->all);
	return c;
}

struct chan *graph_get_chan(struct graph *g, uint32_t key)
{
	struct chan *c = map__get(&g->priv->chan_map, key, 0);

	if (!c)
		c = fold_find_chan(g, key);
	return c ? c : graph_new_chan(g, key);
}

static uint64_t edge_hash_key(const struct proc *p, const struct chan *c)
{
	return (uint64_t)p->p.key << 32 | c->c.key;
}

static uint64_t edge_hash_role(enum role role, unsigned int end)
{
	return role << 1 | end;
}

struct edge *graph_find_edge(struct graph *g, const struct proc *p, const struct chan *c,
			     enum role role, unsigned int end)
{
	return map__get(&g->priv->edge_map, edge_hash_key(p, c), edge_hash_role(role, end));
}

bool graph_has_edge(struct graph *g, const struct proc *p, const struct chan *c)
{
	for (int role = 0; role < ROLE_MAX; role++)
		for (unsigned int end = 0; end < 2; end++)
			if (graph_find_edge(g, p, c, role, end))
				return true;
	return false;
}

struct edge *graph_get_edge(struct graph *g, struct proc *p, struct chan *c, enum role role,
			    unsigned int end)
{
	struct edge *e = graph_find_edge(g, p, c, role, end);

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e || map__put(&g->priv->edge_map, edge_hash_key(p, c), edge_hash_role(role, end), e)) {
		free(e);
		return NULL;
	}
	e->e = (struct gedge){
		.proc = &p->p,
		.chan = &c->c,
		.role = role,
		.end = end,
		.errors = no_errors,
	};
	list__add_tail(&p->edges, &e->by_proc);
	list__add_tail(&c->edges[role][end], &e->by_chan);
	c->nr_edges++;
	if (p->p.folded)
		c->nr_folded++;
	return e;
}

void graph_free_edge(struct graph *g, struct edge *e)
{
	struct proc *p = to_proc(e->e.proc);
	struct chan *c = to_chan(e->e.chan);

	map__del(&g->priv->edge_map, edge_hash_key(p, c), edge_hash_role(e->e.role, e->e.end));
	c->nr_edges--;
	if (p->p.folded)
		c->nr_folded--;
	list__del(&e->by_proc);
	list__del(&e->by_chan);
	passes_free(&e->e.passes);
	free(e->errors);
	free(e);
}

int edge_add_error(struct edge *e, uint8_t no, uint64_t n)
{
	if (!n)
		return 0;
	if (!e->errors) {
		e->errors = calloc(256, sizeof(*e->errors));
		if (!e->errors)
			return -ENOMEM;
		e->e.errors = e->errors;
	}
	e->errors[no] += n;
	return 0;
}

/* The caller has freed what refers to it. */
void graph_free_proc(struct graph *g, struct proc *p)
{
	map__del(&g->priv->proc_map, p->p.key, 0);
	fold_forget(g, p);
	list__del(&p->all);
	free(p->p.comm);
	free(p->p.exe);
	free(p->p.args);
	free(p->p.title);
	free(p->p.cgroup_path);
	free(p->p.container);
	free(p);
}

void graph_free_chan(struct graph *g, struct chan *c)
{
	struct ledger_row *r, *next_row;
	struct flow *f, *next_flow;

	list_for_each_safe(r, next_row, &c->ledger, by_chan)
		ledger_free_row(g, r);
	list_for_each_safe(f, next_flow, &c->flows, by_chan)
		flow_free(g, f);
	map__del(&g->priv->chan_map, c->c.key, 0);
	list__del(&c->all);
	free(c->c.name);
	free(c->c.path);
	free(c->signature);
	free(c);
}

void graph__free(struct graph *g)
{
	struct proc *p, *next_proc;
	struct chan *c, *next_chan;
	struct edge *e, *next_edge;

	if (!g)
		return;
	list_for_each_safe(p, next_proc, &g->priv->procs, all)
		list_for_each_safe(e, next_edge, &p->edges, by_proc)
			graph_free_edge(g, e);
	list_for_each_safe(c, next_chan, &g->priv->chans, all)
		graph_free_chan(g, c);
	list_for_each_safe(p, next_proc, &g->priv->procs, all)
		graph_free_proc(g, p);
	fold_free(g);
	passed_free(g);
	map__free(&g->priv->proc_map);
	map__free(&g->priv->chan_map);
	map__free(&g->priv->edge_map);
	map__free(&g->priv->ledger_map);
	map__free(&g->priv->flow_map);
	for (size_t i = 0; i < g->priv->cgroups.size; i++)
		free(g->priv->cgroups.slots[i].value);
	map__free(&g->priv->cgroups);
	free(g->priv->outside.p.comm);
	free(g->priv->outside.p.exe);
	free(g->priv->outside.p.args);
	meta_free(&g->meta);
	free(g->priv);
	free(g->procs);
	free(g->chans);
	free(g->edges);
	free(g->flows);
	free(g);
}

uint32_t graph_parent_key(const struct graph *g, uint32_t key)
{
	const struct proc *p = map__get(&g->priv->proc_map, key, 0);

	return p ? p->p.parent_key : memo_get(&g->priv->parents, key);
}

static int fill_proc(struct proc *p, const struct proc_row *row)
{
	bool args_cut = row->flags & PROC_CUT && row->args_len >= ARGS_LEN - 1;
	bool exe_cut = row->flags & PROC_CUT && (!args_cut || row->exe_len >= PATH_LEN);
	struct gproc *gp = &p->p;
	size_t args_len = 0;
	char *comm = strndup(row->comm, COMM_LEN);
	char *exe = names_path(row->exe, row->exe_len, PATH_LEN, exe_cut);
	char *args = names_args(row->args, row->args_len, args_cut, &args_len);

	char *title = strndup(row->title, TITLE_LEN);

	if (!comm || !exe || !args || !title) {
		free(comm);
		free(exe);
		free(args);
		free(title);
		return -ENOMEM;
	}
	free(gp->comm);
	free(gp->exe);
	free(gp->args);
	free(gp->title);
	if (!*title || !strncmp(title, args, TITLE_LEN - 1)) {
		free(title);
		title = NULL;
	}
	gp->title = title;
	gp->comm = comm;
	gp->exe = exe;
	gp->args = args;
	gp->args_len = args_len;
	gp->parent_key = row->parent;
	gp->pid = row->pid;
	gp->uid = row->uid;
	gp->pidns = row->pidns;
	gp->flags = row->flags;
	gp->wait_status = row->wait_status;
	gp->start_ns = row->start_ns;
	gp->exit_ns = row->exit_ns;
	gp->cgroup = row->cgroup;
	p->ppid = row->ppid;
	p->has_row = true;
	return 0;
}

static bool real_proc(uint32_t key)
{
	return key && key < KEY_GROUP;
}

static int handle_proc(struct graph *g, const struct rec_proc *rec)
{
	struct proc *p;
	int err;

	if (!real_proc(rec->row.id) || rec->row.parent >= KEY_GROUP)
		return -EINVAL;
	p = graph_get_proc(g, rec->row.id);
	if (!p)
		return -ENOMEM;
	if (p->p.folded) /* it is counted already */
		return 0;
	err = fill_proc(p, &rec->row);
	if (!err)
		fold_child(g, p);
	if (!err && (p->p.flags & PROC_DEAD))
		err = fold_died(g, p, rec->h.time);
	return err;
}

static int handle_chan(struct graph *g, const struct rec_chan *rec)
{
	struct chan *c;

	if (!rec->row.id || rec->row.id >= KEY_GROUP)
		return -EINVAL;
	c = graph_get_chan(g, rec->row.id);
	if (!c)
		return -ENOMEM;
	if (c->c.folded)
		return 0;
	c->c.row = rec->row;
	if (c->c.row.name_len > PATH_LEN)
		c->c.row.name_len = PATH_LEN;
	c->has_row = true;
	return fold_chan_if_done(g, c);
}

void graph__add_events(struct gedge *a, const struct gedge *b)
{
	a->ignored_ops += b->ignored_ops;
	a->merged_ops += b->merged_ops;
	a->value_sum += b->value_sum;
	if (b->has_value && (!a->has_value || b->last_ns >= a->last_ns)) {
		a->has_value = true;
		a->value_last = b->value_last;
	}
}

void graph__add_credentials(struct gedge *a, const struct gedge *b)
{
	if (b->credentials && (!a->credentials || b->last_ns >= a->last_ns)) {
		a->cred_pid = b->cred_pid;
		a->cred_uid = b->cred_uid;
		a->cred_gid = b->cred_gid;
	}
	a->credentials += b->credentials;
}

/* Of several threads the last one's. */
void graph__add_upto(struct gedge *a, uint64_t bytes, uint32_t upto)
{
	if (bytes && (!a->bytes || (int32_t)(upto - a->upto) > 0))
		a->upto = upto;
}

static void add_counters(struct gedge *e, const struct edge_row *row)
{
	graph__add_upto(e, row->bytes, TCP_UPTO(row->pos));
	e->ops += row->ops;
	e->bytes += row->bytes;
	e->nonblocking_ops += row->nonblocking_ops;
	e->peeked_bytes += row->peeked_bytes;
	e->pages += row->pages;
	e->sampled_pages += row->sampled_pages;
	e->samples += row->samples;
	e->woken += row->woken;
	for (int i = 0; i < EDGE_TAGS; i++)
		tags__add(&e->tags, row->tags[i].tag, row->tags[i].ops);
	e->tags.others += row->other_tags;
	e->ignored_ops += row->ignored_ops;
	e->merged_ops += row->merged_ops;
	e->value_sum += row->value;
	if (row->has_value && (!e->has_value || row->last_ns >= e->last_ns)) {
		e->has_value = true;
		e->value_last = row->value;
	}
	e->blocked_ops += row->blocked_ops;
	e->blocked_ns += row->blocked_ns;
	e->blocked_now += !!row->blocked_since;
	if (row->max_blocked_ns > e->max_blocked_ns)
		e->max_blocked_ns = row->max_blocked_ns;
	if (row->first_ns && (!e->first_ns || row->first_ns < e->first_ns))
		e->first_ns = row->first_ns;
	if (row->last_ns > e->last_ns)
		e->last_ns = row->last_ns;
}

static int handle_edge(struct graph *g, const struct rec_edge *rec)
{
	const struct edge_row *row = &rec->row;
	struct proc *p;
	struct chan *c;
	struct edge *e;
	int err;

	if (!real_proc(row->proc) || !row->chan || row->chan >= KEY_GROUP ||
	    row->role >= ROLE_MAX || row->end > 1)
		return -EINVAL;
	p = graph_get_proc(g, row->proc);
	c = graph_get_chan(g, row->chan);
	e = p && c ? graph_get_edge(g, p, c, row->role, row->end) : NULL;
	if (!e)
		return -ENOMEM;
	add_counters(&e->e, row);
	err = edge_add_error(e, 0, row->err_other);
	for (int i = 0; !err && i < EDGE_ERRS; i++)
		err = edge_add_error(e, row->err_no[i], row->errs[i]);
	return err;
}

static int handle_holder(struct graph *g, const struct rec_holder *rec)
{
	struct proc *p;
	struct chan *c;

	if (!real_proc(rec->proc) || !rec->chan || rec->chan >= KEY_GROUP || rec->end > 1)
		return -EINVAL;
	p = graph_get_proc(g, rec->proc);
	c = graph_get_chan(g, rec->chan);
	if (!p || !c)
		return -ENOMEM;
	for (int role = 0; role < ROLE_MAX; role++) {
		struct edge *e;

		if (!(rec->modes & 1u << role))
			continue;
		e = graph_get_edge(g, p, c, role, rec->end);
		if (!e)
			return -ENOMEM;
		e->held = true;
	}
	return 0;
}

static int handle_life(struct graph *g, const struct rec_life *rec)
{
	struct proc *p;

	if (rec->what == LIFE_CHAN)
		return 0; /* nobody's */
	if (!real_proc(rec->proc))
		return -EINVAL;
	if (rec->what != LIFE_FORK || rec->other >= KEY_GROUP)
		return 0;
	/* So that relations are known even if the rows come late. */
	p = graph_get_proc(g, rec->proc);
	if (!p)
		return -ENOMEM;
	if (!p->has_row && !p->p.folded) {
		p->p.parent_key = rec->other;
		p->p.pid = rec->pid;
	}
	return 0;
}

static int handle_cgroup(struct graph *g, const struct rec_cgroup *rec)
{
	char *old = map__get(&g->priv->cgroups, rec->id, 0);
	char *path = strndup(rec->path, sizeof(rec->path));
	int err;

	if (!path)
		return -ENOMEM;
	err = map__put(&g->priv->cgroups, rec->id, 0, path);
	free(err ? path : old);
	return err;
}

int graph__handle(struct graph *g, const struct rec_hdr *rec)
{
	if (rec->len < sizeof(*rec) || g->priv->finished)
		return -EINVAL;
	if (rec->len < record_min_len(rec->type))
		return -EINVAL;
	switch (rec->type) {
	case REC_META:
		return meta_set(&g->meta, (const struct rec_meta *)rec);
	case REC_PROC:
		return handle_proc(g, (const struct rec_proc *)rec);
	case REC_CHAN:
		return handle_chan(g, (const struct rec_chan *)rec);
	case REC_EDGE:
		return handle_edge(g, (const struct rec_edge *)rec);
	case REC_FLOW:
		return ledger_add(g, &((const struct rec_flow *)rec)->key,
				  &((const struct rec_flow *)rec)->val);
	case REC_LOST:
		g->lost = *(const struct rec_lost *)rec;
		g->has_lost = true;
		return 0;
	case REC_LIFE:
		return handle_life(g, (const struct rec_life *)rec);
	case REC_HOLDER:
		return handle_holder(g, (const struct rec_holder *)rec);
	case REC_CGROUP:
		return handle_cgroup(g, (const struct rec_cgroup *)rec);
	case REC_PASS:
		return passed_handle(g, (const struct rec_pass *)rec);
	case REC_END:
		g->meta.duration_ns = ((const struct rec_end *)rec)->duration_ns;
		return 0;
	default: /* REC_OP, and what newer versions write */
		return 0;
	}
}

void graph__set_fold_limit(struct graph *g, size_t processes)
{
	g->priv->fold_limit = processes;
}

bool graph__complete(const struct graph *g)
{
	if (!g->has_lost || g->lost.seen > g->lost.delivered + g->lost.unfinished)
		return false;
	for (int i = 0; i < LOSS_MAX; i++)
		if (g->lost.causes[i])
			return false;
	return true;
}
