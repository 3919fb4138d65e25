/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Shared memory: what a mapped file is, and where the memory of a process is shared.
 *
 * Every shared mapping is one of a file: a file of some file system, or one that nobody can open by
 * name, on the kernel's own mount of tmpfs. The name of the latter says what it is.
 */
#ifndef IPCTRACE_MEM_BPF_H
#define IPCTRACE_MEM_BPF_H

#include "file.bpf.h"
#include "path.bpf.h"
#include "task.bpf.h"

#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define ANON_INODE_FS_MAGIC 0x09041934
#define SB_KERNMOUNT (1 << 22)
#define VM_READ 1
#define VM_WRITE 2
#define VM_EXEC 4
#define VM_SHARED 8 /* and its file is open for writing */
#define VM_MAYWRITE 0x20
#define VM_MAYSHARE 0x80
#define VM_LOCKED 0x2000
#define VM_HUGETLB 0x400000
#define VM_HUGEPAGE 0x20000000 /* madvise() has asked for them */
#define S_IFREG 0100000
#define MEM_PAGE_SHIFT 12
#define MEM_PAGE (1UL << MEM_PAGE_SHIFT)
#define MAP_TYPE 15
#define MAP_SHARED 1
#define MAP_SHARED_VALIDATE 3

/* What page of a file would lie at address 0, if all before a page of it that is mapped there were, too. */
#define MEM_ORIGIN(page, addr) ((page) - ((addr) >> MEM_PAGE_SHIFT))

