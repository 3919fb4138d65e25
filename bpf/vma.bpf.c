// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What is mapped at an address of the current task's memory. The kernel's own way to look, bpf_find_vma(),
 * takes the lock of the map, and gives up if somebody is changing it: for long, perhaps, as who does may
 * have lost the processor. Then the map is looked at without the lock.
 *
 * It is a tree of nodes that is made for that: they are changed so that who reads meanwhile comes to what
 * was there before or after, and freed (RCU) only when no program that is running now can still see them.
 * Mappings are neither, so what is found is believed only if all of this holds:
 *
 * - Two walks came to the same mapping, and both times it said the same of itself. As it was in the tree
 *   in between, it was no other one's by then whose memory it had been (before Linux 6.4 it is used again
 *   at once), nor was its file, which it held.
 * - It is of this memory, and its ends are those that the tree has for it. A mapping that is being split,
 *   merged or cut has others for a moment, before or after the tree has.
 * - Who is changing the map does not hold the lock of that file's mappings. The kernel takes it for any
 *   change of where a mapping begins in memory and in its file, as who looks from the file for all
 *   that map a page must not see the one without the other. (Mappings that grow down by
 *   themselves do without, and are never shared.) So these two are of the same time, however long the
 *   writer stands still between writing the one and the other. While it is held, they are only if with
 *   them the mapping ends at the page of the file where it ended before: that is noted elsewhere in it,
 *   changed at another time, and with one of them new and the other one old it would end elsewhere.
 * - Where the kernel counts changes of the map, none ended and none began between the walks. Else a mapping
 *   would have to be changed, changed back and changed again at the right moments to look the same.
 *
 * A mapping that is being changed may stand so for long. It is believed, too, if the process is known to
 * have mapped its file there so that it says the same page in one of its ways: by where it begins in memory, or
 * by where it ends, each as the mapping or the tree has it. All parts of a mapping agree in that, and what
 * it is merged with, so that of the mapping that is there while it is changed some way always does.
 *
 * What is not changed by then is as it was before; moved memory (mremap) is a new mapping, complete before
 * it is in the tree; and unmapped memory is out of the tree before it is given up. That nothing is there
 * may be for a moment only, between what was replaced and what replaces it: it is believed if
 * nobody is changing the map.
 */
#include "mem.bpf.h"
#include "vma.bpf.h"

/* --- the tree: Linux 6.1 (54a611b60590, "Maple Tree: add new data structure") --- */

#define MAPLE_NODE 255UL /* these bits are not of a node's address */
#define MAPLE_TYPE(node) ((node) >> 3 & 15)
#define MAPLE_LEAF 1
#define MAPLE_RANGE 2
#define MAPLE_ARANGE 3
#define MAPLE_LAST 4096 /* entries up to this are no addresses */
#define MAPLE_DEPTH 12 /* a map can have 65,530 mappings, or a few more */
#define MAPLE_AGAIN 1 /* no entry: the node is out of the tree by now */

#define MAPLE_PIVOTS 15 /* at most: of a leaf, and others without gaps */
#define MAPLE_AT(type, field) (bpf_core_field_offset(struct type, field) / sizeof(__u64))

/* 1 if a < b, without a branch: the verifier would go both ways each time. Neither has the highest bit. */
static __always_inline __u64 is_less(__u64 a, __u64 b)
{
	a -= b;
	/* The compiler must not see that this is a comparison. */
	asm volatile("" : "+r"(a));
	return a >> 63;
}

/* A word of the node; in the very register that is added, where the compiler must not drop it. */
static __always_inline __u64 maple_word(const struct vma_look *l, __u64 i)
{
	asm volatile("%0 &= %1" : "+r"(i) : "i"(MAPLE_WORDS - 1));
	return l->node[i];
}

