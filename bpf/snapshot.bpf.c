// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What was there before the trace: tasks, and the channels that they hold. Loaded beside the
 * tracing programs with their maps in place of the ones defined here.
 */
#include "chan.bpf.h"
#include "comm.bpf.h"
#include "ledger.bpf.h"
#include "sample.bpf.h"
#include "task.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TARGET_DEPTH 16

static __always_inline bool in_target(struct task_struct *task)
{
	struct cgroup *cgrp = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	for (int i = 0; i < TARGET_DEPTH && cgrp; i++) {
		if (BPF_CORE_READ(cgrp, kn, id) == cfg.cgroup)
			return true;
		cgrp = (struct cgroup *)BPF_CORE_READ(cgrp, self.parent);
	}
	return false;
}

/* Each thread that is in scope by what it is now. */
SEC("iter/task")
int snap_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 why = 0, flags = PROC_INITIAL, tgid;
	struct engine *en = the_engine();

	if (en && !en->self) {
		en->jiffies = bpf_jiffies64();
		en->ktime = bpf_ktime_get_ns();
	}
	if (en)
		en->self = bpf_get_current_pid_tgid() >> 32; /* who reads an iterator runs it */
	if (!task || task->flags & PF_KTHREAD || state_of(task))
		return 0;
	tgid = tgid_here(task);
	if (cfg.scope & SCOPE_ALL)
		why |= SCOPE_ALL;
	if (cfg.scope & SCOPE_PIDS && bpf_map_lookup_elem(&scope_pids, &tgid)) {
		why |= SCOPE_PIDS;
		flags |= PROC_ROOT;
	}
	if (cfg.scope & SCOPE_CGROUP && in_target(task))
		why |= SCOPE_CGROUP;
	if (cfg.scope & SCOPE_COMM && comm_matches(task->comm))
		why |= SCOPE_COMM;
	if (why)
		task_join(task, why, flags);
	return 0;
}

/* Each channel that a task in scope holds. */
SEC("iter/task_file")
int snap_chan(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct chan_key key = {};
	struct ring_view v;
	struct chan_row *c;
	__u32 row;

	if (!task || !file || !state_of(task->group_leader))
		return 0;
	if (chan_key_of_any(number_of(file), ROLE_READ, &key) == MECH_NONE)
		return 0;
	row = chan_get_in(KEY_SNAPSHOT, &key, number_of(file), ROLE_READ, CHAN_PREEXISTING);
	c = chan_at(row);
	if (row < NO_ROOM && c && c->key.mech == MECH_UNIX && !c->first_tail) {
		/* Once: what is read from now on, is counted. */
		c->first_tail = 1;
		if (c->flags & CHAN_PREEXISTING)
			unix_find(c, sock_of((__u64)file));
		return 0;
	}
	if (row >= NO_ROOM || !c || c->key.mech > MECH_FIFO || c->found_bytes || c->first_writer)
		return 0;
	pipe_view(number_of(file), &v);
	c->found_bytes = v.bytes;
	if (v.bytes > c->highwater)
		c->highwater = v.bytes;
	if (!c->ledger && v.bytes)
		ledger_open_early(c, number_of(file), true);
	return 0;
}

