// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Unix sockets beyond reading and writing: where datagrams with an address go and whose they are, how
 * full sockets get.
 *
 * No system call says to which socket an address leads, nor who sent what a mailbox gave. But each
 * datagram tells its receiver, in the sender's own call, that there is something to read; and when it
 * is freed after it was read, in the receiver's call, it still knows the socket that sent it.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"
#include "uring.bpf.h"

#define SENT_RUNS 16
#define GOT_NOTES 32

/* What the current call has sent by address so far, to the end that it returns. */
struct sent_run {
	__u32 chan; /* row */
	__u32 id;
	__u32 n; /* messages, one after the other */
	__u32 _pad;
};

/* A datagram that the current call has received. */
struct got_note {
	__u32 writer; /* process; 0: not known */
	__u32 bytes;
	__u64 sk; /* that sent it. 0: who did is known by the datagram itself */
	__u32 ino; /* of that */
	__u32 _pad;
};

struct dgram_notes {
	__u32 nr_sent, at_sent;
	__u32 nr_got, at_got;
	struct sent_run sent[SENT_RUNS];
	struct got_note got[GOT_NOTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dgram_notes);
} dgram_notes SEC(".maps");

/* Where an address has led, for calls that fail or wait before anything is sent. */
struct unix_dest_key {
	__u32 netns;
	__u32 len;
	char path[UNIX_PATH_LEN];
};

struct unix_dest {
	__u32 chan; /* row */
	__u32 id;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct unix_dest_key);
	__type(value, struct unix_dest);
} unix_dests SEC(".maps");

/* Mailboxes by the address of the socket, which is all that is left of one that was closed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct unix_dest);
} dgram_boxes SEC(".maps");

/* Too big for the stack at the end of a long chain of calls. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unix_dest_key);
} unix_dest_keys SEC(".maps");

static __always_inline struct dgram_notes *notes_of_me(bool make)
{
	return bpf_task_storage_get(&dgram_notes, bpf_get_current_task_btf(), 0,
				    make ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
}

/* The socket of datagrams that the current call is on, if it is one. */
static __always_inline __u64 dgram_of_call(struct pt_regs *regs, __u32 kind)
{
	__u32 fd = call_arg(regs, kind == KIND_splice ? 2 : 0);
	__u64 file = file_of(bpf_get_current_task_btf(), fd), sk;

	if (!file || file_type(file) != S_IFSOCK >> 12)
		return 0;
	sk = sock_of(file);
	return sk && sock_family(sk) == AF_UNIX && sock_type(sk) == SOCK_DGRAM ? sk : 0;
}

/* --- sending --- */

static __always_inline void note_sent(__u32 chan, __u32 id)
{
	struct dgram_notes *n = notes_of_me(true);
	struct sent_run *run;

	if (!n)
		return;
	if (n->nr_sent > n->at_sent) {
		run = &n->sent[(n->nr_sent - 1) % SENT_RUNS];
		if (run->id == id) {
			run->n++;
			return;
		}
	}
	if (n->nr_sent - n->at_sent >= SENT_RUNS)
		return;
	run = &n->sent[n->nr_sent % SENT_RUNS];
	run->chan = chan;
	run->id = id;
	run->n = 1;
	n->nr_sent++;
}

/*
 * Who receives it may close its socket before the call returns: then nothing tells any more where it
 * went.
 */
static __always_inline void dgram_attach(struct task_state *ts, struct pt_regs *regs, __u32 kind,
					 __u32 chan)
{
	__u32 fd = call_arg(regs, kind == KIND_splice ? 2 : 0);
	__u64 file = file_of(bpf_get_current_task_btf(), fd), ident;
	struct fd_cache *cache = &ts->cache[fd % FD_CACHE];

	if (!file)
		return;
	ident = file_ident(file);
	if (cache->file != file || cache->ident != ident) {
		cache->file = file;
		cache->inode = inode_ident(FIELD(OBJECT(struct file, file), f_inode));
		cache->ident = ident;
		cache->edge[ROLE_READ] = cache->edge[ROLE_WRITE] = 0;
	}
	if (cache->edge[ROLE_WRITE])
		return;
	cache->chan[ROLE_WRITE] = chan + 1;
	cache->edge[ROLE_WRITE] = edge_row_of(chan, 0, ROLE_WRITE) + 1;
}

