// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Signals. A channel is one signal of one receiving process. What is sent is counted where the kernel
 * generates it, in the sender's context, and what is received where it is taken: by a handler or the
 * default action, by sigwaitinfo(), by reading a signalfd. In between, who sent what waits in a queue
 * here as it does in the kernel. A signal that ends its receiver is told only when it is sent: all
 * that is delivered is a SIGKILL of the kernel's own to each thread.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "ends.bpf.h"
#include "flow.bpf.h"
#include "signal.bpf.h"

#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19 /* SIGTSTP, SIGTTIN, SIGTTOU are the next ones */
#define STOPS 4
#define SIGRTMIN 32 /* as the kernel counts */
#define SIGALRM 14
#define SIGVTALRM 26
#define SIGPROF 27
#define SI_QUEUE -1
#define SI_TIMER -2
#define SI_MESGQ -3
#define SI_TKILL -6
#define CLD_MAX 6
#define SIG_DFL 0
#define SIG_IGN 1

#define BIT(sig) (1ULL << (sig))
/* By default these have no effect: SIGCHLD, SIGCONT, SIGURG, SIGWINCH. */
#define MOOT (BIT(17) | BIT(18) | BIT(23) | BIT(28))
/* These end a process with a core, which takes the long way. */
#define CORES                                                                                \
	(BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) | BIT(24) | BIT(25) | \
	 BIT(31))

/* As include/trace/events/signal.h numbers them. */
enum result { QUEUED, IGNORED, ALREADY_PENDING, OVERFLOW_FAIL, LOSE_INFO };

/* Those that were never taken are pushed out one day. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct queue_key);
	__type(value, struct signal_queue);
} signal_queues SEC(".maps");

static const struct signal_queue empty_queue;

/*
 * The kernel holds a lock of the receiver's as it sends and delivers signals, but not any more when a
 * call that has taken one returns. Locks cannot be in a map that forgets: they lie beside it.
 */
#define QUEUE_LOCKS 64 /* power of two */

struct queue_lock {
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUE_LOCKS);
	__type(key, __u32);
	__type(value, struct queue_lock);
} queue_locks SEC(".maps");

static __always_inline struct queue_lock *lock_of(__u32 chan)
{
	__u32 i = chan % QUEUE_LOCKS;

	return bpf_map_lookup_elem(&queue_locks, &i);
}

/*
 * Of the process that gets the signal. Its first thread may have ended long before the others: other is
 * the one that got its last signal.
 */
static __always_inline bool receiver_watched(struct edge_owner *o, struct task_struct *task,
					     struct task_struct *other)
{
	if (watched(o, state_of(task)))
		return true;
	return other && other != task && watched(o, state_of(other));
}

struct event {
	struct edge_owner from, to;
	__u32 sig, chan;
	__u32 from_id; /* process */
	__u32 token, tid;
	__u32 value, has_value;
};

/* --- the queue --- */

/*
 * A signal of the old kind waits once, so that those before it are taken or thrown away; but who has
 * taken one may not have come here yet. A queue of another kind is as long as there is room.
 */
static __always_inline void enqueue(struct signal_queue *q, const struct event *ev)
{
	__u32 last = (q->tail - 1) % SIGNAL_QUEUE, at;

	if (ev->sig < SIGRTMIN && q->tail - q->head >= SIGNAL_QUEUE)
		q->head = q->tail = 0;
	if (q->tail != q->head && q->at[last].from == ev->from_id &&
	    q->at[last].token == ev->token) {
		q->at[last].n++;
		return;
	}
	if (q->tail - q->head >= SIGNAL_QUEUE) {
		/* Who sent the newest ones is not known any more. */
		q->at[last].from = PROC_SHARED;
		q->at[last].n++;
		return;
	}
	at = q->tail % SIGNAL_QUEUE;
	q->at[at].from = ev->from_id;
	q->at[at].token = ev->token;
	q->at[at].n = 1;
	q->tail++;
}

static __noinline void push(const struct event *ev, __u32 chan_id)
{
	struct queue_key key = { .chan = chan_id, .tid = ev->tid };
	struct signal_queue *q = bpf_map_lookup_elem(&signal_queues, &key);
	struct queue_lock *l = lock_of(chan_id);

	if (!q) {
		bpf_map_update_elem(&signal_queues, &key, &empty_queue, BPF_NOEXIST);
		q = bpf_map_lookup_elem(&signal_queues, &key);
	}
	if (!q || !l)
		return;
	bpf_spin_lock(&l->lock);
	enqueue(q, ev);
	bpf_spin_unlock(&l->lock);
}

struct search {
	struct signal_queue *q;
	struct queue_lock *l;
	__u32 token, from;
	__u32 old, end;
};

