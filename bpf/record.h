/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The one header that the kernel side, the collector and recordings share.
 *
 * Rows are what the BPF programs keep in memory-mapped tables. A record is a row (or a fact) with a
 * header; a live trace and a replayed recording both feed the graph with records and nothing else.
 * Numbers are explicit and never reused. Readers skip unknown record types by their length, and
 * accept longer records than they know: rows only grow at the end.
 */
#ifndef IPCTRACE_RECORD_H
#define IPCTRACE_RECORD_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum mech {
	MECH_NONE = 0, /* not a channel, or one that this trace does not watch */
	MECH_PIPE = 1,
	MECH_FIFO = 2,
	MECH_UNIX = 3,
	MECH_TCP = 4,
	MECH_UDP = 5,
	MECH_MULTICAST = 6,
	MECH_MSG = 7,
	MECH_MQ = 8,
	MECH_SIGNAL = 9,
	MECH_EVENTFD = 10,
	MECH_PTY = 11,
	MECH_NETLINK = 12,
	MECH_VSOCK = 13,
	MECH_SHM = 14,
	MECH_POSIXSHM = 15,
	MECH_MEMFD = 16,
	MECH_MMAP = 17,
	MECH_SEM = 18,
	MECH_FUTEX = 19,
	MECH_FILE = 20,
	MECH_VM = 21,
	MECH_MAX,
};

/* Where processes wait for each other and nothing else. */
#define MECHS_QUEUE (1U << MECH_MSG | 1U << MECH_MQ)
#define MECHS_SYNC (1U << MECH_SEM | 1U << MECH_FUTEX | 1U << MECH_FILE)

/* Giving roles are even, and what they are answered by is the next one. */
enum role {
	ROLE_WRITE = 0,
	ROLE_READ = 1,
	ROLE_SEND_SIGNAL = 2,
	ROLE_RECEIVE_SIGNAL = 3,
	ROLE_PASS_FD = 4,
	ROLE_TAKE_FD = 5,
	ROLE_WAKE = 6,
	ROLE_WAIT = 7,
	ROLE_ATTACH = 8, /* these two concern all that have the same */
	ROLE_LOCK = 9,
	ROLE_MAX,
};

#define ROLES_IO 2 /* ROLE_WRITE and ROLE_READ */

#define COMM_LEN 16
#define UNIX_PATH_LEN 108
#define PATH_LEN 256 /* longer ones are cut, and say so (ROW_CUT) */
#define TITLE_LEN 64
#define ARGS_LEN 256

/* Process ids that stand for no one process. Real ones count up from 1. */
#define PROC_OUTSIDE 0xfffffffeU /* somebody this trace does not watch, or before it began */
#define PROC_SHARED 0xffffffffU /* several writers, whose order the kernel does not give */

enum proc_flags {
	PROC_DEAD = 1,
	PROC_INITIAL = 2, /* was there before the trace */
	PROC_ROOT = 4, /* the traced command itself, or named with -p */
	PROC_COMPAT = 8, /* 32-bit: its calls are not seen */
	PROC_CUT = 16, /* exe or cmdline did not fit */
	PROC_HOLDER = 32, /* not watched: only known to hold the other end of a channel */
	/* The kernel side's own. */
	PROC_GONE = 64, /* its last thread will not run again */
	PROC_KILLED = 128, /* the signal that ended it is counted */
};

/* A process: (pid, start time). Threads are folded into it. */
struct proc_row {
	__u32 id; /* 0: free row */
	__u32 parent; /* id of the parent, 0 if it is not watched */
	__u32 pid;
	__u32 ppid;
	__u64 start_ns; /* since boot */
	__u64 exit_ns; /* 0: alive */
	__u64 cgroup;
	__u32 uid;
	__u32 pidns;
	__u32 threads; /* live ones */
	__u32 wait_status; /* as wait(2) gives it */
	__u32 flags; /* enum proc_flags */
	__u16 exe_len; /* bytes used in exe[] */
	__u16 args_len; /* bytes used in args[]: argv, each with its NUL */
	char comm[COMM_LEN];
	char exe[PATH_LEN];
	char args[ARGS_LEN];
	/*
	 * The first of its arguments as it was when it last used something new: servers write there
	 * what each of their processes is for.
	 */
	char title[TITLE_LEN];
};

enum dead {
	DEAD_EXITING = 1,
	DEAD_GONE = 2, /* it will not run again */
	DEAD_TAKEN = 3, /* the collector's own: its edges are being taken out */
};

/* A thread, which owns edges. */
struct task_row {
	__u32 id; /* 0: free row */
	__u32 proc; /* id of its process */
	__u32 tid;
	__u32 dead; /* enum dead */
	__u64 seen; /* calls on watched channels, counted where they begin */
};

