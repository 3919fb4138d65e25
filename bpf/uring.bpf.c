// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Requests of io_uring, when they complete: each counts as the call would that it stands for. None
 * of this runs in processes that do not use io_uring.
 *
 * Who runs then is the thread that submitted it, or one that the kernel has made in its process to do
 * the work (a worker, the poller of the submission queue). These have edges of their own like any
 * thread, from when they are first met here; the graph folds them into their process.
 *
 * A request waits in the ring and its submitter goes on, so that no time asleep is counted.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "uring.bpf.h"

/* What a request does to its file, by its opcode: these are ABI. */
enum uring_does {
	DOES_NOTHING,
	DOES_READ,
	DOES_WRITE,
	DOES_RECV,
	DOES_RECVMSG,
	DOES_SEND,
	DOES_SENDMSG,
	DOES_SPLICE,
	DOES_TEE,
	DOES_OPEN,
	DOES_ACCEPT,
	DOES_CONNECT,
};

#define URING_OPS 256 /* more than there are: every value of a byte, for the verifier */
static const __u8 uring_does[URING_OPS] = {
	[1] = DOES_READ, /* READV */
	[2] = DOES_WRITE, /* WRITEV */
	[4] = DOES_READ, /* READ_FIXED */
	[5] = DOES_WRITE, /* WRITE_FIXED */
	[9] = DOES_SENDMSG,  [10] = DOES_RECVMSG, [13] = DOES_ACCEPT,
	[16] = DOES_CONNECT, [18] = DOES_OPEN, /* OPENAT */
	[22] = DOES_READ,    [23] = DOES_WRITE,   [26] = DOES_SEND,
	[27] = DOES_RECV,    [28] = DOES_OPEN, /* OPENAT2 */
	[30] = DOES_SPLICE,  [33] = DOES_TEE,     [47] = DOES_SEND, /* SEND_ZC */
	[48] = DOES_SENDMSG, /* SENDMSG_ZC */
	[49] = DOES_READ, /* READ_MULTISHOT */
	[58] = DOES_RECV, /* RECV_ZC */
	[60] = DOES_READ, /* READV_FIXED */
	[61] = DOES_WRITE, /* WRITEV_FIXED */
};

#define OP_ACCEPT 13
#define OP_READ_MULTISHOT 49

#define REQ_F_FIXED_FILE 1 /* these two are ABI */
#define REQ_F_CQE_SKIP (1 << 6)
#define REQ_F_NOWAIT (1 << 11) /* these two are the same in 6.1 and 6.18 */
#define REQ_F_POLLED (1 << 14)
#define ECANCELED 125
#define IORING_RECV_MULTISHOT 2
#define IORING_ACCEPT_MULTISHOT 1
#define SPLICE_F_FD_IN_FIXED (1U << 31)
#define RECVMSG_OUT 16 /* sizeof(struct io_uring_recvmsg_out) */
#define NO_RESULT (1LL << 32) /* no request's result */

static __always_inline __u32 does_of(__u64 req)
{
	return uring_does[PEEK(struct io_kiocb, req, opcode)];
}

/* The kernel's threads of a process are watched as that is. */
int uring_join(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task->group_leader);

	if (ts)
		task_begin(task, ts->proc, ts->why);
	return 0;
}

/* The current thread, if it is watched. */
static __always_inline struct task_state *uring_state(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = state_of(task);

	if (ts || !(task->flags & PF_IO_WORKER))
		return ts;
	uring_join();
	return state_of(task);
}

/* Is the process watched that makes requests or takes completions here? */
static __always_inline bool uring_is_watched(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return state_of(task) || (task->flags & PF_IO_WORKER && state_of(task->group_leader));
}

/* A request that is described in the thread's state has returned ret. */
int uring_acted(__s64 ret)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());

	if (!ts)
		return 0;
	ts->seen++;
	act_end(&ts->uring, ts, ret, 0);
	return 0;
}

