// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Message queues, and who sent what a receiver got.
 *
 * Messages of one type (or priority) are received in the order in which they were sent. So both are
 * numbered, type by type, as the calls return: the sender of message n goes to who takes number n,
 * whichever of them returns first. Two calls at once may return in another order than they changed
 * the queue. That matters only if a type has several senders and several receivers; and there a flow
 * is exact only if at neither return anybody else could be in such a call: every other thread that
 * uses queues has made another call since, or is asleep in this one and unserved. The numbers of
 * messages that there are and that there should be tell of senders and receivers not watched.
 *
 * For such types the kernel is asked more, as soon as there is one: a message is allocated by who
 * sends it and freed by who receives it. That hangs on every kmalloc() and kfree() of the machine, so
 * it is done only then. More is allocated in such a call, also by interrupts that come by: which code it is
 * that allocates messages is learnt from the first one that is freed with the type and the size of what
 * was received. Messages that were made before that go by their numbers, as the others do.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"
#include "queue.bpf.h"

#define IPC_NOWAIT 04000
#define MSG_COPY 040000
#define IPC_RMID 0
#define IPC_SET 1
#define QUEUE_PRIOS 16

/* Of one queue. */
struct queue_state {
	__u64 pending; /* sent and not received, by calls that have returned */
	__u32 asleep; /* threads in calls on it, off the CPUs */
	__u32 doubt; /* somebody else may have been in a call since the last return */
	__u32 epoch; /* counts when all numbers begin again */
	__u32 strangers; /* somebody else uses it: what lies there is not known */
	__u32 calls; /* that have returned */
	__u32 nr_prios;
	__u32 prios[QUEUE_PRIOS]; /* ever used, of a POSIX queue */
};

struct entry_key {
	struct tag_key tag;
	__u64 number;
};

/* A message that was sent and not yet received, or the other way round. */
struct entry_val {
	__u64 time;
	__u64 size;
	__u32 proc;
	__u32 sure; /* nobody else was in a call */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct queue_state);
} queue_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct tag_key);
	__type(value, struct tag_val);
} queue_tags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct entry_key);
	__type(value, struct entry_val);
} queue_entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct tag_flow);
	__type(value, struct flow_val);
} queue_flows SEC(".maps");

/* Messages on their way, by address. Whatever else is allocated in such a call is forgotten in time. */
struct message_val {
	__u64 time; /* 0: not yet sent */
	__u64 site; /* what code has allocated it */
	__u32 proc;
	__u32 known; /* that it is a message */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct message_val);
} messages SEC(".maps");

/* The thread that uses queues and is on that CPU, by its registers. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} queue_cpus SEC(".maps");

/* What a call has done. One to a CPU, so that each step can be verified by itself. */
struct queue_op {
	__u64 queue; /* address */
	struct queue_view now;
	struct entry_key key;
	struct entry_val entry; /* of a message sent, or one received */
	__u32 chan; /* row */
	__u32 posix, write, no_tag;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct queue_op);
} queue_ops SEC(".maps");

static __always_inline struct queue_op *the_op(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&queue_ops, &zero);
}

static __always_inline struct queue_state *state_of_op(struct queue_op *op)
{
	return bpf_map_lookup_elem(&queue_states, &op->key.tag.chan);
}

/* --- who may be in a call --- */

static __always_inline void queue_put_slot(__u64 regs)
{
	__u32 cpu = bpf_get_smp_processor_id();

	bpf_map_update_elem(&queue_cpus, &cpu, &regs, 0);
}

/* A thread that uses queues, and so does every child of it from the start. */
static __always_inline void queue_join(struct task_state *ts)
{
	struct engine *en = the_engine();

	if (!en || ts->queue & QUEUE_USER)
		return;
	queue_put_slot((__u64)bpf_task_pt_regs(bpf_get_current_task_btf()));
	ts->queue |= QUEUE_USER | QUEUE_ON;
	en->queue_users = 1;
}

/*
 * A thread comes onto this CPU; regs: where its registers are while it is in a system call. First it is
 * counted where it comes to, then not where it was: never too few.
 */
