/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Opening a channel's ledger; keeping it is ledger.bpf.c. */
#ifndef IPCTRACE_LEDGER_BPF_H
#define IPCTRACE_LEDGER_BPF_H

#include "pipe.bpf.h"
#include "table.bpf.h"

static __always_inline struct ledger *ledger_at(__u32 row)
{
	return bpf_map_lookup_elem(&ledgers, &row);
}

/* What c->ledger said; NO_ROW: none. */
static __always_inline __u32 ledger_row(__u32 ledger)
{
	return (ledger & ~LEDGER_RESTS) - 1;
}

/* An empty ledger for the channel, not yet in use; NO_ROW: no room. */
static __always_inline __u32 ledger_new(struct chan_row *c, struct engine *en)
{
	__u32 row = new_row(en, &free_ledgers, TABLE_LEDGERS, cfg.nr_ledgers);
	struct ledger *l = ledger_at(row);

	if (row == NO_ROW || !l)
		return NO_ROW;
	l->chan = c->id;
	l->version++;
	l->head = l->tail = l->walkers = l->nr_debts = 0;
	l->fresh = l->lost = l->writes = l->sole[ROLE_WRITE] = l->sole[ROLE_READ] = 0;
	l->put = l->wpos = l->taken = l->rpos = l->wrote = l->read = 0;
	__builtin_memset(&l->base, 0, sizeof(l->base));
	return row;
}

static __always_inline bool ledger_use(struct chan_row *c, __u32 row, __u32 flags)
{
	if (__sync_val_compare_and_swap(&c->ledger, 0, row + 1)) {
		bpf_map_push_elem(&free_ledgers, &row, 0);
		return false;
	}
	c->flags |= flags;
	return true;
}

/* May others write or read through that same file? */
static __always_inline bool ledger_likely(struct chan_row *c, __u64 file)
{
	return c->key.mech == MECH_FIFO || file_is_shared(file);
}

/*
 * Before there is a second writer, where one is likely: then all is known from the beginning. Only
 * while there is room enough for those that must have one.
 */
static __always_inline void ledger_open_early(struct chan_row *c, __u64 file, bool found)
{
	struct engine *en = the_engine();
	struct ledger *l;
	__u32 row;

	if (!en || en->used[TABLE_LEDGERS] >= cfg.nr_ledgers / 2 || !ledger_likely(c, file))
		return;
	row = ledger_new(c, en);
	l = ledger_at(row);
	if (row == NO_ROW || !l)
		return;
	if (found) {
		pipe_view(file, &l->base);
		if (l->base.bytes) {
			l->put = l->wpos = l->entries[0].end = l->base.bytes;
			l->entries[0].writer = PROC_OUTSIDE;
			l->tail = 1;
			l->sole[ROLE_WRITE] = PROC_SHARED;
		}
	} else {
		/* Not used so far, so all that it shows was done by calls still to be seen. */
		l->base.bufs = PEEK_ADDR(struct pipe_inode_info, pipe_of(file), bufs);
	}
	/* Of what it is silent about, nobody was the only writer. */
	if (ledger_use(c, row, CHAN_LEDGER))
		c->first_writer = PROC_SHARED;
}

#endif
