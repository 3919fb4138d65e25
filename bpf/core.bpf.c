// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Dispatch of system calls, sleeping in them, and the slow ways of the hot path. */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "ledger.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define KIND_OF(name, kind) [__NR_##name] = KIND_##kind,
static const __u8 kinds[NR_CALLS] = { CALLS(KIND_OF) };

static __always_inline __u32 kind_of(struct pt_regs *regs)
{
	__u32 nr = call_nr(regs);

	return nr < NR_CALLS ? kinds[nr] : KIND_none;
}

/* A constant index is patched into a direct jump; any other would go through a retpoline. */
#define JUMP(kind) bpf_tail_call_static(ctx, &on_exit, KIND_##kind)

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	switch (kind_of(regs)) {
	case KIND_none:
		return 0;
	case KIND_read:
		JUMP(read);
		break;
	case KIND_write:
		JUMP(write);
		break;
	case KIND_open:
		JUMP(open);
		break;
	case KIND_fcntl:
		JUMP(fcntl);
		break;
	default:
		JUMP(rare);
	}
	return 0;
}

/* So that the channel's edges can be found from it. */
static __always_inline void list_edge(struct chan_row *c, __u32 row)
{
	for (int i = 0; i < CHAN_EDGES; i++)
		if (!__sync_val_compare_and_swap(&c->edges[i], 0, row + 1))
			return;
	c->edges_over = 1;
}

/* An edge of this thread on the channel; its row, or NO_ROW. */
static __always_inline __u32 edge_row_of(struct task_state *ts, __u32 chan, struct chan_row *c,
					 __u32 role)
{
	struct edge_key key = { .task = ts->task_id, .chan = c->id, .role = role };
	__u32 *known = bpf_map_lookup_elem(&edge_rows, &key), row;
	struct engine *en = the_engine();
	struct edge_row *e;

	if (known)
		return *known;
	if (!en)
		return NO_ROW;
	row = new_row(en, &free_edges, TABLE_EDGES, cfg.nr_edges);
	e = edge_at(row);
	if (row == NO_ROW || !e)
		return NO_ROW;
	e->first_ns = bpf_ktime_get_ns();
	e->pos = 0;
	e->role = role;
	e->task = ts->task;
	e->chan = c->id;
	e->chan_row = chan;
	e->proc = ts->proc_id;
	if (bpf_map_update_elem(&edge_rows, &key, &row, BPF_NOEXIST)) {
		e->proc = 0;
		bpf_map_push_elem(&free_edges, &row, 0);
		return NO_ROW;
	}
	list_edge(c, row);
	return row;
}

int ledger_open(__u32 chan, __u32 proc);

/* Puts the file into the thread's cache, with its channel and edge if it is a channel. */
int attach(__u64 file, __u32 fd, __u32 role)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task);
	__u64 ident = file_ident(file);
	struct fd_cache *cache;
	struct chan_row *c;
	__u32 chan, edge;

	if (!ts || role >= ROLE_MAX)
		return 0;
	cache = &ts->cache[fd % FD_CACHE];
	if (cache->file != file || cache->ident != ident) {
		cache->file = file;
		cache->ident = ident;
		cache->edge[ROLE_READ] = cache->edge[ROLE_WRITE] = 0;
		chan = chan_row_of(file, 0);
		if (chan == NO_ROOM) {
			ts->seen++;
			lose(LOSS_NO_CHAN, 1);
			cache->file = 0; /* try again next time: the collector may have made room */
			chan = NO_ROW;
		}
		cache->chan = chan + 1; /* NO_ROW + 1 is 0 */
	}
	if (!cache->chan)
		return 0;
	chan = cache->chan - 1;
	c = chan_at(chan);
	if (!c)
		return 0;
	edge = edge_row_of(ts, chan, c, role);
	/* Spelled out: for a computed index the verifier wants more proof than the compiler leaves. */
	if (role == ROLE_READ)
		cache->edge[ROLE_READ] = edge + 1;
	else
		cache->edge[ROLE_WRITE] = edge + 1;
	if (edge == NO_ROW)
		cache->file = 0;
	if (!c->ledger && !c->first_writer && !(c->flags & CHAN_PREEXISTING))
		ledger_open_early(c, file, false);
	if (role == ROLE_WRITE) {
		__u32 first = __sync_val_compare_and_swap(&c->first_writer, 0, ts->proc_id);

		if (first && first != ts->proc_id && !c->ledger)
			ledger_open(chan, ts->proc_id);
	}
	return 0;
}

