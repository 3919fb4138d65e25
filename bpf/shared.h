/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the BPF objects and the collector share beside the records: settings, keys, and the state
 * that hangs on a task. Nothing of this is ever written to a recording.
 */
#ifndef IPCTRACE_SHARED_H
#define IPCTRACE_SHARED_H

#include "glob.h"
#include "record.h"

#ifndef __VMLINUX_H__
#include <linux/bpf.h>
#endif

#define NR_CALLS 512 /* power of two above every syscall number */

enum scope { SCOPE_ALL = 1, SCOPE_PIDS = 2, SCOPE_CGROUP = 4, SCOPE_COMM = 8 };

#define MAX_GLOBS 4

struct settings {
	__u32 scope; /* enum scope */
	__u64 cgroup; /* id */
	__u32 cgroup_level;
	__u32 mechs; /* bit per enum mech */
	__u32 types; /* bit per S_IFMT >> 12: files that can be one of these */
	__u8 ops; /* a record per operation */
	__u8 life; /* a record per fork, exec, exit, channel */
	__u64 started; /* wall clock, seconds */
	__u32 pidns; /* inode of the tracer's pid namespace */
	__u8 uring_entry; /* the tracepoint of completions gives the entry of the ring */
	__u32 nr_procs, nr_tasks, nr_chans, nr_edges, nr_ledgers; /* rows */
	struct glob comm[MAX_GLOBS];
	__u32 nr_comms;
	__u32 nr_cpus; /* possible ones */
};

enum table { TABLE_PROCS, TABLE_TASKS, TABLE_CHANS, TABLE_EDGES, TABLE_LEDGERS, TABLE_MAX };

/* The one row of `engine`. */
struct engine {
	__u32 next_id; /* of processes, tasks and channels alike; never used again */
	__u32 used[TABLE_MAX]; /* rows ever handed out by counting up */
	__u32 self; /* pid of the tracer, as the kernel counts them */
	__u32 rescan; /* a task came into scope whose threads are not known yet */
	__u64 seen; /* calls of tasks that have ended, see task_state.seen */
	__u64 unfinished; /* of these, still in the kernel when the trace ended */
	__u32 touches, page_groups, flows; /* rows in the maps of these */
	__u32 _pad4;
	__u64 jiffies, ktime; /* taken together, to turn jiffies into time */
	__u64 loss[LOSS_MAX];
	__u32 queue_users; /* there are any */
	__u32 queue_crowd; /* some type has several senders and several receivers */
	__u32 queues_off; /* threads: QUEUE_OFF */
	__u32 passes; /* rows made in the map of these since the collector took them out */
	__u32 places; /* how often somebody else may have come to be whom datagrams go to */
	__u32 _pad;
	__u64 eventfds; /* made so far, and others whose addresses are used again */
	__u64 message_site; /* what code allocates messages of queues; 0: not known yet */
	/* Of sockets that several processes read from: there are some, see crowd.bpf.c. */
	__u32 unix_crowd;
	__u32 udp_crowd;
	__u32 follows_skbs; /* the collector's: each that is allocated has been seen since it was set */
	__u32 _pad3;
	__u64 skb_cache; /* address of what buffers of sockets are allocated from; 0: not known yet */
};

/*
 * Rows of sockets list no edges: in their place is who alone writes or reads at each end; 0: nobody yet;
 * PROC_SHARED: several do.
 */
#define SOLE_USER(end, role) (((end)&1) << 1 | ((role)&1))

#define SIGNAL_QUEUE 64 /* power of two */

/* Signals that were sent and not yet taken, oldest first. */
struct signal_queue {
	__u32 head, tail;
	struct {
		__u32 from; /* process id */
		__u32 token; /* what the receiver will see of its origin */
		__u32 n;
	} at[SIGNAL_QUEUE];
};

struct queue_key {
	__u32 chan; /* id */
	__u32 tid; /* of one thread alone; 0: of the process */
};

/* Whose an edge is. */
struct edge_owner {
	__u32 task, proc; /* rows */
	__u32 task_id, proc_id;
};

/* What tells a process from all others, see struct proc_row. */
struct proc_ident {
	__u64 start_ns;
	__u32 pid;
	__u32 _pad;
};

struct edge_key {
	__u32 task; /* id */
	__u32 chan; /* id */
	__u32 role;
	__u32 end;
};

/* A file that the thread used lately. */
struct fd_cache {
	__u64 file; /* address */
	__u64 inode; /* which: the address alone may be another file's by now */
	__u64 ident; /* the same with its peer, if it can have another one later */
	__u32 chan[ROLES_IO]; /* row + 1: a socket may write to one and read from another */
	__u32 edge[ROLES_IO]; /* row + 1; 0: not known yet; NOT_WATCHED: no channel */
	__u32 places; /* see struct engine, when it was learnt where it writes to */
	__u32 _pad;
};

#define NOT_WATCHED 0xffffffffU
#define SIGNALFD 0xfffffffeU /* what is read from it comes over other channels */
#define OF_PROCESS 0xfffffffdU /* leads to another process: see vm.bpf.c */

