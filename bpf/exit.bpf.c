// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Every system call that returns: most end here, as they are no channel's, or with the common case of
 * moving bytes. For all else there are other programs, see HANDLERS in calls.h.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "futex2.bpf.h"
#include "lock.bpf.h"
#include "mem.bpf.h"

/* Of these, moving bytes changes no more than a count and a fill. */
#define MECHS_PLAIN                                                                              \
	(1U << MECH_PIPE | 1U << MECH_FIFO | 1U << MECH_UNIX | 1U << MECH_TCP | 1U << MECH_UDP | \
	 1U << MECH_PTY)

static __always_inline bool mech_is_plain(__u32 mech)
{
	return MECHS_PLAIN >> (mech & 31) & 1;
}

/* Nothing but bytes to or from whoever is at the other end. */
static __always_inline bool is_plain(struct pt_regs *regs, __u32 kind)
{
	switch (kind) {
	case KIND_sendto:
		return !call_arg(regs, 4) && !(call_arg(regs, 3) & ~MSG_NOSIGNAL);
	case KIND_recvfrom:
		return !call_arg(regs, 3);
	default:
		return true;
	}
}

/* It may be fuller now than ever. Here it is seen that mostly it is not. */
static __always_inline void note_fill(const struct act *a, const struct chan_row *c,
				      struct edge_row *e, long ret)
{
	if (act_is_unix(a, c, ret)) {
		if (a->role == ROLE_READ || unix_may_be_fuller(sock_of(a->file), e))
			unix_moved(a->chan - 1, a->edge - 1, a->file, a->role, ret);
	} else if (ret > 0 && c->key.mech <= MECH_FIFO) {
		if (pipe_moved(c, e, a->file, a->role))
			chan_note_fill(a->chan - 1, a->file);
	} else if (ret > 0 && c->key.mech == MECH_TCP) {
		if (a->role == ROLE_READ)
			tcp_note_read(e, a->file);
		else if (tcp_may_rise(c, e, a->file))
			tcp_note_fill(a->chan - 1, a->edge - 1, a->file);
	}
}

/* Pipes, and sockets that are connected once and for all. */
static __always_inline bool keeps_its_peer(const struct chan_row *c)
{
	return c->key.mech <= MECH_FIFO || (c->key.mech == MECH_UNIX && c->flags & CHAN_TWO_ENDS);
}

/*
 * The common case: bytes moved by a call that did not sleep, through a descriptor that the thread has
 * used before, on a channel of which nothing but the fill is noted. True: that is all. False: on_io
 * looks at the call from its beginning.
 */
static __always_inline bool plain_move(struct pt_regs *regs, __u32 kind, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 fd = call_arg(regs, 0), edge, chan, type;
	__u64 file = file_of(task, fd);
	struct task_state *ts;
	struct fd_cache *cache;
	struct inode *inode;
	struct act a = {};
	struct edge_row *e;
	struct chan_row *c;

	if (!file)
		return false;
	inode = FIELD(OBJECT(struct file, file), f_inode);
	type = FIELD(inode, i_mode) >> 12;
	if (CASTS && !inode_may_be_channel(inode, type))
		return true;
	ts = state_of(task);
	if (!ts || call_is_compat(task))
		return true;
	cache = &ts->cache[fd % FD_CACHE];
	if (cache->file != file || cache->inode != inode_ident(inode) ||
	    ts->call == call_id(regs) || !is_plain(regs, kind))
		return false;
	a.role = kind == KIND_write || kind == KIND_sendto ? ROLE_WRITE : ROLE_READ;
	edge = a.role == ROLE_READ ? cache->edge[ROLE_READ] : cache->edge[ROLE_WRITE];
	chan = a.role == ROLE_READ ? cache->chan[ROLE_READ] : cache->chan[ROLE_WRITE];
	e = edge_at(edge - 1);
	c = chan_at(chan - 1);
	if (!(edge < OF_PROCESS && c && keeps_its_peer(c)) &&
	    (cache->ident != file_ident_of(file, inode, type) ||
	     (a.role == ROLE_WRITE && leads_elsewhere(c, cache->places))))
		return false;
	if (edge == NOT_WATCHED)
		return true;
	if (!edge || !e || !c || !mech_is_plain(c->key.mech) || ledger_works(c))
		return false;
	a.edge = edge;
	a.chan = chan;
	a.file = file;
	if (FIELD(OBJECT(struct file, file), f_flags) & O_NONBLOCK)
		a.flags = ACT_NONBLOCK;
	ts->seen++;
	ts->call = 0;
	act_count(&a, e, ret, 0);
	note_fill(&a, c, e, ret);
	return true;
}

/* Every system call of every process comes here: what is no channel's must end early. */
SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	__u32 kind = kind_of(regs);

	switch (kind) {
	case KIND_none:
		return 0;
	case KIND_read:
	case KIND_write:
	case KIND_sendto:
	case KIND_recvfrom:
		if (plain_move(regs, kind, ret))
			return 0;
		/* fallthrough */
	case KIND_sendmsg:
	case KIND_recvmsg:
	case KIND_preadv2:
	case KIND_pwritev2:
	case KIND_vmsplice:
	case KIND_pread:
	case KIND_pwrite:
	case KIND_splice:
	case KIND_tee:
	case KIND_sendfile:
	case KIND_copyrange:
		bpf_tail_call_static(ctx, &on_exit, KIND_io);
		return 0;
	case KIND_mmap:
		if (!mmap_is_shared(regs))
			return 0;
		break;
	case KIND_madvise:
		if (!madvise_tells(regs))
			return 0;
		break;
	case KIND_open:
		if (!opens_channel(ret))
			return 0;
		break;
	case KIND_semop:
	case KIND_semtimedop:
	case KIND_semctl:
	case KIND_semget:
	case KIND_futex_waitv:
	case KIND_futex_requeue:
		bpf_tail_call_static(ctx, &on_exit, KIND_sync);
		return 0;
	case KIND_fcntl:
		if (!fcntl_locks(regs))
			break;
		bpf_tail_call_static(ctx, &on_exit, KIND_sync);
		return 0;
	case KIND_flock:
		if (!(cfg.mechs & 1U << MECH_FILE))
			return 0;
		bpf_tail_call_static(ctx, &on_exit, KIND_sync);
		return 0;
	case KIND_futex_wait:
	case KIND_futex_wake:
		if (futex2_is_private(regs))
			return 0;
		bpf_tail_call_static(ctx, &on_exit, KIND_sync);
		return 0;
	case KIND_futex:
		/* Most are: threads of one process. */
		if (futex_is_private(regs))
			return 0;
		bpf_tail_call_static(ctx, &on_exit, KIND_sync);
		return 0;
	case KIND_ioctl:
		if ((call_arg(regs, 1) >> 8 & 0xff) != UFFDIO)
			return 0;
		/* fallthrough */
	case KIND_vm_readv:
	case KIND_vm_writev:
	case KIND_ptrace:
	case KIND_getfd:
		bpf_tail_call_static(ctx, &on_exit, KIND_vm);
		return 0;
	case KIND_msgsnd:
	case KIND_msgrcv:
	case KIND_msgget:
	case KIND_msgctl:
	case KIND_mq_send:
	case KIND_mq_receive:
	case KIND_mq_open:
	case KIND_mq_notify:
		bpf_tail_call_static(ctx, &on_exit, KIND_queue);
		return 0;
	}
	/* A constant index is patched into a direct jump; any other would go through a retpoline. */
	bpf_tail_call_static(ctx, &on_exit, KIND_rare);
	return 0;
}
