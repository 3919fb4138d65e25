// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Who wrote what a reader got, on a byte channel with several writers.
 *
 * A ledger lists who put in which bytes, in order; a read takes from its front. Calls are entered
 * when they return, and two that ran at once may return in another order than they changed the
 * channel. That is not guessed but looked at: a write leaves the reading end of the ring as the last
 * entered call left it, and adds just its own bytes; a read leaves the writing end as it was. If the
 * ring looks otherwise, somebody whose call has not returned yet changed it too: the ledger is dirty,
 * and says PROC_SHARED until as many bytes are entered as lie in the ring. What lies there then stays
 * unknown (it is below the taint); what comes after is sure again.
 *
 * Most channels never have a second writer and keep no ledger. When one comes, what is known of the
 * calls before (the counters of all edges, and where in the ring the last calls ended) tells whether
 * the order so far is sure, see order_is_known().
 */
#include "pipe.bpf.h"
#include "table.bpf.h"

/* A piece of a read: its writer is known now. */
struct piece {
	__u32 reader, writer;
	__u64 bytes;
};

#define E2BIG 7

struct settling {
	struct ring_view now;
	__u32 chan, proc;
	__u64 n, start, end, known; /* positions that a read took; up to known they are entered */
	__u32 at; /* first entry to look at */
	bool sure;
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
	l->head = l->tail = l->dirty = l->walkers = 0;
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

static __always_inline void take(struct ledger *l, struct settling *s)
{
	for (int i = 0; i < 8 && l->head != l->tail && !l->walkers; i++) {
		if (l->entries[l->head % LEDGER_ENTRIES].end > l->rpos)
			break;
		l->head++;
	}
	s->at = l->head;
	s->start = l->rpos;
	s->end = l->rpos = l->rpos + s->n;
	/* More than is entered: its write has not returned yet. */
	s->known = s->end < l->wpos ? s->end : l->wpos;
	if (s->known < s->start)
		s->known = s->start;
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

/* The first call that is entered: all that lay there before is the first writer's, if that is sure. */
static __always_inline void first_entry(struct ledger *l, const struct settling *s, bool write,
					bool known, __u32 first_writer)
{
	__u64 before = write ? s->now.bytes - s->n : s->now.bytes + s->n;

	l->fresh = 0;
	l->dirty = !known;
	l->base = s->now;
	if (write && s->now.bytes < s->n)
		before = 0; /* and it is not known */
	l->base.bytes = before;
	if (before)
		put(l, known ? first_writer : PROC_SHARED, before);
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

	if (s->sure)
		bpf_loop(LEDGER_ENTRIES, walk_step, &w, 0);
	if (w.pos < s->end)
		flow_add(s->chan, PROC_SHARED, s->proc, s->end - w.pos);
	__sync_fetch_and_add(&l->walkers, -1);
}

/* All edges of a channel taken together. */
struct totals {
	const struct chan_row *c;
	const struct settling *s;
	__u64 written, read; /* bytes */
	__u64 mine; /* written by the process that asks */
	bool reader_at_tail; /* somebody's last read ended where the ring now begins */
	bool writer_at_head; /* another one's last write ended where the ring now ends */
	bool stranger; /* a third writer */
};

static long add_edge(__u32 i, struct totals *t)
{
	const struct settling *s = t->s;
	const struct edge_row *e;

	if (i >= CHAN_EDGES)
		return 1;
	e = edge_at(t->c->edges[i] - 1);
	if (!e || !e->bytes || e->chan != t->c->id)
		return 0;
	if (e->role == ROLE_READ) {
		t->read += e->bytes;
		t->reader_at_tail |= e->pos == ring_pos(s->now.tail, s->now.first);
		return 0;
	}
	t->written += e->bytes;
	if (e->proc == s->proc) {
		t->mine += e->bytes;
		return 0;
	}
	t->stranger |= e->proc != t->c->first_writer;
	t->writer_at_head |= e->pos == ring_pos(s->now.head, s->now.last);
	return 0;
}

/*
 * A second writer's first write has returned. Is it sure that all that lay there before is the first
 * writer's, and came before it? Yes, if
 * - no read is under way that took bytes already: the ring begins where the last read ended;
 * - nor a write that put in some: the counters of all edges make just what lies there;
 * - and the newest bytes are not another one's whose write came after this one but returned before.
 */
static __noinline bool order_is_known(struct chan_row *c, struct settling *s)
{
	struct totals t = {
		.c = c,
		.s = s,
		.written = c->gone_bytes[ROLE_WRITE],
		.read = c->gone_bytes[ROLE_READ],
	};

	if (c->edges_over || c->found_bytes || s->proc == c->first_writer)
		return false;
	t.reader_at_tail = t.read && c->gone_pos[ROLE_READ] == ring_pos(s->now.tail, s->now.first);
	t.writer_at_head = c->gone_bytes[ROLE_WRITE] &&
			   c->gone_pos[ROLE_WRITE] == ring_pos(s->now.head, s->now.last);
	bpf_loop(CHAN_EDGES, add_edge, &t, 0);
	if (!t.read)
		t.reader_at_tail = s->now.tail == c->first_tail && !s->now.first;
	return t.reader_at_tail && !t.writer_at_head && !t.stranger && t.mine == s->n &&
	       t.written - t.read == s->now.bytes;
}

/* A call that moved n bytes has returned. */
int ledger_settle(__u32 chan, __u32 proc, __u32 role, __u64 n, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	bool write = role == ROLE_WRITE, known = false, fresh;
	struct settling *s;
	struct ledger *l;
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
	first = c->first_writer;
	pipe_view(file, &s->now);
	if (l->fresh && write)
		known = order_is_known(c, s);
	bpf_spin_lock(&l->lock);
	fresh = l->fresh;
	if (fresh)
		first_entry(l, s, write, known, first);
	s->sure = agrees(l, s, write);
	if (write)
		put(l, s->sure ? proc : PROC_SHARED, n);
	else
		take(l, s);
	l->dirty |= !s->sure;
	if (l->dirty && l->wpos - l->rpos == s->now.bytes) {
		l->dirty = 0;
		l->taint = l->wpos;
	}
	l->base = s->now;
	bpf_spin_unlock(&l->lock);
	/* What was read before is not known to be the first writer's either. */
	if (fresh && !known)
		c->first_writer = PROC_SHARED;
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
	l->rpos = l->taint = l->wpos;
	l->dirty = 0;
	l->base = now;
	bpf_spin_unlock(&l->lock);
	return 0;
}
