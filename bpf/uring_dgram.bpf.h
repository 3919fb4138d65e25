/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Datagrams that io_uring sends. Where they go is known when they are submitted (the address) and, of
 * unix sockets, when they arrive: of which request one is that arrives, the thread that sends it tells.
 * Part of uring.bpf.c.
 */
#ifndef IPCTRACE_URING_DGRAM_BPF_H
#define IPCTRACE_URING_DGRAM_BPF_H

/* Where a request that is submitted finds its address; the length, 0: it has none. */
static __always_inline __u32 uring_name(__u64 req, __u32 does, __u64 *name, bool *kernel)
{
	struct user_msghdr msg = {};

	*kernel = false;
	if (does == DOES_SENDMSG) {
		if (!uring_message(req, &msg))
			return 0;
		*name = (__u64)msg.msg_name;
		return *name ? msg.msg_namelen : 0;
	}
	*kernel = !uring_keeps_user_name();
	return uring_send_name(req, name);
}

/* It has come nowhere yet. */
static __always_inline bool is_pending(__u64 req)
{
	struct uring_to *to = req ? bpf_map_lookup_elem(&uring_tos, &req) : NULL;

	return to && !to->chan;
}

static __always_inline bool has_waited(__u64 req)
{
	return PEEK(struct io_kiocb, req, flags) & REQ_F_POLLED;
}

/* The thread tries it now. If there is no room yet, it waits while others are tried. */
static __always_inline void note_sending(struct task_state *ts, __u64 req)
{
	ts->uring_req = req;
	for (int i = 0; i < URING_WAITING; i++) {
		if (is_pending(ts->uring_waiting[i]) && ts->uring_waiting[i] != req)
			continue;
		ts->uring_waiting[i] = req;
		return;
	}
	ts->uring_crowd = 1;
}

/* The thread tries one again that has waited for room: which one is known if no other has. */
static __always_inline __u64 the_waiting(struct task_state *ts)
{
	__u64 found = 0;

	for (int i = 0; i < URING_WAITING; i++) {
		__u64 req = ts->uring_waiting[i];

		if (!is_pending(req) || !has_waited(req))
			continue;
		if (found || ts->uring_crowd)
			return 0;
		found = req;
	}
	return found;
}

/* A datagram is to be sent; the program need not keep the address until that is done. */
static __noinline int uring_addressed(__u64 req, __u32 does)
{
	struct task_state *ts = uring_state();
	__u32 zero = 0, len;
	struct uring_to *to;
	__u64 file = uring_file(req), name = 0;
	bool kernel;

	if (!ts || !is_datagrams(file))
		return 0;
	to = bpf_map_lookup_elem(&uring_to_nobody, &zero);
	if (!to || bpf_map_update_elem(&uring_tos, &req, to, BPF_ANY))
		return 0;
	to = bpf_map_lookup_elem(&uring_tos, &req);
	if (!to)
		return 0;
	if (sock_family(sock_of(file)) == AF_UNIX)
		note_sending(ts, req);
	to->len = len = uring_name(req, does, &name, &kernel);
	if (len >= URING_NAME_LEN)
		len = URING_NAME_LEN - 1;
	asm volatile("%0 &= 0x7f" : "+r"(len));
	if (kernel)
		bpf_probe_read_kernel(to->name, len, (void *)name);
	else
		bpf_probe_read_user(to->name, len, (void *)name);
	return 0;
}

/* The request for which the current thread is sending a unix datagram; 0: none that is known. */
__u64 uring_sending(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *ts = uring_state();
	__u64 req = uring_worker_request((__u64)task->worker_private), sk;

	if (!ts)
		return 0;
	if (!req) {
		req = ts->uring_req;
		if (!req || has_waited(req))
			req = the_waiting(ts);
	}
	if (!req || (does_of(req) != DOES_SEND && does_of(req) != DOES_SENDMSG))
		return 0;
	sk = PEEK_ADDR(struct io_kiocb, req, file);
	sk = is_datagrams(sk) ? sock_of(sk) : 0;
	return sk && sock_family(sk) == AF_UNIX ? req : 0;
}

static __always_inline void unknown_end(void)
{
	if (uring_is_watched())
		lose(LOSS_URING, 1);
}

/* Where a datagram went that had an address. */
static __always_inline __u32 uring_row_to(__u64 req, __u64 file, struct uring_to *to, __u32 failed)
{
	if (sock_family(sock_of(file)) == AF_UNIX)
		return unix_row_of_request(file, req, failed);
	return udp_row_to(file, number_of(to->name), true);
}

static __always_inline bool datagrams_are_watched(__u64 file)
{
	return cfg.mechs &
	       (sock_family(sock_of(file)) == AF_UNIX ? 1U << MECH_UNIX
						      : 1U << MECH_UDP | 1U << MECH_MULTICAST);
}

/* A message with an address, which was given before the trace, or many requests ago. */
static __noinline bool named_before(__u64 req)
{
	struct user_msghdr msg;

	return does_of(req) == DOES_SENDMSG && uring_message(req, &msg) && msg.msg_name;
}

enum uring_dgram { DGRAM_UNADDRESSED, DGRAM_ACT, DGRAM_UNKNOWN };

/* A datagram was sent, or could not be: what that was, into the thread's state, if it had an address. */
int uring_sent(__u64 req, __u64 file, __u32 flags, __u32 failed)
{
	struct uring_to *to = bpf_map_lookup_elem(&uring_tos, &req);
	struct task_state *ts = uring_state();
	struct act *a;
	__u32 row;

	if (!ts)
		return DGRAM_UNKNOWN;
	if (ts->uring_req == req)
		ts->uring_req = 0;
	if (!to)
		return named_before(req) ? DGRAM_UNKNOWN : DGRAM_UNADDRESSED;
	if (!to->len) {
		bpf_map_delete_elem(&uring_tos, &req);
		return DGRAM_UNADDRESSED;
	}
	row = uring_row_to(req, file, to, failed);
	bpf_map_delete_elem(&uring_tos, &req);
	a = &ts->uring;
	a->edge = row < NO_ROOM ? edge_row_of(row, 0, ROLE_WRITE) + 1 : 0;
	if (!a->edge)
		return DGRAM_UNKNOWN;
	a->chan = row + 1;
	a->role = ROLE_WRITE;
	a->flags = flags;
	a->file = file;
	return DGRAM_ACT;
}

static __always_inline void uring_dgram(__u64 req, __u64 file, __u32 flags, __s64 ret)
{
	if (!datagrams_are_watched(file))
		return;
	switch (uring_sent(req, file, flags, ret < 0)) {
	case DGRAM_ACT:
		uring_acted(ret);
		return;
	case DGRAM_UNADDRESSED:
		if (uring_act(file, ROLE_WRITE, flags, 0, ret))
			return;
	}
	unknown_end();
}

#endif
