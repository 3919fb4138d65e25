/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Processes as the ends of channels that belong to a process: who does something to whom, also if one
 * of both is not watched.
 */
#ifndef IPCTRACE_ENDS_BPF_H
#define IPCTRACE_ENDS_BPF_H

#include "task.bpf.h"

/* Of a thread's process. task: its address. */
static __always_inline __u64 process_start(__u64 task)
{
	return BPF_CORE_READ((struct task_struct *)task, group_leader, start_boottime);
}

/* See tgid_here(). */
static __always_inline __u32 process_pid(__u64 task)
{
	return pid_here((__u64)BPF_CORE_READ((struct task_struct *)task, group_leader, thread_pid))
		       ?: PEEK(struct task_struct, task, tgid);
}

/* In core.bpf.c. */
__u32 edge_of(const struct edge_owner *o, __u32 chan, __u32 end, __u32 role);

/* Who sends. */
enum origin { FROM_TASK, FROM_KERNEL, FROM_TIMER };

struct stranger_key {
	__u64 start_ns;
	__u32 tgid; /* 0: no process */
	__u32 origin; /* enum origin */
};

/* Who is not watched and sends to or receives from somebody who is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct stranger_key);
	__type(value, struct edge_owner);
} strangers SEC(".maps");

/* What is told of a task that is not watched; its program is read where that is easy. */
static __always_inline void stranger_set(struct proc_row *p, __u64 task)
{
	struct task_struct *at = (void *)task;

	p->pid = process_pid(task);
	p->ppid = process_pid((__u64)BPF_CORE_READ(at, group_leader, real_parent));
	p->start_ns = process_start(task);
	p->uid = BPF_CORE_READ(at, cred, uid.val);
	BPF_CORE_READ_INTO(&p->comm, at, group_leader, comm);
}

/* A row for it, and one for a thread that stands for all of it. */
static __always_inline bool stranger_begin(struct edge_owner *o, __u64 task, enum origin origin)
{
	struct engine *en = the_engine();
	struct proc_row *p;
	struct task_row *t;

	if (!en)
		return false;
	o->proc = new_row(en, &free_procs, TABLE_PROCS, cfg.nr_procs);
	o->task = new_row(en, &free_tasks, TABLE_TASKS, cfg.nr_tasks);
	p = proc_at(o->proc);
	t = bpf_map_lookup_elem(&tasks, &o->task);
	if (!p || !t) {
		lose(LOSS_NO_PROC, 1);
		return false;
	}
	__builtin_memset(&p->parent, 0,
			 offsetof(struct proc_row, comm) - offsetof(struct proc_row, parent));
	if (task)
		stranger_set(p, task);
	else if (origin == FROM_TIMER)
		__builtin_memcpy(p->comm, "[timer]\0\0\0\0\0\0\0\0", COMM_LEN);
	else
		__builtin_memcpy(p->comm, "[kernel]\0\0\0\0\0\0\0", COMM_LEN);
	p->title[0] = 0;
	p->flags = PROC_HOLDER | PROC_INITIAL;
	p->id = o->proc_id = new_id(en);
	t->proc = p->id;
	t->tid = p->pid;
	t->dead = 0;
	t->id = o->task_id = new_id(en);
	return true;
}

/*
 * The row of a task that is not watched, or of none. task: its address; make: also if it has none yet.
 */
static __always_inline bool stranger(struct edge_owner *o, __u64 task, enum origin origin,
				     bool make)
{
	struct stranger_key key = { .origin = origin };
	struct edge_owner *known;
	struct engine *en = the_engine();

	if (task) {
		key.tgid = PEEK(struct task_struct, task, tgid);
		if (!en || key.tgid == en->self ||
		    PEEK(struct task_struct, task, flags) & PF_KTHREAD)
			return false;
		key.start_ns = process_start(task);
	}
	known = bpf_map_lookup_elem(&strangers, &key);
	if (!known && make) {
		if (!stranger_begin(o, task, origin))
			return false;
		/* Another one may have been first: then this row is never used. */
		bpf_map_update_elem(&strangers, &key, o, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&strangers, &key);
	}
	if (!known)
		return false;
	*o = *known;
	return true;
}

int stranger_task(struct edge_owner *o, __u64 task)
{
	struct edge_owner found = {};

	if (!o || !task || !stranger(&found, task, FROM_TASK, true))
		return 0;
	*o = found;
	return 1;
}

/* The current one, if it has a row. */
int stranger_self(struct edge_owner *o)
{
	struct edge_owner found = {};

	if (!o || !stranger(&found, bpf_get_current_task(), FROM_TASK, false))
		return 0;
	*o = found;
	return 1;
}

int stranger_nobody(struct edge_owner *o, __u32 origin)
{
	struct edge_owner found = {};

	if (!o || !stranger(&found, 0, origin, true))
		return 0;
	*o = found;
	return 1;
}

/* False: it has been taken out already. */
static __always_inline bool watched(struct edge_owner *o, struct task_state *ts)
{
	struct task_row *t;

	if (!ts)
		return false;
	t = bpf_map_lookup_elem(&tasks, &ts->task);
	if (!t || t->id != ts->task_id)
		return false;
	o->task = ts->task;
	o->task_id = ts->task_id;
	o->proc = ts->proc;
	o->proc_id = ts->proc_id;
	return true;
}

/*
 * The row of a channel of that process, made if it is new. which: of several; flags: what a new row
 * begins with. NO_ROW: no room.
 */
__u32 process_chan(const struct edge_owner *to, __u32 mech, __u32 which, __u32 flags)
{
	struct chan_key key = { .mech = mech, .dev = which };
	struct engine *en = the_engine();
	__u32 *known, row;
	struct chan_row *c;
	struct proc_row *p;

	if (!to || !en)
		return NO_ROW;
	key.ino = to->proc_id;
	/* So that the name can be told; it belongs to the id anyway. */
	p = proc_at(to->proc);
	key.gen = p && p->id == to->proc_id ? p->pid : 0;
	known = bpf_map_lookup_elem(&chan_rows, &key);
	if (known)
		return *known;
	row = new_row(en, &free_chans, TABLE_CHANS, cfg.nr_chans);
	c = chan_at(row);
	if (row == NO_ROW || !c)
		return NO_ROW;
	__builtin_memset(c, 0, offsetof(struct chan_row, name));
	__builtin_memset(c->edges, 0, sizeof(*c) - offsetof(struct chan_row, edges));
	c->key = key;
	c->first_ns = bpf_ktime_get_ns();
	c->flags = flags;
	c->id = new_id(en);
	if (bpf_map_update_elem(&chan_rows, &key, &row, BPF_NOEXIST)) {
		/* Another thread was first. */
		c->id = 0;
		bpf_map_push_elem(&free_chans, &row, 0);
		known = bpf_map_lookup_elem(&chan_rows, &key);
		return known ? *known : NO_ROW;
	}
	record_life(LIFE_CHAN, 0, c->id, 0, NULL);
	return row;
}

static __always_inline void count_one(struct edge_row *e)
{
	struct engine *en = the_engine();

	if (en)
		__sync_fetch_and_add(&en->seen, 1);
	__sync_fetch_and_add(&e->ops, 1);
	e->last_ns = bpf_jiffies64();
}

static __always_inline void lose_call(enum loss cause)
{
	struct engine *en = the_engine();

	if (en)
		__sync_fetch_and_add(&en->seen, 1);
	lose(cause, 1);
}

#endif
