// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What happens to datagrams on their way. */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"

static __always_inline void name_read(void *to, __u32 size, __u64 from, bool kernel)
{
	if (kernel)
		bpf_probe_read_kernel(to, size, (void *)from);
	else
		bpf_probe_read_user(to, size, (void *)from);
}

/* What is sent through it to an address; kernel: which is in the kernel's memory. */
static __noinline __u32 udp_key_to(__u64 sk, __u64 name, bool kernel, struct chan_key *key)
{
	struct chan_end *e = udp_place();
	__u16 from, family = 0, port = 0;

	if (!e || !key)
		return MECH_NONE;
	udp_register(sk, false, 0);
	from = e->port;
	name_read(&family, sizeof(family), name, kernel);
	name_read(&port, sizeof(port), name + 2, kernel);
	__builtin_memset(e->addr, 0, sizeof(e->addr));
	e->port = bpf_ntohs(port);
	e->family = family;
	if (family == AF_INET6)
		name_read(e->addr, 16, name + 8, kernel);
	else
		name_read(e->addr, 4, name + 4, kernel);
	if (family != AF_INET6)
		e->family = AF_INET;
	else
		inet_unmap(e);
	return udp_to(key, from);
}

__u64 udp_row_to(__u64 file, __u64 name, bool kernel)
{
	struct chan_key key = {};
	__u64 sk = sock_of(file);

	if (inet_protocol(sk) != IPPROTO_UDP)
		return NO_ROW;
	key.mech = udp_key_to(sk, name, kernel, &key);
	if (key.mech == MECH_NONE || !(cfg.mechs & 1U << key.mech))
		return NO_ROW;
	return chan_get(&key, file, ROLE_WRITE, 0);
}

/* A datagram with that IP header leaves the socket: is there somebody whom it goes to? */
static __noinline int udp_leaves(__u64 sk, __u64 ip)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct udp_scratch *s = udp_scratch(1);
	struct udp_box *box;
	struct chan_end *e;
	__u16 from, port = 0;
	__u8 byte = 0;
	__u64 where;

	udp_register(sk, false, 1);
	if (!s || !ts)
		return 0;
	e = &s->at;
	from = e->port;
	bpf_probe_read_kernel(&byte, 1, (void *)ip);
	__builtin_memset(e->addr, 0, sizeof(e->addr));
	if (byte >> 4 == 6) {
		e->family = AF_INET6;
		bpf_probe_read_kernel(e->addr, 16, (void *)(ip + 24));
		bpf_probe_read_kernel(&port, 2, (void *)(ip + 42));
	} else {
		e->family = AF_INET;
		bpf_probe_read_kernel(e->addr, 4, (void *)(ip + 16));
		bpf_probe_read_kernel(&port, 2, (void *)(ip + (byte & 15) * 4 + 2));
	}
	e->port = bpf_ntohs(port);
	if (e->family == AF_INET && e->addr[3] == 0xff) {
		where = (__u64)e->netns << 16 | e->port;
		bpf_map_update_elem(&udp_broadcast, &where, e->addr, BPF_ANY);
		return 0;
	}
	ts->to_own = 0;
	box = udp_find(from, 1);
	if (box)
		ts->to_own = box->own;
	return 0;
}

/*
 * Who sends from an address and port of this host, whatever socket that is. Many more than there are are
 * forgotten.
 */
struct udp_source {
	__u64 ino; /* the socket */
	__u64 since; /* it was another one before; 0: not known to */
	__u32 proc; /* PROC_SHARED: several, or not watched */
	__u32 _pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct udp_key);
	__type(value, struct udp_source);
} udp_sources SEC(".maps");

/* The current task sends a datagram with that IP header. */
static __noinline int udp_source(__u64 sk, __u64 ip)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct udp_source new = { .ino = sock_ino(sk), .proc = ts ? ts->proc_id : PROC_SHARED };
	struct udp_key key = { .netns = udp_netns(sk), .family = AF_INET };
	struct udp_source *s;
	__u16 port = 0;
	__u8 byte = 0;

	bpf_probe_read_kernel(&byte, 1, (void *)ip);
	if (byte >> 4 == 6) {
		key.family = AF_INET6;
		bpf_probe_read_kernel(key.addr, 16, (void *)(ip + 8));
		bpf_probe_read_kernel(&port, 2, (void *)(ip + 40));
	} else {
		bpf_probe_read_kernel(key.addr, 4, (void *)(ip + 12));
		bpf_probe_read_kernel(&port, 2, (void *)(ip + (byte & 15) * 4));
	}
	key.port = bpf_ntohs(port);
	s = bpf_map_lookup_elem(&udp_sources, &key);
	if (s && s->ino == new.ino) {
		if (s->proc != new.proc)
			s->proc = PROC_SHARED;
		return 0;
	}
	new.since = s ? bpf_ktime_get_ns() : 0;
	bpf_map_update_elem(&udp_sources, &key, &new, BPF_ANY);
	return 0;
}

static __always_inline bool udp_is_empty(__u64 sk)
{
	return !PEEK(struct udp_sock, sk, reader_queue.qlen) &&
	       !PEEK(struct sock, sk, sk_receive_queue.qlen);
}

