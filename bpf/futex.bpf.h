/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Futexes that processes share: what is at a user address, and what an operation does. Two processes
 * mean the same word if it is at the same place of the same file, be it one that nobody can open, as
 * that of anonymous shared memory. All other memory makes a futex private, whatever the call says.
 */
#ifndef IPCTRACE_FUTEX_BPF_H
#define IPCTRACE_FUTEX_BPF_H

#include "compat.bpf.h"

#define FUTEX_PRIVATE_FLAG 128
#define FUTEX_CMD_MASK 127

enum {
	FUTEX_WAIT = 0,
	FUTEX_WAKE = 1,
	FUTEX_REQUEUE = 3,
	FUTEX_CMP_REQUEUE = 4,
	FUTEX_WAKE_OP = 5,
	FUTEX_LOCK_PI = 6,
	FUTEX_UNLOCK_PI = 7,
	FUTEX_TRYLOCK_PI = 8,
	FUTEX_WAIT_BITSET = 9,
	FUTEX_WAKE_BITSET = 10,
	FUTEX_WAIT_REQUEUE_PI = 11,
	FUTEX_CMP_REQUEUE_PI = 12,
	FUTEX_LOCK_PI2 = 13,
};

#define FUTEX_WAITS                                                                              \
	(1 << FUTEX_WAIT | 1 << FUTEX_LOCK_PI | 1 << FUTEX_TRYLOCK_PI | 1 << FUTEX_WAIT_BITSET | \
	 1 << FUTEX_WAIT_REQUEUE_PI | 1 << FUTEX_LOCK_PI2)
#define FUTEX_WAKES                                                                           \
	(1 << FUTEX_WAKE | 1 << FUTEX_REQUEUE | 1 << FUTEX_CMP_REQUEUE | 1 << FUTEX_WAKE_OP | \
	 1 << FUTEX_UNLOCK_PI | 1 << FUTEX_WAKE_BITSET | 1 << FUTEX_CMP_REQUEUE_PI)

/* Waits that succeed only if somebody wakes; a lock may simply be free. */
#define FUTEX_UNSEEN (1 << FUTEX_WAIT | 1 << FUTEX_WAIT_BITSET)

static __always_inline bool futex_is_private(struct pt_regs *regs)
{
	return call_arg(regs, 1) & FUTEX_PRIVATE_FLAG;
}

static __always_inline bool futex_op_is(struct pt_regs *regs, __u32 ops)
{
	__u32 cmd = call_arg(regs, 1) & FUTEX_CMD_MASK;

	return cmd <= FUTEX_LOCK_PI2 && ops >> cmd & 1;
}

#endif
