// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Calls that move bytes through a descriptor, whatever channel is behind it. */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "futex2.bpf.h"
#include "lock.bpf.h"
#include "mem.bpf.h"
#include "signal.bpf.h"
#include "vm.bpf.h"

#define F_SETPIPE_SZ 1031
#define RWF_NOWAIT 8
#define SPLICE_F_NONBLOCK 2
#define MSG_PEEK 2
#define MSG_DONTWAIT 0x40
#define MSG_ERRQUEUE 0x2000
#define MSG_NOSIGNAL 0x4000

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
	/* Who returns from a call does not sleep in it, even if nobody told that it came onto a CPU. */
	if (c->noted)
		call_runs(c->ts);
	else
		c->ts->slept[0] = c->ts->slept[1] = 0;
	return true;
}

static __always_inline void call_done(struct call *c)
{
	if (!c->noted)
		c->ts->seen++;
	c->ts->call = 0;
}

static __always_inline bool call_file(struct call *c, __u32 which, __u32 fd, __u32 role)
{
	if (c->noted)
		return c->ts->acts[which].edge;
	return note_act(which, fd, role);
}

static __always_inline bool magic_may_be_channel(__u64 magic)
{
	return is_memory_magic(magic) || magic == ANON_INODE_FS_MAGIC ||
	       (cfg.mechs & 1U << MECH_VM && magic == PROC_SUPER_MAGIC);
}

/*
 * Most reads and writes are of plain files and devices. Where loads are cheap, these end before the
 * look-up of the task's state, which costs more.
 */
static __always_inline bool inode_may_be_channel(struct inode *inode, __u32 type)
{
	if (!(cfg.types >> (type & 15) & 1))
		return false;
	switch (type) {
	case S_IFCHR >> 12:
		return rdev_may_be_pty(FIELD(inode, i_rdev));
	case S_IFREG >> 12:
		return cfg.mechs & 1U << MECH_FILE ||
		       magic_may_be_channel(FIELD_OF(inode, i_sb, s_magic));
	case 0:
		return FIELD_OF(inode, i_sb, s_magic) == ANON_INODE_FS_MAGIC;
	}
	return true;
}

static __always_inline bool may_be_channel(__u64 file)
{
	struct inode *inode;

	if (!CASTS)
		return true;
	if (!file)
		return false;
	inode = FIELD(OBJECT(struct file, file), f_inode);
	return inode_may_be_channel(inode, FIELD(inode, i_mode) >> 12);
}

static __always_inline __u32 flags_of_msg(__u32 flags)
{
	return (flags & MSG_DONTWAIT ? ACT_NONBLOCK : 0) | (flags & MSG_PEEK ? ACT_PEEK : 0);
}

static __always_inline __u32 nonblock_if(__u32 flag)
{
	return flag ? ACT_NONBLOCK : 0;
}

static __always_inline bool is_unix(__u64 file)
{
	return file_type(file) == S_IFSOCK >> 12 && sock_family(sock_of(file)) == AF_UNIX;
}

static __always_inline bool is_inet_datagrams(__u64 file)
{
	return is_datagrams(file) && sock_family(sock_of(file)) != AF_UNIX;
}

/*
 * It slept on its own mailbox, and what woke it may have been sent to all: then it is there that it
 * has slept.
 */
int udp_look_again(__u64 file, __u32 fd)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct edge_row *from, *to;
	struct fd_cache *now;
	struct act *a;

	attach(file, fd, ROLE_READ);
	if (!ts)
		return 0;
	a = &ts->acts[0];
	now = &ts->cache[fd % FD_CACHE];
	from = edge_at(a->edge - 1);
	to = edge_at(now->edge[ROLE_READ] - 1);
	if (!from || !to || to == from)
		return 1;
	a->chan = now->chan[ROLE_READ];
	a->edge = now->edge[ROLE_READ];
	if (a->flags & ACT_SLEPT)
		sleep_moves(from, to, ts->slept[0]);
	return 1;
}

