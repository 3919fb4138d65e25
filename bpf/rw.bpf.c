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

static __always_inline int vmsplice(struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 file = file_of(task, call_arg(regs, 0));
	__u32 role = ROLE_READ;

	if (file && PEEK(struct file, file, f_mode) & FMODE_WRITE)
		role = ROLE_WRITE;
	return one_file(regs, ret, role, call_arg(regs, 3) & SPLICE_F_NONBLOCK);
}

struct two {
	__u32 a, b; /* descriptors */
	__u32 role; /* of a; b has the other */
	bool nonblock;
	bool peek; /* a is looked at only */
};

static __always_inline void end_of_two(struct call *c, struct act *act, const struct two *two,
				       long ret, bool peek, __u64 slept)
{
	struct edge_row *e = edge_at(act->edge - 1);

	if (two->nonblock)
		act->flags |= ACT_NONBLOCK;
	if (peek && ret > 0) {
		if (act->edge && e)
			e->peeked_bytes += ret;
		ret = 0;
	}
	act_end(act, c->ts, ret, slept);
}

/* Bytes from one file to another in one call; either may be no channel. */
static __always_inline int two_files(struct pt_regs *regs, long ret, const struct two *two)
{
	struct call c;
	bool a, b;

	if (!call_begin(&c, regs))
		return 0;
	a = call_file(&c, c.a, two->a, two->role);
	b = call_file(&c, c.b, two->b, two->role == ROLE_READ ? ROLE_WRITE : ROLE_READ);
	if (!a && !b)
		return 0;
	if (a && b)
		c.ts->seen++; /* one call, but one for each channel */
	call_done(&c);
	if (a)
		end_of_two(&c, c.a, two, ret, two->peek, c.ts->slept[0]);
	if (b)
		end_of_two(&c, c.b, two, ret, false, c.ts->slept[1]);
	return 0;
}

/* In one program, as each costs the verifier as much time as all of them. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_rare, struct pt_regs *regs, long ret)
{
	struct two two = { .role = ROLE_READ };

	two.a = call_arg(regs, 0);
	two.b = call_arg(regs, 1);
	switch (kind_of(regs)) {
	case KIND_preadv2:
		return one_file(regs, ret, ROLE_READ, call_arg(regs, 5) & RWF_NOWAIT);
	case KIND_pwritev2:
		return one_file(regs, ret, ROLE_WRITE, call_arg(regs, 5) & RWF_NOWAIT);
	case KIND_vmsplice:
		return vmsplice(regs, ret);
	case KIND_splice:
		two.b = call_arg(regs, 2);
		two.nonblock = call_arg(regs, 5) & SPLICE_F_NONBLOCK;
		break;
	case KIND_tee:
		two.nonblock = call_arg(regs, 3) & SPLICE_F_NONBLOCK;
		two.peek = true;
		break;
	case KIND_sendfile:
		two.role = ROLE_WRITE;
		break;
	default:
		return 0;
	}
	return two_files(regs, ret, &two);
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
