/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Everything that differs between kernels, one accessor each, and how kernel memory is read.
 */
#ifndef IPCTRACE_COMPAT_BPF_H
#define IPCTRACE_COMPAT_BPF_H

#include "maps.bpf.h"

/*
 * Linux 6.2 (a35b9af4ec2c, "bpf: Add a kfunc for generic type cast"): a cast that makes a number a
 * readable pointer, so that a field costs one load instead of a helper call. All is built twice, with
 * and without: to let the verifier cut one way out of each place took as long as the rest of its work.
 */
#if CASTS
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

#define CAST(type, addr) \
	((type *)bpf_rdonly_cast((const void *)(addr), bpf_core_type_id_kernel(type)))

/*
 * For each pointer that is loaded through one that it trusts, the verifier looks through the names of all
 * the kernel's types, which takes as long as a thousand instructions.
 */
#define UNTRUSTED(type, pointer) CAST(type, pointer)

/* A number in a kernel object of which only the address is known. */
#define PEEK(type, addr, field) (CAST(type, addr)->field)

/* Such an object, a field of it, one of what it points to: for several fields, less code. */
#define OBJECT(type, addr) CAST(type, addr)
#define FIELD(object, field) ((object)->field)
#define FIELD_OF(object, pointer, field) ((object)->pointer->field)

/* The address at that address, as a number: of type rb_node only the first long is used. */
static __always_inline __u64 addr_at(__u64 where)
{
	return CAST(struct rb_node, where)->__rb_parent_color;
}
#else
#define UNTRUSTED(type, pointer) (pointer)
/* What gives the address is no field of the kernel's. */
#define PEEK(type, addr, field)                   \
	({                                        \
		__u64 _a = (addr);                \
		BPF_CORE_READ((type *)_a, field); \
	})
#define OBJECT(type, addr) ((type *)(addr))
#define FIELD(object, field) BPF_CORE_READ(object, field)
#define FIELD_OF(object, pointer, field) BPF_CORE_READ(object, pointer, field)

static __always_inline __u64 addr_at(__u64 where)
{
	__u64 addr = 0;

	bpf_probe_read_kernel(&addr, sizeof(addr), (void *)where);
	return addr;
}
#endif

/* A pointer as a number, which is all that functions of their own may be given. */
static __always_inline __u64 number_of(const void *p)
{
	__u64 n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), &p);
	return n;
}

/* A pointer in a kernel object; a number, as the verifier lets nothing be added to a pointer. */
#define PEEK_ADDR(type, addr, field) addr_at((addr) + bpf_core_field_offset(type, field))

/* Linux 6.13 (90ee6ed776c0, "fs: port files to file_ref"): f_count became f_ref, which is one less. */
struct file___6_12 {
	atomic64_t f_count;
} __attribute__((preserve_access_index));

/* Linux 6.5 (dc97391e6610, "sock: Remove ->sendpage*() in favour of sendmsg(MSG_SPLICE_PAGES)"). */
struct proto_ops___6_4 {
	void *sendpage;
} __attribute__((preserve_access_index));

/* Has it several descriptors, here or in other processes? */
static __always_inline bool file_is_shared(__u64 file)
{
	struct file___6_12 *old = (void *)file;

	if (bpf_core_field_exists(old->f_count))
		return BPF_CORE_READ(old, f_count.counter) > 1;
	return BPF_CORE_READ((struct file *)file, f_ref.refcnt.counter) > 0;
}

/*
 * A number on the stack that rounds of bpf_loop() change. Until Linux 6.7 (ab5cfac139ab, "bpf: verify
 * callbacks as if they are called unknown number of times") the verifier goes through one round only, and
 * takes out the code that only later ones would come to. Read so, the number can be anything.
 */
#define OF_ANY_ROUND(var)                                       \
	({                                                      \
		typeof(var) _v;                                 \
		bpf_probe_read_kernel(&_v, sizeof(_v), &(var)); \
		_v;                                             \
	})

struct io_kiocb___6_6 {
	struct {
		__u64 extra1;
	} big_cqe;
} __attribute__((preserve_access_index));

