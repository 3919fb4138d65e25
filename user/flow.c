/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who got whose bytes, channel by channel. What is said here is what the counters prove:
 *
 * 1. Rows of the kernel's ledger are exact. Before there was a second writer, the kernel keeps none:
 *    what a reader got beyond its rows came from the first writer.
 * 2. What is still open is bounded. A reader that lacks U bytes, writers that have A(w) left: w gave
 *    at least U - sum of the others' A. With a single writer, or a single reader that took all that
 *    was written, this is everything, whatever the ledger says. What remains is "shared".
 * 3. More was read than written: the rest came from outside (somebody not watched, or bytes that
 *    lay in the channel before).
 *
 * A flow's ops are reads that got something of it as far as a ledger counted them, else all reads
 * of the reader, also those that only saw the end of file: the counters do not tell them apart.
 *
 * Folded nodes are just coarser processes: each of the statements stays true for them.
 */
#include <errno.h>
#include <stdlib.h>

#include "graph_priv.h"
#include "mech.h"

/* Flows of unknown order multiply (writers times readers); the edges still tell all of them. */
#define SHARED_MAX 10000

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t ends(const struct gproc *from, const struct gproc *to)
{
	return (uint64_t)from->key << 32 | to->key;
}

struct flow *flow_find(struct graph *g, const struct chan *c, const struct gproc *from,
		       const struct gproc *to)
{
	return map__get(&g->priv->flow_map, ends(from, to), c->c.key);
}

/* Adds to the flow between the same two; the weaker certainty stays. */
int flow_add(struct graph *g, struct chan *c, const struct gflow *add)
{
	struct flow *f = flow_find(g, c, add->from, add->to);

	if (!add->ops && !add->bytes && !add->shared_bytes && !add->pages && !add->passes.nr &&
	    !add->passes.others && !add->shared_fds)
		return 0;
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f || map__put(&g->priv->flow_map, ends(add->from, add->to), c->c.key, f)) {
			free(f);
			return -ENOMEM;
		}
		f->f = (struct gflow){ .from = add->from, .to = add->to, .chan = &c->c };
		list__add_tail(&c->flows, &f->by_chan);
	}
	f->f.ops += add->ops;
	f->f.bytes += add->bytes;
	f->f.pages += add->pages;
	f->f.blocked_ns += add->blocked_ns;
	f->f.shared_bytes += add->shared_bytes;
	f->f.shared_fds += add->shared_fds;
	if (passes_merge(&f->f.passes, &add->passes))
		return -ENOMEM;
	if (add->certainty > f->f.certainty)
		f->f.certainty = add->certainty;
	if (add->from == &g->priv->outside.p || add->to == &g->priv->outside.p)
		g->priv->outside_used = true;
	return 0;
}

void flow_free(struct graph *g, struct flow *f)
{
	map__del(&g->priv->flow_map, ends(f->f.from, f->f.to), to_chan(f->f.chan)->c.key);
	list__del(&f->by_chan);
	passes_free(&f->f.passes);
	free(f);
}

/* What is known and still open on one channel. */
struct ctx {
	struct graph *g;
	struct chan *c;
	unsigned int end; /* of the writers */
	struct list *writers, *readers; /* one direction: a connection has two */
	uint64_t written, read; /* by watched processes */
	uint64_t found; /* bytes read that lay there before the trace, not yet in a flow */
	uint64_t supply, demand; /* sum of left of the writers, the readers */
	size_t suppliers, demanders; /* how many have any left */
	bool ledger; /* its silence means the first writer */
};

static void start(struct ctx *x)
{
	const struct chan_row *row = &x->c->c.row;
	struct edge *e;

	list_for_each(e, x->writers, by_chan) {
		e->left = e->e.bytes;
		x->written += e->left;
	}
	list_for_each(e, x->readers, by_chan) {
		e->left = e->e.bytes;
		e->unordered = 0;
		x->read += e->left;
		x->demanders += e->left > 0;
	}
	x->found = min_u64(chan_has_two_ends(x->c) ? row->found_at[chan_other_end(x->c, x->end)]
						   : row->found_bytes,
			   x->read);
}

