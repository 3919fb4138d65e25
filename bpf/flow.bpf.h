/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who got what of whom, as far as it is known. */
#ifndef IPCTRACE_FLOW_BPF_H
#define IPCTRACE_FLOW_BPF_H

#include "table.bpf.h"

#define E2BIG 7

static const struct flow_val no_flow;

/* loses: what is lost if there is no room. */
static __always_inline struct flow_val *flow_at(struct flow_key *key, __u64 loses)
{
	struct flow_val *v = bpf_map_lookup_elem(&flows, key);
	struct engine *en;
	long err;

	if (v)
		return v;
	en = the_engine();
	if (!en)
		return NULL;
	err = bpf_map_update_elem(&flows, key, (void *)&no_flow, BPF_NOEXIST);
	if (err == -E2BIG) {
		lose(LOSS_NO_FLOW, loses);
		return NULL;
	}
	if (!err)
		__sync_fetch_and_add(&en->flows, 1);
	return bpf_map_lookup_elem(&flows, key);
}

/* end: at which it was given. */
static __noinline void flow_add_at(__u32 chan, __u32 end, __u32 from, __u32 to, __u64 bytes)
{
	struct flow_key key = { .chan = chan, .from = from, .to = to, .end = end };
	struct flow_val *v = flow_at(&key, bytes ?: 1);

	if (!v)
		return;
	__sync_fetch_and_add(&v->bytes, bytes);
	__sync_fetch_and_add(&v->ops, 1);
}

static __noinline void flow_add_ops(__u32 chan, __u32 from, __u32 to, __u64 bytes, __u64 ops)
{
	struct flow_key key = { .chan = chan, .from = from, .to = to };
	struct flow_val *v = flow_at(&key, bytes ?: ops);

	if (!v)
		return;
	__sync_fetch_and_add(&v->bytes, bytes);
	__sync_fetch_and_add(&v->ops, ops);
}

static __always_inline void flow_add(__u32 chan, __u32 from, __u32 to, __u64 bytes)
{
	flow_add_at(chan, 0, from, to, bytes);
}

#endif