static __noinline int queue_runs(struct task_state *ts, __u64 regs)
{
	struct engine *en = the_engine();
	struct queue_state *st;

	queue_put_slot(ts && ts->queue ? regs : 0);
	if (!en || !ts || !ts->queue || ts->queue & QUEUE_ON)
		return 0;
	if (ts->queue & QUEUE_OFF)
		__sync_fetch_and_add(&en->queues_off, -1);
	if (ts->queue & QUEUE_ASLEEP) {
		st = bpf_map_lookup_elem(&queue_states, &ts->queue_chan);
		if (st)
			__sync_fetch_and_add(&st->asleep, -1);
	}
	ts->queue = QUEUE_USER | QUEUE_ON;
	return 0;
}

/* It leaves its CPU: asleep in a call on that channel, or maybe within a call for another reason. */
static __always_inline void queue_leaves(struct task_state *ts, bool in_call, __u32 chan)
{
	struct engine *en = the_engine();
	struct queue_state *st;

	if (!en || !(ts->queue & QUEUE_ON))
		return;
	ts->queue = QUEUE_USER;
	st = bpf_map_lookup_elem(&queue_states, &chan);
	if (chan && st) {
		ts->queue |= QUEUE_ASLEEP;
		ts->queue_chan = chan;
		__sync_fetch_and_add(&st->asleep, 1);
	} else if (in_call) {
		ts->queue |= QUEUE_OFF;
		__sync_fetch_and_add(&en->queues_off, 1);
	}
}

static __noinline int queue_stops(struct task_state *ts)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	if (ts)
		queue_leaves(ts, kind_is_queue(kind_of(regs)), 0);
	return 0;
}

struct cpu_walk {
	__u32 self, busy;
};

/* A thread that is on its way to user space, or there already, still shows its last call. */
static long look_at_cpu(__u32 cpu, struct cpu_walk *w)
{
	__u64 *regs = bpf_map_lookup_elem(&queue_cpus, &cpu), nr;

	if (!regs)
		return 1;
	if (cpu == w->self || !*regs)
		return 0;
	nr = call_nr_at(*regs);
	if (nr >= NR_CALLS)
		return 0;
	asm volatile("%0 &= 0x1ff" : "+r"(nr)); /* the compiler has forgotten to say so */
	if (kind_is_queue(kinds[nr]))
		w->busy++;
	return 0;
}

__u32 queue_busy_cpus(void)
{
	struct cpu_walk w = { .self = bpf_get_smp_processor_id() };

	bpf_loop(cfg.nr_cpus, look_at_cpu, &w, 0);
	return w.busy;
}

/* --- the queue of a call --- */

/*
 * From now on it is known what lies there. mine: bytes that the current call took out of it, or less
 * than 0 if it put them in; 0 is neither.
 */
int queue_meet(__u32 row, __u64 queue, __s64 mine)
{
	struct chan_row *c = chan_at(row);
	struct queue_state first = {};
	struct queue_view v;
	__u32 id;

	if (!c)
		return 0;
	id = c->id;
	if (!queue || bpf_map_lookup_elem(&queue_states, &id))
		return 0;
	queue_view(queue, c->key.mech == MECH_MQ, &v);
	if (v.messages || mine) {
		c->flags |= CHAN_PREEXISTING;
		c->found_bytes = (__s64)v.bytes + mine > 0 ? v.bytes + mine : 0;
		first.strangers = 1;
	}
	first.pending = v.messages;
	bpf_map_update_elem(&queue_states, &id, &first, BPF_NOEXIST);
	return 0;
}

/*
 * The row of a queue's channel, made if it is new, and NO_ROW if there is no such queue. In *queue its
 * address, which is 0 of one that is gone.
 */
static __always_inline __u32 queue_row_of(__u32 id, bool posix, __u64 *queue)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct chan_key key = {};
	__u32 *known;

	if (posix) {
		*queue = file_of(task, id);
		if (!(cfg.mechs & 1U << MECH_MQ) || !is_mq(*queue))
			return NO_ROW;
		mq_key(*queue, &key);
		return chan_get(&key, *queue, 0, 0);
	}
	if (!(cfg.mechs & 1U << MECH_MSG))
		return NO_ROW;
	sysv_chan_key(&key, MECH_MSG, id, 0);
	*queue = msg_find(id);
	if (*queue)
		return chan_get(&key, *queue, 0, 0);
	/* Errors of a queue that has been removed are still its own. */
	known = bpf_map_lookup_elem(&chan_rows, &key);
	return known ? *known : NO_ROW;
}

