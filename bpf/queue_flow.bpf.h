/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who sent the message that a call has received. Part of queue.bpf.c, which says how. */
#ifndef IPCTRACE_QUEUE_FLOW_BPF_H
#define IPCTRACE_QUEUE_FLOW_BPF_H

/* What was seen of messages in this call is of no use, or has been used. */
static __always_inline void queue_forget(struct task_state *ts)
{
	ts->message = 0;
	ts->message_from = 0;
	ts->message_site = 0;
}

static __always_inline void queue_credit(struct queue_op *op, __u32 from, __u32 to, __u64 bytes)
{
	flow_add(op->key.tag.chan, from, to, bytes);
}

static __always_inline void note_queued(struct chan_row *c, __u64 since)
{
	__u64 ns = since ? bpf_ktime_get_ns() - since : 0;

	__sync_fetch_and_add(&c->queued_ns, ns);
	if (ns > c->max_queued_ns)
		c->max_queued_ns = ns;
}

/* True as long as the tag has one sender or one receiver: what becomes of it, queues.c decides. */
static __noinline bool queue_guess(struct queue_op *op, __u32 from, __u32 to, __u64 bytes)
{
	struct tag_flow key = { .tag = op->key.tag, .from = from, .to = to };
	struct flow_val *v = bpf_map_lookup_elem(&queue_flows, &key), first = {};

	if (!v) {
		bpf_map_update_elem(&queue_flows, &key, &first, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&queue_flows, &key);
		if (!v)
			return false;
	}
	__sync_fetch_and_add(&v->bytes, bytes);
	__sync_fetch_and_add(&v->ops, 1);
	return true;
}

static __always_inline struct tag_val *tag_of(struct queue_op *op)
{
	struct tag_val *t = bpf_map_lookup_elem(&queue_tags, &op->key.tag), first = {};

	if (t)
		return t;
	bpf_map_update_elem(&queue_tags, &op->key.tag, &first, BPF_NOEXIST);
	return bpf_map_lookup_elem(&queue_tags, &op->key.tag);
}

/* Nobody knows any more what lies there. */
static __always_inline void queue_lost(struct queue_op *op, struct queue_state *st)
{
	st->strangers = 1;
	if (!op->write)
		queue_credit(op, PROC_SHARED, op->entry.proc, op->entry.size);
}

/* Both halves of a message are there: e came first, op is the other. */
static __always_inline void queue_match(struct queue_op *op, struct queue_state *st,
					const struct tag_val *t, const struct entry_val *e)
{
	struct chan_row *c = chan_at(op->chan);
	__u32 from = op->write ? op->entry.proc : e->proc;
	__u32 to = op->write ? e->proc : op->entry.proc;
	__u64 sent = op->write ? op->entry.size : e->size;
	__u64 got = op->write ? e->size : op->entry.size;

	bool sure = op->entry.sure && e->sure;

	if (sent < got) {
		/* Not the same message, whatever is wrong. */
		st->strangers = 1;
		from = PROC_SHARED;
	} else if (c) {
		__sync_fetch_and_add(&c->truncated_bytes, sent - got);
		note_queued(c, op->write ? 0 : e->time);
	}
	if (!sure && t->sender == PROC_SHARED && t->receiver == PROC_SHARED)
		from = PROC_SHARED;
	if (sure || from == PROC_SHARED)
		queue_credit(op, from, to, got);
	else if (!queue_guess(op, from, to, got))
		queue_credit(op, PROC_SHARED, to, got);
}

/* The other half of the message is there already, or it will find this one. */
int queue_enter(void)
{
	struct queue_op *op = the_op();
	struct engine *en = the_engine();
	struct queue_state *st;
	struct entry_val *e;
	struct tag_val *t;

	if (!op)
		return 0;
	st = state_of_op(op);
	t = tag_of(op);
	if (!st || !t)
		goto lost;
	note_user(op->write ? &t->sender : &t->receiver, op->entry.proc);
	if (t->sender == PROC_SHARED && t->receiver == PROC_SHARED && en)
		crowd_is_there(&en->queue_crowd);
	op->key.number = __sync_fetch_and_add(op->write ? &t->sent : &t->received, 1);
	e = bpf_map_lookup_elem(&queue_entries, &op->key);
	if (!e) {
		if (!bpf_map_update_elem(&queue_entries, &op->key, &op->entry, BPF_NOEXIST))
			return 0;
		/* In this moment it came. */
		e = bpf_map_lookup_elem(&queue_entries, &op->key);
	}
	if (e) {
		queue_match(op, st, t, e);
		bpf_map_delete_elem(&queue_entries, &op->key);
		return 0;
	}
lost:
	if (!st || !st->strangers)
		lose(LOSS_NO_LEDGER, 1);
	if (st)
		queue_lost(op, st);
	return 0;
}

