/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is mapped at an address of the current task's memory, see vma.bpf.c. */
#ifndef IPCTRACE_VMA_BPF_H
#define IPCTRACE_VMA_BPF_H

#include "compat.bpf.h"

#define EBUSY 16

#define MAPLE_WORDS 32 /* a node's, as long as longs are of 8 bytes */

/* A mapping as it was at one look. */
struct vma_seen {
	__u64 vma; /* 0: nothing is there */
	__u64 start, end;
	__u64 page; /* of the file: the first one that is mapped */
	__u64 flags;
	__u64 file;
	__u64 until; /* the page behind it, when the file came to know of it; 0: not known */
	__u64 changes; /* of the whole map so far, as mm_map_changes() says */
};

struct vma_look {
	__u64 node[MAPLE_WORDS];
	__u64 min, max; /* what lies between is all the same mapping's, or nobody's */
	struct vma_seen seen, before;
	__u64 origin; /* if the asker knows it of what is there, see MEM_ORIGIN(); else 0 */
	/* What came of it. */
	__u64 file; /* 0: nothing that is shared and watched; what it is is in key_in(which) */
	__u64 page; /* of the file, where the address is */
	__u64 size; /* of the file, bytes */
};

/* As of keys, and by the same numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KEY_MAX);
	__type(key, __u32);
	__type(value, struct vma_look);
} vma_looks SEC(".maps");

static __always_inline struct vma_look *vma_look_in(__u32 which)
{
	return bpf_map_lookup_elem(&vma_looks, &which);
}

#define VMA_FEW 32 /* tries, where interrupts are off */
#define VMA_MANY 1000 /* less than 1 ms */

int vma_walk(__u64 addr, __u32 which);
/* Is shared memory mapped between these? True also if that cannot be known. */
bool vma_any_shared(__u64 start, __u64 end, __u32 which);

struct vma_ask {
	__u64 addr;
	__u32 which;
	__s32 err; /* -EBUSY: it cannot be known */
};

/* What a mapping says of itself. */
static __always_inline void vma_read(struct vma_seen *s, __u64 vma)
{
	struct vm_area_struct *v = OBJECT(struct vm_area_struct, vma);

	s->vma = vma;
	s->start = FIELD(v, vm_start);
	s->end = FIELD(v, vm_end);
	s->page = FIELD(v, vm_pgoff);
	s->flags = FIELD(v, vm_flags);
	s->file = PEEK_ADDR(struct vm_area_struct, vma, vm_file);
}

static __always_inline bool vma_is_same(const struct vma_seen *a, const struct vma_seen *b)
{
	return a->vma == b->vma && a->start == b->start && a->end == b->end && a->page == b->page &&
	       a->flags == b->flags && a->file == b->file && a->until == b->until &&
	       a->changes == b->changes;
}

/* use: fills in what came of l->seen, while the file is sure to be there. */
typedef int (*vma_use)(__u64 addr, __u32 which);

/* With the lock: for bpf_find_vma(). */
static __always_inline long vma_locked(struct vm_area_struct *vma, struct vma_ask *ask, vma_use use)
{
	struct vma_look *l = vma_look_in(ask->which);

	if (!l)
		return 0;
	vma_read(&l->seen, number_of(vma));
	use(ask->addr, ask->which);
	return 0;
}

typedef long (*vma_found)(struct task_struct *task, struct vm_area_struct *vma,
			  struct vma_ask *ask);

/* A round of bpf_loop(): 1, it is known what is there. */
static __always_inline long vma_try(struct vma_ask *ask, vma_found found, vma_use use)
{
	struct vma_look *l = vma_look_in(ask->which);

	if (!l)
		return 1;
	l->file = 0;
	ask->err = bpf_find_vma(bpf_get_current_task_btf(), ask->addr, found, ask, 0);
	if (ask->err != -EBUSY)
		return 1;
	if (vma_walk(ask->addr, ask->which))
		return 0;
	__builtin_memcpy(&l->before, &l->seen, sizeof(l->before));
	use(ask->addr, ask->which);
	if (vma_walk(ask->addr, ask->which) || !vma_is_same(&l->seen, &l->before))
		return 0;
	ask->err = 0;
	return 1;
}

#endif