/* Fills in acts[0] for a call that sends or receives, or tries to. kind: of the call. */
int queue_act(__u32 kind, __u32 id)
{
	bool posix = kind == KIND_mq_send || kind == KIND_mq_receive;
	__u32 role = kind == KIND_msgsnd || kind == KIND_mq_send ? ROLE_WRITE : ROLE_READ;
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct act *a;
	__u64 queue = 0;
	__u32 row;

	if (!ts)
		return 0;
	a = &ts->acts[0];
	a->edge = ts->acts[1].edge = 0;
	row = queue_row_of(id, posix, &queue);
	if (row == NO_ROOM) {
		ts->seen++;
		lose(LOSS_NO_CHAN, 1);
	}
	if (row >= NO_ROOM)
		return 0;
	a->chan = row + 1;
	a->role = role;
	a->flags = 0;
	a->file = posix ? queue : 0;
	if (posix && PEEK(struct file, queue, f_flags) & O_NONBLOCK)
		a->flags = ACT_NONBLOCK;
	a->edge = edge_row_of(row, 0, role) + 1;
	queue_join(ts);
	return 1;
}

/* The thread goes to sleep in such a call. */
static __noinline int queue_sleeps(struct task_state *ts, __u32 kind, __u32 id)
{
	struct chan_row *c = ts ? chan_at(ts->acts[0].chan - 1) : NULL;
	bool posix = kind == KIND_mq_send || kind == KIND_mq_receive;
	struct task_struct *task = bpf_get_current_task_btf();

	if (!ts || !c)
		return 0;
	queue_meet(ts->acts[0].chan - 1, posix ? file_of(task, id) : msg_find(id), 0);
	queue_leaves(ts, true, c->id);
	return 0;
}

#include "queue_flow.bpf.h"

static __always_inline void queue_note_fill(struct chan_row *c, const struct queue_view *v)
{
	if (v->bytes > c->highwater)
		c->highwater = v->bytes;
	if (v->messages > c->highwater_messages)
		c->highwater_messages = v->messages;
}

static __always_inline void edge_note_tag(struct edge_row *e, __s64 tag)
{
	for (int i = 0; i < EDGE_TAGS; i++) {
		if (!e->tags[i].ops && tag == (__s32)tag)
			e->tags[i].tag = tag;
		if (e->tags[i].tag == tag) {
			e->tags[i].ops++;
			return;
		}
	}
	e->other_tags++;
}

/* n bytes were sent or received on the queue of acts[0]. */
int queue_moved(__u32 kind, __u32 id, __s64 tag, __u64 n)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task);
	struct queue_op *op = the_op();
	struct chan_row *c;
	struct edge_row *e;

	if (!ts || !op)
		return 0;
	op->chan = ts->acts[0].chan - 1;
	c = chan_at(op->chan);
	e = edge_at(ts->acts[0].edge - 1);
	if (!c || !e)
		return 0;
	op->posix = kind == KIND_mq_send || kind == KIND_mq_receive;
	op->write = kind == KIND_msgsnd || kind == KIND_mq_send;
	op->no_tag = tag < 0;
	op->key.tag.chan = c->id;
	op->key.tag.tag = tag;
	op->entry.proc = ts->proc_id;
	op->entry.size = n;
	op->entry.time = bpf_ktime_get_ns();
	if (tag >= 0)
		edge_note_tag(e, tag);
	op->queue = op->posix ? file_of(task, id) : msg_find(id);
	queue_meet(op->chan, op->queue, op->write ? -(__s64)n : (__s64)n);
	queue_look(op);
	if (op->write)
		queue_note_fill(c, &op->now);
	return queue_settle();
}

/* --- the calls --- */