#define CHAN_EDGES 32

enum chan_flags {
	CHAN_PREEXISTING = 1,
	CHAN_CUT = 2, /* name did not fit */
	CHAN_LEDGER = 4, /* who wrote which bytes was kept in a ledger */
	CHAN_NO_LEDGER = 8, /* it should have been, and there was no room */
	CHAN_GONE = 16, /* nobody holds it: no record of it comes after this one */
	CHAN_TWO_ENDS = 32, /* a connection: what is written at one end is read at the other */
	CHAN_REMOVED = 64, /* System V: does not exist any more, so nobody needs to hold it */
	CHAN_MESSAGES = 128, /* keeps borders of messages, as not all of its mechanism do */
	CHAN_WRITABLE = 256, /* memory that is not only read */
	/* Why first touches of it were not seen. */
	CHAN_POPULATED = 512, /* mapped whole at once: MAP_POPULATE, mlock() */
	CHAN_HUGE = 1024, /* in huge pages, or it may be */
	CHAN_TOUCHED_BEFORE = 2048, /* somebody had it mapped before the trace */
};

/* What makes a channel the same channel. */
struct chan_key {
	__u32 mech;
	__u32 dev;
	__u64 ino;
	__u32 gen; /* i_generation: a FIFO made again under a recycled inode number is another one */
	__u32 word; /* of memory: offset of a futex, in units of 4 bytes; of files: WORD_INOTIFY */
};

#define WORD_INOTIFY 1 /* no file, but what tells of changes of files */

/* One of two ends of a connection, or what a mailbox is bound to. */
struct chan_end {
	__u64 ino; /* of its socket; 0: not known, or not yet */
	__u32 netns;
	__u16 family; /* 0: no address */
	__u16 port;
	__u8 addr[16]; /* network byte order; IPv4 in the first 4 */
};

/* Nothing is entered in the ledger, as there is one writer: the edges say it. */
#define LEDGER_RESTS (1U << 31)
/* Instead of a row, of a socket: several processes read from it. See crowd.bpf.c. */
#define LEDGER_CROWD (1U << 30)

struct chan_row {
	__u32 id; /* 0: free row */
	__u32 flags; /* enum chan_flags */
	struct chan_key key;
	__u64 first_ns;
	__u64 capacity; /* bytes it can hold, 0: unknown */
	__u64 highwater; /* most bytes ever seen in it */
	__u64 found_bytes; /* bytes that lay in it when it was first seen */
	__u32 first_writer; /* process id; 0: nobody yet; PROC_SHARED: not known who was first */

	__u32 ledger; /* row + 1, maybe with LEDGER_RESTS; or LEDGER_CROWD */
	__u16 name_len;
	__u16 page_shift; /* of memory: the size of its pages, as a power of two; 0: any other */
	char name[PATH_LEN];
	/* The kernel side's own: to see, when there is a second writer, whether the order is known. */
	__u32 edges[CHAN_EDGES]; /* row + 1 of those that there are; 0: none */
	__u32 edges_over; /* there were more than that */
	__u32 first_tail; /* of the ring, when the channel was first seen */
	__u64 gone_bytes[ROLES_IO]; /* of edges that were taken out */
	__u64 gone_pos[ROLES_IO]; /* in records, of TCP: where the two streams begin, in no order */
	/* Of both again. */
	struct chan_end ends[2];
	__u32 low_end; /* the kernel side's own: which end has the lower address */
	__s32 sysv_key; /* System V: what it was made with; key.dev is the namespace's inode */
	/* Of message queues. */
	__u64 capacity_messages; /* 0: only bytes are counted */
	__u64 highwater_messages;
	__u64 truncated_bytes; /* of messages, cut off by who had no room for them */
	__u64 queued_ns; /* from sending to receiving, all messages of which both ends are known */
	__u64 max_queued_ns;
	__u32 dropped; /* messages that found no room; signals thrown away as they waited */
	__u32 _pad2;
	__u64 found_at[2]; /* of a connection: what of found_bytes can be read at each end */
};

#define EDGE_ERRS 3
#define EDGE_TAGS 3
#define ERR_RESTART 255 /* ERESTARTSYS and its kin: interrupted, and made again or ended as EINTR */

/* Messages of one type (System V) or priority (POSIX). */
struct edge_tag {
	__s32 tag;
	__u32 ops; /* 0: free */
};

/*
 * Of an edge's pos, where its last call that moved bytes left all that was written to, or read from, that
 * end of the connection: a sequence number. The lower half is the kernel side's own.
 */