/*
 * Linux 6.6 takes the ring's entry first and tells of the completion then: one that finds no room is
 * told as an overflow only. The same series ("io_uring: simplify big_cqe handling") added this field.
 */
static __always_inline bool uring_overflow_is_silent(void)
{
	return bpf_core_field_exists(((struct io_kiocb___6_6 *)0)->big_cqe);
}

/* Until Linux 6.12; since then a registered file is a node. */
struct io_fixed_file___6_12 {
	unsigned long file_ptr;
} __attribute__((preserve_access_index));

struct io_file_table___6_12 {
	struct io_fixed_file___6_12 *files;
} __attribute__((preserve_access_index));

struct io_ring_ctx___6_12 {
	struct io_file_table___6_12 file_table;
	unsigned int nr_user_files;
} __attribute__((preserve_access_index));

#define URING_FILE_MASK (~7ULL) /* the low bits are flags */

/* The registered file of that number in a ring; 0: none. */
static __always_inline __u64 uring_fixed_file(__u64 ring, __u32 i)
{
	struct io_ring_ctx___6_12 *old = (void *)ring;
	struct io_ring_ctx *ctx = (void *)ring;
	__u64 node;

	if (bpf_core_field_exists(old->nr_user_files)) {
		if (i >= BPF_CORE_READ(old, nr_user_files))
			return 0;
		return addr_at((__u64)BPF_CORE_READ(old, file_table.files) +
			       (__u64)i * sizeof(void *)) &
		       URING_FILE_MASK;
	}
	if (i >= BPF_CORE_READ(ctx, file_table.data.nr))
		return 0;
	node = addr_at((__u64)BPF_CORE_READ(ctx, file_table.data.nodes) +
		       (__u64)i * sizeof(void *));
	return node ? PEEK(struct io_rsrc_node, node, file_ptr) & URING_FILE_MASK : 0;
}

/* Until Linux 6.12 or so a request to send kept the program's address; since then the kernel's copy. */
struct io_sr_msg___6_12 {
	void *addr;
	__u16 addr_len;
} __attribute__((preserve_access_index));

static __always_inline bool uring_keeps_user_name(void)
{
	return bpf_core_field_exists(((struct io_sr_msg___6_12 *)0)->addr);
}

/* Returns its length, 0: there is none. */
static __always_inline __u32 uring_send_name(__u64 req, __u64 *name)
{
	struct io_sr_msg___6_12 *old = (void *)req;
	struct msghdr *msg;
	__u64 copy;

	if (uring_keeps_user_name()) {
		*name = (__u64)BPF_CORE_READ(old, addr);
		return *name ? BPF_CORE_READ(old, addr_len) : 0;
	}
	copy = PEEK_ADDR(struct io_kiocb, req, async_data);
	if (!copy)
		return 0;
	msg = (void *)(copy + bpf_core_field_offset(struct io_async_msghdr, msg));
	*name = (__u64)BPF_CORE_READ(msg, msg_name);
	return *name ? BPF_CORE_READ(msg, msg_namelen) : 0;
}

/* What a worker of io_uring is doing; worker: its own, 0: it is none. */
static __always_inline __u64 uring_worker_request(__u64 worker)
{
	__u64 work = worker ? PEEK_ADDR(struct io_worker, worker, cur_work) : 0;

	return work ? work - bpf_core_field_offset(struct io_kiocb, work) : 0;
}

/*
 * How often a map of memory was changed; 0: not known. Linux 6.4 (5e31275cc997, "mm: add per-VMA lock and
 * helper functions to control it") counts up when a change has ended; since 6.13 (eb449bd96954) when it
 * begins, too, so that the number is odd meanwhile.
 */
struct mm_struct___6_4 {
	int mm_lock_seq;
} __attribute__((preserve_access_index));

struct mm_seq___6_13 {
	unsigned int sequence;
} __attribute__((preserve_access_index));

struct mm_struct___6_13 {
	struct mm_seq___6_13 mm_lock_seq;
} __attribute__((preserve_access_index));

