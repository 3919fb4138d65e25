/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* sendmmsg(2) and recvmmsg(2): several messages in a call, each with an address of its own. Part of rw.bpf.c. */
#ifndef IPCTRACE_MMSG_BPF_H
#define IPCTRACE_MMSG_BPF_H

#include "call.bpf.h"

#define MMSG_MAX 1024 /* UIO_MAXIOV: the kernel takes no more */

/* The message's channel and edge into ts->acts[0]. */
static __always_inline bool mmsg_act(struct mmsg *m, struct task_state *ts, __u64 msg)
{
	struct act *a = &ts->acts[0];
	__u64 name = 0;
	__u32 len = 0;

	if (m->named && !MSG_FIELD(name, msg, msg_hdr.msg_name) && name &&
	    !MSG_FIELD(len, msg, msg_hdr.msg_namelen) && len)
		return act_to(a, ts, m->file, name, len);
	return act_on(a, ts, m->file, m->fd, m->role);
}

static __always_inline void mmsg_unix(struct act *a, __u64 msg, __u32 len)
{
	struct chan_row *c = chan_at(a->chan - 1);

	if (c && act_is_unix(a, c, len))
		unix_moved(a->chan - 1, a->edge - 1, a->file, a->role, len);
	control_noted(a->edge - 1, msg);
}

static __always_inline bool crowd_at(__u32 chan)
{
	struct chan_row *c = chan_at(chan);

	return c && has_crowd(c);
}

/* One message, in user memory, of the call that is described in the thread's state. */
__noinline int mmsg_one(__u64 msg, __u32 first)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct edge_row *e;
	struct mmsg *m;
	bool noted;
	__u32 len = 0;

	if (!ts || MSG_FIELD(len, msg, msg_len))
		return 1;
	m = &ts->mmsg;
	noted = m->noted && first;
	if (!noted && !mmsg_act(m, ts, msg))
		return 0;
	ts->acts[0].flags |= m->flags;
	if (!noted)
		ts->seen++;
	e = edge_at(ts->acts[0].edge - 1);
	if (!e) {
		lose(LOSS_NO_EDGE, 1);
		return 0;
	}
	act_count(&ts->acts[0], e, m->ret < 0 ? m->ret : len, first ? ts->slept[0] : 0);
	if (m->role == ROLE_READ && crowd_at(ts->acts[0].chan - 1))
		crowd_got(ts->acts[0].edge - 1, m->file, m->ret < 0 ? m->ret : len,
			  ts->acts[0].flags | ACT_ONE_OF_MANY, msg);
	if (m->is_unix && m->ret >= 0)
		mmsg_unix(&ts->acts[0], msg, len);
	if (!m->is_unix && m->role == ROLE_WRITE)
		tcp_note_fill(ts->acts[0].chan - 1, ts->acts[0].edge - 1, m->file);
	return 0;
}

static long mmsg_step(__u32 i, __u64 *msgs)
{
	if (mmsg_one(*msgs + i * sizeof(struct mmsghdr), !i))
		return 1;
	return 0;
}

static __always_inline int mmsg(struct pt_regs *regs, __u32 kind, long ret)
{
	__u64 file = file_of_call(regs);
	__u64 msgs = call_arg(regs, 1);
	bool send = kind == KIND_sendmmsg;
	struct call c;
	struct mmsg *m;

	if (!ret || !file || !may_be_channel(file) || !call_begin(&c, regs))
		return 0;
	m = &c.ts->mmsg;
	m->file = file;
	m->ret = ret;
	m->fd = call_arg(regs, 0);
	m->role = send ? ROLE_WRITE : ROLE_READ;
	m->flags = flags_of_msg(call_arg(regs, 3)) & (send ? ~ACT_PEEK : ~0U);
	m->named = send && is_datagrams(file);
	m->is_unix = is_unix(file);
	m->noted = c.noted;
	c.ts->call = 0;
	bpf_loop(ret < 0 ? 1 : ret & (2 * MMSG_MAX - 1), mmsg_step, &msgs, 0);
	dgrams_end(c.ts->acts[0].edge - 1);
	if (!send)
		crowd_forget();
	return 0;
}

#endif