static __always_inline bool mmap_is_shared(struct pt_regs *regs)
{
	__u32 type = call_arg(regs, 3) & MAP_TYPE;

	return cfg.mechs & MECHS_MEMORY && (type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
}

#define MAP_POPULATE 0x8000
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#define MADV_HUGEPAGE 14

/* madvise() that says something of pages that are touched, or not, from then on. */
static __always_inline bool madvise_tells(struct pt_regs *regs)
{
	__u32 advice = call_arg(regs, 2);

	return cfg.mechs & MECHS_MEMORY &&
	       (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE ||
		advice == MADV_HUGEPAGE);
}

static __always_inline __u64 name_of_dentry(__u64 dentry)
{
	return PEEK_ADDR(struct dentry, dentry, d_name.name);
}

static __always_inline __u64 dentry_of(__u64 file)
{
	return PEEK_ADDR(struct file, file, f_path.dentry);
}

/* The first bytes of a name, in one number: a whole short name, or a prefix. */
static __always_inline __u64 name_head(__u64 name, __u32 n)
{
	__u64 head = 0;

	bpf_probe_read_kernel(&head, n & 15, (void *)name);
	return head;
}

#define HEAD_SHM 0x006d6873 /* "shm\0" */
#define HEAD_SYSV 0x56535953 /* "SYSV" */
#define HEAD_MEMFD 0x3a64666d656dULL /* "memfd:" */

#define MOUNTS_DEEP 4

/* Directly in a directory or at a mount that is called shm, where shm_open() has its files. */
static __always_inline bool is_in_shm(__u64 file)
{
	__u64 up = PEEK_ADDR(struct dentry, dentry_of(file), d_parent);
	__u64 mnt = PEEK_ADDR(struct file, file, f_path.mnt);

	/* There may be mounts upon mounts. */
	for (int i = 0; i < MOUNTS_DEEP && up == PEEK_ADDR(struct vfsmount, mnt, mnt_root); i++) {
		__u64 m = mnt - bpf_core_field_offset(struct mount, mnt);

		up = PEEK_ADDR(struct mount, m, mnt_mountpoint);
		mnt = PEEK_ADDR(struct mount, m, mnt_parent) +
		      bpf_core_field_offset(struct mount, mnt);
	}
	return name_head(name_of_dentry(up), 4) == HEAD_SHM;
}

static __always_inline bool is_memory_magic(__u64 magic)
{
	return magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC;
}

/* A file of a file system that is nothing but memory. */
static __always_inline bool is_memory(__u64 file)
{
	__u64 sb = PEEK_ADDR(struct inode, PEEK_ADDR(struct file, file, f_inode), i_sb);

	return is_memory_magic(PEEK(struct super_block, sb, s_magic));
}

#define SB_I_NOEXEC 2

/* Of /proc, /sys and such: what is read there nobody has written. */
static __always_inline bool inode_is_kernels(__u64 inode)
{
	return PEEK(struct super_block, PEEK_ADDR(struct inode, inode, i_sb), s_iflags) &
	       SB_I_NOEXEC;
}

/* What a regular file is as memory. */
enum mech mem_mech(__u64 file, __u64 inode)
{
	__u64 sb = PEEK_ADDR(struct inode, inode, i_sb), name;
	__u64 magic = PEEK(struct super_block, sb, s_magic);

	if (magic == ANON_INODE_FS_MAGIC)
		return MECH_NONE;
	if (!is_memory_magic(magic))
		return MECH_MMAP;
	if (!(PEEK(struct super_block, sb, s_flags) & SB_KERNMOUNT))
		return is_in_shm(file) ? MECH_POSIXSHM : MECH_MMAP;
	name = name_of_dentry(dentry_of(file));
	if (name_head(name, 4) == HEAD_SYSV)
		return MECH_SHM;
	return name_head(name, 6) == HEAD_MEMFD ? MECH_MEMFD : MECH_MMAP;
}

/* Of a segment the file says its number, and whose numbers these are. */
static __always_inline __u32 shm_ipcns(__u64 file)
{
	__u64 data = PEEK_ADDR(struct file, file, private_data);
	__u64 ns = PEEK_ADDR(struct shm_file_data, data, ns);

	return PEEK(struct ipc_namespace, ns, ns.inum);
}

/* "SYSV0000abcd": the digits all at once, or they would be 256 ways for the verifier. */
static __always_inline __u32 sysv_key(__u64 name)
{
	__u64 hex = name_head(name + 4, 8);
	__u32 key = 0;

	hex = (hex & 0x0f0f0f0f0f0f0f0fULL) + (hex >> 6 & 0x0101010101010101ULL) * 9;
	for (int i = 0; i < 8; i++)
		key = key << 4 | (hex >> 8 * i & 15);
	return key;
}

/* The size of its pages, which may be huge ones, as a power of two. */
static __always_inline __u32 mem_page_shift(__u64 file)
{
	__u64 sb = PEEK_ADDR(struct inode, PEEK_ADDR(struct file, file, f_inode), i_sb);

	if (PEEK(struct super_block, sb, s_magic) != HUGETLBFS_MAGIC)
		return MEM_PAGE_SHIFT;
	return PEEK(struct super_block, sb, s_blocksize_bits) & 63;
}

static __always_inline __u64 mem_size(__u64 file)
{
	return PEEK(struct inode, PEEK_ADDR(struct file, file, f_inode), i_size);
}

/* True: what it is called by is a path. */
static __always_inline bool mem_fill(struct chan_row *c, __u64 file)
{
	__u64 sb = PEEK_ADDR(struct inode, PEEK_ADDR(struct file, file, f_inode), i_sb);
	__u64 name = name_of_dentry(dentry_of(file));
	long n;

	c->capacity = mem_size(file);
	c->page_shift = mem_page_shift(file);
	if (!(PEEK(struct super_block, sb, s_flags) & SB_KERNMOUNT))
		return true;
	if (c->key.mech == MECH_SHM)
		c->sysv_key = sysv_key(name);
	if (c->key.mech == MECH_MEMFD) {
		n = bpf_probe_read_kernel_str(c->name, PATH_LEN, (void *)name);
		c->name_len = n > 0 ? n : 0;
	}
	return false;
}

/* --- where a process has shared memory: a superset, that tells most page faults apart at once --- */

/* Of an end: it does not count yet, or perhaps no more, for who looks whether there is one already. */
#define SPAN_IN_DOUBT 1ULL
#define SPAN_TAKEN SPAN_IN_DOUBT /* and nothing lies in it yet */
#define SPAN_OPEN (~0ULL << MEM_PAGE_SHIFT) /* no end */

static __always_inline struct mem_span *span_at(struct mem_spans *m, __u32 i)
{
	return i < MEM_SPANS ? &m->span[i] : NULL;
}

/* How many spans of any process lie about that address. */
static __always_inline __u32 *spans_about(__u64 addr)
{
	__u32 place = addr >> MEM_PLACE_SHIFT & (MEM_PLACES - 1);

	return bpf_map_lookup_elem(&mem_places, &place);
}

struct place_step {
	__u64 start;
	__u32 change;
};

static long place_step(__u32 i, struct place_step *s)
{
	__u32 *spans = spans_about(s->start + ((__u64)i << MEM_PLACE_SHIFT));

	if (spans)
		__sync_fetch_and_add(spans, s->change);
	return 0;
}

/* There is one span more, or one less. */
static __always_inline void span_counts(__u64 start, __u64 end, __s32 change)
{
	struct place_step s = { .start = start, .change = change };
	__u64 places;

	end &= ~SPAN_IN_DOUBT;
	if (end <= start)
		return;
	places = ((end - 1) >> MEM_PLACE_SHIFT) - (start >> MEM_PLACE_SHIFT) + 1;
	bpf_loop(places < MEM_PLACES ? places : MEM_PLACES, place_step, &s, 0);
}

/* All spans of the process in that row, as it gets them or loses them. */
struct spans_step {
	__u32 proc;
	__s32 change;
};

static long spans_step(__u32 i, const struct spans_step *s)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &s->proc);
	struct mem_span *at = m ? span_at(m, i) : NULL;

	if (!at)
		return 1;
	span_counts(at->start, at->end, s->change);
	if (s->change < 0)
		__builtin_memset(at, 0, sizeof(*at));
	return 0;
}