/* Somebody reads from that socket. */
int dgram_opened(__u32 chan, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	struct unix_dest box = { .chan = chan };
	__u64 sk = sock_of(file);

	if (!c || c->flags & CHAN_TWO_ENDS)
		return 0;
	box.id = c->id;
	bpf_map_update_elem(&dgram_boxes, &sk, &box, BPF_ANY);
	return 0;
}

/* The mailbox of a socket, which may have been read and closed just now. */
static __always_inline __u64 dgram_box(__u64 sk)
{
	struct chan_key key = { .mech = MECH_UNIX, .ino = sock_ino(sk) };
	__u64 socket = PEEK_ADDR(struct sock, sk, sk_socket);
	struct unix_dest *box;
	struct chan_row *c;

	if (key.ino && socket)
		return chan_get(&key, PEEK_ADDR(struct socket, socket, file), ROLE_READ, 0);
	box = bpf_map_lookup_elem(&dgram_boxes, &sk);
	c = box ? chan_at(box->chan) : NULL;
	return c && c->id == box->id ? box->chan : NO_ROW;
}

/* The current task has put a datagram into that socket. */
static __noinline int dgram_sent(__u64 sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u32 kind = kind_of(regs), messages;
	__u64 from = 0, req = 0, found, name;
	struct task_state *ts;
	struct chan_row *c;

	/* A worker has registers, but they are of whoever made it. */
	if (!(task->flags & PF_IO_WORKER))
		from = dgram_of_call(regs, kind);
	if (!from) {
		req = uring_sending();
		from = req ? sock_of(PEEK_ADDR(struct io_kiocb, req, file)) : 0;
	}
	ts = state_of(task);
	if (!ts || !from)
		return 0;
	found = dgram_box(sk);
	c = chan_at(found);
	if ((__u32)found >= NO_ROOM || !c)
		return 0;
	if (dgram_written_by(from, ts->proc_id) == PROC_SHARED)
		crowd_of_senders(c);
	messages = PEEK(struct sock, sk, sk_receive_queue.qlen);
	if (messages > c->highwater_messages)
		c->highwater_messages = messages;
	if (req)
		uring_went_to(req, found, c->id);
	else if (name_of_msg(regs, kind, &name))
		note_sent(found, c->id);
	else
		dgram_attach(ts, regs, kind, found);
	return 0;
}

