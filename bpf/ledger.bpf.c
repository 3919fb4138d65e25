// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Who wrote what a reader got, on a byte channel with several writers.
 *
 * A ledger lists who put in which bytes, in order; a read takes from its front. Calls are entered
 * when they return, and two that ran at once may return in another order than they changed the
 * channel. That is not guessed but looked at: a write leaves the reading end of the ring as the last
 * entered call left it, and adds just its own bytes; a read leaves the writing end as it was. If the
 * ring looks otherwise, somebody whose call has not returned yet changed it too: the ledger is dirty,
 * and says PROC_SHARED until it agrees with the ring again.
 */
#include "pipe.bpf.h"
#include "table.bpf.h"

/* A piece of a read: its writer is known now. */
struct piece {
	__u32 reader, writer;
	__u64 bytes;
};

#define E2BIG 7
#define PIECES 4 /* debts paid by one write */

struct settling {
	struct ring_view now;
	__u32 chan, proc;
	/* Positions that a read took; up to known, by whom is entered. */
	__u64 n, start, end, known;
	__u32 at; /* first entry to look at */
	__u32 writer; /* of all of it, 0: look it up */
	__u32 nr;
	struct piece pieces[PIECES];
};

/* Too big for the 512 bytes of stack that all callers share. Nothing preempts these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settling);
} settlings SEC(".maps");

static __always_inline struct ledger *ledger_at(__u32 row)
{
	return bpf_map_lookup_elem(&ledgers, &row);
}

static __noinline void flow_add(__u32 chan, __u32 from, __u32 to, __u64 bytes)
{
	struct flow_key key = { .chan = chan, .from = from, .to = to };
	struct flow_val *v = bpf_map_lookup_elem(&flows, &key), first = {};

	if (!v) {
		if (bpf_map_update_elem(&flows, &key, &first, BPF_NOEXIST) == -E2BIG) {
			lose(LOSS_NO_FLOW, bytes);
			return;
		}
		v = bpf_map_lookup_elem(&flows, &key);
		if (!v)
			return;
	}
	__sync_fetch_and_add(&v->bytes, bytes);
	__sync_fetch_and_add(&v->ops, 1);
}

/* The channel has a second writer. */
int ledger_open(__u32 chan)
{
	struct chan_row *c = chan_at(chan);
	struct engine *en = the_engine();
	struct ledger *l;
	__u32 row;

	if (!c || !en)
		return 0;
	row = new_row(en, &free_ledgers, TABLE_LEDGERS, cfg.nr_ledgers);
	l = ledger_at(row);
	if (row == NO_ROW || !l) {
		c->flags |= CHAN_NO_LEDGER;
		lose(LOSS_NO_LEDGER, 1);
		return 0;
	}
	l->chan = c->id;
	l->head = l->tail = l->dirty = l->walkers = l->nr_debts = 0;
	l->wpos = l->rpos = l->taint = 0;
	l->fresh = 1;
	c->flags |= CHAN_LEDGER;
	if (__sync_val_compare_and_swap(&c->ledger, 0, row + 1))
		bpf_map_push_elem(&free_ledgers, &row, 0);
	return 0;
}

/* --- with the lock held: no calls, no loops without end --- */

static __always_inline void put(struct ledger *l, __u32 writer, __u64 n)
{
	struct ledger_entry *e = &l->entries[(l->tail - 1) % LEDGER_ENTRIES];

	l->wpos += n;
	if (l->tail != l->head && e->writer == writer) {
		e->end = l->wpos;
		return;
	}
	/* Readers that look through the entries must find them as they were. */
	if (!l->walkers)
		for (int i = 0; i < 8 && l->head != l->tail; i++) {
			if (l->entries[l->head % LEDGER_ENTRIES].end > l->rpos)
				break;
			l->head++;
		}
	if (l->tail - l->head >= LEDGER_ENTRIES) {
		e->end = l->wpos;
		e->writer = PROC_SHARED;
		return;
	}
	e = &l->entries[l->tail % LEDGER_ENTRIES];
	e->end = l->wpos;
	e->writer = writer;
	l->tail++;
}

/* What was read before its write was seen to end, now has a writer. */
static __always_inline void pay_debts(struct ledger *l, struct settling *s, __u32 writer)
{
	for (int i = 0; i < PIECES; i++) {
		struct ledger_debt *d = &l->debts[0];
		__u64 end;

		if (!l->nr_debts || d->start >= l->wpos)
			break;
		end = d->end < l->wpos ? d->end : l->wpos;
		s->pieces[i].reader = d->reader;
		s->pieces[i].writer = d->shared ? PROC_SHARED : writer;
		s->pieces[i].bytes = end - d->start;
		s->nr = i + 1;
		d->start = end;
		if (d->start < d->end)
			break;
		l->nr_debts--;
		for (int k = 0; k < LEDGER_DEBTS - 1; k++)
			l->debts[k] = l->debts[k + 1];
	}
}

