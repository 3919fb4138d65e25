/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Processes and threads coming into scope. */
#ifndef IPCTRACE_TASK_BPF_H
#define IPCTRACE_TASK_BPF_H

#include "path.bpf.h"
#include "table.bpf.h"

static __always_inline struct proc_row *proc_at(__u32 row)
{
	return bpf_map_lookup_elem(&procs, &row);
}

static __always_inline struct task_state *state_of(struct task_struct *task)
{
	return bpf_task_storage_get(&task_states, task, 0, 0);
}

#define PIDNS_DEPTH 32 /* MAX_PID_NS_LEVEL */

struct pid_search {
	__u64 pid;
	__u32 nr;
};

static long pid_step(__u32 i, struct pid_search *s)
{
	__u64 numbers = s->pid + bpf_core_field_offset(struct pid, numbers);
	struct upid at;

	bpf_probe_read_kernel(&at, sizeof(at), (void *)(numbers + i * sizeof(at)));
	if (BPF_CORE_READ(at.ns, ns.inum) != cfg.pidns)
		return 0;
	s->nr = at.nr;
	return 1;
}

/* The number of a thread's pid where the tracer runs: what users know it by. 0: not seen from there. */
__u32 pid_here(__u64 pid)
{
	__u32 level = BPF_CORE_READ((struct pid *)pid, level);
	struct pid_search s = { .pid = pid };

	if (level <= PIDNS_DEPTH)
		bpf_loop(level + 1, pid_step, &s, 0);
	return s.nr;
}

static __always_inline __u32 tid_here(struct task_struct *task)
{
	return pid_here((__u64)UNTRUSTED(struct task_struct, task)->thread_pid) ?: (__u32)task->pid;
}

/* The same of its process; what the kernel itself calls it if it is not seen. */
static __always_inline __u32 tgid_here(struct task_struct *task)
{
	return pid_here((__u64)BPF_CORE_READ(task, group_leader, thread_pid)) ?: (__u32)task->tgid;
}

static __always_inline void proc_set_exe(struct proc_row *p, struct task_struct *task)
{
	__u64 exe = (__u64)BPF_CORE_READ(task, mm, exe_file);
	__u32 n;

	if (!exe)
		return;
	n = path_names(exe + bpf_core_field_offset(struct file, f_path), p->exe);
	p->exe_len = n;
	if (n >> 16)
		p->flags |= PROC_CUT;
}

/* A process row for a thread group; like: whose program it runs so far, or NULL. */
static __always_inline __u32 proc_begin(struct task_struct *task, const struct proc_row *like,
					__u32 flags)
{
	struct engine *en = the_engine();
	struct proc_row *p;
	__u32 row;

	if (!en)
		return NO_ROW;
	row = new_row(en, &free_procs, TABLE_PROCS, cfg.nr_procs);
	p = proc_at(row);
	if (row == NO_ROW || !p) {
		lose(LOSS_NO_PROC, 1);
		return NO_ROW;
	}
	if (like) {
		/* Not the id: the collector takes a row with one for whole. */
		bpf_probe_read_kernel(&p->parent, sizeof(*p) - offsetof(struct proc_row, parent),
				      &like->parent);
		p->parent = like->id;
		flags |= like->flags & (PROC_COMPAT | PROC_CUT);
	} else {
		p->parent = p->flags = 0;
		p->exe_len = p->args_len = 0;
		p->title[0] = 0;
		proc_set_exe(p, task);
	}
	p->flags |= flags;
	if (like)
		p->flags = flags;
	p->pid = tgid_here(task);
	p->ppid = pid_here((__u64)BPF_CORE_READ(task, real_parent, group_leader, thread_pid));
	p->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	p->exit_ns = 0;
	p->wait_status = 0;
	p->threads = 0;
	p->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	p->uid = BPF_CORE_READ(task, cred, uid.val);
	p->pidns = BPF_CORE_READ(task, nsproxy, pid_ns_for_children, ns.inum);
	BPF_CORE_READ_INTO(&p->comm, task, group_leader, comm);
	p->id = new_id(en);
	return row;
}

static __always_inline void proc_owner_set(const struct task_state *ts, const struct proc_row *p)
{
	struct proc_ident key = { .start_ns = p->start_ns, .pid = p->pid };
	struct edge_owner o = {
		.task = ts->task, .task_id = ts->task_id, .proc = ts->proc, .proc_id = ts->proc_id
	};

	bpf_map_update_elem(&proc_owners, &key, &o, BPF_ANY);
}

/* It was made for a thread that is another one's, or found no room. */
static __always_inline void proc_unused(__u32 row)
{
	struct proc_row *p = proc_at(row);

	if (!p || p->threads)
		return;
	p->id = 0;
	bpf_map_push_elem(&free_procs, &row, 0);
}

/*
 * A thread of the process in that row comes into scope. NULL: not by this. It may be forked just as all
 * threads are looked through, or moved as it is forked, and only one can be first.
 */
static __always_inline struct task_state *task_begin(struct task_struct *task, __u32 proc,
						     __u32 why)
{
	struct engine *en = the_engine();
	struct proc_row *p = proc_at(proc);
	struct task_state *ts;
	struct task_row *t;
	__u32 row, id;

	if (!en || !p)
		return NULL;
	row = new_row(en, &free_tasks, TABLE_TASKS, cfg.nr_tasks);
	t = bpf_map_lookup_elem(&tasks, &row);
	if (row == NO_ROW || !t) {
		lose(LOSS_NO_PROC, 1);
		return NULL;
	}
	/* If somebody else makes it at this moment, the kernel only says that it did not. */
	ts = bpf_task_storage_get(&task_states, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE)
		     ?: state_of(task);
	id = new_id(en);
	if (!ts || __sync_val_compare_and_swap(&ts->task_id, 0, id)) {
		bpf_map_push_elem(&free_tasks, &row, 0);
		if (!ts)
			lose(LOSS_NO_PROC, 1);
		return NULL;
	}
	t->proc = p->id;
	t->tid = tid_here(task);
	t->dead = 0;
	t->id = id;
	ts->task = row;
	ts->proc = proc;
	ts->proc_id = p->id;
	ts->why = why;
	ts->flags = (p->flags & PROC_COMPAT ? TASK_COMPAT : 0) |
		    (task->flags & PF_IO_WORKER ? TASK_IO_WORKER : 0);
	if (cfg.mechs & 1U << MECH_VM && !p->threads)
		proc_owner_set(ts, p);
	__sync_fetch_and_add(&p->threads, 1);
	return ts;
}

/* A task that this trace did not watch so far, alone or as a thread of one that it does. */
static __always_inline struct task_state *task_join(struct task_struct *task, __u32 why,
						    __u32 flags)
{
	struct engine *en = the_engine();
	struct task_state *leader, *ts;
	__u32 proc;

	if (!en || (__u32)task->tgid == en->self)
		return NULL;
	leader = task->pid == task->tgid ? NULL : state_of(task->group_leader);
	proc = leader ? leader->proc : proc_begin(task, NULL, flags);
	if (proc == NO_ROW)
		return NULL;
	ts = task_begin(task, proc, why);
	if (!ts && !leader)
		proc_unused(proc);
	return ts;
}

#endif
