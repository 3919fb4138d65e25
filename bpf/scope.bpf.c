// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Which processes are watched, and their lives. Children are in scope before they first run. */
#include "comm.bpf.h"
#include "mem.bpf.h"
#include "task.bpf.h"

#define TARGET_DEPTH 16

/* Who knows a queue may use it from its first call on. */
static __always_inline void task_inherit(const struct task_state *from, struct task_state *to)
{
	if (to)
		to->queue = from->queue & QUEUE_USER;
}

/* Not sched_process_fork: there the threads that io_uring makes in a process do not come by. */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_fork, struct task_struct *child)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct task_state *ts = state_of(parent);
	struct task_state *to;
	struct proc_row *p;
	__u32 proc;

	if (!ts)
		ts = state_of(parent->group_leader);
	if (!ts)
		return 0;
	if (child->pid != child->tgid) {
		task_inherit(ts, task_begin(child, ts->proc, ts->why));
		return 0;
	}
	p = proc_at(ts->proc);
	if (!p)
		return 0;
	proc = proc_begin(child, p, 0);
	if (proc == NO_ROW)
		return 0;
	to = task_begin(child, proc, ts->why);
	if (!to) {
		proc_unused(proc);
		return 0;
	}
	task_inherit(ts, to);
	p = proc_at(proc);
	if (p)
		spans_inherit(ts->proc, ts->proc_id, proc, p->id);
	if (p)
		record_life(LIFE_FORK, p->id, p->parent, p->pid, p->comm);
	return 0;
}

static __always_inline void task_end(struct task_state *ts, enum dead how)
{
	struct task_row *t = bpf_map_lookup_elem(&tasks, &ts->task);
	struct engine *en = the_engine();

	if (!t || !en)
		return;
	/* A zombie keeps it, and would be counted again at the end. */
	__sync_fetch_and_add(&en->seen, __sync_lock_test_and_set(&ts->seen, 0));
	t->dead = how;
}

/* The thread leaves; the last one takes its process with it. */
static __always_inline struct proc_row *thread_end(struct task_state *ts, enum dead how)
{
	struct proc_row *p = proc_at(ts->proc);

	task_end(ts, how);
	if (!p || __sync_fetch_and_add(&p->threads, -1) != 1)
		return NULL;
	spans_forget(ts->proc);
	p->exit_ns = bpf_ktime_get_boot_ns();
	return p;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit_task, struct task_struct *task)
{
	struct task_state *ts = state_of(task);
	__u64 sig = PEEK_ADDR(struct task_struct, (__u64)task, signal);
	__u64 leader = PEEK_ADDR(struct task_struct, (__u64)task, group_leader);
	struct proc_row *p;

	if (!ts)
		return 0;
	p = thread_end(ts, DEAD_EXITING);
	if (!p)
		return 0;
	p->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id); /* it may have moved */
	p->wait_status = PEEK(struct signal_struct, sig, flags) & SIGNAL_GROUP_EXIT
				 ? PEEK(struct signal_struct, sig, group_exit_code)
				 : PEEK(struct task_struct, leader, exit_code);
	record_life(LIFE_EXIT, p->id, p->wait_status, p->pid, p->comm);
	__sync_fetch_and_or(&p->flags, PROC_DEAD); /* last, see task_gone() */
	return 0;
}

/* Comes into scope or goes out of it by its name. */
static __always_inline struct task_state *scope_by_comm(struct task_struct *task,
							struct task_state *ts, const char *comm)
{
	struct proc_row *p;

	if (!(cfg.scope & SCOPE_COMM))
		return ts;
	if (comm_matches(comm)) {
		if (!ts)
			ts = task_join(task, SCOPE_COMM, 0);
		if (ts)
			ts->why |= SCOPE_COMM;
		return ts;
	}
	if (!ts)
		return NULL;
	ts->why &= ~SCOPE_COMM;
	if (ts->why)
		return ts;
	p = thread_end(ts, DEAD_GONE);
	if (p)
		p->flags |= PROC_DEAD | PROC_GONE;
	bpf_task_storage_delete(&task_states, task);
	return NULL;
}

static __always_inline void proc_set_args(struct proc_row *p, struct task_struct *task)
{
	__u64 start = BPF_CORE_READ(task, mm, arg_start), end = BPF_CORE_READ(task, mm, arg_end);
	__u64 n = end - start;

	p->flags &= ~PROC_CUT;
	if (n > ARGS_LEN) {
		n = ARGS_LEN;
		p->flags |= PROC_CUT;
	}
	/* n is bounded, but the compiler may have forgotten to say so: 6.1 wants to see it. */
	asm volatile("%0 &= 0x1ff" : "+r"(n));
	if (n > ARGS_LEN)
		n = ARGS_LEN;
	p->args_len = bpf_probe_read_user(p->args, n, (void *)start) ? 0 : n;
	p->title[0] = 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct task_state *ts = scope_by_comm(task, state_of(task), task->comm);
	struct proc_row *p;

	if (!ts)
		return 0;
	p = proc_at(ts->proc);
	if (!p)
		return 0;
	spans_forget(ts->proc);
	/* The new map of memory may lie where one before it did, and have changed as often by now. */
	for (int i = 0; i < SYNC_CACHE; i++)
		ts->sync[i].chan = 0;
	p->flags &= ~(PROC_COMPAT | PROC_INITIAL);
	ts->flags &= ~TASK_COMPAT;
	if (bprm->buf[4] == 1) { /* ELFCLASS32 */
		p->flags |= PROC_COMPAT;
		ts->flags |= TASK_COMPAT;
		lose(LOSS_COMPAT, 1);
	}
	proc_set_args(p, task);
	proc_set_exe(p, task);
	BPF_CORE_READ_INTO(&p->comm, task, comm);
	p->uid = BPF_CORE_READ(task, cred, uid.val);
	record_life(LIFE_EXEC, p->id, 0, p->pid, p->comm);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *comm)
{
	struct task_state *ts = state_of(task);
	struct proc_row *p;

	ts = scope_by_comm(task, ts, comm);
	if (!ts || task->pid != task->tgid)
		return 0;
	p = proc_at(ts->proc);
	if (p)
		bpf_probe_read_kernel(p->comm, COMM_LEN, comm);
	return 0;
}

static __always_inline bool under_target(struct cgroup *cgrp)
{
	if ((__u32)BPF_CORE_READ(cgrp, level) < cfg.cgroup_level)
		return false;
	for (int i = 0; i < TARGET_DEPTH && cgrp; i++) {
		if (BPF_CORE_READ(cgrp, kn, id) == cfg.cgroup)
			return true;
		cgrp = (struct cgroup *)BPF_CORE_READ(cgrp, self.parent);
		/* A cgroup begins with its `self`. */
	}
	return false;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move, struct cgroup *to, const char *path, struct task_struct *task)
{
	struct task_state *ts = state_of(task);
	struct engine *en = the_engine();
	struct proc_row *p;

	if (under_target(to)) {
		if (!ts)
			ts = task_join(task, SCOPE_CGROUP, 0);
		if (ts)
			ts->why |= SCOPE_CGROUP;
		if (en)
			en->rescan = 1; /* its other threads */
		return 0;
	}
	if (!ts)
		return 0;
	ts->why &= ~SCOPE_CGROUP;
	if (ts->why)
		return 0;
	p = thread_end(ts, DEAD_GONE);
	if (p)
		p->flags |= PROC_DEAD | PROC_GONE;
	bpf_task_storage_delete(&task_states, task);
	return 0;
}