#define TCP_UPTO(pos) ((__u32)((pos) >> 32))

/*
 * Counters of one thread in one role on one channel. Only that thread writes them, so no atomics.
 * The first cache line is what a call touches that neither fails nor sleeps.
 */
struct edge_row {
	__u64 ops; /* calls that returned 0 or more */
	__u64 bytes; /* sum of what they returned */
	__u64 nonblocking_ops; /* calls (also failed ones) that asked not to sleep */
	__u64 last_ns; /* to the tick; jiffies while it is in the kernel's table */
	__u64 pos; /* where in the ring the last call ended; of TCP: TCP_UPTO() */
	__u32 task; /* row of the thread */
	__u32 chan_row;
	__u32 proc; /* id; 0: free row */
	__u32 chan; /* id */
	__u8 role;
	__u8 err_no[EDGE_ERRS];
	__u32 err_other; /* failed calls with an errno that errs[] had no room for */

	__u64 blocked_ops; /* calls that really slept */
	__u64 blocked_ns;
	__u64 max_blocked_ns;
	__u64 blocked_since; /* sleeping now, since then; 0: not */
	__u64 errs[EDGE_ERRS];
	__u64 first_ns;

	__u64 peeked_bytes; /* looked at but not consumed: tee(2), MSG_PEEK */
	__u8 end; /* of the channel, if it has two */
	__u8 has_value;
	__u8 _pad1[6];
	__u64 pages; /* of shared memory, touched for the first time after it was attached */
	__u64 woken; /* of a waker: how many it woke, at most; of who waited: by nobody who was seen */
	struct edge_tag tags[EDGE_TAGS];
	__u64 other_tags; /* messages of types or priorities that tags[] had no room for */
	/* Of events only. */
	__u64 ignored_ops; /* signals that had no effect, as they were sent or when they were taken */
	__u64 merged_ops; /* signals sent while the same one was waiting already */
	__u64 value; /* eventfd: sum of the counts; signals: the last si_value */
	/* Only with --shm-sample: pages found touched in each sample, in how many there were any. */
	__u64 sampled_pages, samples;
	__u64 _pad[3];
};

/* Who got whose bytes; kept by ledgers only. On other channels the edges say it. */
struct flow_key {
	__u32 chan;
	__u32 from; /* process id, PROC_OUTSIDE or PROC_SHARED */
	__u32 to;
	__u32 end; /* at which it was given, if the channel has two */
};

struct flow_val {
	__u64 ops; /* reads that got something of it */
	__u64 bytes;
	__u64 pages; /* of shared memory, that one wrote to and the other read then */
	__u64 blocked_ns; /* that the other slept, of events: until this one let it go on */
};

/*
 * What was passed to another process beside bytes: descriptors of a channel, or of another file, which
 * then is called by the type that it has (S_IFMT >> 12), or:
 */
enum passed {
	PASSED_ANON = 0, /* no place in any file system, and no channel */
	PASSED_PIPE = 1,
	PASSED_DEVICE = 2,
	PASSED_DIRECTORY = 4,
	PASSED_BLOCK = 6,
	PASSED_FILE = 8,
	PASSED_SOCKET = 12,
	PASSED_CLOSED = 16, /* it was not there any more when it was looked for */
	PASSED_CREDENTIALS = 17, /* no descriptor: the message says who sent it */
	PASSED_MAX,
};

struct pass_key {
	__u32 over; /* channel */
	__u32 proc;
	__u8 role; /* of credentials ROLE_WRITE or ROLE_READ, else ROLE_PASS_FD or ROLE_TAKE_FD */
	__u8 end; /* of over, if it has two */
	__u8 kind; /* enum passed */
	__u8 modes; /* bit ROLE_WRITE, bit ROLE_READ: what can be done with the descriptor */
	__u32 what; /* channel; 0: none, or none that is watched */
	__u32 what_end;
	__u32 dev; /* of the file; of a channel, too */
	__u64 ino;
};

struct pass_val {
	__u64 ops;
	__u32 over_row, what_row;
	__u32 pid, uid, gid; /* the last credentials */
	__u16 name_len;
	__u16 name_cut; /* did not fit */
	char name[PATH_LEN]; /* of no channel only; as in struct chan_row */
};