enum act_flags {
	ACT_NONBLOCK = 1,
	ACT_SLEPT = 2,
	ACT_PEEK = 4,
	ACT_ONE_OF_MANY = 8, /* what others did may have come between what it did and its end */
};

/* What a call does to one channel. */
struct act {
	__u32 edge; /* row + 1; 0: nothing */
	__u32 chan; /* row + 1 */
	__u32 role;
	__u32 flags; /* enum act_flags */
	__u64 file;
};

#define FD_CACHE 16 /* power of two */
#define ACTS 2 /* splice has two files */
#define URING_WAITING 4

/* Where the thread waited or woke lately: a set of semaphores, or a word in memory. */
struct sync_cache {
	__u64 at; /* the set's id, or the word's address */
	__u64 mm, seq; /* whose address, and how often that map had changed; the set, 0 */
	__u32 chan; /* row + 1 */
	__u32 chan_id;
	__u32 edge[2]; /* row + 1, by the role's lowest bit; 0: not known */
};

#define SYNC_CACHE 4 /* power of two */

/* A call of several messages. */
struct mmsg {
	__u64 file;
	__s64 ret;
	__u32 fd, role, flags;
	__u8 named; /* they can go to different places */
	__u8 is_unix;
	__u8 noted; /* the call slept: the first message's channel was taken then */
	__u8 _pad;
};

enum task_flags { TASK_COMPAT = 1, TASK_IO_WORKER = 2 };

/* Uses message queues; is on a CPU, or off it in a call on one; asleep there. See queue.bpf.c. */
enum queue_use { QUEUE_USER = 1, QUEUE_ON = 2, QUEUE_OFF = 4, QUEUE_ASLEEP = 8 };

struct task_state {
	__u32 task; /* row */
	__u32 task_id;
	__u32 proc; /* row */
	__u32 proc_id;
	__u32 why; /* enum scope: what put it in scope */
	__u32 flags; /* enum task_flags */
	__u64 seen; /* calls on channels, counted where they are first noticed */
	/* Only of a call that sleeps: noted then, used and cleared when it ends. */
	__u64 call; /* call_id() */
	__u32 waits; /* which of acts[] it waits for */
	__u32 _pad;
	__u64 slept_since; /* 0: runs */
	__u64 slept[ACTS]; /* for each, in this call so far */
	struct act acts[ACTS];
	struct mmsg mmsg;
	/* Requests of io_uring to send datagrams: the last that was submitted, and others before. */
	__u64 uring_req, uring_waiting[URING_WAITING];
	__u32 uring_crowd; /* there were more than that */
	__u32 _pad4;
	struct act uring; /* of a request that completes, maybe in the middle of a call */
	__u32 waker; /* process that woke it last while it waited for others; 0: nobody */
	__u32 _pad2;
	__u32 to_chan, to_edge; /* row + 1: where the last datagram with an address went */
	__u32 queue; /* enum queue_use */
	__u32 queue_chan; /* id: asleep there */
	__u64 to_own; /* inode of the UDP socket that the last one found there; 0: none */
	__u64 message; /* the one that the call sends: its address */
	__u32 message_from; /* who sent the one that it received; 0: not known */
	__u32 _pad3;
	__s64 message_tag;
	__u64 message_size, message_time;
	__u64 message_site; /* what code has made it */
	__u64 moved_end; /* where in the file a request of io_uring ended; 0: not known */
	struct fd_cache cache[FD_CACHE];
	struct sync_cache sync[SYNC_CACHE];
};

/*
 * Who put which bytes into a channel that has several writers. Positions count the bytes ever put
 * in; an entry ends where the next begins. See ledger.bpf.c.
 */
#define LEDGER_ENTRIES 256 /* power of two */
#define LEDGER_DEBTS 8

struct ledger_entry {
	__u64 end;
	__u32 writer;
	__u32 _pad;
};

struct ledger_debt {
	__u64 start, end;
	__u32 reader;
	__u32 _pad;
};

/* Where a ring of buffers stands. Buffers are numbered from 0 as they are filled. */
struct ring_view {
	__u64 bufs; /* address */
	__u32 head, tail; /* next to be filled, oldest */
	__u32 first; /* offset in the oldest, 0 if it is empty */
	__u32 last; /* end of the newest, 0 before the first */
	__u64 bytes;
};

struct ledger {
	struct bpf_spin_lock lock;
	__u32 chan; /* id */
	__u32 version; /* of base */
	__u32 fresh; /* for whose first write it was opened, which has not ended yet; 0: none */
	__u32 lost; /* does not agree with the ring, for good */
	__u32 sole[ROLES_IO]; /* process: the only one so far; 0: none yet; PROC_SHARED: several */
	__u32 writes; /* that were entered, as long as there is one writer and one reader */
	struct ring_view base; /* the ring when it was last looked at */
	/* Positions: bytes put in by then, and up to where by whom is known; the same of taking. */
	__u64 put, wpos;
	__u64 taken, rpos;
	/* Calls that have returned and lie beyond: their bytes; of whom (writers). */
	__u64 wrote, read;
	__u32 writer;
	__u32 walkers; /* readers that are looking through the entries */
	__u32 head, tail; /* of entries */
	__u32 nr_debts;
	struct ledger_debt debts[LEDGER_DEBTS]; /* read before its write was seen to end */
	struct ledger_entry entries[LEDGER_ENTRIES];
};