struct prio_walk {
	struct queue_state *st;
	struct tag_key key; /* of the one looked at */
	__s64 found;
};

static long pick_prio(__u32 i, struct prio_walk *w)
{
	struct tag_val *t;

	if (i >= w->st->nr_prios || i >= QUEUE_PRIOS)
		return 1;
	w->key.tag = w->st->prios[i];
	t = bpf_map_lookup_elem(&queue_tags, &w->key);
	if (t && t->sent > t->received && w->key.tag > w->found)
		w->found = w->key.tag;
	return 0;
}

/* A POSIX queue's highest priority of which there should be messages. */
int queue_pick_prio(void)
{
	struct queue_op *op = the_op();
	struct prio_walk w = { .found = -1 };

	if (!op)
		return 0;
	w.st = state_of_op(op);
	if (!w.st)
		return 0;
	w.key = op->key.tag;
	bpf_loop(QUEUE_PRIOS, pick_prio, &w, 0);
	if (w.found < 0 && w.st->nr_prios == 1)
		w.found = w.st->prios[0];
	op->no_tag = w.found < 0;
	op->key.tag.tag = w.found;
	return 0;
}

static long find_prio(__u32 i, struct prio_walk *w)
{
	if (i >= w->st->nr_prios || i >= QUEUE_PRIOS)
		return 1;
	w->found |= w->st->prios[i] == w->key.tag;
	return 0;
}

int queue_note_prio(void)
{
	struct queue_op *op = the_op();
	struct prio_walk w = {};
	__u32 n;

	if (!op)
		return 0;
	w.st = state_of_op(op);
	if (!w.st)
		return 0;
	w.key = op->key.tag;
	bpf_loop(QUEUE_PRIOS, find_prio, &w, 0);
	n = w.st->nr_prios;
	if (w.found)
		return 0;
	if (n >= QUEUE_PRIOS) {
		w.st->strangers = 1;
		return 0;
	}
	w.st->prios[n] = op->key.tag.tag;
	w.st->nr_prios = n + 1;
	return 0;
}

/* What was received has not been sent by anybody who is watched. */
static __always_inline bool queue_is_foreign(struct queue_op *op)
{
	struct tag_val *t = bpf_map_lookup_elem(&queue_tags, &op->key.tag);

	return !t || t->sent == t->received;
}

static __always_inline void queue_restart(struct queue_state *st)
{
	st->pending = 0;
	st->strangers = 0;
	st->nr_prios = 0;
	st->epoch++;
}

/*
 * Can nobody else be in a call that has changed the queue already? Asked of the CPUs twice: who came to
 * one or left one meanwhile is seen at least once.
 */
static __always_inline bool queue_is_quiet(struct queue_op *op, struct queue_state *st)
{
	struct engine *en = the_engine();

	if (!en || queue_busy_cpus())
		return false;
	if (en->queues_off || (st->asleep && st->asleep != queue_waiters(op->queue, op->posix)))
		return false;
	return !queue_busy_cpus();
}

static __always_inline void queue_look(struct queue_op *op)
{
	op->now.bytes = op->now.messages = 0;
	if (op->queue)
		queue_view(op->queue, op->posix, &op->now);
}

static __always_inline bool queue_is_crowded(void)
{
	struct engine *en = the_engine();

	return en && en->queue_crowd;
}

static __always_inline __u32 kind_in_progress(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	return kind_of(regs);
}

#define MESSAGE_MAX (1U << 31)

/* Not by BTF: 6.1 lets nobody read an argument that is a pointer to void. */
SEC("raw_tp/kmalloc")
int BPF_PROG(message_made, unsigned long site, const void *ptr)
{
	__u32 kind = kind_in_progress();
	struct engine *en = the_engine();
	struct message_val val = { .site = site };
	struct task_state *ts;
	__u64 addr = (__u64)ptr;

	if (kind != KIND_msgsnd && kind != KIND_mq_send)
		return 0;
	if (!en || (en->message_site && en->message_site != site))
		return 0;
	ts = state_of(bpf_get_current_task_btf());
	if (!ts || call_is_compat(bpf_get_current_task_btf()))
		return 0;
	val.proc = ts->proc_id;
	val.known = en->message_site != 0;
	if (val.known)
		ts->message = addr;
	bpf_map_update_elem(&messages, &addr, &val, 0);
	return 0;
}