/* The type or priority of the message; -1: it cannot be known. */
static __always_inline __s64 tag_of_call(struct pt_regs *regs, __u32 kind)
{
	__s64 type = -1;
	__u32 priority = 0;

	switch (kind) {
	case KIND_mq_send:
		return (__u32)call_arg(regs, 3);
	case KIND_mq_receive:
		if (!call_arg(regs, 3) ||
		    bpf_probe_read_user(&priority, sizeof(priority), (void *)call_arg(regs, 3)))
			return -1;
		return priority;
	default:
		if (bpf_probe_read_user(&type, sizeof(type), (void *)call_arg(regs, 1)))
			return -1;
		return type;
	}
}

static __always_inline int queue_call(struct call *c, struct pt_regs *regs, __u32 kind, long ret)
{
	bool write = kind == KIND_msgsnd || kind == KIND_mq_send;
	__u32 id = call_arg(regs, 0), flags = 0;
	__s64 n = ret;

	if (!c->noted)
		queue_act(kind, id);
	if (!c->a->edge) {
		queue_forget(c->ts);
		return 0;
	}
	if (kind == KIND_msgsnd)
		flags = call_arg(regs, 3);
	if (kind == KIND_msgrcv)
		flags = call_arg(regs, 4);
	if (flags & IPC_NOWAIT)
		c->a->flags |= ACT_NONBLOCK;
	if (kind == KIND_msgrcv && flags & MSG_COPY)
		c->a->flags |= ACT_PEEK;
	if (write && !ret)
		n = call_arg(regs, 2);
	call_done(c);
	act_only_count(c->a, n, c->ts->slept[0]);
	if (ret < 0 || c->a->flags & ACT_PEEK) {
		queue_forget(c->ts);
		return 0;
	}
	return queue_moved(kind, id, tag_of_call(regs, kind), n);
}

/* Found by its key or name: communication is asked for, even if none follows. */
static __always_inline int queue_opened(struct task_state *ts, __u32 id, bool posix)
{
	struct chan_row *c;
	__u64 queue = 0;
	__u32 row = queue_row_of(id, posix, &queue);

	c = chan_at(row);
	if (row >= NO_ROOM || !c)
		return 0;
	queue_join(ts);
	queue_meet(row, queue, 0);
	if (posix) {
		__u32 mode = PEEK(struct file, queue, f_mode);

		if (mode & FMODE_READ)
			edge_row_of(row, 0, ROLE_READ);
		if (mode & FMODE_WRITE)
			edge_row_of(row, 0, ROLE_WRITE);
	}
	return 0;
}

static __always_inline int msg_control(struct pt_regs *regs)
{
	__u32 id = call_arg(regs, 0), cmd = call_arg(regs, 1), row;
	struct chan_row *c;
	__u64 queue = 0;

	if (cmd != IPC_RMID && cmd != IPC_SET)
		return 0;
	row = queue_row_of(id, false, &queue);
	c = chan_at(row);
	if (row >= NO_ROOM || !c)
		return 0;
	if (cmd == IPC_RMID)
		c->flags |= CHAN_REMOVED;
	else if (queue)
		c->capacity = PEEK(struct msg_queue, queue, q_qbytes);
	return 0;
}

/* Who asks for a signal when a message comes waits for it, in a way. */
static __always_inline int mq_notify(struct call *c, struct pt_regs *regs, long ret)
{
	__u64 queue = 0;
	__u32 row = queue_row_of(call_arg(regs, 0), true, &queue);

	if (row >= NO_ROOM)
		return 0;
	c->a->chan = row + 1;
	c->a->role = ROLE_WAIT;
	c->a->flags = 0;
	c->a->file = 0;
	c->a->edge = edge_row_of(row, 0, ROLE_WAIT) + 1;
	call_done(c);
	act_only_count(c->a, ret, 0);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_queue, struct pt_regs *regs, long ret)
{
	__u32 kind = kind_of(regs);
	struct call c;

	if (!call_begin(&c, regs))
		return 0;
	switch (kind) {
	case KIND_msgget:
	case KIND_mq_open:
		return ret < 0 ? 0 : queue_opened(c.ts, ret, kind == KIND_mq_open);
	case KIND_msgctl:
		return ret < 0 ? 0 : msg_control(regs);
	case KIND_mq_notify:
		return mq_notify(&c, regs, ret);
	default:
		return queue_call(&c, regs, kind, ret);
	}
}
