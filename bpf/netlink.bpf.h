/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Netlink sockets: a channel each, to the kernel or whoever else. vsock: a connection is known by the
 * addresses of both ends.
 */
#ifndef IPCTRACE_NETLINK_BPF_H
#define IPCTRACE_NETLINK_BPF_H

#include "sock.bpf.h"

#define AF_NETLINK 16
#define AF_VSOCK 40

static __always_inline enum mech netlink_key(__u64 sk, struct chan_key *key)
{
	key->ino = sock_ino(sk);
	key->dev = PEEK(struct sock, sk, sk_protocol);
	key->gen = 0;
	return key->ino ? MECH_NETLINK : MECH_NONE;
}

static __always_inline void netlink_fill(struct chan_row *c, __u64 sk)
{
	c->flags |= CHAN_TWO_ENDS;
	c->ends[0].ino = sock_ino(sk);
	c->ends[0].netns = sock_netns(sk);
	c->capacity = PEEK(struct sock, sk, sk_rcvbuf);
}

/* Of a module, whose types no number stands for: by reads that need none. */
#define VSOCK(sk, field) BPF_CORE_READ((struct vsock_sock *)(sk), field)
#define VMADDR_CID_ANY ~0U
#define VMADDR_CID_HOST 2

static __always_inline __u64 vsock_remote(__u64 sk)
{
	return (__u64)VSOCK(sk, remote_addr.svm_cid) << 32 | VSOCK(sk, remote_addr.svm_port);
}

/* Who connects to its own machine is not told by which of its addresses. */
static __always_inline __u64 vsock_local(__u64 sk)
{
	__u32 cid = VSOCK(sk, local_addr.svm_cid);
	__u32 remote = VSOCK(sk, remote_addr.svm_cid);

	if (cid == VMADDR_CID_ANY && remote != VMADDR_CID_HOST)
		cid = remote;
	return (__u64)cid << 32 | VSOCK(sk, local_addr.svm_port);
}

static __always_inline enum mech vsock_key(__u64 sk, struct chan_key *key)
{
	__u64 mine, theirs, low, high;

	if (!bpf_core_type_exists(struct vsock_sock))
		return MECH_NONE;
	mine = vsock_local(sk);
	theirs = vsock_remote(sk);
	if ((__u32)theirs == ~0U) /* not connected */
		return MECH_NONE;
	low = mine < theirs ? mine : theirs;
	high = mine < theirs ? theirs : mine;
	key->ino = low;
	key->dev = high >> 32;
	key->gen = high;
	return MECH_VSOCK;
}

/* End 0 has the lower address. */
static __always_inline void vsock_fill(struct chan_row *c, __u64 sk)
{
	if (!bpf_core_type_exists(struct vsock_sock))
		return;
	c->flags |= CHAN_TWO_ENDS;
	c->capacity = VSOCK(sk, buffer_size);
	c->ends[0].family = c->ends[1].family = AF_VSOCK;
	*(__u64 *)c->ends[0].addr = c->key.ino;
	*(__u64 *)c->ends[1].addr = (__u64)c->key.dev << 32 | c->key.gen;
}

/* 2: the same ports are another connection's by now. */
static __always_inline __u32 vsock_end(struct chan_row *c, __u64 sk)
{
	__u64 ino = sock_ino(sk);
	struct chan_end *me;
	__u32 end;

	if (!bpf_core_type_exists(struct vsock_sock))
		return 0;
	end = vsock_local(sk) > vsock_remote(sk);
	me = &c->ends[end & 1];
	if (me->ino && ino && me->ino != ino)
		return 2;
	if (!me->ino)
		me->ino = ino;
	return end;
}

#endif