static uint64_t ledger_ops(const struct ctx *x, const struct edge *from, const struct edge *to)
{
	const struct ledger_row *r =
		ledger_find(x->g, x->c, x->end, from->e.proc->key, to->e.proc->key);

	return r ? r->ops : 0;
}

/* Bytes of a writer, or from outside (NULL), that went to a reader for sure. */
static int give(struct ctx *x, struct edge *from, struct edge *to, uint64_t bytes, uint64_t ops)
{
	struct gflow f = {
		.from = from ? from->e.proc : &x->g->priv->outside.p,
		.to = to->e.proc,
		.ops = ops,
		.bytes = bytes,
	};

	to->left -= bytes;
	if (from) {
		from->left -= bytes;
		x->supply -= bytes;
	}
	return flow_add(x->g, x->c, &f);
}

static bool ledger_has_outside(const struct ctx *x)
{
	const struct ledger_row *r;

	list_for_each(r, &x->c->ledger, by_chan)
		if (r->from_key == PROC_OUTSIDE && r->end == x->end)
			return true;
	return false;
}

/* One reader has taken all that was ever written: no order can change who gave how much. */
static bool drained_by_one(const struct ctx *x)
{
	return x->demanders == 1 && x->written == x->read && !x->found && !ledger_has_outside(x);
}

static int take_row(struct ctx *x, const struct ledger_row *r)
{
	struct edge *to = graph_find_edge(x->g, r->to, x->c, ROLE_READ,
					  chan_other_end(x->c, x->end)),
		    *from = NULL;
	uint64_t bytes;

	if (!to)
		return 0;
	bytes = min_u64(r->bytes, to->left);
	if (r->from_key == PROC_SHARED) {
		to->unordered += bytes;
		return 0;
	}
	if (r->from_key == PROC_OUTSIDE) {
		x->found -= min_u64(x->found, bytes);
	} else {
		from = graph_find_edge(x->g, r->from, x->c, ROLE_WRITE, x->end);
		if (!from)
			return 0;
		bytes = min_u64(bytes, from->left);
	}
	return give(x, from, to, bytes, r->ops);
}

/* Reads beyond what the ledger counted; at least one if there were bytes. */
static uint64_t other_ops(const struct ctx *x, const struct edge *to)
{
	const struct ledger_row *r;
	uint64_t ops = to->e.ops;

	list_for_each(r, &to_proc(to->e.proc)->taken, by_to)
		if (r->chan == x->c && r->end == x->end)
			ops -= min_u64(ops, r->ops);
	return ops ? ops : 1;
}

/* Reads of what the ledger could not tell, or did not see. */
static uint64_t open_ops(const struct ctx *x, const struct edge *to)
{
	const struct ledger_row *r = ledger_find(x->g, x->c, x->end, PROC_SHARED, to->e.proc->key);

	return r ? r->ops : other_ops(x, to);
}

/* Where the ledger is silent it was not yet kept, and there was one writer. */
static int take_first_writer(struct ctx *x)
{
	struct proc *p = graph_get_proc(x->g, x->c->c.row.first_writer);
	struct edge *from, *to;
	int err = 0;

	from = p ? graph_find_edge(x->g, p, x->c, ROLE_WRITE, x->end) : NULL;
	if (!from)
		return p ? 0 : -ENOMEM;
	list_for_each(to, x->readers, by_chan) {
		uint64_t silent = to->left - min_u64(to->unordered, to->left);
		uint64_t bytes = min_u64(silent, from->left);

		if (bytes && !err)
			err = give(x, from, to, bytes, other_ops(x, to));
	}
	return err;
}

