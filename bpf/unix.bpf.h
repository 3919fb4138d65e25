/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Unix sockets. A connection is a pair of sockets, each of which keeps the other one's address from
 * being used again; so the two addresses are its identity. An end that nobody has accepted yet has no
 * inode, and one that is closed has none any more, but the pair stays what it is.
 */
#ifndef IPCTRACE_UNIX_BPF_H
#define IPCTRACE_UNIX_BPF_H

#include "sock.bpf.h"

static __always_inline bool unix_is_connection(__u64 sk)
{
	__u32 type = sock_type(sk);

	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}

static __always_inline __u64 unix_peer(__u64 sk)
{
	return PEEK_ADDR(struct unix_sock, sk, peer);
}

/* What a socket reads from and writes to. MECH_NONE: it is not connected. */
static __always_inline enum mech unix_key(__u64 sk, __u32 role, struct chan_key *key)
{
	__u64 peer = unix_peer(sk), low = sk, high = peer;

	if (!unix_is_connection(sk)) {
		/* A mailbox: one's own to read from, the peer's to write to. */
		key->ino = sock_ino(role == ROLE_READ ? sk : peer);
		return key->ino ? MECH_UNIX : MECH_NONE;
	}
	if (!peer)
		return MECH_NONE;
	if (peer < sk) {
		low = peer;
		high = sk;
	}
	key->ino = low;
	key->dev = high;
	key->gen = high >> 32;
	return MECH_UNIX;
}

/* Its name, as it was bound; returns the length. */
static __always_inline __u32 unix_name(__u64 sk, char *name)
{
	__u64 addr = PEEK_ADDR(struct unix_sock, sk, addr);
	__u32 len;

	if (!addr)
		return 0;
	len = PEEK(struct unix_address, addr, len) -
	      bpf_core_field_offset(struct sockaddr_un, sun_path);
	if (len > UNIX_PATH_LEN)
		len = UNIX_PATH_LEN;
	asm volatile("%0 &= 0x7f" : "+r"(len)); /* 6.1 wants to see the bound here */
	bpf_probe_read_kernel(name, len,
			      (void *)(addr + bpf_core_field_offset(struct unix_address, name) +
				       bpf_core_field_offset(struct sockaddr_un, sun_path)));
	return len;
}

/* A mailbox, by the socket that reads from it. */
static __always_inline void unix_fill_mailbox(struct chan_row *c, __u64 sk)
{
	c->name_len = unix_name(sk, c->name);
	/* What bounds it is the number of messages, and each sender's own memory. */
	c->capacity_messages = (__u64)PEEK(struct sock, sk, sk_max_ack_backlog) + 1;
}

/* A connection. End 0 is who connected: what is accepted has the name of the socket that listens. */
static __always_inline void unix_fill_connection(struct chan_row *c, __u64 sk)
{
	__u64 peer = unix_peer(sk), ino = sock_ino(sk), peer_ino = sock_ino(peer);
	bool mine = PEEK_ADDR(struct unix_sock, sk, addr);
	bool theirs = PEEK_ADDR(struct unix_sock, peer, addr);
	__u32 end = 0; /* mine */

	if (mine != theirs)
		end = mine;
	else if (peer_ino)
		end = ino > peer_ino;
	c->flags |= CHAN_TWO_ENDS;
	c->low_end = sk < peer ? end : !end;
	c->ends[end & 1].ino = ino;
	c->ends[!end].ino = peer_ino;
	c->name_len = unix_name(mine ? sk : peer, c->name);
	c->capacity = PEEK(struct sock, sk, sk_sndbuf);
}

static __always_inline void unix_fill(struct chan_row *c, __u64 sk, __u32 role)
{
	if (sock_type(sk) != SOCK_STREAM)
		c->flags |= CHAN_MESSAGES;
	if (unix_is_connection(sk))
		unix_fill_connection(c, sk);
	else
		unix_fill_mailbox(c, role == ROLE_READ ? sk : unix_peer(sk));
}

/* Which end of it the socket is. 2: none, the addresses are another pair's by now. */
static __always_inline __u32 unix_end(struct chan_row *c, __u64 sk)
{
	__u64 peer = unix_peer(sk), ino = sock_ino(sk), peer_ino = sock_ino(peer);
	__u32 end = (sk < peer ? c->low_end : !c->low_end) & 1;
	struct chan_end *me = &c->ends[end], *other = &c->ends[!end];

	if ((me->ino && ino && me->ino != ino) ||
	    (other->ino && peer_ino && other->ino != peer_ino))
		return 2;
	if (!me->ino)
		me->ino = ino;
	if (!other->ino)
		other->ino = peer_ino;
	return end;
}

struct queue_sum {
	__u64 skb;
	__u64 bytes;
};

static long queue_step(__u32 i, struct queue_sum *s)
{
	__u64 cb = s->skb + bpf_core_field_offset(struct sk_buff, cb);

	s->bytes += PEEK(struct sk_buff, s->skb, len) - PEEK(struct unix_skb_parms, cb, consumed);
	s->skb = addr_at(s->skb + bpf_core_field_offset(struct sk_buff, next));
	return !s->skb;
}

#define QUEUE_MAX (1 << 16)

/*
 * Bytes that lie unread in a socket. Its lock is not held: what somebody changes meanwhile is counted
 * wrong, but for once.
 */
static __always_inline __u64 queue_bytes(__u64 sk)
{
	__u64 head = sk + bpf_core_field_offset(struct sock, sk_receive_queue);
	__u32 n = PEEK(struct sock, sk, sk_receive_queue.qlen);
	struct queue_sum s = {};

	s.skb = addr_at(head + bpf_core_field_offset(struct sk_buff_head, next));
	if (n && n <= QUEUE_MAX && s.skb)
		bpf_loop(n, queue_step, &s, 0);
	return s.bytes;
}

/*
 * Its fullest so far may be now: the writer's memory that others have not freed yet is more than ever
 * after a call of this thread. To look through a long queue each time would cost more than it tells,
 * so beyond some hundred messages it is looked at where that has grown by a part of it.
 */
static __always_inline bool unix_may_be_fuller(__u64 sk, const struct edge_row *e)
{
	__u64 memory = PEEK(struct sock, sk, sk_wmem_alloc.refs.counter);

	return memory > e->pos + (e->pos >> 18 ? e->pos >> 6 : 0);
}

/* A connection that was there before: what lies in it, at each end. */
static __always_inline void unix_find(struct chan_row *c, __u64 sk)
{
	__u32 end = unix_end(c, sk);
	__u64 peer = unix_peer(sk);

	if (!(c->flags & CHAN_TWO_ENDS)) {
		c->found_bytes = queue_bytes(sk);
		return;
	}
	c->found_at[end & 1] = queue_bytes(sk);
	if (peer)
		c->found_at[!end] = queue_bytes(peer);
	c->found_bytes = c->found_at[0] + c->found_at[1];
}

#endif
