// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Dispatch of system calls, sleeping in them, and the slow ways of the hot path. */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "ledger.bpf.h"
#include "lock.bpf.h"
#include "vm.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define KIND_OF(name, kind) [__NR_##name] = KIND_##kind,
static const __u8 kinds[NR_CALLS] = { CALLS(KIND_OF) };

static __always_inline __u32 kind_of(struct pt_regs *regs)
{
	__u32 nr = call_nr(regs);

	return nr < NR_CALLS ? kinds[nr] : KIND_none;
}

/* Between two files, each with a place of its own: (in, off, out, off, ...). */
static __always_inline bool kind_has_offsets(__u32 kind)
{
	return kind == KIND_splice || kind == KIND_copyrange;
}

/* So that the channel's edges can be found from it. */
static __always_inline void list_edge(struct chan_row *c, __u32 row)
{
	for (int i = 0; i < CHAN_EDGES; i++)
		if (!__sync_val_compare_and_swap(&c->edges[i], 0, row + 1))
			return;
	c->edges_over = 1;
}

/* What the current process calls itself now. */
__noinline int proc_note_title(__u32 row)
{
	struct proc_row *p = proc_at(row);
	__u64 start = BPF_CORE_READ(bpf_get_current_task_btf(), mm, arg_start);

	if (p && start)
		bpf_probe_read_user_str(p->title, TITLE_LEN, (void *)start);
	return 0;
}

/* An edge of that thread on the channel; its row, or NO_ROW. current: 1 + its process's row, or 0. */
static __always_inline __u32 edge_row_for(const struct edge_owner *o, __u32 chan, __u32 end,
					  __u32 role, __u64 current)
{
	struct chan_row *c = chan_at(chan);
	struct edge_key key = { .role = role, .end = end };
	struct engine *en = the_engine();
	struct edge_row *e;
	__u32 *known, row;

	if (!c || !en)
		return NO_ROW;
	key.task = o->task_id;
	key.chan = c->id;
	known = bpf_map_lookup_elem(&edge_rows, &key);
	if (known)
		return *known;
	row = new_row(en, &free_edges, TABLE_EDGES, cfg.nr_edges);
	e = edge_at(row);
	if (row == NO_ROW || !e)
		return NO_ROW;
	e->first_ns = bpf_ktime_get_ns();
	e->pos = 0;
	e->role = role;
	e->end = end;
	e->task = o->task;
	e->chan = c->id;
	e->chan_row = chan;
	e->proc = o->proc_id;
	if (bpf_map_update_elem(&edge_rows, &key, &row, BPF_NOEXIST)) {
		e->proc = 0;
		bpf_map_push_elem(&free_edges, &row, 0);
		known = bpf_map_lookup_elem(&edge_rows, &key);
		return known ? *known : NO_ROW;
	}
	if (c->key.mech <= MECH_FIFO)
		list_edge(c, row);
	if (current)
		proc_note_title(current - 1);
	return row;
}

/* The same of the current thread. */
__u32 edge_row_of(__u32 chan, __u32 end, __u32 role)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct edge_owner o = {};

	if (!ts)
		return NO_ROW;
	o.task = ts->task;
	o.task_id = ts->task_id;
	o.proc_id = ts->proc_id;
	return edge_row_for(&o, chan, end, role, (__u64)ts->proc + 1);
}

/* The same of any thread. */
__u32 edge_of(const struct edge_owner *o, __u32 chan, __u32 end, __u32 role)
{
	return o ? edge_row_for(o, chan, end, role, 0) : NO_ROW;
}

int ledger_open(__u32 chan, __u32 proc);
int ledger_user(__u32 chan, __u32 proc, __u32 role);

/* A process uses a pipe or FIFO in that role for the first time. */
int pipe_attached(__u32 chan, __u64 file, __u32 role)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_row *c = chan_at(chan);
	__u32 first;

	if (!ts || !c)
		return 0;
	if (!c->ledger && !c->first_writer && !(c->flags & CHAN_PREEXISTING))
		ledger_open_early(c, file, false);
	if (c->ledger)
		ledger_user(chan, ts->proc_id, role);
	if (role != ROLE_WRITE)
		return 0;
	first = __sync_val_compare_and_swap(&c->first_writer, 0, ts->proc_id);
	if (first && first != ts->proc_id && !c->ledger)
		ledger_open(chan, ts->proc_id);
	return 0;
}