/* The file of a call that has only one, in that role. */
static __always_inline bool take_file(struct call *c, struct pt_regs *regs, __u64 file, __u32 kind,
				      __u32 role)
{
	__u64 name = 0;
	__u32 len = 0;

	if ((kind == KIND_sendto || kind == KIND_sendmsg) && is_datagrams(file))
		len = name_of_msg(regs, kind, &name);
	if (len)
		return act_to(c->a, c->ts, file, name, len);
	if (c->noted)
		return c->a->edge && (role != ROLE_READ || !is_inet_datagrams(file) ||
				      udp_look_again(file, call_arg(regs, 0)));
	return act_on(c->a, c->ts, file, call_arg(regs, 0), role);
}

/* What was not taken: it may be of another kind. True: that is for on_vm. */
static __always_inline bool other_file(struct call *c, struct pt_regs *regs, __u32 kind, __u32 role,
				       long ret)
{
	__u32 fd = call_arg(regs, 0);
	struct fd_cache *cache = &c->ts->cache[fd % FD_CACHE];

	if (role == ROLE_WRITE)
		return cache->edge[ROLE_WRITE] == OF_PROCESS;
	if (kind == KIND_read && cache->edge[ROLE_READ] == SIGNALFD) {
		if (ret > 0)
			signalfd_was_read(call_arg(regs, 1), ret, c->ts->slept[1]);
		c->ts->call = 0;
	}
	return cache->edge[ROLE_READ] == OF_PROCESS;
}

/* The file of the call's first argument; if somebody closed that while it slept, what it slept on. */
static __always_inline __u64 file_of_call(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 file = file_of(task, call_arg(regs, 0));
	struct task_state *ts;

	if (file)
		return file;
	ts = state_of(task);
	return ts && ts->call == call_id(regs) ? ts->acts[0].file : 0;
}

/* Who is not watched may debug somebody who is; debuggers read at offsets. */
static __always_inline bool may_debug(__u64 file, __u32 kind)
{
	return cfg.mechs & 1U << MECH_VM && (kind == KIND_pread || kind == KIND_pwrite) &&
	       is_proc_mem(file);
}

/*
 * Calls that move bytes between this process and one file. Returns where that goes on: on_vm (it is
 * another process), on_passed (there may be descriptors with it), or nowhere.
 */
static __always_inline __u32 one_file(struct pt_regs *regs, __u32 kind, long ret)
{
	__u64 file = file_of_call(regs);
	__u32 role = ROLE_READ, flags = 0;
	struct call c;

	if (!file || !may_be_channel(file))
		return KIND_none;
	switch (kind) {
	case KIND_write:
		role = ROLE_WRITE;
		break;
	case KIND_sendto:
	case KIND_sendmsg:
		role = ROLE_WRITE;
		flags = flags_of_msg(call_arg(regs, kind == KIND_sendto ? 3 : 2) & ~MSG_PEEK);
		break;
	case KIND_recvfrom:
	case KIND_recvmsg:
		flags = call_arg(regs, kind == KIND_recvfrom ? 3 : 2);
		if (flags & MSG_ERRQUEUE)
			return KIND_none; /* what the kernel says of what was sent */
		flags = flags_of_msg(flags);
		break;
	case KIND_preadv2:
		flags = nonblock_if(call_arg(regs, 5) & RWF_NOWAIT);
		break;
	case KIND_pwritev2:
		role = ROLE_WRITE;
		flags = nonblock_if(call_arg(regs, 5) & RWF_NOWAIT);
		break;
	case KIND_pwrite:
		role = ROLE_WRITE;
		/* fallthrough */
	case KIND_pread:
		/* Of the channels, only those that are memory have offsets. */
		if (!file || file_type(file) != S_IFREG >> 12)
			return KIND_none;
		break;
	case KIND_vmsplice:
		if (file && PEEK(struct file, file, f_mode) & FMODE_WRITE)
			role = ROLE_WRITE;
		flags = nonblock_if(call_arg(regs, 3) & SPLICE_F_NONBLOCK);
		break;
	}
	if (!call_begin(&c, regs))
		return may_debug(file, kind) ? KIND_vm : KIND_none;
	if (!take_file(&c, regs, file, kind, role))
		return other_file(&c, regs, kind, role, ret) ? KIND_vm : KIND_none;
	c.a->flags |= flags;
	call_done(&c);
	act_end(c.a, c.ts, ret, c.ts->slept[0]);
	if ((kind == KIND_sendmsg || kind == KIND_recvmsg) && ret >= 0 && is_unix(file))
		return control_noted(c.a->edge - 1, call_arg(regs, 1)) ? KIND_passed : KIND_none;
	return KIND_none;
}

