/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The hot path: a call has returned; which file was it on, is that a channel, add to its edge.
 *
 * There is no hook where calls begin: attaching one costs every call of every process as much again
 * as the whole of this. What must be known before a call ends is taken when it goes to sleep.
 */
#ifndef IPCTRACE_CALL_BPF_H
#define IPCTRACE_CALL_BPF_H

#include "calls.h"
#include "file.bpf.h"
#include "pipe.bpf.h"
#include "task.bpf.h"

/* Slow ways, in core.bpf.c and ledger.bpf.c. */
int attach(__u64 file, __u32 fd, __u32 role);
int attach_to(__u64 file, __u64 name, __u32 len);
int goes_elsewhere(__u32 chan, __u32 places);
int note_act(__u32 which, __u32 fd, __u32 role);
int edge_failed(__u32 edge, __s64 ret, __u32 flags);
int crowd_user(__u32 chan, __u32 end, __u32 role, __u64 file);
int crowd_got(__u32 edge, __u64 file, __s64 ret, __u32 flags, __u64 msg);
int crowd_forget(void);
int chan_note_fill(__u32 chan, __u64 file);
int ledger_settle(__u32 chan, __u32 proc, __u32 role, __u64 n, __u64 file);
int ledger_reopened(__u32 chan, __u64 file);
int aio_submitted(__u64 requests, __s64 n);
int dgram_opened(__u32 chan, __u64 file);
int dgrams_end(__u32 edge);
int unix_moved(__u32 chan, __u32 edge, __u64 file, __u32 role, __s64 ret);
int tcp_note_fill(__u32 chan, __u32 edge, __u64 file);
int tcp_moved(__u32 chan, __u32 edge, __u64 file, __u32 role);
int tcp_attached(__u32 chan, __u32 end, __u64 file);
int control_noted(__u32 edge, __u64 msg);
int fd_noted(__u32 edge, __u32 fd);
int mem_call(__u32 kind, __s64 ret);
int mem_moved(__u32 chan, __u32 role, __u64 n, __u64 file);
int regular_moved(__u32 chan, __u32 role, __u64 n, __u64 file);
int file_opened(__u64 file);
int file_attached(__u32 chan, __u64 file);
int eventfd_moved(__u32 edge);
int op_record(__u64 where, __s64 ret, __u64 blocked_ns);

/* Is there one, and it does not rest? */
static __always_inline bool ledger_works(const struct chan_row *c)
{
	__s32 ledger = *(volatile __u32 *)&c->ledger;

	return ledger > 0;
}

/* Do several processes read from it, which is a socket? */
static __always_inline bool has_crowd(const struct chan_row *c)
{
	return *(volatile __u32 *)&c->ledger & LEDGER_CROWD;
}

/* One field at a time: the whole header would be too much for the stack. */
#define MSG_FIELD(to, msg, field) \
	bpf_probe_read_user(&(to), sizeof(to), (void *)((msg) + offsetof(struct mmsghdr, field)))

/* A file on which each call may go somewhere else. */
static __always_inline bool is_datagrams(__u64 file)
{
	return file && file_type(file) == S_IFSOCK >> 12 && sock_type(sock_of(file)) == SOCK_DGRAM;
}

/*
 * The address that a datagram is sent to, in user memory, of several messages the first one's; returns
 * its length, 0: none.
 */
static __always_inline __u32 name_of_msg(struct pt_regs *regs, __u32 kind, __u64 *name)
{
	__u64 msg = call_arg(regs, 1);
	__u32 len = 0;

	*name = 0;
	if (kind == KIND_sendto) {
		*name = call_arg(regs, 4);
		return *name ? call_arg(regs, 5) : 0;
	}
	if ((kind != KIND_sendmsg && kind != KIND_sendmmsg) ||
	    MSG_FIELD(*name, msg, msg_hdr.msg_name) || !*name ||
	    MSG_FIELD(len, msg, msg_hdr.msg_namelen))
		return 0;
	return len;
}

/*
 * Who is connected to a mailbox sends to whoever has that address: another one by now, maybe, or one
 * whose memory is used again, and nothing of the sender's socket tells.
 */
static __always_inline bool leads_elsewhere(const struct chan_row *c, __u32 places)
{
	struct engine *en = the_engine();

	if (!c || (c->key.mech != MECH_UDP && c->key.mech != MECH_UNIX) || c->flags & CHAN_TWO_ENDS)
		return false;
	return en && places != en->places;
}

/* Fills in what the call on that file acts on. False: nothing that is watched. */
static __always_inline bool act_on(struct act *a, struct task_state *ts, __u64 file, __u32 fd,
				   __u32 role)
{
	struct fd_cache *c = &ts->cache[fd % FD_CACHE];
	/* Spelled out: for a computed index the verifier wants more proof than the compiler leaves. */
	__u32 *edge = role == ROLE_READ ? &c->edge[ROLE_READ] : &c->edge[ROLE_WRITE];
	__u32 *chan = role == ROLE_READ ? &c->chan[ROLE_READ] : &c->chan[ROLE_WRITE];

	a->edge = 0;
	if (!file)
		return false;
	if (c->file != file || !*edge || c->ident != file_ident(file) ||
	    (role == ROLE_WRITE && goes_elsewhere(*chan - 1, c->places)))
		attach(file, fd, role);
	if (*edge >= OF_PROCESS)
		return false;
	a->chan = *chan;
	a->edge = *edge;
	a->role = role;
	a->flags = PEEK(struct file, file, f_flags) & O_NONBLOCK ? ACT_NONBLOCK : 0;
	a->file = file;
	return true;
}