/*
 * What the request did to that file, into the thread's state. flags: enum act_flags; as_file: also those
 * that the file has. Returns whether it is a channel that is watched.
 */
int uring_act_on(__u64 file, __u32 role, __u32 flags, __u32 as_file)
{
	struct task_state *ts = uring_state();
	struct act *a;

	/* The cache of descriptors is by number: a number of its own for the file. */
	if (!ts || !act_on(&ts->uring, ts, file, file >> 8, role))
		return 0;
	a = &ts->uring;
	a->flags = flags | ACT_ONE_OF_MANY | (as_file ? a->flags : 0);
	return 1;
}

/* Together they would be too much for the stack of 6.1. */
static __always_inline bool uring_act(__u64 file, __u32 role, __u32 flags, __u32 as_file, __s64 ret)
{
	if (!uring_act_on(file, role, flags, as_file))
		return false;
	uring_acted(ret);
	return true;
}

/* Opened, accepted or connected: asked for, even if nothing follows. */
int uring_open(__u64 file)
{
	struct task_state *ts;
	struct act *a;
	__u32 mode;

	if (!file || !may_be_channel(file))
		return 0;
	ts = uring_state();
	if (!ts)
		return 0;
	a = &ts->uring;
	a->edge = 0;
	mode = PEEK(struct file, file, f_mode);
	if (mode & FMODE_READ)
		act_on(a, ts, file, file >> 8, ROLE_READ);
	if (mode & FMODE_WRITE)
		act_on(a, ts, file, file >> 8, ROLE_WRITE);
	if (a->edge && file_type(file) == S_IFIFO >> 12)
		ledger_reopened(a->chan - 1, file);
	return 0;
}

static __always_inline __u32 nowait_of(__u64 req)
{
	return PEEK(struct io_kiocb, req, flags) & REQ_F_NOWAIT ? ACT_NONBLOCK : 0;
}

/* Both files; what comes in is not the request's own file, but a number in it. */
static __always_inline void uring_spliced(__u64 req, __u64 out, bool tee, __s64 ret)
{
	__u32 fd = PEEK(struct io_splice, req, splice_fd_in);
	__u32 how = PEEK(struct io_splice, req, flags);
	__u32 flags = how & SPLICE_F_NONBLOCK ? ACT_NONBLOCK : 0;
	__u64 in;

	if (how & SPLICE_F_FD_IN_FIXED)
		in = uring_fixed_file(PEEK_ADDR(struct io_kiocb, req, ctx), fd);
	else
		in = file_of(bpf_get_current_task_btf(), fd);
	if (in)
		uring_act(in, ROLE_READ, flags | (tee ? ACT_PEEK : 0), 1, ret);
	uring_act(out, ROLE_WRITE, flags, 1, ret);
}

/*
 * Requests that complete more than once, by what their completions are tagged with: all but the last
 * time the kernel tells nothing else.
 */
struct uring_tag {
	__u64 ring; /* address of its context */
	__u64 user_data;
};

struct multishot {
	__u64 req; /* address */
	__u64 head; /* bytes before the payload, which are counted with it */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct uring_tag);
	__type(value, struct multishot);
} multishots SEC(".maps");

static __always_inline void uring_tag_of(__u64 req, struct uring_tag *tag)
{
	tag->ring = PEEK_ADDR(struct io_kiocb, req, ctx);
	tag->user_data = PEEK(struct io_kiocb, req, cqe.user_data);
}

/* The request, if it is still the one that was submitted with that tag; 0: it is not known. */
static __always_inline __u64 multishot_of(struct uring_tag *tag)
{
	struct multishot *m = bpf_map_lookup_elem(&multishots, tag);
	struct uring_tag now;

	if (!m)
		return 0;
	uring_tag_of(m->req, &now);
	return now.ring == tag->ring && now.user_data == tag->user_data ? m->req : 0;
}