#define UDP_ON_ITS_WAY 1000000000ULL /* ns: far longer than it takes within a host */
#define NO_MSG 1 /* not in the current call */

/* Where the kernel has said who sent what the current call received, in user memory; 0: not asked. */
static __always_inline __u64 name_asked(__u64 msg)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u32 kind = kind_of(regs);
	__u64 name = 0;

	if (msg == NO_MSG)
		return 0;
	if (kind == KIND_recvfrom)
		return call_arg(regs, 4);
	if (kind == KIND_recvmsg)
		msg = call_arg(regs, 1);
	if (msg && MSG_FIELD(name, msg, msg_hdr.msg_name))
		return 0;
	return name;
}

static __always_inline struct udp_source *udp_source_at(__u64 sk, __u64 name)
{
	struct chan_end e = {};
	struct udp_key key = {};
	__u16 port = 0;

	bpf_probe_read_user(&e.family, sizeof(e.family), (void *)name);
	bpf_probe_read_user(&port, sizeof(port), (void *)(name + 2));
	if (e.family == AF_INET6) {
		bpf_probe_read_user(e.addr, 16, (void *)(name + 8));
		inet_unmap(&e);
	} else if (e.family == AF_INET) {
		bpf_probe_read_user(e.addr, 4, (void *)(name + 4));
	} else {
		return NULL;
	}
	e.netns = udp_netns(sk);
	e.port = bpf_ntohs(port);
	udp_key_at(&key, &e, 0);
	return bpf_map_lookup_elem(&udp_sources, &key);
}

/*
 * A process has received a datagram and asked whose it is. It may have been on its way or lain there since
 * another socket had that address: then only what came after the reader found its socket empty is surely
 * not that one's.
 */
int udp_got(__u32 edge, __u64 file, __s64 ret, __u64 msg)
{
	struct edge_row *e = edge_at(edge);
	__u64 sk = sock_of(file), name = name_asked(msg), now = bpf_ktime_get_ns();
	struct udp_source *s;
	struct chan_row *c;

	if (!e)
		return 0;
	c = chan_at(e->chan_row);
	s = name && ret > 0 ? udp_source_at(sk, name) : NULL;
	if (c && s && s->proc != PROC_SHARED &&
	    (s->since || c->flags & CHAN_PREEXISTING ? e->pos > s->since + UDP_ON_ITS_WAY : 1))
		flow_add(e->chan, s->proc, e->proc, ret);
	if (udp_is_empty(sk))
		e->pos = now;
	return 0;
}

#define IFF_LOOPBACK 8

/* It leaves its socket, which may have got its port just now: an answer can come before the call ends. */
SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_xmit, struct sk_buff *skb)
{
	struct sock *sk = UNTRUSTED(struct sk_buff, skb)->sk;
	struct engine *en = the_engine();
	bool watched;
	__u64 ip;

	if (!sk || sk->sk_protocol != IPPROTO_UDP || !en)
		return 0;
	watched = state_of(bpf_get_current_task_btf());
	if (!watched && !en->udp_crowd)
		return 0;
	ip = (__u64)skb->head + skb->network_header;
	/* Nothing else stays in the sender's call until it has arrived. */
	if (PEEK(struct net_device, PEEK_ADDR(struct sk_buff, (__u64)skb, dev), flags) &
	    IFF_LOOPBACK)
		udp_source((__u64)sk, ip);
	if (watched)
		udp_leaves((__u64)sk, ip);
	return 0;
}

/* The mailbox that only that socket reads from, if it is known. */
static __always_inline struct chan_row *udp_mailbox(__u64 sk)
{
	struct chan_key key = { .mech = MECH_UDP, .ino = sock_ino(sk) };
	__u32 *row = bpf_map_lookup_elem(&chan_rows, &key);

	return row ? chan_at(*row) : NULL;
}

/*
 * A datagram lies in the socket's queue, of which there are two: the reader takes from its own. What is
 * read from there may be counted as memory until all is read; the kernel counts it against the room.
 */
static __noinline int udp_note_fill(__u64 sk)
{
	__u64 memory = PEEK(struct sock, sk, sk_backlog.rmem_alloc.counter);
	__u32 messages = PEEK(struct udp_sock, sk, reader_queue.qlen) +
			 PEEK(struct sock, sk, sk_receive_queue.qlen);
	struct chan_row *c = udp_mailbox(sk);
	__u64 group;

	if (!c || (memory <= c->highwater && messages <= c->highwater_messages))
		return 0;
	group = PEEK_ADDR(struct sock, sk, sk_reuseport_cb);
	if (group && PEEK(struct sock_reuseport, group, num_socks) > 1)
		return 0; /* each has a queue of its own */
	if (messages > c->highwater_messages)
		c->highwater_messages = messages;
	if (memory <= c->highwater)
		return 0;
	c->highwater = memory;
	c->capacity = PEEK(struct sock, sk, sk_rcvbuf);
	return 0;
}

/* No room, or no memory: it is lost. */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(on_drop, int rc, struct sock *sk)
{
	struct chan_row *c = udp_mailbox((__u64)sk);

	if (c)
		__sync_fetch_and_add(&c->dropped, 1);
	return 0;
}