/* First in, first out: what was found there came first. */
static int take_found(struct ctx *x)
{
	struct edge *to;
	int err = 0;

	list_for_each(to, x->readers, by_chan) {
		uint64_t silent = to->left - min_u64(to->unordered, to->left);
		uint64_t bytes = min_u64(silent, x->found);

		if (!bytes || err)
			continue;
		x->found -= bytes;
		err = give(x, NULL, to, bytes, 1);
	}
	return err;
}

static void count_left(struct ctx *x)
{
	struct edge *e;

	x->supply = x->demand = x->suppliers = x->demanders = 0;
	list_for_each(e, x->writers, by_chan) {
		x->supply += e->left;
		x->suppliers += e->left > 0;
	}
	list_for_each(e, x->readers, by_chan) {
		x->demand += e->left;
		x->demanders += e->left > 0;
	}
}

/* A single process that is not watched and holds that end; NULL if there is none, or several. */
static struct edge *lone_holder(struct list *edges)
{
	struct edge *e, *found = NULL;

	list_for_each(e, edges, by_chan) {
		if (!e->held || !(e->e.proc->flags & PROC_HOLDER))
			continue;
		if (found)
			return NULL;
		found = e;
	}
	return found;
}

static int give_inferred(struct ctx *x, struct edge *from, struct edge *to, uint64_t bytes,
			 uint64_t ops)
{
	struct gflow f = {
		.from = from->e.proc,
		.to = to->e.proc,
		.ops = ops,
		.bytes = bytes,
		.certainty = CERTAIN_INFERRED,
	};

	return flow_add(x->g, x->c, &f);
}

/* Nobody who is watched was at the other end, but it is known who alone could be. */
static int infer(struct ctx *x)
{
	struct edge *e, *holder = lone_holder(x->written ? x->readers : x->writers);
	int err = 0;

	if (!holder)
		return 0;
	list_for_each(e, x->written ? x->writers : x->readers, by_chan) {
		if (!e->left || err)
			continue;
		err = x->written ? give_inferred(x, e, holder, e->left, e->e.ops)
				 : give_inferred(x, holder, e, e->left, e->e.ops);
		e->left = 0;
	}
	return err;
}

/* The part of the demand that outside gave, or could have given if there are several readers. */
static int take_outside(struct ctx *x, uint64_t *outside)
{
	struct edge *to;
	uint64_t bytes;
	int err = 0;

	*outside = x->demand > x->supply ? x->demand - x->supply : 0;
	if (*outside < min_u64(x->found, x->demand))
		*outside = min_u64(x->found, x->demand);
	if (!*outside || (x->suppliers && x->demanders != 1))
		return 0;
	list_for_each(to, x->readers, by_chan) {
		bytes = min_u64(*outside, to->left);
		if (!bytes || err)
			continue;
		*outside -= bytes;
		x->demand -= bytes;
		err = give(x, NULL, to, bytes, x->suppliers ? 1 : to->e.ops);
	}
	return err;
}

/* At least how much a reader that lacks `lacks` has from one that has `has` of `supply`. */
static uint64_t at_least(uint64_t lacks, uint64_t has, uint64_t supply)
{
	uint64_t others = supply - has;

	return lacks > others ? lacks - others : 0;
}

static int take_certain(struct ctx *x, struct edge *to, uint64_t outside, uint64_t supply)
{
	uint64_t lacks = to->left;
	struct edge *from;
	int err = 0;

	list_for_each(from, x->writers, by_chan) {
		uint64_t bytes = at_least(lacks, from->left, supply);
		uint64_t ops = x->suppliers == 1 ? open_ops(x, to) : ledger_ops(x, from, to);

		if (!from->left || !bytes || err)
			continue;
		err = give(x, from, to, bytes, ops ? ops : min_u64(from->e.ops, to->e.ops));
	}
	if (!err && at_least(lacks, outside, supply))
		err = give(x, NULL, to, at_least(lacks, outside, supply), 1);
	return err;
}

static int give_shared(struct ctx *x, struct gproc *from, struct edge *to, uint64_t bytes)
{
	struct gflow f = {
		.from = from,
		.to = to->e.proc,
		.shared_bytes = bytes,
		.certainty = CERTAIN_SHARED,
	};

	return flow_add(x->g, x->c, &f);
}

