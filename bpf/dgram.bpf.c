// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Who sends by a unix datagram socket, if its datagrams are not followed one by one (see crowd.bpf.c).
 *
 * That a process sends is noticed in its call, when the datagram lies in the receiver's queue already; it
 * may even have been received. So what comes from a socket that others have, too, is not yet for sure by
 * the only one who was noticed. But if nothing of it is under way, and as many were noticed as were
 * received, then all of these were. Until that is so, what one receiver got stays open; it ends open if a
 * second one begins to send.
 */
#include "call.bpf.h"
#include "flow.bpf.h"
#include "sock.bpf.h"

/*
 * By the address of the socket; the oldest of too many are forgotten. The address may become another
 * socket's, so each number has the socket's inode above it.
 */
struct dgram_writer {
	__u64 proc; /* PROC_SHARED: several */
	__u64 sent; /* datagrams that were noticed */
	__u64 got;
	__u64 reader; /* of what is open */
	__u64 open; /* bytes, and above them how many datagrams */
	__u32 chan; /* id */
	__u32 _pad;
};

#define OPEN_OPS 40 /* bits below */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct dgram_writer);
} dgram_writers SEC(".maps");

static const struct dgram_writer no_dgram_writer;

static __always_inline struct dgram_writer *dgram_writer_of(__u64 sk, bool make)
{
	struct dgram_writer *w = bpf_map_lookup_elem(&dgram_writers, &sk);

	if (w || !make)
		return w;
	bpf_map_update_elem(&dgram_writers, &sk, (void *)&no_dgram_writer, BPF_NOEXIST);
	return bpf_map_lookup_elem(&dgram_writers, &sk);
}

/* The socket's inode, also if it was closed since it was noticed. */
static __always_inline __u32 dgram_ino(__u64 sk)
{
	struct dgram_writer *w = dgram_writer_of(sk, false);
	__u32 ino = sock_ino(sk);

	return ino || !w ? ino : w->proc >> 32;
}

/* 0 if it is of another socket. */
static __always_inline __u32 number_with(const __u64 *number, __u32 ino)
{
	__u64 now = *(volatile __u64 *)number;

	return now >> 32 == ino ? now : 0;
}

/* Sets a number of another socket. False: it is this one's. */
static __always_inline bool number_begins(__u64 *number, __u32 ino, __u32 value)
{
	__u64 was = *(volatile __u64 *)number;

	return was >> 32 != ino &&
	       __sync_val_compare_and_swap(number, was, (__u64)ino << 32 | value) == was;
}

static __always_inline void number_grows(__u64 *number, __u32 ino)
{
	if (!number_begins(number, ino, 1))
		__sync_fetch_and_add(number, 1);
}

/* May others than who was noticed have sent by the socket? */
static __always_inline bool others_may_send(__u64 sk)
{
	__u64 socket = PEEK_ADDR(struct sock, sk, sk_socket), file;

	file = socket ? PEEK_ADDR(struct socket, socket, file) : 0;
	return file && file_is_shared(file);
}

static __always_inline bool all_was_received(__u64 sk, __u32 mine)
{
	return (__u32)PEEK(struct sock, sk, sk_wmem_alloc.refs.counter) == 1 + mine;
}

/* What is open was sent by that process, if no more than so many were received by now. */
static __always_inline void open_is_of(struct dgram_writer *w, __u32 ino, __u32 proc, __u32 got)
{
	__u64 reader = *(volatile __u64 *)&w->reader, open;
	__u32 chan = *(volatile __u32 *)&w->chan;

	if (!w->open || reader >> 32 != ino)
		return;
	open = __sync_lock_test_and_set(&w->open, 0);
	if (number_with(&w->got, ino) != got || *(volatile __u64 *)&w->reader != reader ||
	    *(volatile __u32 *)&w->chan != chan) {
		__sync_fetch_and_add(&w->open, open);
		return;
	}
	*(volatile __u64 *)&w->reader = 0;
	flow_add_ops(chan, proc, reader, open & ((1ULL << OPEN_OPS) - 1), open >> OPEN_OPS);
}

/*
 * Who has sent all that was received of the socket so far: then what is open is that one's, too. 0: it is
 * not certain; PROC_SHARED: several. mine: what the caller's datagram takes of the socket's memory.
 */
__noinline int dgram_settle(__u64 sk, __u32 ino, __u32 mine)
{
	struct dgram_writer *w = dgram_writer_of(sk, false);
	__u32 proc, got, sent;

	if (!w)
		return 0;
	proc = number_with(&w->proc, ino);
	/* In this order: more may be sent, noticed and received at any time. */
	got = number_with(&w->got, ino);
	sent = number_with(&w->sent, ino);
	if (!proc || proc == PROC_SHARED)
		return proc;
	if (others_may_send(sk) && (got != sent || !all_was_received(sk, mine)))
		return 0;
	open_is_of(w, ino, proc, got);
	return number_with(&w->got, ino) == got ? proc : 0;
}

/* The process has put a datagram of that socket into another one. Returns who is known to send by it. */
static __noinline __u32 dgram_written_by(__u64 sk, __u32 proc)
{
	struct dgram_writer *w = dgram_writer_of(sk, true);
	__u32 ino = sock_ino(sk), known;

	if (!w)
		return 0;
	number_begins(&w->proc, ino, proc);
	known = number_with(&w->proc, ino);
	if (known != proc && known != PROC_SHARED)
		*(volatile __u64 *)&w->proc = (__u64)ino << 32 | PROC_SHARED;
	number_grows(&w->sent, ino);
	dgram_settle(sk, ino, 0);
	return number_with(&w->proc, ino);
}

/*
 * A datagram of the socket is received; until the caller is done with it, it takes so much of the socket's
 * memory. Returns who sent it, as dgram_settle() does.
 */
static __noinline __u32 dgram_got_of(__u64 sk, __u32 ino, __u32 truesize)
{
	struct dgram_writer *w = dgram_writer_of(sk, true);

	if (!w)
		return 0;
	number_grows(&w->got, ino);
	return dgram_settle(sk, ino, truesize);
}

/* So many bytes of such a datagram were read from the channel, and it is not certain yet who sent them. */
static __noinline int dgram_stays_open(__u64 sk, __u32 ino, __u32 chan, __u32 reader, __u64 bytes)
{
	struct dgram_writer *w = dgram_writer_of(sk, false);

	if (!w || bytes >> OPEN_OPS)
		return 0;
	if (!w->open && number_begins(&w->reader, ino, reader))
		w->chan = chan;
	if (w->reader != ((__u64)ino << 32 | reader) || w->chan != chan)
		return 0;
	__sync_fetch_and_add(&w->open, bytes | 1ULL << OPEN_OPS);
	return dgram_settle(sk, ino, 0);
}
