/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounded memory. Dead processes rest for a second, for their last records may come late. Then those
 * without edges and children are dropped, and the others wait in line; beyond the limit the one that ended
 * longest ago becomes part of a group node, one for each (comm, exe, uid). A channel that is gone,
 * with only groups left on it, has its flows resolved and becomes part of a group channel, one for
 * each (mechanism, {(role, end, group)}); so do those that are gone longest if too many are whose ends live
 * on. Sums over edges and flows never change by this. Of each id that left, a few bytes stay for a
 * while: its parent's (for relations), and its group's (for records that come late).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph_priv.h"

/* Of so many names each has a group; all others share one. */
#define GROUPS_MAX 2000

/* How long dead processes are left alone; and how many at most, in fold limits. */
#define REST_NS 1000000000ull
#define RESTING_MAX 4

/* Ends that a folded process is compared with, to know how they were related. */
#define PAIRS_PER_FOLD 64

struct chan *fold_find_chan(const struct graph *g, uint32_t key)
{
	uint32_t i = memo_get(&g->priv->chan_groups, key);

	return i ? g->priv->group_chans[i - 1] : NULL;
}

static void hash_add(uint64_t *h, const void *data, size_t len)
{
	const unsigned char *s = data;

	for (size_t i = 0; i < len; i++)
		*h = (*h ^ s[i]) * 0x100000001b3ull;
}

static int append(void *array, size_t n, void *item)
{
	void ***list = array, **l = *list;

	/* Full at every power of two. */
	if (!(n & (n - 1))) {
		l = reallocarray(l, n ? n * 2 : 1, sizeof(*l));
		if (!l)
			return -ENOMEM;
		*list = l;
	}
	l[n] = item;
	return 0;
}

static const char *text(const char *s)
{
	return s ? s : "";
}

static bool alike(const struct gproc *a, const struct gproc *b)
{
	return a->uid == b->uid && !strcmp(text(a->comm), text(b->comm)) &&
	       !strcmp(text(a->exe), text(b->exe));
}

static struct proc *new_group(struct graph *g, const struct gproc *like)
{
	struct graph_priv *priv = g->priv;
	struct proc *group = graph_new_proc(g, KEY_GROUP + priv->nr_groups);

	if (!group || append(&priv->groups, priv->nr_groups, group))
		return NULL;
	priv->nr_groups++;
	group->p.comm = strdup(text(like->comm));
	group->p.exe = strdup(text(like->exe));
	group->p.args = strdup("");
	group->p.uid = like->uid;
	group->p.pidns = like->pidns;
	group->p.flags = PROC_DEAD;
	group->p.start_ns = like->start_ns;
	group->p.folded = true;
	group->p.count = 0;
	group->has_row = true;
	return group->p.comm && group->p.exe && group->p.args ? group : NULL;
}

static struct proc *get_group(struct graph *g, const struct gproc *like)
{
	static const struct gproc others = { .comm = (char *)"(others)" };
	uint64_t h = like->uid ^ 0xcbf29ce484222325ull;
	struct proc *first, *group;

	hash_add(&h, text(like->comm), strlen(text(like->comm)) + 1);
	hash_add(&h, text(like->exe), strlen(text(like->exe)) + 1);
	first = map__get(&g->priv->group_map, h, 0);
	for (group = first; group; group = group->next)
		if (alike(&group->p, like))
			return group;
	if (g->priv->nr_groups >= GROUPS_MAX && like != &others)
		return get_group(g, &others);
	group = new_group(g, like);
	if (!group)
		return NULL;
	group->next = first;
	return map__put(&g->priv->group_map, h, 0, group) ? NULL : group;
}

struct proc *fold_find_proc(struct graph *g, uint32_t key)
{
	static const struct gproc long_ago = { .comm = (char *)"(ended long ago)" };
	uint32_t i = memo_get(&g->priv->proc_groups, key);

