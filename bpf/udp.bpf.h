/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * UDP. A socket that receives is a mailbox, and so is a group of them that share a port
 * (SO_REUSEPORT): the kernel alone knows who of them gets what. A multicast group is a channel of its
 * own. Senders know addresses only; udp_at tells whose they are.
 */
#ifndef IPCTRACE_UDP_BPF_H
#define IPCTRACE_UDP_BPF_H

#include "inet.bpf.h"

#define V6ONLY 0x100 /* beside AF_INET6: a socket for all addresses, but not of IPv4 */

struct udp_key {
	__u32 netns;
	__u16 family, port;
	__u16 rport; /* of a connected socket: its peer's */
	__u16 _pad;
	__u8 addr[16];
};

struct udp_box {
	__u64 sk; /* address; may be another one's by now */
	__u64 own; /* its inode */
	__u64 ino; /* the mailbox's: of the first of the group */
	__u64 group; /* address of what sockets of one port share, 0: alone */
	__u64 written; /* somebody has sent to it alone */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct udp_key);
	__type(value, struct udp_box);
} udp_at SEC(".maps");

/* Where somebody sent to all: address by namespace and port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u32);
} udp_broadcast SEC(".maps");

/* Not on the stack, which is small. */
struct udp_scratch {
	struct chan_end at; /* what the last key was made of */
	struct udp_key key;
	struct udp_box box;
};

/* Only an interrupt comes between: it has the second one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct udp_scratch);
} udp_scratches SEC(".maps");

static __always_inline struct udp_scratch *udp_scratch(__u32 which)
{
	return bpf_map_lookup_elem(&udp_scratches, &which);
}

static __always_inline struct chan_end *udp_place(void)
{
	struct udp_scratch *s = udp_scratch(0);

	return s ? &s->at : NULL;
}

static __always_inline bool inet_is_any(const struct chan_end *e)
{
	return !*(__u64 *)e->addr && !*(__u64 *)(e->addr + 8);
}

/* Broadcast too: one sends, all get it. By its form, as neither side can ask the routing table. */
static __always_inline bool inet_is_to_all(const struct chan_end *e)
{
	if (e->family == AF_INET6)
		return e->addr[0] == 0xff;
	return (e->addr[0] & 0xf0) == 0xe0 || e->addr[3] == 0xff;
}

static __always_inline void udp_key_at(struct udp_key *k, const struct chan_end *e, __u16 rport)
{
	k->netns = e->netns;
	k->family = e->family;
	k->port = e->port;
	k->rport = rport;
	k->_pad = 0;
	__builtin_memcpy(k->addr, e->addr, sizeof(k->addr));
}

/* Inode numbers of namespaces are used again, and then the same addresses are others. */
static __always_inline __u32 udp_netns(__u64 sk)
{
	return PEEK(struct net, PEEK_ADDR(struct sock_common, sk, skc_net.net), net_cookie);
}

/* Its own address into the scratch, and to where senders look. Returns the inode of its mailbox. */
static __noinline __u64 udp_register(__u64 sk, bool fresh, __u32 place)
{
	struct udp_scratch *s = udp_scratch(place);
	struct udp_box *box, *old;
	struct chan_end *e;
	__u16 rport;
	bool same;

	if (!s)
		return 0;
	e = &s->at;
	box = &s->box;
	box->sk = sk;
	box->own = sock_ino(sk);
	box->group = box->written = 0;
	__builtin_memset(e, 0, sizeof(*e));
	inet_local(e, sk);
	e->netns = udp_netns(sk);
	e->ino = box->ino = box->own;
	if (!e->port)
		return box->ino;
	rport = bpf_ntohs(PEEK(struct sock_common, sk, skc_dport));
	udp_key_at(&s->key, e, rport);
	if (e->family == AF_INET6 && inet_is_any(e) &&
	    BPF_CORE_READ_BITFIELD_PROBED((struct sock_common *)sk, skc_ipv6only))
		s->key.family |= V6ONLY;
	old = bpf_map_lookup_elem(&udp_at, &s->key);
	if (old && old->sk == sk && old->own == box->own) {
		e->ino = old->ino;
		return old->ino;
	}
	if (!rport)
		box->group = PEEK_ADDR(struct sock, sk, sk_reuseport_cb);
	if (box->group && PEEK(struct sock_reuseport, box->group, num_socks) < 2 && fresh)
		old = NULL; /* what was there before is gone */
	if (old && box->group && old->group == box->group)
		e->ino = box->ino = old->ino;
	same = old && old->ino == box->ino;
	bpf_map_update_elem(&udp_at, &s->key, box, BPF_ANY);
	if (!same)
		places_changed(); /* last: who looks after this finds it */
	return box->ino;
}

/* It was there when the datagram left, and may be closed by now: answered, and done. */
static __always_inline bool udp_was_there(__u64 own)
{
	struct task_state *ts =
		bpf_task_storage_get(&task_states, bpf_get_current_task_btf(), 0, 0);

	return ts && ts->to_own == own;
}