/* Those before it were thrown away by the kernel. */
static __always_inline long take_first(struct signal_queue *q, struct search *s)
{
	__u32 at = q->head % SIGNAL_QUEUE;

	if (q->head == q->tail)
		return 1;
	if (s->token && q->at[at].token != s->token && q->at[at].from != PROC_SHARED) {
		q->head++;
		return 0;
	}
	s->from = q->at[at].from;
	if (!--q->at[at].n)
		q->head++;
	return 1;
}

/* The newest of that origin: before it are those that others have taken or that were thrown away. */
static __always_inline long take_last(struct signal_queue *q, struct search *s, __u32 i)
{
	__u32 nr = s->end - 1 - i, at = nr % SIGNAL_QUEUE;

	if (nr - q->head >= q->tail - q->head)
		return q->head == q->tail;
	if (!q->at[at].n || (s->token && q->at[at].token != s->token))
		return 0;
	s->from = q->at[at].from;
	if (!--q->at[at].n && nr == q->tail - 1)
		q->tail--;
	return 1;
}

static long pop_step(__u32 i, struct search *s)
{
	struct queue_lock *l = s->l;
	long done;

	bpf_spin_lock(&l->lock);
	done = s->old ? take_last(s->q, s, i) : take_first(s->q, s);
	bpf_spin_unlock(&l->lock);
	return done;
}

enum pop_how { POP_OLD = 1 /* a signal of the old kind */, POP_DELIVERS = 2 };

/*
 * Who sent what is taken now. token 0: any. An empty queue is given up only as the kernel delivers:
 * then nobody can be putting something in.
 */
__u32 pop(__u32 chan, __u32 tid, __u32 token, __u32 how)
{
	struct search s = { .l = lock_of(chan), .token = token, .old = how & POP_OLD };
	struct queue_key key = { .chan = chan, .tid = tid };

	s.q = bpf_map_lookup_elem(&signal_queues, &key);
	if (!s.q || !s.l)
		return 0;
	s.end = s.q->tail;
	bpf_loop(SIGNAL_QUEUE, pop_step, &s, 0);
	if (how & POP_DELIVERS && s.q->head == s.q->tail)
		bpf_map_delete_elem(&signal_queues, &key);
	return s.from;
}

/* Before it was sent by somebody else, or before the trace. */
static __always_inline __u32 sender_of(__u32 chan, __u32 sig, __u32 token, __u32 delivers)
{
	__u32 how = (sig < SIGRTMIN ? POP_OLD : 0) | (delivers ? POP_DELIVERS : 0);
	__u32 tid = bpf_get_current_task_btf()->pid, from;

	/* A thread takes what is its own first. */
	from = pop(chan, tid, token, how) ?: pop(chan, 0, token, how);
	if (from || !(how & POP_OLD) || !token)
		return from ?: PROC_OUTSIDE;
	/* The kernel may say another origin to the receiver: but only one was waiting. */
	return pop(chan, tid, 0, how) ?: pop(chan, 0, 0, how) ?: PROC_OUTSIDE;
}

/* --- sending --- */

static __always_inline bool from_user(__s32 sig, __s32 code)
{
	return !code || code == SI_QUEUE || code == SI_TKILL || code == SI_MESGQ ||
	       (sig == SIGCHLD && code > 0 && code <= CLD_MAX);
}

static __always_inline __u32 token_of(__s32 sig, __s32 code, __u32 pid)
{
	return from_user(sig, code) ? pid | 1U << 30 : (__u32)code | 1U << 31;
}

static __always_inline enum origin origin_of(__s32 sig, __s32 code)
{
	if (from_user(sig, code))
		return FROM_TASK;
	/* The last three come from setitimer() and alarm() only. */
	return code == SI_TIMER || sig == SIGALRM || sig == SIGVTALRM || sig == SIGPROF
		       ? FROM_TIMER
		       : FROM_KERNEL;
}

/* Has it just ended the process? So the kernel says, and this is the first that does. */
static __always_inline bool is_lethal(const struct event *ev, struct task_struct *task)
{
	__u64 sig = PEEK_ADDR(struct task_struct, (__u64)task, signal);
	struct proc_row *p = proc_at(ev->to.proc);

	if (BIT(ev->sig & 63) & CORES || !p || p->id != ev->to.proc_id)
		return false;
	if (!(PEEK(struct signal_struct, sig, flags) & SIGNAL_GROUP_EXIT) ||
	    (__u32)PEEK(struct signal_struct, sig, group_exit_code) != ev->sig)
		return false;
	return !(__sync_fetch_and_or(&p->flags, PROC_KILLED) & PROC_KILLED);
}

static __noinline void receive(__u32 chan, const struct edge_owner *to, __u32 from)
{
	struct edge_row *e = edge_at(edge_of(to, chan, 0, ROLE_RECEIVE_SIGNAL));
	struct chan_row *c = chan_at(chan);

	if (!e || !c) {
		lose_call(LOSS_NO_EDGE);
		return;
	}
	count_one(e);
	flow_add(c->id, from, to->proc_id, 0);
}