static int take_shared(struct ctx *x, struct edge *to, uint64_t outside, size_t *budget)
{
	struct edge *from;
	int err = 0;

	list_for_each(from, x->writers, by_chan) {
		if (!from->left || err || !*budget)
			continue;
		(*budget)--;
		err = give_shared(x, from->e.proc, to, min_u64(from->left, to->left));
	}
	if (outside && !err)
		err = give_shared(x, &x->g->priv->outside.p, to, min_u64(outside, to->left));
	return err;
}

/* Somebody who is not watched holds the writers' end, or did before the trace, and may have used it. */
static bool others_may_write(const struct ctx *x)
{
	const struct edge *e;

	if (x->c->c.row.flags & CHAN_PREEXISTING)
		return true;
	list_for_each(e, x->writers, by_chan)
		if (e->e.proc->flags & PROC_HOLDER)
			return true;
	return false;
}

static int take_open(struct ctx *x, uint64_t outside)
{
	size_t budget = SHARED_MAX;
	struct edge *to;
	bool bounded;
	int err = 0;

	/*
	 * One who hands over to another, as servers do at both ends, leaves several of each. What one
	 * writer must have given since the others had not enough holds whoever else reads; what came from
	 * outside is told from that only with one reader or one writer.
	 */
	bounded = x->demanders == 1 || x->suppliers + (outside > 0) == 1 ||
		  (!outside && !others_may_write(x));
	list_for_each(to, x->readers, by_chan) {
		if (!to->left || err)
			continue;
		if (bounded)
			err = take_certain(x, to, outside, x->supply + outside);
		if (!err && to->left)
			err = take_shared(x, to, outside, &budget);
	}
	return err;
}

void flow_find_two_way(struct graph *g, struct chan *c)
{
	const struct flow *f;

	list_for_each(f, &c->flows, by_chan)
		if (f->f.from != f->f.to && flow_find(g, c, f->f.to, f->f.from))
			c->two_way = true;
}

/* Who got all its bytes from one, got them by all its reads, however the ledger came to know. */
static void all_reads_of_one(struct graph *g, struct chan *c)
{
	struct flow *f;

	list_for_each(f, &c->flows, by_chan) {
		uint64_t ops = 0, bytes = 0;

		for (unsigned int end = 0; end < 2; end++) {
			const struct edge *to =
				graph_find_edge(g, to_proc(f->f.to), c, ROLE_READ, end);

			ops += to ? to->e.ops : 0;
			bytes += to ? to->e.bytes : 0;
		}
		if (bytes && f->f.bytes == bytes)
			f->f.ops = ops;
	}
}

/* One direction of a channel. */
static int resolve_lane(struct graph *g, struct chan *c, unsigned int end)
{
	struct ctx x = {
		.g = g,
		.c = c,
		.end = end,
		.writers = &c->edges[ROLE_WRITE][end],
		.readers = &c->edges[ROLE_READ][chan_other_end(c, end)],
	};
	struct ledger_row *r;
	uint64_t outside = 0;
	int err = 0;

	start(&x);
	if (!drained_by_one(&x)) {
		err = flow_take_turns(g, c, end);
		list_for_each(r, &c->ledger, by_chan)
			if (!err && r->end == end)
				err = take_row(&x, r);
		if (!err && x.found && x.demanders == 1)
			err = take_found(&x);
		x.ledger = (c->c.row.flags & CHAN_LEDGER || !list__empty(&c->ledger)) &&
			   !(c->c.row.flags & CHAN_NO_LEDGER) && !x.found &&
			   !g->lost.causes[LOSS_NO_FLOW];
		if (!err && x.ledger && c->c.row.first_writer &&
		    c->c.row.first_writer != PROC_SHARED)
			err = take_first_writer(&x);
	}
	count_left(&x);
	if (!err && (!x.written || !x.read)) {
		err = infer(&x);
		count_left(&x);
	}
	if (!err)
		err = take_outside(&x, &outside);
	if (!err)
		err = take_open(&x, outside);
	flow_find_two_way(g, c);
	return err;
}