/* leads_elsewhere() for what is not on the hot path. */
int goes_elsewhere(__u32 chan, __u32 places)
{
	return leads_elsewhere(chan_at(chan), places);
}

/* Puts the file into the thread's cache, with its channel and edge in that role if it has them. */
int attach(__u64 file, __u32 fd, __u32 role)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	__u64 ident = file_ident(file), found;
	struct engine *en = the_engine();
	struct fd_cache *cache;
	struct chan_row *c;
	__u32 chan, edge;

	if (!ts || role >= ROLES_IO)
		return 0;
	cache = &ts->cache[fd % FD_CACHE];
	if (cache->file != file || cache->ident != ident) {
		cache->file = file;
		cache->inode = inode_ident(FIELD(OBJECT(struct file, file), f_inode));
		cache->ident = ident;
		cache->edge[ROLE_READ] = cache->edge[ROLE_WRITE] = 0;
	}
	/* From before the look: what changes meanwhile is looked at again. */
	if (role == ROLE_WRITE && en)
		cache->places = en->places;
	found = chan_row_of(file, role, 0);
	chan = found;
	c = chan_at(chan);
	edge = NOT_WATCHED;
	if (chan < NO_ROOM && c) {
		edge = edge_row_of(chan, found >> 32, role) + 1; /* NO_ROW + 1 is 0 */
		if (c->key.mech <= MECH_FIFO)
			pipe_attached(chan, file, role);
		if (c->key.mech == MECH_UNIX && role == ROLE_READ)
			dgram_opened(chan, file);
		if (c->key.mech == MECH_UNIX || c->key.mech == MECH_UDP)
			crowd_user(chan, found >> 32, role, file);
		if (c->key.mech == MECH_TCP)
			tcp_attached(chan, found >> 32, file);
		if (c->key.mech == MECH_FILE)
			file_attached(chan, file);
	} else if (chan == NO_ROOM) {
		ts->seen++;
		lose(LOSS_NO_CHAN, 1);
		cache->file = 0; /* try again next time: the collector may have made room */
	} else if (file_type(file) == S_IFSOCK >> 12) {
		cache->file = 0; /* it may be connected later */
	} else if (other_ident(file) == ANON_SIGNALFD) {
		edge = SIGNALFD;
	} else if (cfg.mechs & 1U << MECH_VM && is_of_process(file)) {
		edge = OF_PROCESS;
	}
	/* Spelled out: for a computed index the verifier wants more proof than the compiler leaves. */
	if (role == ROLE_READ) {
		cache->chan[ROLE_READ] = chan + 1;
		cache->edge[ROLE_READ] = edge;
	} else {
		cache->chan[ROLE_WRITE] = chan + 1;
		cache->edge[ROLE_WRITE] = edge;
	}
	return 0;
}

/* Finds where a datagram goes; true: a channel, see task_state.to_chan. */
int attach_to(__u64 file, __u64 name, __u32 len)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	__u64 found = chan_row_to(file, name, len);

	if (!ts || (__u32)found == NO_ROW)
		return 0;
	if ((__u32)found == NO_ROOM) {
		ts->seen++;
		lose(LOSS_NO_CHAN, 1);
		return 0;
	}
	ts->to_chan = (__u32)found + 1;
	ts->to_edge = edge_row_of(found, 0, ROLE_WRITE) + 1;
	return 1;
}

/* Who is killed at a debugger's stop before a call never makes it, and yet it returns. */
static __always_inline bool was_not_made(struct task_struct *task, __s64 ret)
{
	return ret == -ENOSYS &&
	       PEEK(struct task_struct, (__u64)task, pending.signal.sig[0]) & 1UL << (SIGKILL - 1);
}

