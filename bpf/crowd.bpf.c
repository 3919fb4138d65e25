// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Sockets that several processes read from: who sent what each of them got.
 *
 * Of UDP, who receives may ask for the address that a datagram came from, and who sends from that is
 * known: see udp.bpf.c. What goes through a unix socket lies in a buffer that is allocated in the
 * sender's call and copied in the receiver's. To see both costs every allocation of the machine some
 * time, so it is done only as long as there is such a socket; what was sent before has no known sender.
 *
 * A copy is not yet a read: it may be looked at only, or fail half-way. So what a call has copied counts
 * if it is just what the call returns.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"

#define CROWD_WRITERS 32

/* Who has sent what lies in a buffer, by its address. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} skb_senders SEC(".maps");

/* A connection of which one end has several readers, by the address of the socket at the other. */
struct crowd {
	__u32 chan; /* id */
	__u32 end; /* of that socket */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct crowd);
} crowds SEC(".maps");

struct copied_from {
	__u32 writer;
	__u32 _pad;
	__u64 bytes;
};

/* What the current thread has copied out of such a connection, and not yet returned from. */
struct copied {
	struct crowd from; /* chan 0: nothing */
	__u64 bytes; /* in all */
	__u64 returned; /* of these, by others of the calls that have copied them */
	__u32 nr;
	__u32 _pad;
	struct copied_from of[CROWD_WRITERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct copied);
} copies SEC(".maps");

static __always_inline __u32 *sole_user(struct chan_row *c, __u32 end, __u32 role)
{
	__u64 i = SOLE_USER(end, role);

	asm volatile("%0 &= 3" : "+r"(i)); /* 6.1 does not see it through the other operators */
	return &c->edges[i];
}

static __always_inline bool skbs_are_followed(void)
{
	struct engine *en = the_engine();

	return en && en->follows_skbs;
}

/* Several processes read at that end of the channel, through that file. */
static __noinline int crowd_begins(__u32 chan, __u32 end, __u64 file)
{
	struct crowd crowd = { .end = !end };
	struct chan_row *c = chan_at(chan);
	struct engine *en = the_engine();
	__u64 sk = sock_of(file), peer;

	if (!c || !en)
		return 0;
	if (c->key.mech == MECH_UDP) {
		c->ledger = LEDGER_CROWD;
		en->udp_crowd = 1;
		return 0;
	}
	peer = unix_peer(sk);
	/* Who sends to a mailbox by a socket of its own is known by that. */
	if (!peer)
		return 0;
	if (c->flags & CHAN_TWO_ENDS) {
		c->ledger = LEDGER_CROWD;
		crowd.chan = c->id;
		bpf_map_update_elem(&crowds, &peer, &crowd, BPF_ANY);
	}
	crowd_is_there(&en->unix_crowd);
	return 0;
}

/* A thread uses a socket in that role for the first time. */
int crowd_user(__u32 chan, __u32 end, __u32 role, __u64 file)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_row *c = chan_at(chan);
	__u32 *sole;

	if (!ts || !c)
		return 0;
	sole = sole_user(c, end, role);
	note_user(sole, ts->proc_id);
	if (role != ROLE_READ)
		return 0;
	/* To look at whose datagrams are costs no other process: as soon as there may be several. */
	if (*sole == PROC_SHARED || (c->key.mech == MECH_UDP && file_is_shared(file)))
		crowd_begins(chan, end & 1, file);
	return 0;
}

/* Somebody sends to the mailbox by a socket that others send by, too. */
static __always_inline void crowd_of_senders(const struct chan_row *c)
{
	struct engine *en = the_engine();

	if (en && c->edges[SOLE_USER(0, ROLE_READ)] == PROC_SHARED)
		crowd_is_there(&en->unix_crowd);
}

/* --- who has sent a buffer --- */

#define SKB_CACHE "skbuff_head_cache"

static __always_inline bool is_skb_cache(__u64 cache)
{
	__u64 name[3] = {}, want[3] = {};

	__builtin_memcpy(want, SKB_CACHE, sizeof(SKB_CACHE));
	bpf_probe_read_kernel_str(name, sizeof(name),
				  (void *)PEEK_ADDR(struct kmem_cache, cache, name));
	return name[0] == want[0] && name[1] == want[1] && name[2] == want[2];
}

/* Not by BTF: 6.1 lets nobody read an argument that is a pointer to void. */
SEC("raw_tp/kmem_cache_alloc")
int BPF_PROG(skb_made, unsigned long site, const void *ptr, struct kmem_cache *cache)
{
	struct engine *en = the_engine();
	__u64 addr = (__u64)ptr, from = (__u64)cache;
	struct task_state *ts;

	if (!en)
		return 0;
	if (en->skb_cache != from) {
		if (en->skb_cache || !is_skb_cache(from))
			return 0;
		en->skb_cache = from;
	}
	ts = state_of(bpf_get_current_task_btf());
	if (!ts || bpf_map_update_elem(&skb_senders, &addr, &ts->proc_id, BPF_ANY))
		bpf_map_delete_elem(&skb_senders, &addr);
	return 0;
}

