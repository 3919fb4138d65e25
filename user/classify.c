/* SPDX-License-Identifier: BSD-2-Clause */
/* What the textbooks call a channel, from what was observed. */
#include "graph_priv.h"
#include "mech.h"

enum relation {
	REL_SAME,
	REL_PARENT,
	REL_SIBLINGS,
	REL_ANCESTOR,
	REL_UNRELATED,
	REL_MAX,
};

static const char *const relation_names[REL_MAX] = {
	[REL_SAME] = "same-process", [REL_PARENT] = "parent-child", [REL_SIBLINGS] = "siblings",
	[REL_ANCESTOR] = "ancestor", [REL_UNRELATED] = "unrelated",
};

/* Pairs looked at per channel; beyond that the channel is called "mixed". */
#define PAIRS_MAX 1000000

#define GENERATIONS_MAX 1024

static bool is_ancestor(const struct graph *g, uint32_t old, const struct gproc *young)
{
	uint32_t key = young->parent_key;

	for (int i = 0; key && i < GENERATIONS_MAX; i++) {
		if (key == old)
			return true;
		key = graph_parent_key(g, key);
	}
	return false;
}

/* The parent of a process at the edge of what is watched has a pid, but no id. */
static bool is_parent(const struct proc *a, const struct proc *b)
{
	if (b->p.parent_key)
		return b->p.parent_key == a->p.key;
	return b->ppid && b->ppid == a->p.pid && a->p.pidns == b->p.pidns &&
	       a->p.start_ns <= b->p.start_ns;
}

static bool are_siblings(const struct proc *a, const struct proc *b)
{
	if (a->p.parent_key || b->p.parent_key)
		return a->p.parent_key == b->p.parent_key;
	/* Orphans are given to pid 1: that makes no family. */
	return a->ppid > 1 && a->ppid == b->ppid && a->p.pidns == b->p.pidns;
}

static enum relation relation(const struct graph *g, const struct proc *a, const struct proc *b)
{
	if (a == b)
		return REL_SAME;
	if (is_parent(a, b) || is_parent(b, a))
		return REL_PARENT;
	if (are_siblings(a, b))
		return REL_SIBLINGS;
	if (is_ancestor(g, a->p.key, &b->p) || is_ancestor(g, b->p.key, &a->p))
		return REL_ANCESTOR;
	return REL_UNRELATED;
}

static bool several(uint32_t relations)
{
	relations &= ~(1u << REL_SAME);
	return relations & (relations - 1);
}

static bool used(const struct edge *e)
{
	return e->e.ops || e->e.pages || e->e.samples || e->e.blocked_ops || e->e.blocked_now;
}

/* Only edges of real processes: a folded one has lost its relations, see fold.c. */
static bool counts(const struct edge *e, bool holders)
{
	return !e->e.proc->folded && (holders || used(e));
}

/* Who answers those of that role. */
static enum role other_role(enum role role)
{
	return role < ROLE_ATTACH ? role ^ 1 : role;
}

static size_t compare(struct graph *g, struct chan *c, const struct edge *e, size_t budget,
		      bool holders)
{
	const struct edge *other;

	if (!counts(e, holders))
		return budget;
	list_for_each(other, &c->edges[other_role(e->e.role)][chan_other_end(c, e->e.end)],
		      by_chan) {
		if (other == e)
			continue;
		if (!budget || several(c->relations))
			break;
		budget--;
		if (counts(other, holders))
			c->relations |= 1u
					<< relation(g, to_proc(e->e.proc), to_proc(other->e.proc));
	}
	return budget;
}

/* Notes how a process that is about to be folded is related to the other ends. */
void classify_pairs(struct graph *g, struct chan *c, const struct edge *e, size_t budget)
{
	compare(g, c, e, budget, false);
}

static const char *relation_name(uint32_t relations)
{
	if (!relations)
		return "unknown";
	if (several(relations))
		return "mixed";
	for (int i = REL_MAX - 1; i >= 0; i--)
		if (relations & 1u << i)
			return relation_names[i];
	return "unknown";
}

static const char *find_relation(struct graph *g, struct chan *c)
{
	const struct edge *e;

	/* A channel that nobody used has only holders. */
	for (int holders = 0; holders < 2 && !c->relations; holders++) {
		size_t budget = PAIRS_MAX;

		for_each_edges(list, c) list_for_each(
			e, list, by_chan) if (e->e.role >= ROLE_ATTACH || e->e.role % 2 == 0)
			budget = compare(g, c, e, budget, holders);
		if (!budget)
			return "mixed";
	}
	return relation_name(c->relations);
}

static bool any_traffic(const struct chan *c, const struct mech_desc *m)
{
	const bool ops = m->measured == IN_OPS || m->measured == IN_BOTH || m->of_process;
	const struct edge *e;

	for_each_edges(list, c) list_for_each(e, list, by_chan) if (e->e.bytes || e->e.pages ||
								    (ops && e->e.ops)) return true;
	return false;
}

void classify_chan(struct graph *g, struct chan *c)
{
	const struct mech_desc *m = mech__get(c->c.row.key.mech);

	c->c.medium = m->medium;
	c->c.unit = c->c.row.flags & CHAN_MESSAGES ? "message" : m->unit;
	c->c.naming = m->naming;
	c->c.buffering = m->buffering;
	c->c.scope = m->scope;
	c->c.direction = c->two_way ? "two-way" : any_traffic(c, m) ? "one-way" : "unused";
	c->c.relation = find_relation(g, c);
}