static __always_inline __u32 mm_map_changes(__u64 mm)
{
	struct mm_struct___6_13 *now = (void *)mm;
	struct mm_struct___6_4 *old = (void *)mm;

	if (bpf_core_field_exists(now->mm_lock_seq.sequence))
		return BPF_CORE_READ(now, mm_lock_seq.sequence);
	if (bpf_core_field_exists(old->mm_lock_seq))
		return BPF_CORE_READ(old, mm_lock_seq);
	return 0;
}

/* Another one whenever the map of that memory may have changed. 0: not known. */
static __always_inline __u64 mm_map_version(__u64 mm)
{
	struct mm_struct___6_13 *now = (void *)mm;
	struct mm_struct___6_4 *old = (void *)mm;
	__u64 seq = mm_map_changes(mm);

	if (bpf_core_field_exists(now->mm_lock_seq.sequence))
		return seq & 1 ? 0 : seq << 1 | 1;
	return bpf_core_field_exists(old->mm_lock_seq) ? seq << 1 | 1 : 0;
}

#define RWSEM_WRITER_LOCKED 1
#define RWSEM_READER_OWNED 1
#define RWSEM_OWNER_FLAGS 7ULL

/* Is somebody changing the map, or about to? */
static __always_inline bool mm_map_is_locked(__u64 mm)
{
	return PEEK(struct mm_struct, mm, mmap_lock.count.counter) & RWSEM_WRITER_LOCKED;
}

/* Kernels with PREEMPT_RT have locks of another kind. */
static __always_inline bool rwsem_tells_owner(void)
{
	return bpf_core_field_exists(((struct rw_semaphore *)0)->owner);
}

/* Who has the lock for writing, from before the first change until after the last; 0: nobody. */
static __always_inline __u64 rwsem_writer(__u64 lock)
{
	__u64 owner = PEEK_ADDR(struct rw_semaphore, lock, owner);

	/* A reader stays written there. */
	return owner & RWSEM_READER_OWNED ? 0 : owner & ~RWSEM_OWNER_FLAGS;
}

#define SPREAD 0x9e3779b97f4a7c15 /* times a number, so that its lowest bits change all of it */

#define EAGAIN 11
#define ENOSYS 38
#define SIGKILL 9
#define O_NONBLOCK 04000
#define S_IFMT 0170000
#define S_IFIFO 0010000
#define S_IFCHR 0020000
#define S_IFREG 0100000
#define S_IFSOCK 0140000
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define PIPEFS_MAGIC 0x50495045
#define FMODE_READ 1
#define FMODE_WRITE 2
#define PF_IO_WORKER 0x10
#define PF_EXITING 4
#define PF_KTHREAD 0x00200000
#define TASK_INTERRUPTIBLE 1
#define TASK_DEAD 0x80
#define SIGNAL_GROUP_EXIT 4

/* 32-bit system calls have other numbers. */
static __always_inline bool call_is_compat(struct task_struct *task)
{
#ifdef __TARGET_ARCH_x86
	return task->thread_info.status & 2; /* TS_COMPAT */
#else
	return false;
#endif
}

static __always_inline __u32 call_nr(struct pt_regs *regs)
{
#ifdef __TARGET_ARCH_x86
	return regs->orig_ax;
#else
	return regs->syscallno;
#endif
}

/* The same of another thread's registers. */
static __always_inline __u32 call_nr_at(__u64 regs)
{
#ifdef __TARGET_ARCH_x86
	return PEEK(struct pt_regs, regs, orig_ax);
#else
	return PEEK(struct pt_regs, regs, syscallno);
#endif
}

static __always_inline __u64 call_arg(struct pt_regs *regs, int i)
{
#ifdef __TARGET_ARCH_x86
	switch (i) {
	case 0:
		return regs->di;
	case 1:
		return regs->si;
	case 2:
		return regs->dx;
	case 3:
		return regs->r10;
	case 4:
		return regs->r8;
	default:
		return regs->r9;
	}
#else
	return i ? regs->regs[i] : regs->orig_x0;
#endif
}

/* A call of a thread, as far as it matters whether it is still the same one. Never 0. */
static __always_inline __u64 call_id(struct pt_regs *regs)
{
	return call_arg(regs, 0) << 32 | (call_nr(regs) + 1);
}

#endif
