// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Calls by which processes wait for each other: System V semaphores, futexes that processes share, locks
 * on files. No bytes move; what counts is who waited, and who let whom go on. That is seen where it
 * happens: whoever wakes a task that sleeps in such a call is its waker, and if the call then succeeds,
 * that is a flow from the one to the other.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"
#include "futex2.bpf.h"
#include "lock.bpf.h"
#include "mem.bpf.h"
#include "sem.bpf.h"
#include "vma.bpf.h"

#define NOT_KNOWN (NO_ROOM - 1) /* what memory it is in cannot be seen at this moment */

static __always_inline struct sync_cache *sync_slot(struct task_state *ts, __u64 at)
{
	return &ts->sync[(at >> 2 ^ at >> 8) & (SYNC_CACHE - 1)];
}

/* Is that still what the thread knows to be there? A row may be another channel's by now. */
static __always_inline bool sync_known(const struct sync_cache *s, __u64 at, __u64 mm, __u64 seq)
{
	struct chan_row *c = chan_at(s->chan - 1);

	return s->at == at && s->mm == mm && s->seq == seq && s->chan && c && c->id == s->chan_id;
}

static __always_inline void sync_learn(struct sync_cache *s, __u64 at, __u64 mm, __u64 seq,
				       __u32 row)
{
	struct chan_row *c = chan_at(row);

	s->at = at;
	s->mm = mm;
	s->seq = seq;
	s->chan = c && row < NOT_KNOWN ? row + 1 : 0;
	s->chan_id = c ? c->id : 0;
	s->edge[0] = s->edge[1] = 0;
}

__noinline __u32 sem_look(__u32 id, __u64 object)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_key key = {};
	__u32 row;

	if (!ts)
		return NO_ROW;
	sysv_chan_key(&key, MECH_SEM, id, object);
	row = chan_get(&key, object, ROLE_WAIT, 0);
	sync_learn(sync_slot(ts, (__u64)id << 2), id, object, 0, row);
	return row;
}

/* The row of a set; NO_ROW: there is none, or it is not watched. */
static __always_inline __u32 sem_row(struct task_state *ts, __u32 id)
{
	__u64 object = cfg.mechs & 1U << MECH_SEM ? sysv_object(SYSV_SEM, id) : 0;
	struct sync_cache *s = sync_slot(ts, (__u64)id << 2);

	if (!object)
		return NO_ROW;
	return sync_known(s, id, object, 0) ? s->chan - 1 : sem_look(id, object);
}

static __always_inline int futex_use(__u64 addr, __u32 which)
{
	struct vma_look *l = vma_look_in(which);
	struct chan_key *key = key_in(which);
	__u64 file;

	if (!l || !key)
		return 0;
	file = l->seen.file;
	if (!file || !(l->seen.flags & VM_MAYSHARE))
		return 0;
	key->mech = MECH_FUTEX;
	inode_key(PEEK_ADDR(struct file, file, f_inode), key);
	key->word = (addr - l->seen.start + (l->seen.page << MEM_PAGE_SHIFT)) / sizeof(__u32);
	l->file = file;
	return 0;
}

static long futex_found(struct task_struct *task, struct vm_area_struct *vma, struct vma_ask *ask)
{
	return vma_locked(vma, ask, futex_use);
}

static long futex_try(__u32 i, struct vma_ask *ask)
{
	return vma_try(ask, futex_found, futex_use);
}

__noinline __u32 futex_look(__u64 addr, __u32 tries)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task);
	struct vma_look *l = vma_look_in(KEY_CALL);
	struct vma_ask ask = { .addr = addr, .which = KEY_CALL, .err = -EBUSY };
	__u64 mm = (__u64)UNTRUSTED(struct task_struct, task)->mm, seq = mm_map_version(mm);
	__u32 row;

	if (!ts || !l)
		return NO_ROW;
	bpf_loop(tries, futex_try, &ask, 0);
	if (ask.err == -EBUSY)
		return NOT_KNOWN;
	if (!l->file)
		return NO_ROW;
	row = chan_of_scratch(KEY_CALL, l->file, ROLE_WAIT, 0);
	/* The version is from before the look: what has changed since is looked at again. */
	sync_learn(sync_slot(ts, addr), addr, mm, seq, row);
	return row;
}