static __noinline void count_sent(const struct event *ev, __u32 result)
{
	__u32 row = edge_of(&ev->from, ev->chan, 0, ROLE_SEND_SIGNAL);
	struct edge_row *e = edge_at(row);
	struct chan_row *c = chan_at(ev->chan);

	if (!e || !c) {
		lose_call(LOSS_NO_EDGE);
		return;
	}
	if (result == OVERFLOW_FAIL) {
		struct engine *en = the_engine();

		if (en)
			__sync_fetch_and_add(&en->seen, 1);
		edge_failed(row, -EAGAIN, 0);
		return;
	}
	count_one(e);
	if (result == IGNORED)
		__sync_fetch_and_add(&e->ignored_ops, 1);
	if (result == ALREADY_PENDING)
		__sync_fetch_and_add(&e->merged_ops, 1);
	if (ev->has_value) {
		e->value = ev->value;
		e->has_value = 1;
	}
	if (cfg.ops)
		op_record((__u64)c->id << 32 | ROLE_SEND_SIGNAL, 0, 0);
}

static __noinline int sent(struct event *ev, struct task_struct *task, __s32 sig, __u32 result)
{
	struct chan_row *c;

	ev->chan = process_chan(&ev->to, MECH_SIGNAL, sig, 0);
	c = chan_at(ev->chan);
	if (!c) {
		lose_call(LOSS_NO_CHAN);
		return 0;
	}
	/* Also if it never gets any: so that it is seen whom it was meant for. */
	edge_of(&ev->to, ev->chan, 0, ROLE_RECEIVE_SIGNAL);
	if (ev->from_id != PROC_OUTSIDE)
		count_sent(ev, result);
	if (result != QUEUED && result != LOSE_INFO)
		return 0;
	if (is_lethal(ev, task))
		receive(ev->chan, &ev->to, ev->from_id);
	else
		push(ev, c->id);
	return 0;
}

/* One of the signals that stop a process waits, and as that is to go on it is thrown away. */
static long discard_step(__u32 i, struct event *ev)
{
	struct chan_key key = { .mech = MECH_SIGNAL, .dev = SIGSTOP + i };
	struct signal_queue *q;
	struct queue_key which = {};
	struct queue_lock *l;
	struct chan_row *c;
	__u32 *row, waits;
	struct proc_row *p;

	p = proc_at(ev->to.proc);
	key.ino = ev->to.proc_id;
	key.gen = p && p->id == ev->to.proc_id ? p->pid : 0;
	row = bpf_map_lookup_elem(&chan_rows, &key);
	c = row ? chan_at(*row) : NULL;
	if (!c)
		return 0;
	which.chan = c->id;
	q = bpf_map_lookup_elem(&signal_queues, &which);
	l = lock_of(c->id);
	if (!q || !l)
		return 0;
	bpf_spin_lock(&l->lock);
	waits = q->tail != q->head ? q->at[(q->tail - 1) % SIGNAL_QUEUE].n : 0;
	q->head = q->tail;
	bpf_spin_unlock(&l->lock);
	if (waits)
		__sync_fetch_and_add(&c->dropped, 1); /* of each only one can wait */
	return 0;
}

/* One of both is watched, the other one need not be. */
static __always_inline bool both_ends(struct event *ev, struct task_struct *self,
				      struct task_struct *task)
{
	bool from = watched(&ev->from, state_of(self)), to = ev->to.proc_id;

	if (!from && !to)
		return false;
	if (!from && stranger_task(&ev->from, number_of(self)))
		from = true;
	if (from)
		ev->from_id = ev->from.proc_id;
	return to || stranger_task(&ev->to, number_of(task));
}

SEC("tp_btf/signal_generate")
int BPF_PROG(on_signal, int sig, struct kernel_siginfo *info, struct task_struct *task, int group,
	     int result)
{
	struct task_struct *self = bpf_get_current_task_btf();
	/* Before any branch: for each way to such a load the verifier looks through all types. */
	struct task_struct *other = task->signal->curr_target;
	__s32 code = 0x80; /* SI_KERNEL */
	struct event ev = { .from_id = PROC_OUTSIDE };
	enum origin origin;
	__u32 pid = 0;

	/* 0 and 1 stand for the kernel, where others have an address. */
	if ((__u64)info > 1) {
		code = BPF_CORE_READ(info, si_code);
		pid = BPF_CORE_READ(info, _sifields._kill._pid);
	}
	origin = origin_of(sig, code);
	if (state_of(task) ? !receiver_watched(&ev.to, task, other) : origin != FROM_TASK)
		return 0;
	if (origin != FROM_TASK) {
		if (stranger_nobody(&ev.from, origin))
			ev.from_id = ev.from.proc_id;
	} else if (!both_ends(&ev, self, task)) {
		return 0;
	}
	if (code == SI_QUEUE) {
		ev.value = BPF_CORE_READ(info, _sifields._rt._sigval.sival_int);
		ev.has_value = 1;
	}
	if (sig == SIGCONT)
		bpf_loop(STOPS, discard_step, &ev, 0);
	ev.sig = sig;
	ev.token = token_of(sig, code, pid);
	ev.tid = group ? 0 : task->pid;
	return sent(&ev, task, sig, result);
}