#include "mmsg.bpf.h"

/* act_end() for calls that are rare. */
int act_ended(__u32 which, __s64 ret)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());

	if (ts && which < ACTS)
		act_end(&ts->acts[which], ts, ret, ts->slept[which]);
	return 0;
}

/* Bytes from one file to another in one call; either may be no channel. */
static __always_inline int two_files(struct pt_regs *regs, __u32 kind, long ret)
{
	__u32 fd = call_arg(regs, 0), fd2 = call_arg(regs, kind_has_offsets(kind) ? 2 : 1);
	__u32 role = kind == KIND_sendfile ? ROLE_WRITE : ROLE_READ, flags = 0;
	struct call c;
	bool a, b;

	if (!call_begin(&c, regs))
		return 0;
	a = call_file(&c, 0, fd, role);
	b = call_file(&c, 1, fd2, role == ROLE_READ ? ROLE_WRITE : ROLE_READ);
	if (!a && !b)
		return 0;
	if (a && b)
		c.ts->seen++; /* one call, but one for each channel */
	call_done(&c);
	if (kind == KIND_splice)
		flags = nonblock_if(call_arg(regs, 5) & SPLICE_F_NONBLOCK);
	if (kind == KIND_tee)
		flags = nonblock_if(call_arg(regs, 3) & SPLICE_F_NONBLOCK);
	c.a->flags |= kind == KIND_tee ? flags | ACT_PEEK : flags; /* looked at only */
	c.b->flags |= flags;
	if (a)
		act_ended(0, ret);
	if (b)
		act_ended(1, ret);
	return 0;
}

/* Calls that move bytes through descriptors, with all that there may be to it. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_io, struct pt_regs *regs, long ret)
{
	__u32 kind = kind_of(regs);

	if (kind_has_offsets(kind) || kind == KIND_tee || kind == KIND_sendfile)
		return two_files(regs, kind, ret);
	kind = one_file(regs, kind, ret);
	if (kind == KIND_vm)
		bpf_tail_call_static(ctx, &on_exit, KIND_vm);
	if (kind == KIND_passed)
		bpf_tail_call_static(ctx, &on_exit, KIND_passed);
	return 0;
}

/* Opening most files is no communication: these calls end here. */
static __always_inline bool opens_channel(long fd)
{
	__u64 file = fd < 0 ? 0 : file_of(bpf_get_current_task_btf(), fd);

	if (!file)
		return false;
	if (cfg.mechs & 1U << MECH_FILE && file_type(file) == S_IFREG >> 12)
		return PEEK(struct file, file, f_mode) & FMODE_WRITE;
	return file_type(file) == S_IFIFO >> 12 ||
	       (file_type(file) == S_IFCHR >> 12 && file_rdev(file) == PTMX);
}

/* A new pair of terminals, or a counter: whatever had its address or number is another one. */
static __always_inline int made_new(struct pt_regs *regs, __u32 kind, __u32 fd)
{
	__u64 file = file_of(bpf_get_current_task_btf(), fd);
	struct engine *en = the_engine();
	struct chan_key key = {};
	__u32 id, start;

	if (!file || !en || !state_of(bpf_get_current_task_btf()))
		return 0;
	key.mech = other_key(file, &key);
	if (key.mech == MECH_NONE)
		return 0;
	bpf_map_delete_elem(&chan_rows, &key);
	__sync_fetch_and_add(&en->eventfds, 1);
	if (key.mech == MECH_FILE)
		chan_row_of(file, ROLE_READ, 0); /* whoever makes an event there must find it */
	if (key.mech != MECH_EVENTFD)
		return 0;
	id = key.ino;
	start = call_arg(regs, 0);
	if (kind == KIND_eventfd && start)
		bpf_map_update_elem(&eventfd_starts, &id, &start, BPF_ANY);
	else
		bpf_map_delete_elem(&eventfd_starts, &id);
	return 0;
}

