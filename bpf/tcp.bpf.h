/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TCP connections. Addresses do not tell them apart: the same ones are used again and in several
 * network namespaces, and both ends may see other ones (NAT). The two initial sequence numbers do:
 * each end keeps them, as it counts what it sent and received from there.
 */
#ifndef IPCTRACE_TCP_BPF_H
#define IPCTRACE_TCP_BPF_H

#include "inet.bpf.h"

#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define TCP_LISTEN 10

/*
 * Was it accepted, or did it connect? Sockets made for a SYN keep the interface that it came in by
 * where datagram sockets keep the one for multicast, which cannot be set on a stream.
 */
static __always_inline bool tcp_is_passive(__u64 sk)
{
	__u64 six = PEEK_ADDR(struct inet_sock, sk, pinet6);

	if (PEEK(struct inet_sock, sk, mc_index))
		return true;
	return sock_family(sk) == AF_INET6 && six && PEEK(struct ipv6_pinfo, six, mcast_oif);
}

struct tcp_seqs {
	__u32 mine, theirs; /* sequence number of the first byte, each way */
};

/* The SYN counts as acknowledged at the end that sent the first one only. */
static __always_inline struct tcp_seqs tcp_look(__u64 sk, bool passive)
{
	struct tcp_seqs s = {};

	s.mine = PEEK(struct tcp_sock, sk, snd_una) -
		 (__u32)PEEK(struct tcp_sock, sk, bytes_acked) + !passive;
	s.theirs = PEEK(struct tcp_sock, sk, rcv_nxt) -
		   (__u32)PEEK(struct tcp_sock, sk, bytes_received);
	return s;
}

static __always_inline bool tcp_is_still(__u64 sk)
{
	return !PEEK(struct sock, sk, sk_lock.owned) &&
	       !PEEK(struct sock, sk, sk_lock.slock.rlock.raw_lock.val.counter);
}

struct tcp_looks {
	__u64 sk;
	struct tcp_seqs s;
	bool passive;
};

/*
 * Counters change two at a time, under a lock that is not held here. A change that was under way at the
 * first look is over when the lock is seen free, so that the second one shows something else.
 */
static long tcp_look_step(__u32 i, struct tcp_looks *l)
{
	struct tcp_seqs again;
	bool still;

	l->s = tcp_look(l->sk, l->passive);
	still = tcp_is_still(l->sk);
	again = tcp_look(l->sk, l->passive);
	return still && l->s.mine == again.mine && l->s.theirs == again.theirs;
}

/* Whoever holds the lock may itself have been interrupted, in a virtual machine for long. */
#define TCP_LOOKS 16384

__noinline __u64 tcp_pair(__u64 sk)
{
	struct tcp_looks l = { .sk = sk, .passive = tcp_is_passive(sk) };

	bpf_loop(TCP_LOOKS, tcp_look_step, &l, 0);
	if (l.s.mine < l.s.theirs)
		return (__u64)l.s.mine << 32 | l.s.theirs;
	return (__u64)l.s.theirs << 32 | l.s.mine;
}

/* MECH_NONE: it is not connected, or not yet. */
static __always_inline enum mech tcp_key(__u64 sk, struct chan_key *key)
{
	__u32 state = PEEK(struct sock_common, sk, skc_state);

	if (state == TCP_SYN_SENT || state == TCP_LISTEN ||
	    !PEEK(struct sock_common, sk, skc_dport))
		return MECH_NONE;
	/* Reset, it is still the connection that it was; one that never was has seen nothing. */
	if (state == TCP_CLOSE && !PEEK(struct tcp_sock, sk, rcv_nxt))
		return MECH_NONE;
	key->ino = tcp_pair(sk);
	return MECH_TCP;
}

/* Both ends in one socket: what a port gets that connects to itself. */
static __always_inline bool tcp_is_self(const struct chan_key *key)
{
	return key->ino >> 32 == (__u32)key->ino;
}

/* How full it gets; see tcp.bpf.c. Rows of pipes have other things there. */
#define tcp_socket(c, end) ((c)->gone_bytes[end]) /* its address; 0: not known yet */
#define tcp_written(c, end) ((c)->gone_pos[end]) /* by then, and above it the room in that socket */

/* End 0 is who connected. */
static __always_inline void tcp_fill(struct chan_row *c, __u64 sk)
{
	__u32 end = tcp_is_passive(sk);

	if (!tcp_is_self(&c->key))
		c->flags |= CHAN_TWO_ENDS;
	inet_local(&c->ends[end & 1], sk);
	inet_remote(&c->ends[!end], sk);
}

/* Which end the socket is. */
static __always_inline __u32 tcp_end(struct chan_row *c, __u64 sk)
{
	__u32 end = tcp_is_passive(sk);
	struct chan_end *me = &c->ends[end & 1];

	if (!me->ino) {
		inet_local(me, sk);
		me->ino = sock_ino(sk);
		tcp_socket(c, end & 1) = sk;
	}
	return end;
}

static __always_inline void tcp_note_upto(struct edge_row *e, __u32 seq)
{
	e->pos = (__u64)seq << 32 | (__u32)e->pos;
}

#define RCV_SHUTDOWN 1

/* After a read: how far that end is read. The end of all counts one more, if it was seen. */
static __always_inline void tcp_note_read(struct edge_row *e, __u64 file)
{
	__u64 sk = sock_of(file);
	__u32 seq = PEEK(struct tcp_sock, sk, copied_seq);

	if (seq == PEEK(struct tcp_sock, sk, rcv_nxt) &&
	    PEEK(struct sock, sk, sk_shutdown) & RCV_SHUTDOWN)
		seq--;
	tcp_note_upto(e, seq);
}

/* What the other end had read when that was last looked at, of who writes. */
static __always_inline void tcp_note_peer(struct edge_row *e, __u32 read)
{
	e->pos = (e->pos & ~0xffffffffULL) | read;
}

/*
 * After a write: there may be more in it than ever before. What the other end had read when that was
 * last looked at (edge_row.pos) is no more than it has read by now.
 */
static __always_inline bool tcp_may_rise(const struct chan_row *c, struct edge_row *e, __u64 file)
{
	__u32 seq = PEEK(struct tcp_sock, sock_of(file), write_seq), other = !(e->end & 1);
	__u64 peer;

	tcp_note_upto(e, seq);
	if (seq - (__u32)e->pos <= c->highwater)
		return false;
	peer = tcp_socket(c, other);
	if (!peer)
		return true;
	/* If it is closed, and its memory another one's, nothing of that matters any more. */
	tcp_note_peer(e, PEEK(struct tcp_sock, peer, copied_seq));
	return seq - (__u32)e->pos > c->highwater;
}

#endif