	if (!i && key < KEY_GROUP && memo_forgot(&g->priv->proc_groups, key))
		return get_group(g, &long_ago);
	return i ? g->priv->groups[i - 1] : NULL;
}

static int merge_edge(struct edge *to, const struct edge *from)
{
	struct gedge *a = &to->e;
	const struct gedge *b = &from->e;
	int err = passes_merge(&a->passes, &b->passes);

	graph__add_upto(a, b->bytes, b->upto);
	a->ops += b->ops;
	a->bytes += b->bytes;
	a->nonblocking_ops += b->nonblocking_ops;
	a->peeked_bytes += b->peeked_bytes;
	a->pages += b->pages;
	a->sampled_pages += b->sampled_pages;
	a->samples += b->samples;
	graph__add_events(a, b);
	graph__add_credentials(a, b);
	a->woken += b->woken;
	tags__merge(&a->tags, &b->tags);
	a->blocked_ops += b->blocked_ops;
	a->blocked_ns += b->blocked_ns;
	a->blocked_now += b->blocked_now;
	if (b->max_blocked_ns > a->max_blocked_ns)
		a->max_blocked_ns = b->max_blocked_ns;
	if (b->first_ns && (!a->first_ns || b->first_ns < a->first_ns))
		a->first_ns = b->first_ns;
	if (b->last_ns > a->last_ns)
		a->last_ns = b->last_ns;
	to->held |= from->held;
	for (int i = 0; from->errors && !err && i < 256; i++)
		err = edge_add_error(to, i, from->errors[i]);
	return err;
}

/* The edge becomes the one of these two, or a part of it. */
static int move_edge(struct graph *g, struct edge *e, struct proc *p, struct chan *c)
{
	struct edge *into = graph_get_edge(g, p, c, e->e.role, e->e.end);
	int err = into ? merge_edge(into, e) : -ENOMEM;

	if (!err)
		graph_free_edge(g, e);
	return err;
}