static __always_inline void take(struct ledger *l, struct settling *s, bool sure)
{
	struct ledger_entry *e = &l->entries[l->head % LEDGER_ENTRIES];

	for (int i = 0; i < 8 && l->head != l->tail && !l->walkers; i++) {
		e = &l->entries[l->head % LEDGER_ENTRIES];
		if (e->end > l->rpos)
			break;
		l->head++;
	}
	e = &l->entries[l->head % LEDGER_ENTRIES];
	s->at = l->head;
	s->start = l->rpos;
	s->end = l->rpos = l->rpos + s->n;
	s->known = s->end < l->wpos ? s->end : l->wpos;
	if (s->known < s->start)
		s->known = s->start;
	s->writer = 0;
	if (s->end <= l->taint) {
		s->writer = PROC_SHARED;
	} else if (!sure) {
		/* Another reader may have been first; all the same if all is one writer's. */
		if (s->start >= l->taint && l->head != l->tail && e->end >= l->wpos &&
		    s->end <= l->wpos)
			s->writer = e->writer;
		else
			s->writer = PROC_SHARED;
	}
	if (s->known < s->end) {
		struct ledger_debt *d = &l->debts[l->nr_debts % LEDGER_DEBTS];

		if (l->nr_debts >= LEDGER_DEBTS) {
			s->known = s->end;
			s->writer = PROC_SHARED;
		} else {
			d->start = s->known;
			d->end = s->end;
			d->reader = s->proc;
			d->shared = !sure;
			l->nr_debts++;
		}
	}
	__sync_fetch_and_add(&l->walkers, 1);
}

static __always_inline bool agrees(const struct ledger *l, const struct settling *s, bool write)
{
	const struct ring_view *was = &l->base, *now = &s->now;

	if (l->dirty)
		return false;
	if (write)
		return now->bytes == was->bytes + s->n && now->tail == was->tail &&
		       (!was->bytes || now->first == was->first);
	return now->bytes + s->n == was->bytes && now->head == was->head &&
	       (!now->bytes || now->last == was->last);
}

/* The first call after the ledger was opened: all that lay there before is the first writer's. */
static __always_inline void first_entry(struct ledger *l, const struct settling *s, bool write,
					__u32 first_writer)
{
	__u64 before = write ? s->now.bytes - s->n : s->now.bytes + s->n;

	l->fresh = 0;
	l->base = s->now;
	if (write && s->now.bytes < s->n) {
		/* It was read in the meantime, by a call that has not returned yet. */
		l->dirty = 1;
		before = 0;
	}
	l->base.bytes = before;
	if (before)
		put(l, first_writer, before);
}

/* --- and without it again --- */

struct walk {
	struct ledger *l;
	struct settling *s;
	__u64 pos;
};

static long walk_step(__u32 i, struct walk *w)
{
	struct ledger_entry *e = &w->l->entries[(w->s->at + i) % LEDGER_ENTRIES];
	__u64 end = e->end < w->s->known ? e->end : w->s->known;

	if (w->pos >= w->s->known)
		return 1;
	if (end <= w->pos)
		return 0;
	flow_add(w->s->chan, w->pos < w->l->taint ? PROC_SHARED : e->writer, w->s->proc,
		 end - w->pos);
	w->pos = end;
	return 0;
}

/* Credit each piece of what was read to its writer. */
static __noinline void walk(struct ledger *l, struct settling *s)
{
	struct walk w = { .l = l, .s = s, .pos = s->start };

	if (s->writer) {
		if (s->known > s->start)
			flow_add(s->chan, s->writer, s->proc, s->known - s->start);
	} else if (s->known > s->start) {
		bpf_loop(LEDGER_ENTRIES, walk_step, &w, 0);
	}
	__sync_fetch_and_add(&l->walkers, -1);
}

/* A call that moved n bytes has returned. */
int ledger_settle(__u32 chan, __u32 proc, __u32 role, __u64 n, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	bool write = role == ROLE_WRITE, sure;
	struct ledger *l;
	struct settling *s;
	__u32 zero = 0;
	__u64 first;

	s = bpf_map_lookup_elem(&settlings, &zero);
	if (!c || !s)
		return 0;
	l = ledger_at(c->ledger - 1);
	if (!l)
		return 0;
	s->chan = c->id;
	s->proc = proc;
	s->n = n;
	s->nr = 0;
	first = c->first_writer;
	pipe_view(file, &s->now);
	bpf_spin_lock(&l->lock);
	if (l->fresh)
		first_entry(l, s, write, first);
	sure = agrees(l, s, write);
	if (write) {
		put(l, sure ? proc : PROC_SHARED, n);
		pay_debts(l, s, sure ? proc : PROC_SHARED);
	} else {
		take(l, s, sure);
	}
	if (!sure)
		l->dirty = 1;
	if (l->dirty && !l->nr_debts && l->wpos - l->rpos == s->now.bytes) {
		l->dirty = 0;
		l->taint = l->wpos;
	}
	l->base = s->now;
	bpf_spin_unlock(&l->lock);
	for (__u32 i = 0; i < PIECES; i++)
		if (i < s->nr)
			flow_add(s->chan, s->pieces[i].writer, s->pieces[i].reader,
				 s->pieces[i].bytes);
	if (!write)
		walk(l, s);
	return 0;
}

/* A FIFO that everybody had closed is empty again, whatever was left in it. */
int ledger_reopened(__u32 chan, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	struct ring_view now;
	struct ledger *l;

	if (!c || !c->ledger)
		return 0;
	l = ledger_at(c->ledger - 1);
	pipe_view(file, &now);
	if (!l || now.bytes)
		return 0;
	bpf_spin_lock(&l->lock);
	l->rpos = l->wpos;
	l->nr_debts = l->dirty = 0;
	l->base = now;
	bpf_spin_unlock(&l->lock);
	return 0;
}