/* The last slot that is used, as the kernel finds it in ma_data_end(). */
static __always_inline __u64 maple_end(const struct vma_look *l, __u32 type)
{
	__u64 last;

	if (type == MAPLE_ARANGE)
		return maple_word(l, MAPLE_AT(maple_arange_64, meta)) & 0xff;
	last = maple_word(l, MAPLE_PIVOTS);
	if (!last)
		return maple_word(l, MAPLE_WORDS - 1) & 0xff; /* in the last slot's place */
	return last == l->max ? MAPLE_PIVOTS - 1 : MAPLE_PIVOTS;
}

/* One level down: what the node has for the address. A pivot is the last address of its slot. */
__noinline __u64 maple_down(__u64 node, __u64 addr, __u32 which)
{
	struct vma_look *l = vma_look_in(which);
	__u64 at = node & ~MAPLE_NODE, end, slot = 0;
	__u32 type = MAPLE_TYPE(node);

	if (!l || !at || type < MAPLE_LEAF || type > MAPLE_ARANGE ||
	    bpf_probe_read_kernel(l->node, sizeof(l->node), (void *)at) ||
	    (l->node[0] & ~MAPLE_NODE) == at)
		return MAPLE_AGAIN;
	end = maple_end(l, type);
#pragma clang loop unroll(full)
	for (__u64 i = 0; i < MAPLE_PIVOTS; i++)
		slot += is_less(i, end) &
			is_less(l->node[i + 1] >> MEM_PAGE_SHIFT, addr >> MEM_PAGE_SHIFT);
	if (slot < end)
		l->max = maple_word(l, slot + 1);
	if (slot)
		l->min = maple_word(l, slot) + 1;
	return maple_word(l, slot + (type == MAPLE_ARANGE ? MAPLE_AT(maple_arange_64, slot)
							  : MAPLE_AT(maple_range_64, slot)));
}

/* What the tree has there: a mapping, or 0. */
static __always_inline __u64 maple_find(__u64 mm, __u64 addr, __u32 which, struct vma_look *l)
{
	__u64 at = PEEK_ADDR(struct mm_struct, mm, mm_mt.ma_root);
	bool leaf = false;

	l->min = 0;
	l->max = ~0ULL;
	for (int i = 0; i < MAPLE_DEPTH && !leaf; i++) {
		if (at <= MAPLE_LAST)
			return MAPLE_AGAIN;
		leaf = MAPLE_TYPE(at) == MAPLE_LEAF;
		at = maple_down(at, addr, which);
	}
	return leaf ? at : MAPLE_AGAIN;
}

/* --- mappings --- */

static __always_inline __u64 my_mm(void)
{
	return (__u64)UNTRUSTED(struct task_struct, bpf_get_current_task_btf())->mm;
}

/* Does who holds the lock of the map hold that of the file's mappings, too? */
static __always_inline bool file_map_changes(__u64 mm, __u64 file)
{
	__u64 mapping = PEEK_ADDR(struct file, file, f_mapping), writer;

	writer = rwsem_writer(mapping + bpf_core_field_offset(struct address_space, i_mmap_rwsem));
	return writer &&
	       writer == rwsem_writer(mm + bpf_core_field_offset(struct mm_struct, mmap_lock));
}

/*
 * The page of the file behind the mapping, as it was when it was put into the file's tree of mappings; or
 * behind others that are below it in that tree.
 */
static __always_inline __u64 vma_noted_end(__u64 vma)
{
	struct vm_area_struct *v = OBJECT(struct vm_area_struct, vma);

	return FIELD(v, shared.rb_subtree_last) + 1;
}

static __always_inline bool vma_has_others_below(__u64 vma)
{
	return PEEK_ADDR(struct vm_area_struct, vma, shared.rb.rb_left) ||
	       PEEK_ADDR(struct vm_area_struct, vma, shared.rb.rb_right);
}

