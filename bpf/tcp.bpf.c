// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How full TCP connections get: what one end has written and the other one has not read, in whichever
 * of the two sockets, or between them, it is. It rises only when somebody writes.
 */
#include "call.bpf.h"
#include "chan.bpf.h"

/* seq: up to where is written; room: in the writer's socket. */
static __noinline int tcp_note(struct chan_row *c, __u32 seq, __u32 room, __u64 reader)
{
	__u32 read = PEEK(struct tcp_sock, reader, copied_seq);
	__s32 fill = seq - read;

	/* Below 0: another thread has written meanwhile, and that was read. */
	if (!c || fill <= 0 || (__u64)fill <= c->highwater)
		return read;
	c->highwater = fill;
	c->capacity = (__u64)room + PEEK(struct sock, reader, sk_rcvbuf);
	return read;
}

/* A write has returned, or falls asleep. */
int tcp_note_fill(__u32 chan, __u32 edge, __u64 file)
{
	struct edge_row *e = edge_at(edge);
	struct chan_row *c = chan_at(chan);
	__u64 sk = sock_of(file), peer = sk;
	__u32 seq, room, end, other;

	if (!e || !c || c->key.mech != MECH_TCP)
		return 0;
	seq = PEEK(struct tcp_sock, sk, write_seq);
	room = PEEK(struct sock, sk, sk_sndbuf);
	tcp_note_upto(e, seq);
	end = e->end & 1;
	other = !end;
	if (c->flags & CHAN_TWO_ENDS)
		peer = tcp_socket(c, other);
	if (!peer) /* not accepted yet, or on another host */
		tcp_written(c, end) = (__u64)room << 32 | seq;
	else if (peer == sk || sock_ino(peer) == c->ends[other].ino)
		tcp_note_peer(e, tcp_note(c, seq, room, peer));
	return 0;
}

/* A call has moved bytes. */
int tcp_moved(__u32 chan, __u32 edge, __u64 file, __u32 role)
{
	struct edge_row *e = edge_at(edge);

	if (role == ROLE_WRITE)
		return tcp_note_fill(chan, edge, file);
	if (e)
		tcp_note_read(e, file);
	return 0;
}

/* Who holds that end is known from now on, and may have read nothing yet. */
int tcp_attached(__u32 chan, __u32 end, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	__u64 written;

	if (!c || !(c->flags & CHAN_TWO_ENDS))
		return 0;
	written = tcp_written(c, !(end & 1));
	if (written)
		tcp_note(c, written, written >> 32, sock_of(file));
	return 0;
}