/*
 * More than all who are watched sent, and not the same by each of several sockets: somebody else sent,
 * too, and may have sent any of it.
 */
static bool others_sent(const struct edge *to, uint64_t sent)
{
	return to->e.bytes > sent && (!sent || to->e.bytes % sent);
}

/* What a member of a group got from one who sends, where every member gets all. */
static int take_of_all(struct graph *g, struct chan *c, const struct edge *from,
		       const struct edge *to, uint64_t sent, size_t senders)
{
	const bool own = from->e.proc == to->e.proc;
	const struct edge *mine = graph_find_edge(g, to_proc(to->e.proc), c, ROLE_WRITE, 0);
	const uint64_t others = sent - (mine ? mine->e.bytes : 0);
	struct gflow f = { .from = from->e.proc, .to = to->e.proc };

	if (to->e.bytes == sent) {
		f.bytes = from->e.bytes;
		f.ops = from->e.ops;
	} else if (senders == 1 && !others_sent(to, sent)) {
		f.bytes = min_u64(from->e.bytes, to->e.bytes);
		f.ops = min_u64(from->e.ops, to->e.ops);
	} else if (mine && mine->e.bytes && to->e.bytes == others) {
		/* It does not hear itself. */
		f.bytes = own ? 0 : from->e.bytes;
		f.ops = own ? 0 : from->e.ops;
	} else {
		f.shared_bytes = min_u64(from->e.bytes, to->e.bytes);
		f.certainty = CERTAIN_SHARED;
	}
	return flow_add(g, c, &f);
}

/* What came from somebody who is not watched: all, if nobody who is sent anything. */
static int take_of_others(struct graph *g, struct chan *c, const struct edge *to, size_t senders)
{
	struct gflow f = { .from = &g->priv->outside.p, .to = to->e.proc };

	if (senders) {
		f.shared_bytes = to->e.bytes;
		f.certainty = CERTAIN_SHARED;
	} else {
		f.bytes = to->e.bytes;
		f.ops = to->e.ops;
	}
	return flow_add(g, c, &f);
}

static int resolve_to_all(struct graph *g, struct chan *c)
{
	const struct list *writers = &c->edges[ROLE_WRITE][0], *readers = &c->edges[ROLE_READ][0];
	const struct edge *from, *to;
	uint64_t sent = 0;
	size_t senders = 0;
	int err = 0;

	list_for_each(from, writers, by_chan) {
		sent += from->e.bytes;
		senders += from->e.ops > 0;
	}
	list_for_each(to, readers, by_chan) {
		if (!to->e.ops)
			continue;
		list_for_each(from, writers, by_chan)
			if (from->e.ops && !err)
				err = take_of_all(g, c, from, to, sent, senders);
		if (!err && (!senders || others_sent(to, sent)))
			err = take_of_others(g, c, to, senders);
	}
	return err;
}

static int resolve(struct graph *g, struct chan *c)
{
	bool is_host;
	int err = host_resolve(g, c, &is_host);

	if (err || is_host)
		return err;
	switch (mech__get(c->c.row.key.mech)->flows) {
	case FLOWS_BYTES:
		break;
	case FLOWS_TO_ALL:
		return resolve_to_all(g, c);
	case FLOWS_ROWS:
		return flow_resolve_rows(g, c);
	case FLOWS_EVENTS:
	case FLOWS_LOOSE:
	case FLOWS_NONE:
		return flow_resolve_loose(g, c);
	}
	err = resolve_lane(g, c, 0);
	if (!err && chan_has_two_ends(c))
		err = resolve_lane(g, c, 1);
	all_reads_of_one(g, c);
	return err;
}

int flow_resolve(struct graph *g, struct chan *c)
{
	int err = resolve(g, c);

	return err ? err : passed_resolve(g, c);
}
