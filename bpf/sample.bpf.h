/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which pages of shared memory a process has touched since the last look: what the processor marks in
 * its page tables. /proc/PID/smaps does not say it: there a page is "Referenced", too, if some other
 * process has it so when it unmaps it, or if it was read by a call.
 *
 * Page tables are told by their physical addresses. Where the kernel sees physical memory is no
 * symbol of every kernel, but follows: the top of the tables is known by both, as it maps itself. The
 * iterator holds the lock of the map of memory, so that no table goes away meanwhile.
 */
#ifndef IPCTRACE_SAMPLE_BPF_H
#define IPCTRACE_SAMPLE_BPF_H

#include "chan.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sampling);
} sampling SEC(".maps");

/* x86-64: one bit each. On other processors there is no base to be found, and so no sample. */
#define PT_PRESENT 1
#define PT_ACCESSED (1ULL << 5)
#define PT_DIRTY (1ULL << 6)
#define PT_SAVED_DIRTY \
	(1ULL << 58) /* Linux 6.6 (fca4d413c5cc) puts it there when it forbids to write */
#define PT_LEAF (1ULL << 7)
#define PT_SOFT_DIRTY (1ULL << 11)
#define PT_ADDR 0x000ffffffffff000ULL
#define PT_LOWEST_OF_4 0xffff800000000000ULL /* kernel addresses, where tables have 4 levels */
#define PT_TABLE_SHIFT 21 /* what one table of the last level maps */

#define GIB_SHIFT 30 /* the base is a multiple of it */
#define MAX_GIB (1 << 14)

/* The entry for an address, down to that level or a huge page. */
struct pt_entry {
	__u64 entry;
	__u32 shift; /* of what it maps; 0: nothing is there */
	__u32 table; /* it is one of the next level */
};

static __always_inline void pt_find(__u64 top, __u64 base, __u64 addr, __u32 down_to,
				    struct pt_entry *found)
{
	__u32 shift = top < PT_LOWEST_OF_4 ? 48 : 39;
	__u64 table = top, entry;

	found->shift = 0;
	for (int level = 0; level < 5; level++, shift -= 9) {
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)(table + ((addr >> shift & 511) << 3)));
		if (!(entry & PT_PRESENT))
			return;
		if (shift <= down_to || (shift <= 30 && entry & PT_LEAF)) {
			found->entry = entry;
			found->shift = shift;
			found->table = shift > 12 && !(entry & PT_LEAF);
			return;
		}
		table = base + (entry & PT_ADDR);
	}
}

/* Is the top of the tables where it should be, if that is the base? */
static __noinline bool pt_is_base(__u64 top, __u64 base)
{
	struct pt_entry e = {};
	__u64 within;

	pt_find(top, base, top, 12, &e);
	if (!e.shift || e.table)
		return false;
	within = (1ULL << e.shift) - 1;
	return base + ((e.entry & PT_ADDR & ~within) | (top & within)) == top;
}

struct pt_search {
	__u64 top, base;
};

static long pt_base_step(__u32 gib, struct pt_search *s)
{
	__u64 base = ((s->top >> GIB_SHIFT) - gib) << GIB_SHIFT;

	if (!pt_is_base(s->top, base))
		return 0;
	s->base = base;
	return 1;
}

static __always_inline __u64 pt_search_base(__u64 top)
{
	struct pt_search search = { .top = top };

	bpf_loop(MAX_GIB, pt_base_step, &search, 0);
	return search.base;
}

static __always_inline void pt_mark(struct sampling *s, __u32 i, __u64 entry)
{
	__u64 bit = 1ULL << (i & 63);

	i = i >> 6 & (MARKED_WORDS - 1);
	s->out.marks[MARK_PRESENT][i] |= bit;
	if (entry & PT_ACCESSED)
		s->out.marks[MARK_ACCESSED][i] |= bit;
	if (entry & (PT_DIRTY | PT_SAVED_DIRTY))
		s->out.marks[MARK_DIRTY][i] |= bit;
	if (entry & PT_SOFT_DIRTY)
		s->out.marks[MARK_SOFT_DIRTY][i] |= bit;
}

struct pt_range {
	__u32 first, end; /* of the entries of a table */
	__u32 any;
	__u32 _pad;
};

static long pt_mark_step(__u32 n, struct pt_range *r)
{
	__u32 zero = 0, i = r->first + n;
	struct sampling *s = bpf_map_lookup_elem(&sampling, &zero);
	__u64 entry;

	if (!s || i >= r->end)
		return 1;
	entry = s->table[i & 511];
	if (!(entry & PT_PRESENT))
		return 0;
	pt_mark(s, i, entry);
	r->any = 1;
	return 0;
}

/* The pages of a mapping that one table maps. True: there are any. */
static __always_inline bool pt_look(struct sampling *s, __u64 top, __u64 start, __u64 end)
{
	struct pt_entry e = {};
	struct pt_range r = { .first = start >> 12 & 511 };

	__builtin_memset(s->out.marks, 0, sizeof(s->out.marks));
	pt_find(top, s->base, start, PT_TABLE_SHIFT, &e);
	if (!e.shift || e.shift > GIB_SHIFT)
		return false;
	if (!e.table) {
		/* Huge: told once. */
		if (start & ((1ULL << e.shift) - 1))
			return false;
		s->out.shift = e.shift;
		pt_mark(s, 0, e.entry);
		return true;
	}
	s->out.shift = 12;
	if (bpf_probe_read_kernel(s->table, sizeof(s->table),
				  (void *)(s->base + (e.entry & PT_ADDR))))
		return false;
	r.end = r.first + ((end - start) >> 12);
	bpf_loop(512, pt_mark_step, &r, 0);
	return r.any;
}

/* By a helper's loop: the verifier goes through a round once. */
struct pt_tables {
	struct seq_file *seq;
	__u64 top, table, start, end; /* of the mapping */
};

static long pt_table_step(__u32 i, struct pt_tables *t)
{
	__u32 zero = 0;
	struct sampling *s = bpf_map_lookup_elem(&sampling, &zero);
	__u64 table = t->table + i, start = table << PT_TABLE_SHIFT,
	      end = (table + 1) << PT_TABLE_SHIFT;

	if (!s || start >= t->end)
		return 1;
	if (start < t->start)
		start = t->start;
	if (end > t->end)
		end = t->end;
	s->out.addr = start;
	if (pt_look(s, t->top, start, end))
		bpf_seq_write(t->seq, &s->out, sizeof(s->out));
	return 0;
}

/* Tables of the mapping, from the one on that is asked for. */
static __always_inline void pt_look_through(struct bpf_iter__task_vma *ctx, struct sampling *s,
					    struct vm_area_struct *vma)
{
	struct pt_tables t = { .seq = ctx->meta->seq, .start = vma->vm_start, .end = vma->vm_end };

	t.top = PEEK_ADDR(struct mm_struct, number_of(vma->vm_mm), pgd);
	t.table = (vma->vm_start >> PT_TABLE_SHIFT) + s->first;
	/* Asked again of each process: whatever is read at a wrong place cannot be right for all. */
	if (!pt_is_base(t.top, s->base)) {
		s->no_base = 1;
		return;
	}
	bpf_loop(SAMPLE_TABLES, pt_table_step, &t, 0);
	if ((t.table + SAMPLE_TABLES) << PT_TABLE_SHIFT < t.end)
		s->more = 1;
}

#endif
