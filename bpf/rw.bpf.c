// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Calls that move bytes through a descriptor, whatever channel is behind it. */
#include "call.bpf.h"

#define F_SETPIPE_SZ 1031
#define RWF_NOWAIT 8
#define SPLICE_F_NONBLOCK 2

struct call {
	struct task_struct *task;
	struct task_state *ts;
	struct act *a, *b; /* a: the file of the first argument */
	bool noted; /* it slept, and its files were taken then */
};

/* False: not in scope, or not a call that can be decoded. */
static __always_inline bool call_begin(struct call *c, struct pt_regs *regs)
{
	c->task = bpf_get_current_task_btf();
	c->ts = state_of(c->task);
	if (!c->ts)
		return false;
	if (call_is_compat(c->task))
		return false; /* its process is marked, see on_exec */
	c->a = &c->ts->acts[0];
	c->b = &c->ts->acts[1];
	c->noted = c->ts->call == call_id(regs);
	if (!c->noted)
		c->ts->slept[0] = c->ts->slept[1] = 0;
	return true;
}

static __always_inline void call_done(struct call *c)
{
	if (!c->noted)
		c->ts->seen++;
	c->ts->call = 0;
}

static __always_inline bool call_file(struct call *c, struct act *a, __u32 fd, __u32 role)
{
	if (c->noted)
		return a->edge;
	return act_on(a, c->ts, file_of(c->task, fd), fd, role);
}

/*
 * Most reads and writes are of plain files and devices. Where loads are cheap, these end before the
 * look-up of the task's state, which costs more.
 */
static __always_inline bool may_be_channel(__u64 file)
{
	return !cfg.casts || (file && cfg.types >> file_type(file) & 1);
}

static __always_inline int one_file(struct pt_regs *regs, long ret, __u32 role, bool nonblock)
{
	__u32 fd = call_arg(regs, 0);
	__u64 file = file_of(bpf_get_current_task_btf(), fd);
	struct call c;

	if (!may_be_channel(file) || !call_begin(&c, regs))
		return 0;
	if (c.noted ? !c.a->edge : !act_on(c.a, c.ts, file, fd, role))
		return 0;
	if (nonblock)
		c.a->flags |= ACT_NONBLOCK;
	call_done(&c);
	act_end(c.a, c.ts, ret, c.ts->slept[0]);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_read, struct pt_regs *regs, long ret)
{
	return one_file(regs, ret, ROLE_READ, false);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_write, struct pt_regs *regs, long ret)
{
	return one_file(regs, ret, ROLE_WRITE, false);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_preadv2, struct pt_regs *regs, long ret)
{
	return one_file(regs, ret, ROLE_READ, call_arg(regs, 5) & RWF_NOWAIT);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_pwritev2, struct pt_regs *regs, long ret)
{
	return one_file(regs, ret, ROLE_WRITE, call_arg(regs, 5) & RWF_NOWAIT);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_vmsplice, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 file = file_of(task, call_arg(regs, 0));
	__u32 role = ROLE_READ;

	if (file && PEEK(struct file, file, f_mode) & FMODE_WRITE)
		role = ROLE_WRITE;
	return one_file(regs, ret, role, call_arg(regs, 3) & SPLICE_F_NONBLOCK);
}

/* Bytes out of a and into b in one call; either may be no channel. */
static __always_inline int two_files(struct pt_regs *regs, long ret, __u32 in, __u32 out,
				     bool nonblock, bool peek)
{
	struct edge_row *e;
	bool from, to;
	struct call c;

	if (!call_begin(&c, regs))
		return 0;
	from = call_file(&c, c.a, in, ROLE_READ);
	to = call_file(&c, c.b, out, ROLE_WRITE);
	if (!from && !to)
		return 0;
	if (from && to)
		c.ts->seen++; /* one call, but one for each channel */
	call_done(&c);
	if (from) {
		if (nonblock)
			c.a->flags |= ACT_NONBLOCK;
		if (peek && ret > 0) {
			e = edge_at(c.a->edge - 1);
			if (c.a->edge && e)
				e->peeked_bytes += ret;
		}
		act_end(c.a, c.ts, peek && ret > 0 ? 0 : ret, c.ts->slept[0]);
	}
	if (to) {
		if (nonblock)
			c.b->flags |= ACT_NONBLOCK;
		act_end(c.b, c.ts, ret, c.ts->slept[1]);
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_splice, struct pt_regs *regs, long ret)
{
	return two_files(regs, ret, call_arg(regs, 0), call_arg(regs, 2),
			 call_arg(regs, 5) & SPLICE_F_NONBLOCK, false);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_tee, struct pt_regs *regs, long ret)
{
	return two_files(regs, ret, call_arg(regs, 0), call_arg(regs, 1),
			 call_arg(regs, 3) & SPLICE_F_NONBLOCK, true);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sendfile, struct pt_regs *regs, long ret)
{
	struct call c;
	bool out, in;

	if (!call_begin(&c, regs))
		return 0;
	out = call_file(&c, c.a, call_arg(regs, 0), ROLE_WRITE);
	in = call_file(&c, c.b, call_arg(regs, 1), ROLE_READ);
	if (!out && !in)
		return 0;
	if (out && in)
		c.ts->seen++;
	call_done(&c);
	if (out)
		act_end(c.a, c.ts, ret, c.ts->slept[0]);
	if (in)
		act_end(c.b, c.ts, ret, c.ts->slept[1]);
	return 0;
}

/* Opening a channel by its name is communication asked for, even if none follows. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_open, struct pt_regs *regs, long ret)
{
	struct call c;
	__u64 file;
	__u32 mode;

	if (ret < 0)
		return 0;
	file = file_of(bpf_get_current_task_btf(), ret);
	if (!file || file_type(file) != S_IFIFO >> 12 || !call_begin(&c, regs))
		return 0;
	mode = PEEK(struct file, file, f_mode);
	if (mode & FMODE_READ)
		act_on(c.a, c.ts, file, ret, ROLE_READ);
	if (mode & FMODE_WRITE)
		act_on(c.a, c.ts, file, ret, ROLE_WRITE);
	if (c.a->edge)
		ledger_reopened(c.a->chan - 1, file);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_fcntl, struct pt_regs *regs, long ret)
{
	struct fd_cache *cache;
	struct chan_row *row;
	struct call c;
	__u64 file;
	__u32 fd;

	if (call_arg(regs, 1) != F_SETPIPE_SZ || ret < 0 || !call_begin(&c, regs))
		return 0;
	fd = call_arg(regs, 0);
	file = file_of(c.task, fd);
	cache = &c.ts->cache[fd % FD_CACHE];
	if (!file || cache->file != file || cache->ident != file_ident(file) || !cache->chan)
		return 0; /* its size is read when it is first used */
	row = chan_at(cache->chan - 1);
	if (row)
		row->capacity = ret;
	return 0;
}