SEC("raw_tp/kfree")
int BPF_PROG(message_freed, unsigned long site, const void *ptr)
{
	__u32 kind = kind_in_progress();
	struct message_val *val;
	struct task_state *ts;
	__u64 addr = (__u64)ptr;

	if (kind != KIND_msgrcv && kind != KIND_mq_receive)
		return 0;
	val = bpf_map_lookup_elem(&messages, &addr);
	ts = val ? state_of(bpf_get_current_task_btf()) : NULL;
	if (!ts)
		return 0;
	/* What else is freed has no size there, but an address, or comes after. */
	if (val->known || (!ts->message_site && PEEK(struct msg_msg, addr, m_ts) < MESSAGE_MAX)) {
		ts->message_from = val->known ? val->proc : 0;
		ts->message_site = val->site;
		ts->message_time = val->time;
		ts->message_tag = PEEK(struct msg_msg, addr, m_type);
		ts->message_size = PEEK(struct msg_msg, addr, m_ts);
	}
	bpf_map_delete_elem(&messages, &addr);
	return 0;
}

/* A message whose sender is known for sure. False: look it up by its number. */
static __always_inline bool queue_knows(struct queue_op *op)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct engine *en = the_engine();
	__u64 addr, size, site;
	struct message_val *val;
	struct chan_row *c;
	__u32 from;

	if (!ts || !en || !en->queue_crowd)
		return false;
	addr = ts->message;
	size = ts->message_size;
	from = ts->message_from;
	site = ts->message_site;
	queue_forget(ts);
	if (op->write) {
		val = addr ? bpf_map_lookup_elem(&messages, &addr) : NULL;
		if (val)
			val->time = op->entry.time;
		return addr;
	}
	if (op->no_tag ? from == 0 : ts->message_tag != op->key.tag.tag)
		return false;
	if (!from && site && size == op->entry.size)
		en->message_site = site;
	if (!from || size < op->entry.size)
		return false;
	c = chan_at(op->chan);
	if (c) {
		__sync_fetch_and_add(&c->truncated_bytes, size - op->entry.size);
		note_queued(c, ts->message_time);
	}
	queue_credit(op, from, op->entry.proc, op->entry.size);
	return true;
}

/*
 * Counts the message and looks at the queue; how many should lie there. *quiet: nobody changed it between
 * these two who has not been counted, so that just as many do lie there. Who has begun and returned in
 * between, as an interrupt may take long, has raised the number of calls.
 */
static __always_inline __u64 queue_count(struct queue_op *op, struct queue_state *st, bool *quiet)
{
	__u32 calls = *(volatile __u32 *)&st->calls;
	__u64 one = op->write ? 1 : -1, pending = __sync_fetch_and_add(&st->pending, one) + one;

	queue_look(op);
	*quiet = queue_is_quiet(op, st) && *(volatile __u32 *)&st->calls == calls;
	return pending;
}

/* Finds out whose message it was. */
static __always_inline void queue_judge(struct queue_op *op, struct queue_state *st)
{
	__u64 pending;
	bool quiet;

	pending = queue_count(op, st, &quiet);
	op->entry.sure = quiet && !st->doubt;
	st->doubt = !quiet;
	op->key.tag.epoch = st->epoch;
	if (op->posix && op->no_tag)
		queue_pick_prio();
	if (queue_knows(op))
		return;
	if (quiet && !op->write && !st->strangers && (op->no_tag || queue_is_foreign(op))) {
		__sync_fetch_and_add(&st->pending, 1);
		queue_credit(op, queue_is_crowded() ? PROC_SHARED : PROC_OUTSIDE, op->entry.proc,
			     op->entry.size);
		return;
	}
	if (quiet && pending != op->now.messages)
		st->strangers = 1;
	if (st->strangers || op->no_tag)
		queue_lost(op, st);
	if (quiet && st->strangers && !op->now.messages) {
		queue_restart(st);
	} else if (!st->strangers) {
		if (op->posix && op->write)
			queue_note_prio();
		queue_enter();
	}
}

/* A message was sent or received. */
int queue_settle(void)
{
	struct queue_op *op = the_op();
	struct queue_state *st;

	if (!op)
		return 0;
	st = state_of_op(op);
	if (!st)
		return 0;
	queue_judge(op, st);
	__sync_fetch_and_add(&st->calls, 1); /* last, see queue_count() */
	return 0;
}

#endif
