/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Pipes and FIFOs: one struct pipe_inode_info, a ring of buffers, behind file->private_data of both.
 */
#ifndef IPCTRACE_PIPE_BPF_H
#define IPCTRACE_PIPE_BPF_H

#include "compat.bpf.h"

#define PIPE_PAGE_SHIFT 12
#define PIPE_MAX_BUFFERS (1 << 20)

static __always_inline enum mech pipe_mech(__u64 inode)
{
	__u64 sb = PEEK_ADDR(struct inode, inode, i_sb);

	return PEEK(struct super_block, sb, s_magic) == PIPEFS_MAGIC ? MECH_PIPE : MECH_FIFO;
}

static __always_inline __u64 pipe_of(__u64 file)
{
	return PEEK_ADDR(struct file, file, private_data);
}

/* As F_GETPIPE_SZ says. */
static __always_inline __u64 pipe_capacity(__u64 file)
{
	return (__u64)PEEK(struct pipe_inode_info, pipe_of(file), max_usage) << PIPE_PAGE_SHIFT;
}

static __always_inline void pipe_fill(struct chan_row *c, __u64 file)
{
	c->first_tail = PEEK(struct pipe_inode_info, pipe_of(file), tail);
	c->capacity = pipe_capacity(file);
}

struct pipe_sum {
	__u64 bufs;
	__u32 at, mask;
	__u64 bytes; /* in the buffers */
	__u64 ends; /* where the buffers end, added up */
};

static __always_inline __u64 pipe_buffer(__u64 bufs, __u32 i)
{
	return bufs + (__u64)i * bpf_core_type_size(struct pipe_buffer);
}

static __always_inline __u32 pipe_buffer_end(__u64 b)
{
	return PEEK(struct pipe_buffer, b, offset) + PEEK(struct pipe_buffer, b, len);
}

static long pipe_sum_step(__u32 i, struct pipe_sum *s)
{
	__u64 b = pipe_buffer(s->bufs, (s->at + i) & s->mask);

	s->bytes += PEEK(struct pipe_buffer, b, len);
	s->ends += pipe_buffer_end(b);
	return 0;
}

/*
 * What lies in the pipe at this moment. Its lock is not held: a reader or writer on the other CPU may
 * be halfway. Who draws conclusions must bear with that.
 */
static __always_inline void pipe_view(__u64 file, struct ring_view *v)
{
	__u64 pipe = pipe_of(file);
	struct pipe_sum s = {};

	v->head = PEEK(struct pipe_inode_info, pipe, head);
	v->tail = PEEK(struct pipe_inode_info, pipe, tail);
	v->bufs = s.bufs = PEEK_ADDR(struct pipe_inode_info, pipe, bufs);
	s.mask = PEEK(struct pipe_inode_info, pipe, ring_size) - 1;
	s.at = v->tail;
	v->first = v->last = 0;
	if (v->head)
		v->last = pipe_buffer_end(pipe_buffer(s.bufs, (v->head - 1) & s.mask));
	if (v->head != v->tail && v->head - v->tail <= PIPE_MAX_BUFFERS) {
		v->first = PEEK(struct pipe_buffer, pipe_buffer(s.bufs, s.at & s.mask), offset);
		bpf_loop(v->head - v->tail, pipe_sum_step, &s, 0);
	}
	v->bytes = s.bytes;
}

/* False while somebody is changing the pipe. What is seen between two times true is consistent. */
static __always_inline bool pipe_is_still(__u64 pipe, const struct ring_view *v)
{
	if (PEEK(struct pipe_inode_info, pipe, mutex.owner.counter))
		return false;
	return !v || (PEEK(struct pipe_inode_info, pipe, head) == v->head &&
		      PEEK(struct pipe_inode_info, pipe, tail) == v->tail);
}

/* Ends of the buffers from number `from` on to before `to`, the latter not far behind head. */
static __always_inline __u64 pipe_ends(__u64 pipe, const struct ring_view *v, __u32 from, __u32 to)
{
	__u32 size = PEEK(struct pipe_inode_info, pipe, ring_size), n = to - from, gone = 0;
	struct pipe_sum s = { .bufs = v->bufs, .mask = size - 1 };

	/* Those used again since are not known: each held a page at most. */
	if (v->head - from > size)
		gone = v->head - from - size;
	if (gone > n)
		gone = n;
	s.at = from + gone;
	if (n - gone <= PIPE_MAX_BUFFERS)
		bpf_loop(n - gone, pipe_sum_step, &s, 0);
	return s.ends + ((__u64)gone << PIPE_PAGE_SHIFT);
}

/* At most so many bytes have been put in since base. A buffer that did not begin at 0 counts more. */
static __always_inline __u64 pipe_put(__u64 pipe, const struct ring_view *base,
				      const struct ring_view *v)
{
	if (!base->head)
		return pipe_ends(pipe, v, 0, v->head);
	return pipe_ends(pipe, v, base->head - 1, v->head) - base->last;
}

/* The same of taking. */
static __always_inline __u64 pipe_taken(__u64 pipe, const struct ring_view *base,
					const struct ring_view *v)
{
	return pipe_ends(pipe, v, base->tail, v->tail) + v->first - base->first;
}

#define PIPE_CAN_MERGE 16

/* Its oldest buffer was filled by one call, by reference. */
static __always_inline bool pipe_spliced(__u64 pipe, const struct ring_view *v)
{
	__u32 mask = PEEK(struct pipe_inode_info, pipe, ring_size) - 1;
	__u64 b = pipe_buffer(v->bufs, v->tail & mask);

	return v->head != v->tail && !(PEEK(struct pipe_buffer, b, flags) & PIPE_CAN_MERGE);
}

static __always_inline __u64 ring_pos(__u32 index, __u32 offset)
{
	return (__u64)index << 32 | offset;
}

/*
 * After a call of this edge has moved bytes. Notes where in the ring it ended, which is what tells the
 * order if there is ever a second writer. True: there may be more in the pipe than ever before.
 */
static __always_inline bool pipe_moved(const struct chan_row *c, struct edge_row *e, __u64 file,
				       __u32 role)
{
	struct pipe_inode_info *pipe = OBJECT(struct pipe_inode_info, pipe_of(file));
	__u32 head = FIELD(pipe, head), tail = FIELD(pipe, tail), len, offset;
	struct pipe_buffer *b;
	__u64 bufs;

	if (head == tail) {
		e->pos = ring_pos(head, 0);
		return false;
	}
	bufs = PEEK_ADDR(struct pipe_inode_info, pipe_of(file), bufs);
	b = OBJECT(struct pipe_buffer, pipe_buffer(bufs, (role == ROLE_WRITE ? head - 1 : tail) &
								 (FIELD(pipe, ring_size) - 1)));
	offset = FIELD(b, offset);
	if (role == ROLE_READ) {
		e->pos = ring_pos(tail, offset);
		return false;
	}
	len = FIELD(b, len);
	e->pos = ring_pos(head, offset + len);
	if (head - tail == 1)
		return len > c->highwater;
	return (__u64)(head - tail) << PIPE_PAGE_SHIFT > c->highwater && c->highwater < c->capacity;
}

#endif