static __always_inline struct udp_box *udp_try(struct udp_key *key)
{
	struct udp_box *box = bpf_map_lookup_elem(&udp_at, key);

	return box && (sock_ino(box->sk) == box->own || udp_was_there(box->own)) ? box : NULL;
}

/* Who receives at the place in the scratch what comes from that port, best match first. */
static __noinline struct udp_box *udp_find(__u16 from, __u32 place)
{
	struct udp_scratch *s = udp_scratch(place);
	struct udp_box *box;

	if (!s)
		return NULL;
	udp_key_at(&s->key, &s->at, from);
	box = udp_try(&s->key);
	if (box)
		return box;
	s->key.rport = 0;
	box = udp_try(&s->key);
	if (box)
		return box;
	__builtin_memset(s->key.addr, 0, sizeof(s->key.addr));
	box = udp_try(&s->key);
	if (box)
		return box;
	s->key.family = s->at.family == AF_INET ? AF_INET6 : AF_INET6 | V6ONLY;
	return udp_try(&s->key);
}

/* A key made of an address: of a group, or of one that is nobody's here. */
static __always_inline void udp_address_key(struct chan_key *key, const struct chan_end *e)
{
	key->dev = e->netns;
	key->gen = (__u32)e->family << 16 | e->port;
	key->ino = *(__u64 *)e->addr * 0x9e3779b97f4a7c15ULL ^
		   *(__u64 *)(e->addr + 8) * 0xc2b2ae3d27d4eb4fULL;
}

/* The channel of what is sent to the place in the scratch from a socket that is bound to that port. */
static __noinline __u32 udp_to(struct chan_key *key, __u16 from)
{
	struct chan_end *e = udp_place();
	struct udp_box *box;

	if (!e || !key || !e->port)
		return MECH_NONE;
	e->ino = 0;
	if (inet_is_any(e)) /* that is this host */
		e->addr[e->family == AF_INET6 ? 15 : 3] = 1;
	if (e->family == AF_INET && e->addr[3] == 1 && !e->addr[0])
		e->addr[0] = 127;
	udp_address_key(key, e);
	if (inet_is_to_all(e))
		return MECH_MULTICAST;
	box = udp_find(from, 0);
	if (!box)
		return MECH_UDP;
	box->written = 1;
	key->dev = key->gen = 0;
	key->ino = box->ino;
	if (sock_ino(box->sk) == box->own)
		inet_local(e, box->sk);
	e->ino = key->ino;
	return MECH_UDP;
}

/* What a member of multicast groups waits for: the one that it joined last. False: of none. */
static __always_inline bool udp_group(struct chan_end *e, __u64 sk)
{
	__u64 six = PEEK_ADDR(struct inet_sock, sk, pinet6);
	__u64 four = PEEK_ADDR(struct inet_sock, sk, mc_list);

	if (four) {
		e->family = AF_INET;
		__builtin_memset(e->addr, 0, sizeof(e->addr));
		*(__u32 *)e->addr = PEEK(struct ip_mc_socklist, four, multi.imr_multiaddr.s_addr);
		return true;
	}
	six = sock_family(sk) == AF_INET6 && six ? PEEK_ADDR(struct ipv6_pinfo, six, ipv6_mc_list)
						 : 0;
	if (!six)
		return false;
	inet_put_v6(e, six + bpf_core_field_offset(struct ipv6_mc_socklist, addr));
	return true;
}

/* Everything that comes to its port is sent to all, as far as is known. */
static __always_inline bool udp_hears_all(struct chan_end *e)
{
	__u64 where = (__u64)e->netns << 16 | e->port;
	__u32 *addr = bpf_map_lookup_elem(&udp_broadcast, &where);
	struct udp_scratch *s = udp_scratch(0);
	struct udp_box *box;

	if (!addr || !s)
		return false;
	box = bpf_map_lookup_elem(&udp_at, &s->key); /* as it was registered just now */
	if (box && box->written)
		return false;
	e->family = AF_INET;
	__builtin_memset(e->addr, 0, sizeof(e->addr));
	*(__u32 *)e->addr = *addr;
	return true;
}

/* What the socket reads from, or writes to if it is connected. */
static __noinline __u32 udp_key(__u64 sk, __u32 role, struct chan_key *key)
{
	struct chan_end *e = udp_place();
	__u16 from;

	if (!e || !key)
		return MECH_NONE;
	if (role == ROLE_READ) {
		key->mech = MECH_UDP;
		key->ino = udp_register(sk, false, 0);
		if (!key->ino)
			return MECH_NONE;
		if (!udp_group(e, sk) && !udp_hears_all(e))
			return MECH_UDP;
		e->ino = 0;
		udp_address_key(key, e);
		return MECH_MULTICAST;
	}
	udp_register(sk, false, 0);
	from = e->port;
	__builtin_memset(e->addr, 0, sizeof(e->addr));
	inet_remote(e, sk);
	return udp_to(key, from);
}

static __always_inline void udp_fill(struct chan_row *c)
{
	struct chan_end *e = udp_place();

	if (e)
		c->ends[0] = *e;
}

#endif