/* --- receiving --- */

/* How a signal is taken: by the kernel, to deliver it; it has no effect. */
enum taken { TAKEN_TO_DELIVER = 1, TAKEN_MOOT = 2 };

/* The current thread has taken it from its queue. how: enum taken. */
int signal_taken(__u32 sig, __u32 token, __u32 how)
{
	struct edge_owner to = {};
	struct edge_row *e;
	struct chan_row *c;
	__u32 chan, from;

	if (!watched(&to, state_of(bpf_get_current_task_btf())) && !stranger_self(&to))
		return 0;
	chan = process_chan(&to, MECH_SIGNAL, sig, 0);
	c = chan_at(chan);
	if (!c) {
		lose_call(LOSS_NO_CHAN);
		return 0;
	}
	from = sender_of(c->id, sig, token, how & TAKEN_TO_DELIVER);
	if (!(how & TAKEN_MOOT)) {
		receive(chan, &to, from);
		if (cfg.ops && state_of(bpf_get_current_task_btf()))
			op_record((__u64)c->id << 32 | ROLE_RECEIVE_SIGNAL, 0, 0);
		return 0;
	}
	e = edge_at(edge_of(&to, chan, 0, ROLE_RECEIVE_SIGNAL));
	if (e)
		__sync_fetch_and_add(&e->ignored_ops, 1);
	return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(on_deliver, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	__u64 handler;
	__s32 code;
	bool moot;

	/* The end of a thread whose process ends: not a signal that somebody sent. */
	if ((__u64)info <= 1)
		return 0;
	handler = (__u64)BPF_CORE_READ(ka, sa.sa_handler);
	code = BPF_CORE_READ(info, si_code);
	moot = handler == SIG_IGN || (handler == SIG_DFL && sig < SIGRTMIN && BIT(sig & 63) & MOOT);
	return signal_taken(sig, token_of(sig, code, BPF_CORE_READ(info, _sifields._kill._pid)),
			    TAKEN_TO_DELIVER | (moot ? TAKEN_MOOT : 0));
}

/* How a siginfo_t begins, and what a signalfd gives. */
struct user_info {
	__s32 signo, err, code, _pad;
	__u32 pid;
};

struct signalfd_info {
	__s32 signo, err, code;
	__u32 pid;
};

#define SIGNALFD_INFO 128

/* The current process has slept so long for a signal that it has taken. */
static __noinline int signal_slept(__u32 sig, __u64 slept)
{
	struct edge_owner to = {};
	struct edge_row *e;

	if (!slept || !watched(&to, state_of(bpf_get_current_task_btf())))
		return 0;
	e = edge_at(edge_of(&to, process_chan(&to, MECH_SIGNAL, sig, 0), 0, ROLE_RECEIVE_SIGNAL));
	if (!e)
		return 0;
	e->blocked_ops++;
	e->blocked_ns += slept;
	if (slept > e->max_blocked_ns)
		e->max_blocked_ns = slept;
	return 0;
}

/* sigwaitinfo() and sigtimedwait() have returned a signal; info: in user memory, if asked for. */
int signal_waited(__u32 sig, __u64 info, __u64 slept)
{
	struct user_info si = {};
	__u32 token = 0;

	if (info && !bpf_probe_read_user(&si, sizeof(si), (void *)info))
		token = token_of(sig, si.code, si.pid);
	signal_taken(sig, token, 0);
	return signal_slept(sig, slept);
}

static long signalfd_step(__u32 i, __u64 *buf)
{
	struct signalfd_info si = {};

	if (bpf_probe_read_user(&si, sizeof(si), (void *)(*buf + i * SIGNALFD_INFO)))
		return 1;
	signal_taken(si.signo, token_of(si.signo, si.code, si.pid), 0);
	return 0;
}

/* A read from a signalfd has returned n bytes; it slept for the first of the signals. */
int signalfd_was_read(__u64 buf, __u32 n, __u64 slept)
{
	__u32 sig = 0;

	bpf_loop(n / SIGNALFD_INFO, signalfd_step, &buf, 0);
	bpf_probe_read_user(&sig, sizeof(sig), (void *)buf);
	return signal_slept(sig, slept);
}