int edge_failed(__u32 edge, __s64 ret, __u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct edge_row *e = edge_at(edge);
	__u8 no = ret <= -512 ? ERR_RESTART : -ret;
	struct engine *en = the_engine();

	if (!e || !en)
		return 0;
	if (was_not_made(task, ret)) {
		__sync_fetch_and_add(&en->seen, -1);
		if (flags & ACT_NONBLOCK)
			e->nonblocking_ops--;
		return 0;
	}
	if (no != EAGAIN)
		dgrams_end(edge);
	for (int i = 0; i < EDGE_ERRS; i++) {
		if (!e->err_no[i])
			e->err_no[i] = no;
		if (e->err_no[i] == no) {
			e->errs[i]++;
			return 0;
		}
	}
	e->err_other++;
	return 0;
}

int chan_note_fill(__u32 chan, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	struct ring_view v;

	if (!c)
		return 0;
	c->capacity = pipe_capacity(file);
	pipe_view(file, &v);
	/* A view taken in the middle of somebody's change can be nonsense. */
	if (v.bytes > c->highwater && v.bytes <= c->capacity)
		c->highwater = v.bytes;
	return 0;
}

int op_record(__u64 where, __s64 ret, __u64 blocked_ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task);
	struct rec_op *r;

	if (!ts)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lose(LOSS_RING_OP, 1);
		return 0;
	}
	head_of(&r->h, REC_OP, sizeof(*r));
	r->proc = ts->proc_id;
	r->tid = tid_here(task);
	r->chan = where >> 32;
	r->role = (__u32)where;
	r->ret = ret;
	r->blocked_ns = blocked_ns;
	bpf_ringbuf_submit(r, 0);
	return 0;
}

/* By how much: it is where the call was told to take it from, or to put it. */
int eventfd_moved(__u32 edge)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct edge_row *e = edge_at(edge);
	__u64 at = call_arg(regs, 1), value = 0;

	if (!e)
		return 0;
	switch (call_nr(regs)) {
	case __NR_readv:
	case __NR_writev:
		if (bpf_probe_read_user(&at, sizeof(at), (void *)at)) /* iov_base */
			return 0;
		/* fallthrough */
	case __NR_read:
	case __NR_write:
		if (!bpf_probe_read_user(&value, sizeof(value), (void *)at))
			e->value += value;
	}
	return 0;
}

/* --- sleeping --- */

int sync_sleeps(__u32 kind);
/* In queue.bpf.c. */
int queue_act(__u32 kind, __u32 id);
static __noinline int queue_runs(struct task_state *ts, __u64 regs);
static __noinline int queue_sleeps(struct task_state *ts, __u32 kind, __u32 id);
static __noinline int queue_stops(struct task_state *ts);

static __always_inline bool kind_is_queue(__u32 kind)
{
	return kind >= KIND_msgsnd && kind <= KIND_mq_receive;
}

static __always_inline bool any_queues(void)
{
	struct engine *en = the_engine();

	return en && en->queue_users;
}

/* Calls that move bytes or messages out of this process, into the file of their first argument. */
static __always_inline bool kind_writes(__u32 kind)
{
	return kind == KIND_write || kind == KIND_pwritev2 || kind == KIND_sendfile ||
	       kind == KIND_sendto || kind == KIND_sendmsg || kind == KIND_sendmmsg;
}

static __always_inline bool kind_moves(__u32 kind)
{
	return kind != KIND_none && kind < KIND_mmap && kind != KIND_open && kind != KIND_fcntl &&
	       kind != KIND_aio && kind != KIND_connect && kind != KIND_accept &&
	       kind != KIND_bind && kind != KIND_sigwait && kind != KIND_eventfd &&
	       !(kind >= KIND_msgget && kind <= KIND_mq_notify);
}

/* Those of wait.bpf.c. */
static __always_inline bool kind_syncs(__u32 kind)
{
	return kind >= KIND_futex_wait && kind < KIND_sync;
}

/* act_on() for what is not on the hot path. */
__noinline int note_act(__u32 which, __u32 fd, __u32 role)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task);

	return ts && which < ACTS && act_on(&ts->acts[which], ts, file_of(task, fd), fd, role);
}

