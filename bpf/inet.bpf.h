/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What TCP and UDP sockets have: addresses and ports of both sides, in a network namespace. */
#ifndef IPCTRACE_INET_BPF_H
#define IPCTRACE_INET_BPF_H

#include "sock.bpf.h"

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

static __always_inline __u32 inet_protocol(__u64 sk)
{
	return PEEK(struct sock, sk, sk_protocol);
}

/* IPv4 in IPv6 is written as IPv4, as it is the same address. */
static __always_inline void inet_unmap(struct chan_end *e)
{
	e->family = AF_INET6;
	if (!*(__u64 *)e->addr && *(__u32 *)(e->addr + 8) == bpf_htonl(0xffff)) {
		e->family = AF_INET;
		*(__u32 *)e->addr = *(__u32 *)(e->addr + 12);
		*(__u32 *)(e->addr + 4) = *(__u32 *)(e->addr + 8) = *(__u32 *)(e->addr + 12) = 0;
	}
}

static __always_inline void inet_put_v6(struct chan_end *e, __u64 in6)
{
	bpf_probe_read_kernel(e->addr, sizeof(e->addr), (void *)in6);
	inet_unmap(e);
}

/* The socket's own address, as far as it is bound. */
static __noinline int inet_local(struct chan_end *e, __u64 sk)
{
	if (!e)
		return 0;
	e->netns = sock_netns(sk);
	e->port = bpf_ntohs(PEEK(struct inet_sock, sk, inet_sport));
	if (sock_family(sk) == AF_INET6) {
		inet_put_v6(e, sk + bpf_core_field_offset(struct sock_common, skc_v6_rcv_saddr));
		return 0;
	}
	e->family = AF_INET;
	*(__u32 *)e->addr = PEEK(struct sock_common, sk, skc_rcv_saddr);
	return 0;
}

/* The one that it is connected to; in which namespace that is, is not known here. */
static __noinline int inet_remote(struct chan_end *e, __u64 sk)
{
	if (!e)
		return 0;
	e->port = bpf_ntohs(PEEK(struct sock_common, sk, skc_dport));
	if (sock_family(sk) == AF_INET6) {
		inet_put_v6(e, sk + bpf_core_field_offset(struct sock_common, skc_v6_daddr));
		return 0;
	}
	e->family = AF_INET;
	*(__u32 *)e->addr = PEEK(struct sock_common, sk, skc_daddr);
	return 0;
}

#endif