/* The row of a word in user memory; NO_ROW: nobody else can have it, or it is not watched. */
static __always_inline __u32 futex_row(struct task_state *ts, __u64 addr, __u32 tries)
{
	struct task_struct *me = UNTRUSTED(struct task_struct, bpf_get_current_task_btf());
	__u64 mm = (__u64)me->mm, seq = mm_map_version(mm);
	struct sync_cache *s = sync_slot(ts, addr);

	if (!(cfg.mechs & 1U << MECH_FUTEX))
		return NO_ROW;
	return seq && sync_known(s, addr, mm, seq) ? s->chan - 1 : futex_look(addr, tries);
}

/* The row of the file behind a descriptor. */
static __noinline __u32 lock_row(__u32 fd)
{
	__u64 file = file_of(bpf_get_current_task_btf(), fd);
	struct chan_key key = { .mech = MECH_FILE };

	if (!file || !(cfg.mechs & 1U << MECH_FILE))
		return NO_ROW;
	inode_key(PEEK_ADDR(struct file, file, f_inode), &key);
	return chan_get(&key, file, ROLE_LOCK, 0);
}

/* Acts on the channel in that row, in a role. s: where the thread keeps what it knows of it, or NULL. */
static __always_inline void sync_act(struct act *a, struct sync_cache *s, __u32 row, __u32 role,
				     __u32 flags)
{
	/* Spelled out, see act_on(). */
	__u32 *known = !s ? NULL : role & 1 ? &s->edge[1] : &s->edge[0];

	a->chan = row + 1;
	a->role = role;
	a->flags = flags;
	a->file = 0;
	if (known && s->chan == row + 1 && *known) {
		a->edge = *known;
		return;
	}
	a->edge = edge_row_of(row, 0, role) + 1; /* NO_ROW + 1 is 0 */
	if (known && s->chan == row + 1)
		*known = a->edge;
}

static __always_inline void no_room(struct task_state *ts)
{
	ts->seen++;
	lose(LOSS_NO_CHAN, 1);
}

static __always_inline bool is_lock(__u32 kind)
{
	return kind == KIND_flock || kind == KIND_lock;
}

/* What a call that may sleep waits for; NO_ROW: nothing that is watched. */
__noinline __u32 sync_row(__u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct task_state *ts = state_of(task);
	__u64 addr;

	if (!ts)
		return NO_ROW;
	switch (kind) {
	case KIND_semop:
	case KIND_semtimedop:
		return sem_row(ts, call_arg(regs, 0));
	case KIND_futex:
		if (futex_is_private(regs) || !futex_op_is(regs, FUTEX_WAITS))
			return NO_ROW;
		/* Not for long, as interrupts are off: it is looked at again when the call ends. */
		return futex_row(ts, call_arg(regs, 0), VMA_FEW);
	case KIND_futex_wait:
	case KIND_futex_waitv:
		addr = futex2_addr(regs, kind, -1);
		return addr ? futex_row(ts, addr, VMA_FEW) : NO_ROW;
	case KIND_flock:
	case KIND_lock:
		return lock_row(call_arg(regs, 0));
	}
	return NO_ROW;
}

/* The current task goes to sleep in such a call: fills in acts[0] with what it waits for. */
int sync_sleeps(__u32 kind)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	__u32 row;

	if (!ts)
		return 0;
	row = sync_row(kind);
	ts->acts[0].edge = ts->acts[1].edge = 0;
	if (row < NOT_KNOWN)
		sync_act(&ts->acts[0], NULL, row, is_lock(kind) ? ROLE_LOCK : ROLE_WAIT, 0);
	return 0;
}

static __noinline int waited_for(__u32 chan, __u32 from, __u32 to, __u64 slept)
{
	struct flow_key key = { .chan = chan, .from = from, .to = to };
	struct flow_val *v = flow_at(&key, 1);

	if (!v)
		return 0;
	__sync_fetch_and_add(&v->ops, 1);
	__sync_fetch_and_add(&v->blocked_ns, slept);
	return 0;
}

