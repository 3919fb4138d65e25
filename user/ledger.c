/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the kernel's ledgers, added up by (channel, writer, reader). */
#include <errno.h>
#include <stdlib.h>

#include "graph_priv.h"

static uint64_t ends(uint32_t from, uint32_t to)
{
	return (uint64_t)from << 32 | to;
}

static uint64_t place(const struct chan *c, uint32_t end)
{
	return (uint64_t)end << 32 | c->c.key;
}

struct ledger_row *ledger_find(struct graph *g, const struct chan *c, uint32_t end, uint32_t from,
			       uint32_t to)
{
	return map__get(&g->priv->ledger_map, ends(from, to), place(c, end));
}

static struct ledger_row *get_row(struct graph *g, struct chan *c, uint32_t end, uint32_t from_key,
				  struct proc *from, struct proc *to)
{
	struct graph_priv *priv = g->priv;
	struct ledger_row *r = ledger_find(g, c, end, from_key, to->p.key);

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r || map__put(&priv->ledger_map, ends(from_key, to->p.key), place(c, end), r)) {
		free(r);
		return NULL;
	}
	*r = (struct ledger_row){
		.from_key = from_key, .end = end, .from = from, .to = to, .chan = c
	};
	list__add_tail(&c->ledger, &r->by_chan);
	list__add_tail(&to->taken, &r->by_to);
	list__init(&r->by_from);
	if (from)
		list__add_tail(&from->given, &r->by_from);
	return r;
}

int ledger_add(struct graph *g, const struct flow_key *key, const struct flow_val *val)
{
	bool special = key->from == PROC_OUTSIDE || key->from == PROC_SHARED;
	struct proc *from = NULL, *to;
	struct ledger_row *r;
	struct chan *c;

	if (!key->chan || !key->from || !key->to || key->to >= KEY_GROUP ||
	    key->chan >= KEY_GROUP || key->end > 1 || (!special && key->from >= KEY_GROUP))
		return -EINVAL;
	if (!special) {
		from = graph_get_proc(g, key->from);
		if (!from)
			return -ENOMEM;
	}
	to = graph_get_proc(g, key->to);
	c = graph_get_chan(g, key->chan);
	if (!to || !c)
		return -ENOMEM;
	r = get_row(g, c, key->end, from ? from->p.key : key->from, from, to);
	if (!r)
		return -ENOMEM;
	r->ops += val->ops;
	r->bytes += val->bytes;
	r->pages += val->pages;
	r->blocked_ns += val->blocked_ns;
	return 0;
}

void ledger_free_row(struct graph *g, struct ledger_row *r)
{
	map__del(&g->priv->ledger_map, ends(r->from_key, r->to->p.key), place(r->chan, r->end));
	list__del(&r->by_chan);
	list__del(&r->by_from);
	list__del(&r->by_to);
	free(r);
}

static int move(struct graph *g, struct ledger_row *r, uint32_t from_key, struct proc *from,
		struct proc *to)
{
	struct ledger_row *into = get_row(g, r->chan, r->end, from_key, from, to);

	if (!into)
		return -ENOMEM;
	into->ops += r->ops;
	into->bytes += r->bytes;
	into->pages += r->pages;
	into->blocked_ns += r->blocked_ns;
	ledger_free_row(g, r);
	return 0;
}

int ledger_rename_from(struct graph *g, struct ledger_row *r, struct proc *from)
{
	return move(g, r, from->p.key, from, r->to);
}

int ledger_rename_to(struct graph *g, struct ledger_row *r, struct proc *to)
{
	return move(g, r, r->from_key, r->from, to);
}
