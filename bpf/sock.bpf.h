/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What all sockets have. */
#ifndef IPCTRACE_SOCK_BPF_H
#define IPCTRACE_SOCK_BPF_H

#include "compat.bpf.h"

/* The struct sock behind a file that is a socket. */
static __always_inline __u64 sock_of(__u64 file)
{
	__u64 socket = PEEK_ADDR(struct file, file, private_data);

	return PEEK_ADDR(struct socket, socket, sk);
}

static __always_inline __u32 sock_family(__u64 sk)
{
	return PEEK(struct sock_common, sk, skc_family);
}

static __always_inline __u32 sock_type(__u64 sk)
{
	return PEEK(struct sock, sk, sk_type);
}

static __always_inline __u32 sock_netns(__u64 sk)
{
	__u64 net = PEEK_ADDR(struct sock_common, sk, skc_net.net);

	return PEEK(struct net, net, ns.inum);
}

/* Inode number of a socket; 0: it has none, as nobody has accepted it yet or it is closed. */
static __always_inline __u64 sock_ino(__u64 sk)
{
	__u64 socket = PEEK_ADDR(struct sock, sk, sk_socket);

	if (!socket)
		return 0;
	return PEEK(struct inode, socket + bpf_core_field_offset(struct socket_alloc, vfs_inode),
		    i_ino);
}

static __always_inline __u64 sock_peer6_ident(__u64 sk)
{
	__u64 at = sk + bpf_core_field_offset(struct sock_common, skc_v6_daddr);

	return addr_at(at) * SPREAD ^ addr_at(at + 8);
}

/*
 * Something that changes when the socket gets another peer. A mailbox that is closed stays what it is as
 * long as somebody is connected to it: what was sent may be told of only then.
 */
static __always_inline __u64 sock_peer_ident(__u64 sk)
{
	struct sock_common *common = OBJECT(struct sock_common, sk);
	__u64 peer;

	switch (sk ? FIELD(common, skc_family) : 0) {
	case AF_UNIX:
		peer = PEEK_ADDR(struct unix_sock, sk, peer);
		if (!peer || sock_type(sk) != SOCK_DGRAM)
			return peer;
		return peer ^ PEEK_ADDR(struct unix_sock, peer, addr) << 1;
	case AF_INET6:
		return sock_peer6_ident(sk) ^ FIELD(common, skc_portpair) * SPREAD;
	case AF_INET:
		return FIELD(common, skc_addrpair) ^ FIELD(common, skc_portpair) * SPREAD;
	default:
		return 0;
	}
}

#endif