/*
 * The same of a datagram with an address: nobody knows yet where that leads, but where it led before.
 * 0: it has none.
 */
__noinline int note_address(__u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 file = file_of(task, call_arg(regs, 0)), name;
	struct task_state *ts = state_of(task);
	__u32 len, row;

	if (!ts || !is_datagrams(file) || sock_family(sock_of(file)) != AF_UNIX)
		return 0;
	len = name_of_msg(regs, kind, &name);
	if (!len)
		return 0;
	ts->acts[0].edge = 0;
	row = unix_row_known(file, name, len, false);
	if (row == NO_ROW)
		return len;
	ts->acts[0].chan = row + 1;
	ts->acts[0].edge = edge_row_of(row, 0, ROLE_WRITE) + 1;
	ts->acts[0].role = ROLE_WRITE;
	ts->acts[0].flags = PEEK(struct file, file, f_flags) & O_NONBLOCK ? ACT_NONBLOCK : 0;
	ts->acts[0].file = file;
	return len;
}

__noinline int note_acts(__u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct task_state *ts = state_of(task);
	__u32 fd = call_arg(regs, 0), fd2 = call_arg(regs, 1);
	__u32 role = kind_writes(kind) ? ROLE_WRITE : ROLE_READ;
	bool two = kind_has_offsets(kind) || kind == KIND_tee || kind == KIND_sendfile;

	if (!ts)
		return 0;
	if (kind_syncs(kind))
		return sync_sleeps(kind);
	if (kind_is_queue(kind))
		return queue_act(kind, fd);
	if (kind_has_offsets(kind))
		fd2 = call_arg(regs, 2);
	if (kind == KIND_vmsplice) {
		__u64 file = file_of(task, fd);

		if (file && PEEK(struct file, file, f_mode) & FMODE_WRITE)
			role = ROLE_WRITE;
	}
	if (role != ROLE_WRITE || !note_address(kind))
		act_on(&ts->acts[0], ts, file_of(task, fd), fd, role);
	if (two)
		note_act(1, fd2, role == ROLE_READ ? ROLE_WRITE : ROLE_READ);
	else
		ts->acts[1].edge = 0;
	return 0;
}

static __always_inline bool is_empty_pipe(const struct act *a)
{
	__u64 pipe = pipe_of(a->file);

	return file_type(a->file) == S_IFIFO >> 12 &&
	       PEEK(struct pipe_inode_info, pipe, head) == PEEK(struct pipe_inode_info, pipe, tail);
}

/* Of two files, the one that is not ready: a reader waits while it is empty. */
static __always_inline __u32 waits_for(struct task_state *ts)
{
	struct act *a = &ts->acts[0], *b = &ts->acts[1];

	if (!a->edge || !b->edge)
		return !a->edge;
	if (a->role == ROLE_READ)
		return file_type(a->file) == S_IFIFO >> 12 ? !is_empty_pipe(a) : 0;
	return is_empty_pipe(b);
}

/*
 * It waits for a signal: on which channel, is known when it has got one. Its descriptor, if it has one, was
 * just looked at.
 */
static __always_inline bool waits_for_signal(const struct task_state *ts, __u32 kind, __u32 fd)
{
	if (!(cfg.mechs & 1U << MECH_SIGNAL))
		return false;
	return kind == KIND_sigwait ||
	       (kind == KIND_read && ts->cache[fd % FD_CACHE].edge[ROLE_READ] == SIGNALFD);
}