/* The same of a datagram that is sent to an address of its own, in user memory. */
static __always_inline bool act_to(struct act *a, struct task_state *ts, __u64 file, __u64 name,
				   __u32 len)
{
	a->edge = 0;
	if (!attach_to(file, name, len) || !ts->to_edge)
		return false;
	a->chan = ts->to_chan;
	a->edge = ts->to_edge;
	a->role = ROLE_WRITE;
	a->flags = PEEK(struct file, file, f_flags) & O_NONBLOCK ? ACT_NONBLOCK : 0;
	a->file = file;
	return true;
}

/* A call has slept for another channel than it seemed while it did. */
static __always_inline void sleep_moves(struct edge_row *from, struct edge_row *to, __u64 slept)
{
	from->blocked_ops--;
	from->blocked_ns -= slept;
	if (from->max_blocked_ns > from->blocked_ns)
		from->max_blocked_ns = from->blocked_ns;
	to->blocked_ops++;
	to->blocked_ns += slept;
	if (to->max_blocked_ns < slept)
		to->max_blocked_ns = slept;
}

/* Counts what the call that did a has returned; how much of it has moved. */
static __always_inline __s64 act_count(struct act *a, struct edge_row *e, __s64 ret,
				       __u64 blocked_ns)
{
	if (a->flags) {
		if (a->flags & ACT_NONBLOCK)
			e->nonblocking_ops++;
		if (a->flags & ACT_PEEK && ret > 0) {
			e->peeked_bytes += ret;
			ret = 0;
			dgrams_end(a->edge - 1);
		}
	}
	if (ret >= 0) {
		e->ops++;
		e->bytes += ret;
	} else {
		edge_failed(a->edge - 1, ret, a->flags);
	}
	e->last_ns = bpf_jiffies64();
	if (cfg.ops)
		op_record((__u64)e->chan << 32 | a->role, ret, blocked_ns);
	return ret;
}

/* The same of channels of which nothing else is to be noted: queues, semaphores, locks. */
static __always_inline void act_only_count(struct act *a, __s64 ret, __u64 blocked_ns)
{
	struct edge_row *e = edge_at(a->edge - 1);

	if (a->edge && e)
		act_count(a, e, ret, blocked_ns);
	else
		lose(LOSS_NO_EDGE, 1);
}

/* Unix sockets: is there more to note than the counts? */
static __always_inline bool act_is_unix(const struct act *a, const struct chan_row *c, __s64 ret)
{
	if (c->key.mech != MECH_UNIX || ret < 0)
		return false;
	if (a->role == ROLE_WRITE)
		return ret > 0;
	return !(c->flags & CHAN_TWO_ENDS) && !(a->flags & ACT_PEEK);
}

/* The call that did a has returned ret. */
static __always_inline void act_end(struct act *a, struct task_state *ts, __s64 ret,
				    __u64 blocked_ns)
{
	struct edge_row *e = edge_at(a->edge - 1);
	struct chan_row *c = chan_at(a->chan - 1);
	bool ledger;
	__s64 moved;

	if (!a->edge || !e || !c) {
		lose(LOSS_NO_EDGE, 1);
		return;
	}
	/* First, as the verifier then need not follow what else there is once with it and once without. */
	if (has_crowd(c))
		crowd_got(a->edge - 1, a->file, ret, a->flags, 0);
	/* Before the counters: a ledger that is opened after this takes them for what was before it. */
	ledger = ledger_works(c);
	moved = act_count(a, e, ret, blocked_ns);
	if (act_is_unix(a, c, ret))
		unix_moved(a->chan - 1, a->edge - 1, a->file, a->role, ret);
	if (moved <= 0)
		return;
	if (c->key.mech > MECH_FIFO) {
		if (c->key.mech == MECH_TCP)
			tcp_moved(a->chan - 1, a->edge - 1, a->file, a->role);
		if (c->key.mech == MECH_EVENTFD)
			eventfd_moved(a->edge - 1);
		if (c->key.mech == MECH_FILE)
			regular_moved(a->chan - 1, a->role, ret, a->file);
		if (c->key.mech == MECH_POSIXSHM || c->key.mech == MECH_MEMFD)
			mem_moved(a->chan - 1, a->role, ret, a->file);
		return;
	}
	if (pipe_moved(c, e, a->file, a->role))
		chan_note_fill(a->chan - 1, a->file);
	if (ledger)
		ledger_settle(a->chan - 1, ts->proc_id, a->role, ret, a->file);
}

#endif
