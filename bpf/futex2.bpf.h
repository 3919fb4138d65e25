/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The later futex calls: they have their flags elsewhere, and one waits on several words. Of these the
 * one is counted that was woken; while it sleeps, and if it fails, the first that is not private.
 */
#ifndef IPCTRACE_FUTEX2_BPF_H
#define IPCTRACE_FUTEX2_BPF_H

#include "futex.bpf.h"

/* struct futex_waitv */
struct futex_waiter {
	__u64 value, addr;
	__u32 flags, _pad;
};

#define FUTEX_LOOK 8 /* of up to 128 words */

static __always_inline bool futex2_is_private(struct pt_regs *regs)
{
	return call_arg(regs, 3) & FUTEX_PRIVATE_FLAG;
}

/* The address of one of several words; 0: it is private. */
static __always_inline __u64 futex_word(__u64 list, __u32 i)
{
	struct futex_waiter w = {};

	if (bpf_probe_read_user(&w, sizeof(w), (void *)(list + i * sizeof(w))) ||
	    w.flags & FUTEX_PRIVATE_FLAG)
		return 0;
	return w.addr;
}

static __noinline __u64 futex_first_word(__u64 list, __u32 n)
{
	for (__u32 i = 0; i < FUTEX_LOOK && i < n; i++) {
		__u64 addr = futex_word(list, i);

		if (addr)
			return addr;
	}
	return 0;
}

/* The word that a call is about; 0: a private one. */
static __always_inline __u64 futex2_addr(struct pt_regs *regs, __u32 kind, long ret)
{
	__u64 at = call_arg(regs, 0);

	switch (kind) {
	case KIND_futex_waitv:
		return ret < 0 ? futex_first_word(at, call_arg(regs, 1)) : futex_word(at, ret);
	case KIND_futex_requeue:
		return futex_word(at, 0);
	}
	return futex2_is_private(regs) ? 0 : at;
}

#endif