/* 0: not known. */
static __always_inline __u32 skb_sender(__u64 skb)
{
	__u32 *sender;

	if (!skbs_are_followed())
		return 0;
	/* Before Linux 6.5, pages are put into what was sent last, whoever sent that. */
	if (bpf_core_field_exists(((struct proto_ops___6_4 *)0)->sendpage) &&
	    PEEK(struct sk_buff, skb, data_len))
		return 0;
	sender = bpf_map_lookup_elem(&skb_senders, &skb);
	return sender ? *sender : 0;
}

/* Its address may be another one's from now on. */
static __always_inline void skb_is_gone(__u64 skb)
{
	bpf_map_delete_elem(&skb_senders, &skb);
}

/* --- what was received --- */

int crowd_forget(void)
{
	struct copied *n = bpf_task_storage_get(&copies, bpf_get_current_task_btf(), 0, 0);

	if (n)
		n->from.chan = 0;
	return 0;
}

static __always_inline void note_copied(struct copied *n, __u32 writer, __u32 bytes)
{
	for (__u32 i = 0; i < CROWD_WRITERS; i++) {
		struct copied_from *of = &n->of[i];

		if (i < n->nr && of->writer != writer)
			continue;
		if (i >= n->nr) {
			of->writer = writer;
			of->bytes = 0;
			n->nr = i + 1;
		}
		of->bytes += bytes;
		return;
	}
}

/* The current task copies so much of that buffer, which was sent by the socket. */
static __noinline int crowd_copied(__u64 skb, __u64 from, __u32 bytes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct crowd *crowd = bpf_map_lookup_elem(&crowds, &from);
	struct task_state *ts = state_of(task);
	struct copied *n;
	__u32 writer;

	/* What a worker of io_uring has read, another thread may say. */
	if (!crowd || !ts || ts->flags & TASK_IO_WORKER || call_is_compat(task))
		return 0;
	n = bpf_task_storage_get(&copies, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!n)
		return 0;
	if (n->from.chan != crowd->chan || n->from.end != crowd->end) {
		n->from = *crowd;
		n->bytes = n->returned = n->nr = 0;
	}
	n->bytes += bytes;
	writer = skb_sender(skb);
	if (writer)
		note_copied(n, writer, bytes);
	return 0;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(skb_copied, const struct sk_buff *skb, int len)
{
	struct sock *from = UNTRUSTED(struct sk_buff, skb)->sk;

	if (from && from->__sk_common.skc_family == AF_UNIX && from->sk_type != SOCK_DGRAM)
		crowd_copied((__u64)skb, (__u64)from, len);
	return 0;
}

struct credit {
	const struct copied *n;
	__u32 reader;
};

static long credit_one(__u32 i, struct credit *c)
{
	const struct copied_from *of;

	if (i >= CROWD_WRITERS || i >= c->n->nr)
		return 1;
	of = &c->n->of[i];
	flow_add_at(c->n->from.chan, c->n->from.end, of->writer, c->reader, of->bytes);
	return 0;
}

/* A call has read ret bytes from a connection with that edge. */
static __noinline int connection_got(__u32 edge, __s64 ret, __u32 flags)
{
	struct copied *n = bpf_task_storage_get(&copies, bpf_get_current_task_btf(), 0, 0);
	struct credit credit = { .n = n };
	struct edge_row *e = edge_at(edge);

	if (!n || !e)
		return 0;
	if (n->from.chan != e->chan || n->from.end == e->end || ret < 0 || flags & ACT_PEEK)
		return crowd_forget();
	n->returned += ret;
	if (n->returned < n->bytes && flags & ACT_ONE_OF_MANY)
		return 0;
	credit.reader = e->proc;
	if (n->returned == n->bytes)
		bpf_loop(CROWD_WRITERS, credit_one, &credit, 0);
	return crowd_forget();
}

/*
 * A call has read from a socket with several readers, with that edge. msg: the message's header in user
 * memory, if it is one of several in a call; else 0.
 */
int crowd_got(__u32 edge, __u64 file, __s64 ret, __u32 flags, __u64 msg)
{
	struct edge_row *e = edge_at(edge);
	struct chan_row *c = e ? chan_at(e->chan_row) : NULL;

	if (!c || e->role != ROLE_READ)
		return 0;
	if (c->key.mech == MECH_UNIX)
		return connection_got(edge, ret, flags);
	/* A request of io_uring completes in any call. */
	if (c->key.mech == MECH_UDP && !(flags & ACT_PEEK))
		udp_got(edge, file, ret, flags & ACT_ONE_OF_MANY && !msg ? NO_MSG : msg);
	return 0;
}