enum loss {
	LOSS_NO_EDGE = 0, /* calls not counted: the edge table was full */
	LOSS_NO_CHAN = 1, /* calls not counted: the channel table was full */
	LOSS_NO_PROC = 2, /* processes (with all they did) not seen: the process table was full */
	LOSS_NO_LEDGER = 3, /* channels whose many writers could not be told apart */
	LOSS_NO_FLOW = 4, /* bytes whose writer is known but the flow table was full */
	LOSS_COMPAT = 5, /* 32-bit programs (not calls): what they do is not decoded */
	LOSS_RING_PROC = 6, /* lifecycle records that found the ring full */
	LOSS_RING_OP = 7, /* per-operation records that found the ring full */
	LOSS_STRAY = 8, /* calls that slept on a file which was another one when they ended */
	LOSS_PAGE = 9, /* touches of shared pages that were not looked at, or had no room */
	LOSS_URING = 10, /* io_uring: completions that could not be seen, or not told of what */
	LOSS_AIO = 11, /* requests of io_submit() on channels: their results are not seen */
	LOSS_FUTEX = 12, /* futex calls of which the memory was just being changed */
	LOSS_PASSED = 13, /* descriptors or credentials of which it is not told what they were */
	LOSS_MAX,
};

enum rec_type {
	REC_META = 1,
	REC_PROC = 2,
	REC_CHAN = 3,
	REC_EDGE = 4,
	REC_FLOW = 5,
	REC_LOST = 6,
	REC_LIFE = 7,
	REC_OP = 8,
	REC_HOLDER = 9,
	REC_END = 10,
	REC_CGROUP = 11,
	REC_PASS = 12,
};

struct rec_hdr {
	__u16 type;
	__u16 len; /* of the whole record */
	__u32 cpu;
	__u64 time; /* CLOCK_MONOTONIC */
};

#define META_TEXT 4096

/* First record of all. */
struct rec_meta {
	struct rec_hdr h;
	__u32 schema; /* 1 */
	__u32 text_len;
	__u64 started; /* wall clock, ns */
	/*
	 * "key\0value\0" pairs: version, host, kernel, and any number of arg (the command),
	 * filter (name=value), note.
	 */
	char text[META_TEXT];
};

/* A process or channel as it is now; the last one of an id counts. */
struct rec_proc {
	struct rec_hdr h;
	struct proc_row row;
};

struct rec_chan {
	struct rec_hdr h;
	struct chan_row row;
};

/* Counters to be added to (process, channel, role). */
struct rec_edge {
	struct rec_hdr h;
	struct edge_row row;
};

struct rec_flow {
	struct rec_hdr h;
	struct flow_key key;
	struct flow_val val;
};

/* Who could use a channel when the trace began or ended: from the tables of open files. */
struct rec_holder {
	struct rec_hdr h;
	__u32 chan;
	__u32 proc;
	__u32 modes; /* bit ROLE_WRITE, bit ROLE_READ */
	__u32 end; /* of the channel, if it has two */
};

/* Running totals: the last one counts. */
struct rec_lost {
	struct rec_hdr h;
	__u64 seen; /* calls on watched channels that began */
	__u64 delivered; /* of these, counted in an edge */
	__u64 unfinished; /* of these, still in the kernel when the trace ended */
	__u64 causes[LOSS_MAX];
};

enum life { LIFE_FORK = 1, LIFE_EXEC = 2, LIFE_EXIT = 3, LIFE_CHAN = 4 };

struct rec_life {
	struct rec_hdr h;
	__u32 what; /* enum life */
	__u32 proc;
	__u32 other; /* FORK: the parent; CHAN: the channel; EXIT: wait status */
	__u32 pid;
	char comm[COMM_LEN];
};

/* One call on a channel; only with --ops. */
struct rec_op {
	struct rec_hdr h; /* time: when it ended */
	__u32 proc;
	__u32 tid;
	__u32 chan;
	__u32 role;
	__s64 ret;
	__u64 blocked_ns;
};

#define CGROUP_TEXT 1024

/* What the cgroup of processes is called. */
struct rec_cgroup {
	struct rec_hdr h;
	__u64 id;
	char path[CGROUP_TEXT]; /* from the root of the hierarchy */
};

/* Counts to be added up. */
struct rec_pass {
	struct rec_hdr h;
	struct pass_key key;
	struct pass_val val;
};

struct rec_end {
	struct rec_hdr h;
	__u64 duration_ns;
};

#define RECORD_MAX sizeof(struct rec_meta)

_Static_assert(sizeof(struct rec_hdr) == 16, "every record starts with the same 16 bytes");
_Static_assert(sizeof(struct edge_row) == 256, "an edge is whole cache lines");
_Static_assert(sizeof(struct chan_key) == 24, "keys are compared as bytes");
_Static_assert(sizeof(struct pass_key) == 32, "keys are compared as bytes");
_Static_assert(sizeof(struct rec_meta) < 65536, "rec_hdr.len is 16 bits");

#endif