/* A completion of a request that was made before the trace, and perhaps not on a channel. */
static __always_inline void unknown_shot(void)
{
	struct task_state *ts = uring_state();
	struct proc_row *p = ts ? proc_at(ts->proc) : NULL;

	if (p && p->flags & PROC_INITIAL)
		lose(LOSS_URING, 1);
}

/* What a recvmsg got. A multishot one counts a header, the name and the control data too. */
static __always_inline __s64 uring_payload(__u64 req, __s64 ret)
{
	struct uring_tag tag;
	struct multishot *m;

	if (ret <= 0 || !(PEEK(struct io_sr_msg, req, flags) & IORING_RECV_MULTISHOT))
		return ret;
	uring_tag_of(req, &tag);
	m = bpf_map_lookup_elem(&multishots, &tag);
	if (!m || m->req != req)
		return NO_RESULT;
	return ret < (__s64)m->head ? 0 : ret - (__s64)m->head;
}

/* The file that it is on, before it has begun. */
static __always_inline __u64 uring_file(__u64 req)
{
	__u32 fd = PEEK(struct io_kiocb, req, cqe.fd);

	if (PEEK(struct io_kiocb, req, flags) & REQ_F_FIXED_FILE)
		return uring_fixed_file(PEEK_ADDR(struct io_kiocb, req, ctx), fd);
	return file_of(bpf_get_current_task_btf(), fd);
}

/* The program's message header, in user memory. */
static __always_inline bool uring_message(__u64 req, struct user_msghdr *msg)
{
	return !bpf_probe_read_user(msg, sizeof(*msg),
				    (void *)PEEK_ADDR(struct io_sr_msg, req, umsg));
}

#include "uring_dgram.bpf.h"

/* The place in the file is in the request, which is the same memory; it has been moved on. */
static __noinline void uring_place(__u64 req, __u64 file)
{
	struct task_state *ts = uring_state();

	if (!ts)
		return;
	ts->moved_end = 0;
	if (file && file_type(file) == S_IFREG >> 12)
		ts->moved_end = PEEK(struct io_rw, req, kiocb.ki_pos);
}

/* A function of its own, of numbers, so that the verifier looks at it once. */
int uring_completed(__u64 req, __s64 ret)
{
	__u64 file = PEEK_ADDR(struct io_kiocb, req, file);
	__u32 does = does_of(req), flags;

	if (does == DOES_OPEN && ret > 0)
		uring_open(file_of(bpf_get_current_task_btf(), ret));
	/*
	 * Cancelled before it began, as what is linked to one that failed: no operation. It has no file
	 * then, or on older kernels it was never tried, and so does not wait for its file either.
	 */
	if (ret == -ECANCELED && !(PEEK(struct io_kiocb, req, flags) & REQ_F_POLLED))
		return 0;
	if (!file || does == DOES_NOTHING || does == DOES_OPEN)
		return 0;
	if (does == DOES_SPLICE || does == DOES_TEE) {
		uring_spliced(req, file, does == DOES_TEE, ret);
		return 0;
	}
	if (!may_be_channel(file))
		return 0;
	flags = nowait_of(req);
	switch (does) {
	case DOES_ACCEPT:
		if (ret >= 0)
			uring_open(file_of(bpf_get_current_task_btf(), ret));
		return 0;
	case DOES_CONNECT:
		if (ret)
			return 0;
		uring_open(file);
		if (is_datagrams(file))
			places_changed();
		return 0;
	case DOES_RECVMSG:
		ret = uring_payload(req, ret);
		if (ret == NO_RESULT) {
			unknown_shot();
			return 0;
		}
		/* fallthrough */
	case DOES_RECV:
		if (PEEK(struct io_sr_msg, req, msg_flags) & MSG_PEEK)
			flags |= ACT_PEEK;
		uring_act(file, ROLE_READ, flags, 0, ret);
		return 0;
	case DOES_READ:
	case DOES_WRITE:
		uring_place(req, file);
		uring_act(file, does == DOES_READ ? ROLE_READ : ROLE_WRITE, flags, 0, ret);
		uring_place(req, 0);
		return 0;
	default:
		if (is_datagrams(file))
			uring_dgram(req, file, flags, ret);
		else
			uring_act(file, ROLE_WRITE, flags, 0, ret);
	}
	return 0;
}