/* The current task goes to sleep, and is in scope. Is it in a call on a channel? */
static __noinline int call_sleeps(struct task_state *ts, __u64 now)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct edge_row *e;
	struct act *a;
	__u32 kind;
	__u64 call;
	bool found;

	/* A worker of io_uring has registers, but they are of whoever made it. */
	if (call_is_compat(task) || ts->flags & TASK_IO_WORKER)
		return 0;
	kind = kind_of(regs);
	if (kind == KIND_fcntl && fcntl_locks(regs))
		kind = KIND_lock;
	if (!kind_moves(kind) && kind != KIND_sigwait)
		return 0;
	call = call_id(regs);
	if (ts->call != call) {
		/* One whose file was taken from under it: its end was not recognised. */
		if (ts->call)
			lose(LOSS_STRAY, 1);
		ts->call = 0;
		ts->acts[0].edge = ts->acts[1].edge = 0;
		if (kind != KIND_sigwait)
			note_acts(kind);
		found = ts->acts[0].edge || ts->acts[1].edge;
		if (!found && !waits_for_signal(ts, kind, call_arg(regs, 0)))
			return 0;
		ts->call = call;
		ts->slept[0] = ts->slept[1] = 0;
		ts->seen += found; /* signals are counted as they are taken */
	}
	if (kind_is_queue(kind))
		queue_sleeps(ts, kind, call_arg(regs, 0));
	ts->waits = waits_for(ts) & 1;
	ts->slept_since = now ? now : bpf_ktime_get_ns();
	a = &ts->acts[ts->waits & 1];
	e = edge_at(a->edge - 1);
	if (!a->edge || !e)
		return 0;
	e->blocked_since = ts->slept_since;
	if (!(a->flags & ACT_SLEPT)) {
		a->flags |= ACT_SLEPT;
		e->blocked_ops++;
		if (a->role == ROLE_WRITE && file_type(a->file) == S_IFIFO >> 12)
			chan_note_fill(a->chan - 1, a->file);
	}
	/* As it fills up, its buffers grow. */
	if (a->role == ROLE_WRITE && file_type(a->file) == S_IFSOCK >> 12)
		tcp_note_fill(a->chan - 1, a->edge - 1, a->file);
	return 0;
}

static __always_inline void call_wakes(struct task_state *ts, __u64 now)
{
	__u32 i = ts->waits & 1;
	struct act *a = &ts->acts[i];
	struct edge_row *e = edge_at(a->edge - 1);
	__u64 slept = now - ts->slept_since;

	ts->slept_since = 0;
	ts->slept[i] += slept;
	if (!a->edge || !e)
		return;
	e->blocked_since = 0;
	e->blocked_ns += slept;
	if (ts->slept[i] > e->max_blocked_ns)
		e->max_blocked_ns = ts->slept[i];
}

/* It runs, or has run for the last time. Not every kernel tells of every switch: see call_begin(). */
static __always_inline void call_runs(struct task_state *ts)
{
	if (ts->slept_since)
		call_wakes(ts, bpf_ktime_get_ns());
}

/* It will not run again. Only now is it over: as it exits, its parent is sent a signal. */
static __noinline int task_gone(struct task_struct *task)
{
	struct task_state *ts = state_of(task);
	struct task_row *t;
	struct proc_row *p;

	if (!ts)
		return 0;
	call_runs(ts);
	t = bpf_map_lookup_elem(&tasks, &ts->task);
	p = proc_at(ts->proc);
	if (p && p->id == ts->proc_id && p->flags & PROC_DEAD)
		__sync_fetch_and_or(&p->flags, PROC_GONE);
	if (t && t->id == ts->task_id)
		t->dead = DEAD_GONE;
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	struct task_state *ts, *other = NULL;
	__u64 now = 0; /* one look at the clock does for both */
	bool sleeps, queues = any_queues();

	if (next->pid) {
		ts = other = state_of(next);
		if (ts && ts->slept_since) {
			now = bpf_ktime_get_ns();
			call_wakes(ts, now);
		}
	}
	/* Uninterruptible sleep is for a lock or a page, not for the other end. */
	sleeps = !preempt && prev_state & TASK_INTERRUPTIBLE;
	if (prev_state & TASK_DEAD) {
		task_gone(prev);
	} else if ((sleeps || queues) && prev->pid) {
		ts = state_of(prev);
		if (ts && sleeps)
			call_sleeps(ts, now);
		if (ts && ts->queue & QUEUE_ON)
			queue_stops(ts);
	}
	if (queues)
		queue_runs(other, (__u64)bpf_task_pt_regs(next));
	return 0;
}