/* No thread of the process is left that could use them. */
static __always_inline void spans_end(struct mem_spans *m, __u32 proc)
{
	struct spans_step s = { .proc = proc, .change = -1 };

	if (__sync_lock_test_and_set(&m->nr, 0))
		bpf_loop(MEM_SPANS, spans_step, &s, 0);
	m->proc = 0;
}

/* Of which process they are; threads of it may come here at once. */
static __always_inline void spans_are_of(struct mem_spans *m, __u32 proc, __u32 proc_id)
{
	if (m->proc == proc_id)
		return;
	if (m->proc)
		spans_end(m, proc);
	m->proc = proc_id;
}

static __always_inline struct mem_spans *spans_of(struct task_state *ts)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &ts->proc);

	return m && m->nr && m->proc == ts->proc_id ? m : NULL;
}

/* A range that some step is done with, for each span. */
struct span_step {
	__u32 proc; /* row */
	__u32 covered, made; /* no bool, of which the verifier would not know that it is 0 or 1 */
	__u64 start, end;
	__u64 origin;
};

/* By a helper's loop, as the verifier would go through each of its rounds in every way. */
static long span_add_step(__u32 i, struct span_step *s)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &s->proc);
	struct mem_span *at = m ? span_at(m, i) : NULL;
	__u64 end;

	if (!at)
		return 1;
	end = __sync_val_compare_and_swap(&at->end, 0, SPAN_TAKEN);
	if (end) {
		if (at->start >= s->end || s->start >= end)
			return 0;
		if (!(end & SPAN_IN_DOUBT) && at->start <= s->start && s->end <= end)
			s->covered = true;
		if (at->origin == s->origin)
			return s->covered != 0;
		at->origin = 0; /* somewhere it is another one now */
		return 0;
	}
	at->start = s->start;
	at->origin = s->origin;
	*(volatile __u64 *)&at->end = s->end;
	s->covered = s->made = true;
	return 1;
}

static __always_inline void span_add(__u32 proc, __u32 proc_id, __u64 start, __u64 end,
				     __u64 origin)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &proc);
	struct span_step s = { .proc = proc, .start = start, .end = end, .origin = origin };

	if (!m)
		return;
	spans_are_of(m, proc, proc_id);
	m->nr = 1;
	span_counts(start, end, 1);
	bpf_loop(MEM_SPANS, span_add_step, &s, 0);
	if (!s.made)
		span_counts(start, end, -1);
	if (s.covered)
		return;
	/* No room: whatever it touches is looked at. What was in its place is counted for good. */
	span_counts(0, SPAN_OPEN, 1);
	if (__sync_lock_test_and_set(&m->span[0].end, SPAN_OPEN) == SPAN_OPEN)
		span_counts(0, SPAN_OPEN, -1);
	m->span[0].start = m->span[0].origin = 0;
}

static __always_inline void spans_inherit(__u32 from, __u32 from_id, __u32 to, __u32 to_id)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &from), *n;
	struct spans_step s = { .proc = to, .change = 1 };

	if (!m || !m->nr || m->proc != from_id)
		return;
	n = bpf_map_lookup_elem(&mem_spans, &to);
	if (!n)
		return;
	spans_are_of(n, to, to_id);
	__builtin_memcpy(n->span, m->span, sizeof(n->span));
	n->nr = 1;
	bpf_loop(MEM_SPANS, spans_step, &s, 0);
}

/* The memory is another one, or none any more. */
static __always_inline void spans_forget(__u32 proc)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &proc);

	if (m)
		spans_end(m, proc);
}

#endif