/*
 * Messages of one type or priority of a queue. They are numbered as calls return; all numbers begin
 * again with each epoch. See queue.bpf.c.
 */
struct tag_key {
	__u32 chan; /* id */
	__u32 epoch;
	__s64 tag; /* type or priority */
};

struct tag_val {
	__u64 sent, received;
	__u32 sender, receiver; /* 0: nobody yet; PROC_SHARED: several */
};

/* Whose order was not known, which does not matter if the tag had one sender or one receiver. */
struct tag_flow {
	struct tag_key tag;
	__u32 from, to;
};

#define MECHS_MEMORY (1U << MECH_SHM | 1U << MECH_POSIXSHM | 1U << MECH_MEMFD | 1U << MECH_MMAP)

/* What is written there stays, and can be read again and again by its place. */
#define MECHS_STORED (1U << MECH_POSIXSHM | 1U << MECH_MEMFD | 1U << MECH_FILE)

/* Where a process has shared memory; no page of it lies outside. */
#define MEM_SPANS 32 /* power of two */

struct mem_span {
	__u64 start, end; /* end 0: free */
	__u64 origin; /* see MEM_ORIGIN(); 0: not known, or it differs */
};

/* Such parts of an address space are told apart, until they begin anew. Chance puts few programs into one. */
#define MEM_PLACE_SHIFT 26
#define MEM_PLACES 16384 /* power of two */

struct mem_spans {
	__u32 proc; /* id */
	__u32 nr; /* 0: it has none */
	struct mem_span span[MEM_SPANS];
};

/* Pages of a channel that a process has touched since it last attached it, by 64. */
#define TOUCH_SHIFT 6
#define TOUCH_PAGES (1 << TOUCH_SHIFT)
#define MEM_NO_GROUP 0xffffffffU /* in its place, how often it has attached it */

struct touch_key {
	__u32 chan, proc; /* ids */
	__u32 group;
	__u32 _pad;
};

struct touch_val {
	__u64 bits[ROLES_IO];
	__u32 epoch;
	__u32 _pad;
};

/* Who was the last to be seen writing to each page of a channel, by 16. */
#define PAGE_GROUP_SHIFT 4
#define PAGE_GROUP (1 << PAGE_GROUP_SHIFT)

struct page_key {
	__u32 chan; /* id */
	__u32 group;
};

struct page_writers {
	__u32 writer[PAGE_GROUP]; /* process id; 0: nobody */
};

/*
 * What the processor has marked in the page table of 512 pages, as a process has them mapped; or in
 * the entry of one huge page, which is bit 0 then. See sample.bpf.h.
 */
enum page_mark {
	MARK_PRESENT = 0,
	MARK_ACCESSED = 1, /* since that was cleared, or since it was mapped */
	MARK_DIRTY = 2, /* written since it was mapped, or written back */
	MARK_SOFT_DIRTY =
		3, /* written since that was cleared; always clear where a kernel has none */
	MARK_MAX,
};

#define MARKED_WORDS 8 /* of 64 pages */
#define SAMPLE_TABLES 64 /* of one mapping at a time: so many find room in an iterator's buffer */

struct marked_pages {
	__u32 chan, proc; /* ids */
	__u32 chan_row;
	__u32 shift; /* size of the pages, as a power of two */
	__u64 addr;
	__u64 attached; /* how often the process has attached the channel so far */
	__u64 readonly; /* it cannot become writable */
	__u64 marks[MARK_MAX][MARKED_WORDS];
};

/* What the collector says before a look, and is told by it. */
struct sampling {
	__u64 base; /* where the kernel sees physical memory; 0: not found */
	__u32 first; /* of the page tables of a mapping */
	__u32 more; /* some mapping goes on */
	__u32 no_base; /* of some process it is another one, and so not known */
	__u32 _pad;
	/* The kernel side's own. */
	struct marked_pages out;
	__u64 table[512];
};

#define PASSES 32768 /* files whose descriptors were passed, by who did over which channel */

/*
 * Of a page of a file that several have written: which parts of it are whose. Where parts overlap, the
 * newest counts; where there is none, the page's former owner.
 */
#define PAGE_PARTS 128
#define PARTS_PAGES 4096

struct page_part {
	__u16 start, end; /* in the page */
	__u32 writer;
};

struct page_parts {
	__u32 nr; /* more than PAGE_PARTS: there was no room, or their order is not known */
	__u32 owner; /* process id; 0: what was there before */
	struct page_part part[PAGE_PARTS];
};

/* What an iterator writes for each open file that is a channel. */
struct snap_file {
	struct chan_key key;
	__u32 pid;
	__u16 modes; /* bit per enum role */
	__u16 end;
	__u64 start_ns;
};

#endif