static int add_signature(uint64_t **sig, size_t *n, uint64_t item)
{
	uint64_t *s = reallocarray(*sig, *n + 1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*sig = s;
	s[(*n)++] = item;
	return 0;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int sign(struct chan *c)
{
	const struct edge *e;
	int err = add_signature(&c->signature, &c->signature_len, c->c.row.key.mech);

	for_each_edges(list, c) list_for_each(e, list, by_chan) if (!err) err =
		add_signature(&c->signature, &c->signature_len,
			      (uint64_t)(e->e.role << 1 | e->e.end) << 32 | e->e.proc->key);
	if (!err)
		qsort(c->signature + 1, c->signature_len - 1, sizeof(*c->signature), compare_u64);
	return err;
}

static struct chan *new_group_chan(struct graph *g, struct chan *like)
{
	struct graph_priv *priv = g->priv;
	struct chan *group = graph_new_chan(g, KEY_GROUP + priv->nr_group_chans);

	if (!group || append(&priv->group_chans, priv->nr_group_chans, group))
		return NULL;
	priv->nr_group_chans++;
	group->signature = like->signature;
	group->signature_len = like->signature_len;
	like->signature = NULL;
	group->c.row = like->c.row;
	group->c.row.highwater = 0;
	group->c.row.found_bytes = group->c.row.found_at[0] = group->c.row.found_at[1] = 0;
	group->c.count = 0;
	group->c.folded = true;
	group->has_row = true;
	return group;
}

static uint64_t signature_hash(const struct chan *c)
{
	uint64_t h = 0xcbf29ce484222325ull;

	hash_add(&h, c->signature, c->signature_len * sizeof(*c->signature));
	return h;
}

static struct chan *find_group_chan(const struct graph *g, const struct chan *like)
{
	struct chan *group = map__get(&g->priv->group_chan_map, signature_hash(like), 0);

	while (group && (group->signature_len != like->signature_len ||
			 memcmp(group->signature, like->signature,
				like->signature_len * sizeof(*like->signature))))
		group = group->next;
	return group;
}

static int list_group_chan(struct graph *g, struct chan *group)
{
	uint64_t h = signature_hash(group);

	group->next = map__get(&g->priv->group_chan_map, h, 0);
	return map__put(&g->priv->group_chan_map, h, 0, group);
}

static int unlist_group_chan(struct graph *g, struct chan *group)
{
	uint64_t h = signature_hash(group);
	struct chan *c = map__get(&g->priv->group_chan_map, h, 0);

	if (c != group) {
		while (c->next != group)
			c = c->next;
		c->next = group->next;
		return 0;
	}
	map__del(&g->priv->group_chan_map, h, 0);
	return group->next ? map__put(&g->priv->group_chan_map, h, 0, group->next) : 0;
}

static struct chan *get_group_chan(struct graph *g, struct chan *like)
{
	struct chan *group = find_group_chan(g, like);

	if (group)
		return group;
	group = new_group_chan(g, like);
	return group && !list_group_chan(g, group) ? group : NULL;
}

static void merge_chan(struct chan *to, const struct chan *from)
{
	struct chan_row *a = &to->c.row;
	const struct chan_row *b = &from->c.row;

	to->c.count += from->c.count;
	to->relations |= from->relations;
	to->two_way |= from->two_way;
	a->flags |= b->flags;
	if (b->first_ns < a->first_ns)
		a->first_ns = b->first_ns;
	if (b->highwater > a->highwater)
		a->highwater = b->highwater;
	if (b->capacity > a->capacity)
		a->capacity = b->capacity;
	if (b->highwater_messages > a->highwater_messages)
		a->highwater_messages = b->highwater_messages;
	if (b->capacity_messages > a->capacity_messages)
		a->capacity_messages = b->capacity_messages;
	if (b->max_queued_ns > a->max_queued_ns)
		a->max_queued_ns = b->max_queued_ns;
	a->queued_ns += b->queued_ns;
	a->truncated_bytes += b->truncated_bytes;
	a->found_bytes += b->found_bytes;
	a->found_at[0] += b->found_at[0];
	a->found_at[1] += b->found_at[1];
}

/* All of c becomes part of the group. */
static int join_chan(struct graph *g, struct chan *c, struct chan *group)
{
	struct edge *e, *next_edge;
	struct flow *f;
	int err = 0;

	merge_chan(group, c);
	for_each_edges(list, c) list_for_each_safe(e, next_edge, list, by_chan) if (!err) err =
		move_edge(g, e, to_proc(e->e.proc), group);
	list_for_each(f, &c->flows, by_chan)
		if (!err)
			err = flow_add(g, group, &f->f);
	return err;
}

static int fold_chan(struct graph *g, struct chan *c)
{
	int err = flow_resolve(g, c);
	struct chan *group;

	if (!err)
		err = sign(c);
	group = err ? NULL : get_group_chan(g, c);
	if (!group)
		return err ? err : -ENOMEM;
	err = join_chan(g, c, group);
	if (!err)
		err = memo_set(&g->priv->chan_groups, c->c.key, group->c.key - KEY_GROUP + 1);
	if (!err)
		graph_free_chan(g, c);
	return err;
}

/* A group channel, an end of which has become a group only now, is like others perhaps. */
static int fold_again(struct graph *g, struct chan *c)
{
	int err = unlist_group_chan(g, c);
	struct chan *group;

	free(c->signature);
	c->signature = NULL;
	c->signature_len = 0;
	if (!err)
		err = sign(c);
	group = err ? NULL : find_group_chan(g, c);
	if (err || !group)
		return err ? err : list_group_chan(g, c);
	err = join_chan(g, c, group);
	if (err)
		return err;
	for (size_t i = 0; i < g->priv->nr_group_chans; i++)
		if (g->priv->group_chans[i] == c)
			g->priv->group_chans[i] = group;
	graph_free_chan(g, c);
	return 0;
}

static void forget_gone(struct graph *g, struct chan *c)
{
	if (!c->is_gone)
		return;
	c->is_gone = false;
	list__del(&c->gone);
	g->priv->nr_gone--;
}

/* Is one of its ends dead, but not folded yet? Then its turn comes with that. */
static bool has_dead_end(const struct chan *c)
{
	const struct edge *e;

	for_each_edges(list, c)
		list_for_each(e, list, by_chan) if (!e->e.proc->folded &&
						    (e->e.proc->flags & PROC_DEAD)) return true;
	return false;
}

/* The channel that is gone longest, though its ends live on: they keep their edges on the group. */
static int fold_oldest_gone(struct graph *g)
{
	struct chan *c = list_entry(g->priv->gone_chans.next, struct chan, gone);
	struct edge *e;

	forget_gone(g, c);
	if (has_dead_end(c))
		return 0;
	for_each_edges(list, c) list_for_each(e, list, by_chan)
		classify_pairs(g, c, e, PAIRS_PER_FOLD);
	return fold_chan(g, c);
}

/* Nobody can use it any more: at once if nobody is left on it who is not folded, else in its turn. */
int fold_chan_if_done(struct graph *g, struct chan *c)
{
	struct graph_priv *priv = g->priv;
	bool gone = c->c.row.flags & CHAN_GONE;

	if (!gone || c->c.folded || !c->nr_edges)
		return 0;
	if (c->nr_folded == c->nr_edges) {
		forget_gone(g, c);
		return fold_chan(g, c);
	}
	if (c->is_gone || has_dead_end(c))
		return 0;
	c->is_gone = true;
	list__add_tail(&priv->gone_chans, &c->gone);
	priv->nr_gone++;
	return priv->nr_gone > priv->fold_limit ? fold_oldest_gone(g) : 0;
}

/* At the end nobody comes any more, so this is true of every channel. */
int fold_rest(struct graph *g)
{
	struct chan *c, *next;
	int err = 0;

	list_for_each_safe(c, next, &g->priv->chans, all)
		if (!err && !c->c.folded && c->nr_edges && c->nr_folded == c->nr_edges) {
			forget_gone(g, c);
			err = fold_chan(g, c);
		}
	return err;
}

static int fold_rows(struct graph *g, struct proc *p, struct proc *group)
{
	struct ledger_row *r, *next;
	int err = 0;

	list_for_each_safe(r, next, &p->given, by_from)
		if (!err)
			err = ledger_rename_from(g, r, group);
	list_for_each_safe(r, next, &p->taken, by_to)
		if (!err)
			err = ledger_rename_to(g, r, group);
	return err;
}

/* The flows of a channel that was folded when this end of it still lived. */
static int rename_flows(struct graph *g, struct chan *c, struct proc *p, struct proc *group)
{
	struct flow *f, *next;
	int err = 0;

	list_for_each_safe(f, next, &c->flows, by_chan) {
		struct gflow moved = f->f;

		if (err || (moved.from != &p->p && moved.to != &p->p))
			continue;
		if (moved.from == &p->p)
			moved.from = &group->p;
		if (moved.to == &p->p)
			moved.to = &group->p;
		f->f.passes = (struct gpasses){ 0 }; /* it is moved's now */
		flow_free(g, f);
		err = flow_add(g, c, &moved);
		passes_free(&moved.passes);
	}
	return err;
}

/* It is in the graph as a child of its parent, which stays as long as that. */
void fold_child(struct graph *g, struct proc *p)
{
	struct proc *up = map__get(&g->priv->proc_map, p->p.parent_key, 0);

	if (p->is_child || !up || up == p)
		return;
	p->is_child = true;
	up->children++;
}

static bool is_of_use(const struct proc *p)
{
	return p->children || !list__empty(&p->edges) || !list__empty(&p->given) ||
	       !list__empty(&p->taken);
}

/* With it go those that stayed only as its ancestors. */
static int leave(struct graph *g, struct proc *p)
{
	int err = 0;

	while (p && !err) {
		struct proc *up =
			p->is_child ? map__get(&g->priv->proc_map, p->p.parent_key, 0) : NULL;

		err = memo_set(&g->priv->parents, p->p.key, p->p.parent_key);
		if (!err)
			graph_free_proc(g, p);
		if (up)
			up->children--;
		p = up && up->ended && !is_of_use(up) ? up : NULL;
	}
	return err;
}

static int fold_proc(struct graph *g, struct proc *p)
{
	struct proc *group = get_group(g, &p->p);
	struct edge *e, *next;
	int err;

	if (!group)
		return -ENOMEM;
	group->p.count++;
	if (p->p.start_ns < group->p.start_ns)
		group->p.start_ns = p->p.start_ns;
	if (p->p.exit_ns > group->p.exit_ns)
		group->p.exit_ns = p->p.exit_ns;
	err = memo_set(&g->priv->proc_groups, p->p.key, group->p.key - KEY_GROUP + 1);
	/* From here on its id means the group: channels may be resolved below. */
	map__del(&g->priv->proc_map, p->p.key, 0);
	if (!err)
		err = fold_rows(g, p, group);
	list_for_each(e, &p->edges, by_proc)
		classify_pairs(g, to_chan(e->e.chan), e, PAIRS_PER_FOLD);
	list_for_each_safe(e, next, &p->edges, by_proc) {
		struct chan *c = to_chan(e->e.chan);

		if (!err)
			err = move_edge(g, e, group, c);
		if (!err && c->c.folded)
			err = rename_flows(g, c, p, group);
		if (!err && c->c.folded && !graph_has_edge(g, p, c))
			err = fold_again(g, c);
		else if (!err)
			err = fold_chan_if_done(g, c);
	}
	return err ? err : leave(g, p);
}

void fold_forget(struct graph *g, struct proc *p)
{
	if (list__empty(&p->aged))
		return;
	list__del(&p->aged);
	if (p->ended)
		g->priv->nr_ended--;
	else
		g->priv->nr_resting--;
}

/* Its last records may still be on their way, but not for long. */
static bool rested(const struct graph_priv *priv, uint64_t now)
{
	const struct proc *p = list_entry(priv->resting.next, struct proc, aged);

	return priv->nr_resting &&
	       (now - p->died >= REST_NS || priv->nr_resting / RESTING_MAX > priv->fold_limit);
}

static int end_rest(struct graph *g)
{
	struct graph_priv *priv = g->priv;
	struct proc *p = list_entry(priv->resting.next, struct proc, aged);

	fold_forget(g, p);
	if (!is_of_use(p))
		return leave(g, p);
	p->ended = true;
	list__add_tail(&priv->ended, &p->aged);
	priv->nr_ended++;
	if (priv->nr_ended <= priv->fold_limit)
		return 0;
	p = list_entry(priv->ended.next, struct proc, aged);
	fold_forget(g, p);
	return fold_proc(g, p);
}

int fold_died(struct graph *g, struct proc *p, uint64_t now)
{
	int err = 0;

	if (!list__empty(&p->aged) || p->p.flags & PROC_ROOT || g->priv->fold_limit == SIZE_MAX)
		return 0;
	p->died = now;
	list__add_tail(&g->priv->resting, &p->aged);
	g->priv->nr_resting++;
	while (!err && rested(g->priv, now))
		err = end_rest(g);
	return err;
}

void fold_free(struct graph *g)
{
	struct graph_priv *priv = g->priv;

	memo_free(&priv->parents);
	memo_free(&priv->proc_groups);
	memo_free(&priv->chan_groups);
	free(priv->groups);
	free(priv->group_chans);
	map__free(&priv->group_map);
	map__free(&priv->group_chan_map);
}