/* Senders look for it from now on; that is not communication yet. */
static __always_inline int now_bound(__u64 file, __u32 kind)
{
	__u64 sk = file_type(file) == S_IFSOCK >> 12 ? sock_of(file) : 0;
	__u32 family = sk ? sock_family(sk) : 0;

	if ((family == AF_INET || family == AF_INET6) && inet_protocol(sk) == IPPROTO_UDP &&
	    state_of(bpf_get_current_task_btf()))
		udp_register(sk, kind == KIND_bind, 0);
	return 0;
}

/* Opening a channel or connecting to it is communication asked for, even if none follows. */
static __always_inline int now_open(struct pt_regs *regs, __u32 kind, __u32 fd)
{
	__u64 file = file_of(bpf_get_current_task_btf(), fd);
	struct call c;
	__u32 mode;

	if (!may_be_channel(file) || !file)
		return 0;
	if (file_type(file) == S_IFREG >> 12)
		return file_opened(file);
	if (kind == KIND_bind || (kind == KIND_connect && is_inet_datagrams(file)))
		return now_bound(file, kind);
	if (!call_begin(&c, regs))
		return 0;
	mode = PEEK(struct file, file, f_mode);
	/* A socket of datagrams is connected to send; what it receives is another matter. */
	if (mode & FMODE_READ && !is_datagrams(file))
		act_on(c.a, c.ts, file, fd, ROLE_READ);
	if (mode & FMODE_WRITE)
		act_on(c.a, c.ts, file, fd, ROLE_WRITE);
	if (c.a->edge && file_type(file) == S_IFIFO >> 12)
		ledger_reopened(c.a->chan - 1, file);
	if (kind == KIND_connect && is_datagrams(file))
		places_changed();
	return 0;
}

static __always_inline int set_pipe_size(struct pt_regs *regs, long ret)
{
	struct fd_cache *cache;
	struct chan_row *row;
	struct call c;
	__u64 file;
	__u32 fd, chan;

	if (call_arg(regs, 1) != F_SETPIPE_SZ || ret < 0 || !call_begin(&c, regs))
		return 0;
	fd = call_arg(regs, 0);
	file = file_of(c.task, fd);
	cache = &c.ts->cache[fd % FD_CACHE];
	if (!file || cache->file != file || cache->ident != file_ident(file))
		return 0; /* its size is read when it is first used */
	if (cache->edge[ROLE_READ] && cache->edge[ROLE_READ] < OF_PROCESS)
		chan = cache->chan[ROLE_READ];
	else if (cache->edge[ROLE_WRITE] && cache->edge[ROLE_WRITE] < OF_PROCESS)
		chan = cache->chan[ROLE_WRITE];
	else
		return 0;
	row = chan_at(chan - 1);
	if (row)
		row->capacity = ret;
	return 0;
}

static __always_inline int sigwait_ended(struct pt_regs *regs, long ret)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	__u64 slept = 0;

	if (ts && ts->call == call_id(regs)) {
		call_runs(ts);
		slept = ts->slept[1];
		ts->call = 0;
	}
	return ret > 0 ? signal_waited(ret, call_arg(regs, 1), slept) : 0;
}

/* All others in one program: the verifier looks at every function again in each that calls it. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_rare, struct pt_regs *regs, long ret)
{
	__u32 kind = kind_of(regs), fd = call_arg(regs, 0);

	switch (kind) {
	case KIND_open:
		made_new(regs, kind, ret);
		return now_open(regs, kind, ret);
	case KIND_accept:
		return ret < 0 ? 0 : now_open(regs, kind, ret);
	case KIND_aio:
		return aio_submitted(call_arg(regs, 2), ret);
	case KIND_connect:
	case KIND_bind:
		return ret ? 0 : now_open(regs, kind, fd);
	case KIND_fcntl:
		return set_pipe_size(regs, ret);
	case KIND_mmap:
	case KIND_munmap:
	case KIND_mremap:
	case KIND_shmat:
	case KIND_madvise:
	case KIND_mlock:
	case KIND_mlockall:
		return mem_call(kind, ret);
	case KIND_eventfd:
		return ret < 0 ? 0 : made_new(regs, kind, ret);
	case KIND_sigwait:
		return sigwait_ended(regs, ret);
	case KIND_sendmmsg:
	case KIND_recvmmsg:
		mmsg(regs, kind, ret);
		bpf_tail_call_static(ctx, &on_exit, KIND_passed);
		return 0;
	default:
		return 0;
	}
}