/* A call that waited has ended well: who let it go on? */
static __always_inline void sync_flow(struct task_state *ts, struct act *a, long ret)
{
	struct chan_row *c = chan_at(a->chan - 1);
	struct edge_row *e = edge_at(a->edge - 1);

	if (ret < 0 || !ts->waker || !c || !a->edge || !e)
		return;
	if (ts->waker == PROC_SHARED)
		e->woken++;
	else
		waited_for(c->id, ts->waker, ts->proc_id, ts->slept[0]);
}

/* --- System V semaphores --- */

static __always_inline int semop(struct pt_regs *regs, long ret, bool timed)
{
	struct sops sops = { .at = call_arg(regs, 1), .n = call_arg(regs, 2) };
	__u32 id = call_arg(regs, 0), row, flags;
	struct sync_cache *s;
	struct call c;

	if (!call_begin(&c, regs))
		return 0;
	/* If it slept, the set may be gone by now. */
	row = c.noted ? c.a->chan - 1 : sem_row(c.ts, id);
	s = sync_slot(c.ts, (__u64)id << 2);
	if (row == NO_ROOM)
		no_room(c.ts);
	if (row >= NO_ROOM || !sops_look(&sops))
		goto out;
	flags = sops.seen & SOP_NOWAIT || (timed && is_no_time(call_arg(regs, 3))) ? ACT_NONBLOCK
										   : 0;
	call_done(&c);
	if (sops.seen & SOP_WAIT) {
		if (!c.noted)
			sync_act(c.a, s, row, ROLE_WAIT, 0);
		c.a->flags |= flags;
		act_only_count(c.a, ret < 0 ? ret : 0, c.ts->slept[0]);
		sync_flow(c.ts, c.a, ret);
	}
	if (sops.seen & SOP_WAKE) {
		if (sops.seen & SOP_WAIT)
			c.ts->seen++; /* one call, but one in each role */
		sync_act(c.b, s, row, ROLE_WAKE, flags);
		act_only_count(c.b, ret < 0 ? ret : 0, 0);
	}
out:
	c.ts->waker = 0;
	return 0;
}

/* Setting a value may wake; a set that is removed is not there any more, whatever comes of its id. */
static __always_inline int semctl(struct pt_regs *regs, long ret)
{
	__u32 cmd = call_arg(regs, 2) & ~IPC_64, row;
	struct call c;

	if (cmd != SETVAL && cmd != SETALL)
		return 0;
	if (!call_begin(&c, regs))
		return 0;
	row = sem_row(c.ts, call_arg(regs, 0));
	if (row == NO_ROOM)
		no_room(c.ts);
	if (row >= NO_ROOM)
		return 0;
	call_done(&c);
	sync_act(c.a, NULL, row, ROLE_WAKE, 0);
	act_only_count(c.a, ret < 0 ? ret : 0, 0);
	return 0;
}

/* --- futexes --- */

/* How many it has woken, at most: who asks to move some too is told the sum. */
static __always_inline __u64 futex_woken(struct pt_regs *regs, long ret)
{
	__u64 most = call_arg(regs, 2);

	if (futex_op_is(regs, 1 << FUTEX_UNLOCK_PI))
		return 1;
	if (futex_op_is(regs, 1 << FUTEX_CMP_REQUEUE | 1 << FUTEX_CMP_REQUEUE_PI))
		return (__u64)ret < most ? (__u64)ret : most;
	return ret;
}

static __always_inline void futex_not_counted(struct task_state *ts, __u32 row)
{
	if (row == NO_ROOM)
		no_room(ts);
	if (row == NOT_KNOWN) {
		ts->seen++;
		lose(LOSS_FUTEX, 1);
	}
}

static __always_inline void futex_wakes(struct call *c, struct act *a, __u64 addr, __u32 row,
					long ret, __u64 woken)
{
	struct edge_row *e;

	sync_act(a, sync_slot(c->ts, addr), row, ROLE_WAKE, 0);
	act_only_count(a, ret < 0 ? ret : 0, c->ts->slept[0]);
	e = edge_at(a->edge - 1);
	if (ret > 0 && a->edge && e)
		e->woken += woken;
}