/* Who holds a channel that is known. */
SEC("iter/task_file")
int snap_holder(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct snap_file out = {};
	struct file *file = ctx->file;
	__u64 found;
	struct engine *en = the_engine();

	if (!task || !file || !en || (__u32)task->tgid == en->self)
		return 0;
	if (chan_key_of_any(number_of(file), ROLE_READ, &out.key) == MECH_NONE)
		return 0;
	found = chan_known(&out.key, number_of(file));
	if (found == NO_ROW)
		return 0;
	out.end = found >> 32;
	out.pid = tgid_here(task);
	out.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	out.modes = chan_modes(found, file->f_mode);
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

/* The file behind a mapping, if it is a shared one, and which channel that is. */
static __always_inline __u64 shared_file(struct vm_area_struct *vma, struct chan_key *key)
{
	__u64 file;

	if (!vma->vm_file || !(vma->vm_flags & VM_MAYSHARE))
		return 0;
	file = number_of(vma->vm_file);
	return mem_key_of(file, PEEK_ADDR(struct file, file, f_inode), key) == MECH_NONE ? 0 : file;
}

/* Each channel that is mapped by a task in scope. */
SEC("iter/task_vma")
int snap_map(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct chan_key key = {};
	struct task_state *ts;
	__u64 file;
	__u32 row;

	if (!task || !vma)
		return 0;
	ts = state_of(task->group_leader);
	file = ts ? shared_file(vma, &key) : 0;
	if (!file)
		return 0;
	row = chan_get_in(KEY_SNAPSHOT, &key, file, ROLE_ATTACH, CHAN_PREEXISTING);
	chan_mapped(row, vma->vm_flags, CHAN_TOUCHED_BEFORE);
	span_add(ts->proc, ts->proc_id, vma->vm_start, vma->vm_end,
		 MEM_ORIGIN(vma->vm_pgoff, vma->vm_start));
	return 0;
}

/* Who has mapped a channel that is known. */
SEC("iter/task_vma")
int snap_mapped(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct engine *en = the_engine();
	struct snap_file out = {};

	if (!task || !vma || !en || (__u32)task->tgid == en->self)
		return 0;
	if (!shared_file(vma, &out.key) || !bpf_map_lookup_elem(&chan_rows, &out.key))
		return 0;
	out.pid = tgid_here(task);
	out.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	if (vma->vm_flags & VM_SHARED)
		out.modes |= 1 << ROLE_WRITE;
	if (vma->vm_flags & VM_READ)
		out.modes |= 1 << ROLE_READ;
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

/* Addresses from long ago: what is there now counts only if it is still the same file. */
static __always_inline __u64 file_dentry_now(struct chan_row *c)
{
	__u64 inode = file_inode(c), dentry = file_dentry(c);
	struct chan_key now = {};

	inode_key(inode, &now);
	/* Of one that is no more, what is kept in place of its names leads nowhere. */
	if (now.ino != c->key.ino || now.dev != c->key.dev || now.gen != c->key.gen ||
	    !PEEK(struct inode, inode, i_nlink) ||
	    PEEK_ADDR(struct vfsmount, file_mount(c), mnt_sb) !=
		    PEEK_ADDR(struct inode, inode, i_sb))
		return 0;
	if (PEEK_ADDR(struct dentry, dentry, d_inode) == inode && !dentry_is_gone(dentry))
		return dentry;
	return dentry_of_inode(inode);
}

static long name_step(__u32 row, void *ctx)
{
	struct chan_row *c = chan_at(row);
	__u32 zero = 0, n;
	__u64 dentry;
	char *buf;

	if (!c || c->key.mech != MECH_FILE || c->key.word || !c->id || !file_inode(c))
		return 0;
	dentry = file_dentry_now(c);
	buf = bpf_map_lookup_elem(&path_scratch, &zero);
	if (!dentry || !buf)
		return 0;
	n = path_walk(dentry, file_mount(c));
	bpf_probe_read_kernel(c->name, PATH_LEN, buf);
	chan_is_called(c, n);
	return 0;
}

/*
 * What files are called by now, also if nobody has opened them since they were renamed. Once: after the
 * last task.
 */
SEC("iter/task")
int snap_names(struct bpf_iter__task *ctx)
{
	struct engine *en = the_engine();

	if (!ctx->task && en)
		bpf_loop(en->used[TABLE_CHANS], name_step, NULL, 0);
	return 0;
}

/* Of the collector itself, before the first look. */
SEC("iter/task")
int snap_base(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct sampling *s;
	__u32 zero = 0;
	__u64 mm;

	s = bpf_map_lookup_elem(&sampling, &zero);
	if (!task || !s || s->base)
		return 0;
	mm = PEEK_ADDR(struct task_struct, number_of(task), mm);
	if (mm)
		s->base = pt_search_base(PEEK_ADDR(struct mm_struct, mm, pgd));
	return 0;
}

/* Shared memory of a process in scope: which pages of it are marked as touched. */
SEC("iter/task_vma")
int snap_marks(struct bpf_iter__task_vma *ctx)
{
	struct touch_key attached = { .group = MEM_NO_GROUP };
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct chan_key key = {};
	struct task_state *ts;
	struct sampling *s;
	struct touch_val *t;
	struct chan_row *c;
	__u32 zero = 0, *row;

	if (!task || !vma)
		return 0;
	ts = state_of(task->group_leader);
	s = bpf_map_lookup_elem(&sampling, &zero);
	if (!ts || !s || !shared_file(vma, &key))
		return 0;
	row = bpf_map_lookup_elem(&chan_rows, &key);
	c = row ? chan_at(*row) : NULL;
	if (!c || !c->id || (c->key.mech == MECH_MMAP && !(c->flags & CHAN_WRITABLE)))
		return 0;
	attached.chan = s->out.chan = c->id;
	attached.proc = s->out.proc = ts->proc_id;
	t = bpf_map_lookup_elem(&touches, &attached);
	s->out.chan_row = *row;
	s->out.attached = t ? t->bits[0] : 0;
	s->out.readonly = !(vma->vm_flags & (VM_WRITE | VM_MAYWRITE));
	pt_look_through(ctx, s, vma);
	return 0;
}

/* At the end: what living tasks have seen. */
SEC("iter/task")
int snap_seen(struct bpf_iter__task *ctx)
{
	struct engine *en = the_engine();
	struct task_struct *task = ctx->task;
	struct task_state *ts;

	if (!task || !en)
		return 0;
	ts = state_of(task);
	if (!ts)
		return 0;
	__sync_fetch_and_add(&en->seen, __sync_lock_test_and_set(&ts->seen, 0));
	if (ts->call && (ts->acts[0].edge || ts->acts[1].edge))
		__sync_fetch_and_add(&en->unfinished, 1);
	return 0;
}