int edge_failed(__u32 edge, __s64 ret)
{
	struct edge_row *e = edge_at(edge);
	__u8 no = ret <= -512 ? ERR_RESTART : -ret;

	if (!e)
		return 0;
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
	r->tid = pid_here(task->thread_pid) ?: (__u32)task->pid;
	r->chan = where >> 32;
	r->role = (__u32)where;
	r->ret = ret;
	r->blocked_ns = blocked_ns;
	bpf_ringbuf_submit(r, 0);
	return 0;
}

/* --- sleeping --- */

static __always_inline void note_acts(struct task_state *ts, struct task_struct *task,
				      struct pt_regs *regs, __u32 kind)
{
	__u32 fd = call_arg(regs, 0), fd2 = call_arg(regs, 1), role = ROLE_READ, role2 = ROLE_WRITE;
	bool two = kind == KIND_splice || kind == KIND_tee || kind == KIND_sendfile;

	if (kind == KIND_splice)
		fd2 = call_arg(regs, 2);
	if (kind == KIND_write || kind == KIND_pwritev2)
		role = ROLE_WRITE;
	if (kind == KIND_sendfile) {
		role = ROLE_WRITE;
		role2 = ROLE_READ;
	}
	if (kind == KIND_vmsplice) {
		__u64 file = file_of(task, fd);

		if (file && PEEK(struct file, file, f_mode) & FMODE_WRITE)
			role = ROLE_WRITE;
	}
	act_on(&ts->acts[0], ts, file_of(task, fd), fd, role);
	if (two)
		act_on(&ts->acts[1], ts, file_of(task, fd2), fd2, role2);
	else
		ts->acts[1].edge = 0;
}

/* Of two files, the one that is not ready: a reader waits while it is empty. */
static __always_inline __u32 waits_for(struct task_state *ts)
{
	struct act *a = &ts->acts[0];
	__u64 pipe;

	if (!a->edge || !ts->acts[1].edge)
		return !a->edge;
	if (a->role == ROLE_WRITE)
		return 0;
	pipe = pipe_of(a->file);
	return PEEK(struct pipe_inode_info, pipe, head) != PEEK(struct pipe_inode_info, pipe, tail);
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

	if (call_is_compat(task))
		return 0;
	kind = kind_of(regs);
	if (kind == KIND_none || kind == KIND_open || kind == KIND_fcntl)
		return 0;
	call = call_id(regs);
	if (ts->call != call) {
		/* One whose file was taken from under it: its end was not recognised. */
		if (ts->call)
			lose(LOSS_STRAY, 1);
		ts->call = 0;
		note_acts(ts, task, regs, kind);
		if (!ts->acts[0].edge && !ts->acts[1].edge)
			return 0;
		ts->call = call;
		ts->slept[0] = ts->slept[1] = 0;
		ts->seen++;
	}
	ts->waits = waits_for(ts) & 1;
	a = &ts->acts[ts->waits & 1];
	e = edge_at(a->edge - 1);
	if (!a->edge || !e)
		return 0;
	if (!(a->flags & ACT_SLEPT)) {
		a->flags |= ACT_SLEPT;
		e->blocked_ops++;
		if (a->role == ROLE_WRITE)
			chan_note_fill(a->chan - 1, a->file);
	}
	ts->slept_since = e->blocked_since = now ? now : bpf_ktime_get_ns();
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

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	struct task_state *ts;
	__u64 now = 0; /* one look at the clock does for both */

	if (next->pid) {
		ts = state_of(next);
		if (ts && ts->slept_since) {
			now = bpf_ktime_get_ns();
			call_wakes(ts, now);
		}
	}
	/* Uninterruptible sleep is for a lock or a page, not for the other end. */
	if (preempt || !(prev_state & TASK_INTERRUPTIBLE) || !prev->pid)
		return 0;
	ts = state_of(prev);
	if (ts)
		call_sleeps(ts, now);
	return 0;
}