/* There is something to read from that socket. */
static __always_inline int dgram_ready(struct sock *sk)
{
	if (sk->sk_type != SOCK_DGRAM)
		return 0;
	if (sk->__sk_common.skc_family == AF_UNIX && cfg.mechs & 1U << MECH_UNIX)
		dgram_sent((__u64)sk);
	if (sk->sk_protocol == IPPROTO_UDP && cfg.mechs & 1U << MECH_UDP)
		udp_note_fill((__u64)sk);
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(on_ready, struct sock *sk)
{
	return dgram_ready(sk);
}

/* Before Linux 6.3 (40e0b0908142, "net/sock: Introduce trace_sk_data_ready()"). */
SEC("fentry/sock_def_readable")
int BPF_PROG(on_ready_6_2, struct sock *sk)
{
	return dgram_ready(sk);
}

static __always_inline __u64 sent_to(struct dgram_notes *n)
{
	struct sent_run *run = &n->sent[n->at_sent % SENT_RUNS];
	struct chan_row *c = chan_at(run->chan);
	__u32 chan = run->chan;
	bool same = c && c->id == run->id;

	if (!--run->n)
		n->at_sent++;
	if (n->at_sent == n->nr_sent)
		n->at_sent = n->nr_sent = 0;
	return same ? chan : NO_ROW;
}

/* kernel: it is in the kernel's memory. */
static __always_inline bool dest_key(struct unix_dest_key *key, __u64 file, __u64 name, __u32 len,
				     bool kernel)
{
	__u32 n = len - bpf_core_field_offset(struct sockaddr_un, sun_path);
	long err;

	__builtin_memset(key, 0, sizeof(*key));
	key->netns = sock_netns(sock_of(file));
	if (len <= bpf_core_field_offset(struct sockaddr_un, sun_path) || n > UNIX_PATH_LEN)
		return false;
	name += bpf_core_field_offset(struct sockaddr_un, sun_path);
	asm volatile("%0 &= 0x7f" : "+r"(n));
	if (kernel)
		err = bpf_probe_read_kernel(key->path, n, (void *)name);
	else
		err = bpf_probe_read_user(key->path, n, (void *)name);
	if (err)
		return false;
	/* With or without its NUL, or more behind it, a path is the same. */
	key->len = key->path[0] ? 0 : n;
	return true;
}

/* Where that address led before; NO_ROW: not known. */
__u32 unix_row_known(__u64 file, __u64 name, __u32 len, bool kernel)
{
	struct unix_dest *known;
	struct unix_dest_key *key;
	struct chan_row *c;
	__u32 zero = 0;

	key = bpf_map_lookup_elem(&unix_dest_keys, &zero);
	if (!key || !dest_key(key, file, name, len, kernel))
		return NO_ROW;
	known = bpf_map_lookup_elem(&unix_dests, key);
	c = known ? chan_at(known->chan) : NULL;
	return c && c->id == known->id ? known->chan : NO_ROW;
}

/* The address that unix_row_known() has just looked for leads there. */
static __always_inline void dest_is(__u32 chan, __u32 id)
{
	struct unix_dest to = { .chan = chan, .id = id };
	struct unix_dest_key *key;
	__u32 zero = 0;

	key = bpf_map_lookup_elem(&unix_dest_keys, &zero);
	if (key)
		bpf_map_update_elem(&unix_dests, key, &to, BPF_ANY);
}

/*
 * The mailbox that the current call's next message went to, by its address in user memory; of a call
 * that has sent nothing, where that led before. NO_ROW: not known.
 */
__u64 unix_row_to(__u64 file, __u64 name, __u32 len)
{
	__u32 known = unix_row_known(file, name, len, false), to;
	struct dgram_notes *n = notes_of_me(false);
	struct chan_row *c;

	if (!n || n->nr_sent == n->at_sent)
		return known;
	to = sent_to(n);
	c = chan_at(to);
	if (!c || to == NO_ROW)
		return NO_ROW;
	if (known != to)
		dest_is(to, c->id);
	return to;
}

/* The same of a request of io_uring, by its address in the kernel. */
__u64 unix_row_of_request(__u64 file, __u64 req, __u32 failed)
{
	struct uring_to *to = bpf_map_lookup_elem(&uring_tos, &req);
	struct chan_row *c;
	__u32 known;

	if (!to)
		return NO_ROW;
	known = unix_row_known(file, number_of(to->name), to->len, true);
	if (!to->chan)
		return failed ? known : NO_ROW;
	c = chan_at(to->chan - 1);
	if (!c || c->id != to->id)
		return NO_ROW;
	if (known != to->chan - 1)
		dest_is(to->chan - 1, to->id);
	return to->chan - 1;
}

/* --- receiving --- */

/* The current task has taken a datagram of that socket out of its own, and is done with it. */
static __noinline int dgram_got(__u64 skb, __u64 from, __u32 bytes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct task_state *ts = state_of(task);
	__u32 kind = kind_of(regs), sender;
	struct dgram_notes *n;
	struct got_note *note;
	__u32 ino = dgram_ino(from);

	sender = dgram_got_of(from, ino, PEEK(struct sk_buff, skb, truesize));
	if (!ts || kind_writes(kind) || !dgram_of_call(regs, kind))
		return 0;
	n = notes_of_me(true);
	if (!n || n->nr_got - n->at_got >= GOT_NOTES)
		return 0;
	note = &n->got[n->nr_got % GOT_NOTES];
	n->nr_got++;
	note->bytes = bytes;
	note->writer = skb_sender(skb);
	note->sk = 0;
	if (note->writer)
		return 0;
	note->writer = sender;
	note->sk = from;
	note->ino = ino;
	return 0;
}

SEC("tp_btf/consume_skb")
int BPF_PROG(unix_taken, struct sk_buff *skb)
{
	struct sock *from = UNTRUSTED(struct sk_buff, skb)->sk;

	if (!from || from->__sk_common.skc_family != AF_UNIX)
		return 0;
	if (from->sk_type == SOCK_DGRAM)
		dgram_got(number_of(skb), number_of(from), skb->len);
	if (skbs_are_followed())
		skb_is_gone((__u64)skb);
	return 0;
}

/*
 * A call took datagrams of which none, or not all, are among what it returns: they could not be copied,
 * or were only to be looked at, and another reader had just taken them. The next ones are others.
 */
int dgrams_end(__u32 edge)
{
	struct edge_row *e = edge_at(edge);
	struct chan_row *c = e && e->role == ROLE_READ ? chan_at(e->chan_row) : NULL;
	struct dgram_notes *n;

	if (!c || c->key.mech != MECH_UNIX || c->flags & CHAN_TWO_ENDS)
		return 0;
	n = notes_of_me(false);
	if (n)
		n->at_got = n->nr_got = 0;
	return 0;
}

static __always_inline void dgram_read_of(struct got_note *note, __u32 chan, __u32 reader,
					  __u64 bytes)
{
	if (note->writer)
		flow_add(chan, note->writer, reader, bytes);
	else
		dgram_stays_open(note->sk, note->ino, chan, reader, bytes);
}

static __always_inline void dgram_read(struct chan_row *c, __u32 reader, __s64 ret)
{
	struct dgram_notes *n = notes_of_me(false);
	struct got_note *note;

	if (!n || n->at_got == n->nr_got)
		return;
	note = &n->got[n->at_got % GOT_NOTES];
	if (++n->at_got == n->nr_got)
		n->at_got = n->nr_got = 0;
	/* What was there before the trace may be another one's. */
	if (ret > 0 && (!note->sk || !c->found_bytes))
		dgram_read_of(note, c->id, reader, ret);
	if (note->bytes > ret)
		__sync_fetch_and_add(&c->truncated_bytes, note->bytes - ret);
}

/* --- how full it is --- */

int unix_note_fill(__u32 chan, __u32 edge, __u64 file)
{
	__u64 sk = sock_of(file), peer = unix_peer(sk), bytes;
	struct chan_row *c = chan_at(chan);
	struct edge_row *e = edge_at(edge);

	if (!c || !e || !peer || !unix_may_be_fuller(sk, e))
		return 0;
	e->pos = PEEK(struct sock, sk, sk_wmem_alloc.refs.counter);
	bytes = queue_bytes(peer);
	c->capacity = PEEK(struct sock, sk, sk_sndbuf);
	if (bytes > c->highwater && bytes <= c->capacity)
		c->highwater = bytes;
	return 0;
}

/* A call has moved data through a unix socket, or a message: ret bytes. */
int unix_moved(__u32 chan, __u32 edge, __u64 file, __u32 role, __s64 ret)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_row *c = chan_at(chan);

	if (!ts || !c)
		return 0;
	if (role == ROLE_READ)
		dgram_read(c, ts->proc_id, ret);
	else if (ret > 0)
		unix_note_fill(chan, edge, file);
	return 0;
}
