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

struct pipe_sum {
	__u64 bufs;
	__u32 at, mask;
	__u64 bytes;
};

static __always_inline __u64 pipe_buffer(__u64 bufs, __u32 i)
{
	return bufs + (__u64)i * bpf_core_type_size(struct pipe_buffer);
}

static long pipe_sum_step(__u32 i, struct pipe_sum *s)
{
	s->bytes += PEEK(struct pipe_buffer, pipe_buffer(s->bufs, (s->at + i) & s->mask), len);
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
	__u64 newest;

	v->head = PEEK(struct pipe_inode_info, pipe, head);
	v->tail = PEEK(struct pipe_inode_info, pipe, tail);
	v->first = v->last = 0;
	v->bytes = 0;
	if (v->head == v->tail || v->head - v->tail > PIPE_MAX_BUFFERS)
		return;
	s.bufs = PEEK_ADDR(struct pipe_inode_info, pipe, bufs);
	s.mask = PEEK(struct pipe_inode_info, pipe, ring_size) - 1;
	s.at = v->tail;
	newest = pipe_buffer(s.bufs, (v->head - 1) & s.mask);
	v->first = PEEK(struct pipe_buffer, pipe_buffer(s.bufs, v->tail & s.mask), offset);
	v->last = PEEK(struct pipe_buffer, newest, offset) + PEEK(struct pipe_buffer, newest, len);
	bpf_loop(v->head - v->tail, pipe_sum_step, &s, 0);
	v->bytes = s.bytes;
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
	__u64 pipe = pipe_of(file), bufs, b;
	__u32 head = PEEK(struct pipe_inode_info, pipe, head);
	__u32 tail = PEEK(struct pipe_inode_info, pipe, tail);
	__u32 mask, len, offset;

	if (head == tail) {
		e->pos = ring_pos(head, 0);
		return false;
	}
	bufs = PEEK_ADDR(struct pipe_inode_info, pipe, bufs);
	mask = PEEK(struct pipe_inode_info, pipe, ring_size) - 1;
	b = pipe_buffer(bufs, (role == ROLE_WRITE ? head - 1 : tail) & mask);
	offset = PEEK(struct pipe_buffer, b, offset);
	if (role == ROLE_READ) {
		e->pos = ring_pos(tail, offset);
		return false;
	}
	len = PEEK(struct pipe_buffer, b, len);
	e->pos = ring_pos(head, offset + len);
	if (head - tail == 1)
		return len > c->highwater;
	return (__u64)(head - tail) << PIPE_PAGE_SHIFT > c->highwater && c->highwater < c->capacity;
}

#endif