static __always_inline __u32 futex_wait_flags(struct pt_regs *regs)
{
	if (futex_op_is(regs, 1 << FUTEX_TRYLOCK_PI))
		return ACT_NONBLOCK;
	return futex_op_is(regs, 1 << FUTEX_WAIT) && is_no_time(call_arg(regs, 3)) ? ACT_NONBLOCK
										   : 0;
}

/* unseen: it succeeds only if somebody wakes it. */
static __always_inline void futex_waited(struct call *c, long ret, bool unseen)
{
	act_only_count(c->a, ret < 0 ? ret : 0, c->ts->slept[0]);
	/* Woken before it could sleep, so that nobody saw by whom. */
	if (ret >= 0 && !c->ts->waker && unseen)
		c->ts->waker = PROC_SHARED;
	sync_flow(c->ts, c->a, ret);
}

/* Of an operation on two words, the other one. */
static __always_inline void futex_second(struct call *c, struct pt_regs *regs, long ret)
{
	__u32 row = futex_row(c->ts, call_arg(regs, 4), VMA_MANY);

	futex_not_counted(c->ts, row);
	if (row >= NOT_KNOWN)
		return;
	c->ts->seen++;
	futex_wakes(c, c->b, call_arg(regs, 4), row, ret, futex_woken(regs, ret));
}

static __always_inline int futex(struct pt_regs *regs, long ret)
{
	bool waits = futex_op_is(regs, FUTEX_WAITS);
	__u64 addr = call_arg(regs, 0);
	struct call c;
	__u32 row;

	if ((!waits && !futex_op_is(regs, FUTEX_WAKES)) || !call_begin(&c, regs))
		return 0;
	row = c.noted ? c.a->chan - 1 : futex_row(c.ts, addr, VMA_MANY);
	futex_not_counted(c.ts, row);
	if (row < NOT_KNOWN) {
		call_done(&c);
		if (!waits) {
			futex_wakes(&c, c.a, addr, row, ret, futex_woken(regs, ret));
		} else {
			if (!c.noted)
				sync_act(c.a, sync_slot(c.ts, addr), row, ROLE_WAIT, 0);
			c.a->flags |= futex_wait_flags(regs);
			futex_waited(&c, ret, futex_op_is(regs, FUTEX_UNSEEN));
		}
		if (futex_op_is(regs, 1 << FUTEX_WAKE_OP))
			futex_second(&c, regs, ret);
	}
	c.ts->waker = 0;
	return 0;
}

/* One of several words was woken: another one than it was noted to sleep on. */
static __noinline int futex_was_other(struct task_state *ts, __u32 row)
{
	struct edge_row *from, *to;
	struct act *a = &ts->acts[0];
	__u32 slept = a->flags & ACT_SLEPT;

	from = edge_at(a->edge - 1);
	sync_act(a, NULL, row, ROLE_WAIT, 0);
	to = edge_at(a->edge - 1);
	if (slept && from && to)
		sleep_moves(from, to, ts->slept[0]);
	return 0;
}

static __always_inline int futex2(struct pt_regs *regs, __u32 kind, long ret)
{
	__u64 addr = futex2_addr(regs, kind, ret), most = call_arg(regs, 2);
	__u32 row = NO_ROW;
	struct call c;

	if (!call_begin(&c, regs))
		return 0;
	if (addr)
		row = futex_row(c.ts, addr, VMA_MANY);
	if (c.noted) {
		/* If that is not known, it stays with the one that it was thought to be. */
		if (row < NOT_KNOWN && row != c.a->chan - 1)
			futex_was_other(c.ts, row);
		row = c.a->chan - 1;
	}
	futex_not_counted(c.ts, row);
	if (row < NOT_KNOWN) {
		call_done(&c);
		if (kind == KIND_futex_wake || kind == KIND_futex_requeue) {
			futex_wakes(&c, c.a, addr, row, ret, (__u64)ret < most ? (__u64)ret : most);
		} else {
			if (!c.noted)
				sync_act(c.a, sync_slot(c.ts, addr), row, ROLE_WAIT, 0);
			futex_waited(&c, ret, true);
		}
	}
	c.ts->waker = 0;
	return 0;
}

