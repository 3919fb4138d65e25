/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Handing out rows and ids, counting losses, writing records. */
#ifndef IPCTRACE_TABLE_BPF_H
#define IPCTRACE_TABLE_BPF_H

#include "compat.bpf.h"

#define NO_ROW 0xffffffffU

static __always_inline struct engine *the_engine(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&engine, &zero);
}

static __always_inline void lose(enum loss cause, __u64 n)
{
	struct engine *en = the_engine();

	if (en)
		__sync_fetch_and_add(&en->loss[cause], n);
}

/* which: of the engine. The collector sees it at once, and not at its next look only. */
static __always_inline void crowd_is_there(__u32 *which)
{
	void *nothing;

	if (*which)
		return;
	*which = 1;
	nothing = bpf_ringbuf_reserve(&ring, sizeof(__u64), 0);
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

/* Datagrams to some address may go to another one from now on. */
static __always_inline void places_changed(void)
{
	struct engine *en = the_engine();

	if (en)
		__sync_fetch_and_add(&en->places, 1);
}

static __always_inline __u32 new_id(struct engine *en)
{
	return __sync_fetch_and_add(&en->next_id, 1) + 1;
}

/* A row to use: one that the collector gave back, or a fresh one. */
static __always_inline __u32 new_row(struct engine *en, void *free, enum table t, __u32 max)
{
	__u32 row;

	if (!bpf_map_pop_elem(free, &row))
		return row;
	if (en->used[t] >= max)
		return NO_ROW;
	row = __sync_fetch_and_add(&en->used[t], 1);
	return row < max ? row : NO_ROW;
}

static __always_inline struct chan_row *chan_at(__u32 row)
{
	return bpf_map_lookup_elem(&chans, &row);
}

static __always_inline struct edge_row *edge_at(__u32 row)
{
	return bpf_map_lookup_elem(&edges, &row);
}

/* The only process that does something: 0, nobody yet; PROC_SHARED: several do. */
static __always_inline void note_user(__u32 *user, __u32 proc)
{
	__u32 first = __sync_val_compare_and_swap(user, 0, proc);

	if (first && first != proc)
		*user = PROC_SHARED;
}

static __always_inline void head_of(struct rec_hdr *h, __u16 type, __u16 len)
{
	h->type = type;
	h->len = len;
	h->cpu = bpf_get_smp_processor_id();
	h->time = bpf_ktime_get_ns();
}

/* Lifecycle records tell when; who and what is in the tables, which do not depend on them. */
static __always_inline void record_life(enum life what, __u32 proc, __u32 other, __u32 pid,
					const char *comm)
{
	struct rec_life *r;

	if (!cfg.life)
		return;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lose(LOSS_RING_PROC, 1);
		return;
	}
	head_of(&r->h, REC_LIFE, sizeof(*r));
	r->what = what;
	r->proc = proc;
	r->other = other;
	r->pid = pid;
	if (comm)
		__builtin_memcpy(r->comm, comm, COMM_LEN);
	else
		__builtin_memset(r->comm, 0, COMM_LEN);
	bpf_ringbuf_submit(r, 0);
}

#endif