static __always_inline bool is_multishot(__u64 req, __u32 does)
{
	if (does == DOES_RECV || does == DOES_RECVMSG)
		return PEEK(struct io_sr_msg, req, flags) & IORING_RECV_MULTISHOT;
	if (does == DOES_ACCEPT) /* Linux 6.1 does not keep it: any may be one */
		return !bpf_core_field_exists(((struct io_accept *)0)->iou_flags) ||
		       PEEK(struct io_accept, req, iou_flags) & IORING_ACCEPT_MULTISHOT;
	return PEEK(struct io_kiocb, req, opcode) == OP_READ_MULTISHOT;
}

/* Is it on what may be a channel? What it is in truth is not looked at, for such a rare thing. */
static __always_inline bool on_channel(__u64 req)
{
	__u64 file = uring_file(req);

	return file && cfg.types >> file_type(file) & 1;
}

/* Of the message that a multishot recvmsg was asked for: in user memory, and surely there now only. */
static __always_inline __u64 head_of_msg(__u64 req)
{
	struct user_msghdr msg = {};

	uring_message(req, &msg);
	return RECVMSG_OUT + msg.msg_namelen + msg.msg_controllen;
}

static __always_inline int uring_submitted(__u64 req)
{
	__u32 does = does_of(req);
	struct uring_tag tag;
	struct multishot m;

	if (does == DOES_NOTHING || does == DOES_OPEN || does == DOES_CONNECT)
		return 0;
	/* One that asks for no completion if all goes well: how many there were is all that is seen. */
	if (PEEK(struct io_kiocb, req, flags) & REQ_F_CQE_SKIP && on_channel(req) &&
	    uring_is_watched())
		lose(LOSS_URING, 1);
	if (does == DOES_SEND || does == DOES_SENDMSG)
		return uring_addressed(req, does);
	if (!is_multishot(req, does) || !uring_is_watched())
		return 0;
	uring_tag_of(req, &tag);
	m.req = req;
	m.head = does == DOES_RECVMSG ? head_of_msg(req) : 0;
	bpf_map_update_elem(&multishots, &tag, &m, 0);
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int on_uring_submit(__u64 *ctx)
{
	return uring_submitted(ctx[0]);
}

/* Its name until Linux 6.2. */
SEC("tp_btf/io_uring_submit_sqe")
int on_uring_submit_sqe(__u64 *ctx)
{
	return uring_submitted(ctx[0]);
}

/*
 * (ring, request, user_data, result, flags, ...); Linux 6.16 has (ring, request, entry). Without a
 * request it is one of several completions.
 */
SEC("tp_btf/io_uring_complete")
int on_uring_complete(__u64 *ctx)
{
	__u64 req = ctx[1];
	struct uring_tag tag;
	__s32 ret;

	if (req) {
		uring_completed(req, PEEK(struct io_kiocb, req, cqe.res));
		return 0;
	}
	tag.ring = ctx[0];
	if (cfg.uring_entry) {
		tag.user_data = PEEK(struct io_uring_cqe, ctx[2], user_data);
		ret = PEEK(struct io_uring_cqe, ctx[2], res);
	} else {
		tag.user_data = ctx[2];
		ret = ctx[3];
	}
	req = multishot_of(&tag);
	if (req)
		uring_completed(req, ret);
	else
		unknown_shot();
	return 0;
}

/*
 * A completion that finds the ring full is put into a list: since Linux 6.6 on_uring_complete does not
 * see it, and here is not said of what it is.
 */
SEC("tp_btf/io_uring_cqe_overflow")
int on_uring_overflow(__u64 *ctx)
{
	if (uring_overflow_is_silent() && uring_is_watched())
		lose(LOSS_URING, 1);
	return 0;
}