/* --- locks on files --- */

static __always_inline int lock(struct pt_regs *regs, __u32 kind, long ret)
{
	struct call c;
	__u32 row;

	if (!lock_asks(regs, kind) || !call_begin(&c, regs))
		return 0;
	row = c.noted ? c.a->chan - 1 : lock_row(call_arg(regs, 0));
	if (row == NO_ROOM)
		no_room(c.ts);
	if (row < NO_ROOM) {
		call_done(&c);
		if (!c.noted)
			sync_act(c.a, NULL, row, ROLE_LOCK, 0);
		if (!lock_waits(regs, kind))
			c.a->flags |= ACT_NONBLOCK;
		act_only_count(c.a, ret < 0 ? ret : 0, c.ts->slept[0]);
		sync_flow(c.ts, c.a, ret);
	}
	c.ts->waker = 0;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sync, struct pt_regs *regs, long ret)
{
	__u32 kind = kind_of(regs);
	struct task_state *ts;

	switch (kind) {
	case KIND_futex_wait:
	case KIND_futex_waitv:
	case KIND_futex_wake:
	case KIND_futex_requeue:
		return futex2(regs, kind, ret);
	case KIND_semop:
		return semop(regs, ret, false);
	case KIND_semtimedop:
		return semop(regs, ret, true);
	case KIND_semctl:
		return semctl(regs, ret);
	case KIND_futex:
		return futex(regs, ret);
	case KIND_flock:
		return lock(regs, KIND_flock, ret);
	case KIND_fcntl:
		return lock(regs, KIND_lock, ret);
	case KIND_semget:
		ts = state_of(bpf_get_current_task_btf());
		if (ret >= 0 && ts)
			sem_row(ts, ret);
		return 0;
	}
	return 0;
}

/* --- who wakes whom --- */

/* Could what the current task is doing be meant to wake who waits so, or did an interrupt come by? */
static __always_inline bool may_wake(struct task_struct *task, __u32 waits)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	/* Locks: given back by many calls, and there is no timeout. */
	if (is_lock(waits) || task->flags & PF_EXITING)
		return true; /* at its end: SEM_UNDO, robust futexes */
	switch (kind_of(regs)) {
	case KIND_semop:
	case KIND_semtimedop:
	case KIND_semctl:
		return true;
	case KIND_futex_wake:
	case KIND_futex_requeue:
		return true;
	case KIND_futex:
		return futex_op_is(regs, FUTEX_WAKES);
	}
	return false;
}

/* In which kind of call a task waits for others; KIND_none: in no such call. */
static __always_inline __u32 waits_in(struct pt_regs *regs)
{
	__u32 kind = kind_of(regs);

	switch (kind) {
	case KIND_semop:
	case KIND_semtimedop:
		return kind;
	case KIND_flock:
		return cfg.mechs & 1U << MECH_FILE ? kind : KIND_none;
	case KIND_fcntl:
		return fcntl_locks(regs) ? KIND_lock : KIND_none;
	case KIND_futex_waitv:
		return kind;
	case KIND_futex_wait:
		return futex2_is_private(regs) ? KIND_none : kind;
	case KIND_futex:
		if (!futex_is_private(regs) && futex_op_is(regs, FUTEX_WAITS))
			return kind;
		break;
	}
	return KIND_none;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking, struct task_struct *task)
{
	struct task_state *ts, *mine;
	struct task_struct *current;
	__u32 waits;

	if (!(task->__state & TASK_INTERRUPTIBLE))
		return 0;
	/* This is the cheapest look at what nearly all are not. */
	waits = waits_in((struct pt_regs *)bpf_task_pt_regs(task));
	if (waits == KIND_none)
		return 0;
	ts = state_of(task);
	if (!ts)
		return 0;
	current = bpf_get_current_task_btf();
	if (!may_wake(current, waits)) {
		ts->waker = PROC_SHARED;
		return 0;
	}
	mine = state_of(current);
	ts->waker = mine ? mine->proc_id : PROC_OUTSIDE;
	return 0;
}