/* False: where it begins or ends may be changed this very moment, in memory or in its file. */
static __always_inline bool vma_is_whole(__u64 mm, const struct vma_look *l)
{
	const struct vma_seen *s = &l->seen;

	if (s->start != l->min || s->end != l->max + 1)
		return false;
	if (!(s->flags & VM_MAYSHARE) || !file_map_changes(mm, s->file))
		return true;
	return !vma_has_others_below(s->vma) &&
	       s->until == s->page + ((s->end - s->start) >> MEM_PAGE_SHIFT);
}

struct origin_look {
	__u64 addr, origin;
	__u32 proc; /* row */
};

static long origin_step(__u32 i, struct origin_look *o)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &o->proc);
	struct mem_span *at = m ? span_at(m, i) : NULL;
	__u64 so_far = OF_ANY_ROUND(o->origin);

	if (!at)
		return 1;
	if (!at->origin || o->addr < at->start || o->addr >= at->end)
		return 0;
	o->origin = so_far && so_far != at->origin ? 0 : at->origin;
	return !o->origin;
}

/* Where the process has mapped a file there, see MEM_ORIGIN(); 0: not known. */
static __always_inline __u64 origin_known(__u64 addr)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct origin_look o = { .addr = addr };

	if (!ts || !spans_of(ts))
		return 0;
	o.proc = ts->proc;
	bpf_loop(MEM_SPANS, origin_step, &o, 0);
	return o.origin;
}

/* In the middle of a change: is what is old of it, or what is new, as that file was mapped there? */
static __always_inline bool vma_is_as_known(struct vma_look *l, __u64 origin)
{
	struct vma_seen *s = &l->seen;

	if (!origin ||
	    (origin != MEM_ORIGIN(s->page, s->start) && origin != MEM_ORIGIN(s->page, l->min) &&
	     origin != MEM_ORIGIN(s->until, s->end) && origin != MEM_ORIGIN(s->until, l->max + 1)))
		return false;
	/* Where it was and where it will be: all of that is the same file, page after page. */
	if (s->start > l->min)
		s->start = l->min;
	if (s->end < l->max + 1)
		s->end = l->max + 1;
	s->page = origin + (s->start >> MEM_PAGE_SHIFT);
	return true;
}

/* One look without the lock. */
__noinline int vma_walk(__u64 addr, __u32 which)
{
	struct vma_look *l = vma_look_in(which);
	__u64 mm = my_mm(), vma;

	if (!l || !mm || !rwsem_tells_owner())
		return -EBUSY;
	__builtin_memset(&l->seen, 0, sizeof(l->seen));
	l->seen.changes = mm_map_changes(mm);
	vma = maple_find(mm, addr, which, l);
	if (!vma)
		return mm_map_is_locked(mm) ? -EBUSY : 0;
	if (vma <= MAPLE_LAST)
		return -EBUSY;
	vma_read(&l->seen, vma);
	l->seen.until = vma_noted_end(vma);
	if (PEEK_ADDR(struct vm_area_struct, vma, vm_mm) != mm)
		return -EBUSY;
	if (vma_is_whole(mm, l) || vma_is_as_known(l, l->origin ?: origin_known(addr)))
		return 0;
	return -EBUSY;
}

/* --- all that there is in a range --- */

#define RANGE_ROUNDS 64

struct range_look {
	__u64 mm, at, end;
	__u32 which;
	bool none;
};

static long range_step(__u32 i, struct range_look *r)
{
	struct vma_look *l = vma_look_in(r->which);
	__u64 vma;

	if (!l)
		return 1;
	vma = maple_find(r->mm, r->at, r->which, l);
	if (vma && vma <= MAPLE_LAST)
		return 0;
	if (vma && PEEK(struct vm_area_struct, vma, vm_flags) & VM_MAYSHARE)
		return 1;
	r->at = l->max + 1;
	r->none = r->at >= r->end || !r->at;
	return r->none;
}

bool vma_any_shared(__u64 start, __u64 end, __u32 which)
{
	struct range_look r = { .mm = my_mm(), .at = start, .end = end, .which = which };

	if (r.mm)
		bpf_loop(RANGE_ROUNDS, range_step, &r, 0);
	return !r.none;
}
