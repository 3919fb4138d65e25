/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Locks on files: which calls ask for one. Giving one back is no call of its own kind. */
#ifndef IPCTRACE_LOCK_BPF_H
#define IPCTRACE_LOCK_BPF_H

#include "calls.h"
#include "compat.bpf.h"

#define F_SETLK 6
#define F_SETLKW 7
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#define F_UNLCK 2
#define LOCK_NB 4
#define LOCK_UN 8

/* fcntl() is many calls. */
static __always_inline bool fcntl_locks(struct pt_regs *regs)
{
	__u32 cmd = call_arg(regs, 1);

	return cfg.mechs & 1U << MECH_FILE &&
	       (cmd == F_SETLK || cmd == F_SETLKW || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW);
}

static __always_inline bool lock_asks(struct pt_regs *regs, __u32 kind)
{
	__s16 type = F_UNLCK;

	if (kind == KIND_flock)
		return !(call_arg(regs, 1) & LOCK_UN);
	/* The first thing in a struct flock. */
	return !bpf_probe_read_user(&type, sizeof(type), (void *)call_arg(regs, 2)) &&
	       type != F_UNLCK;
}

static __always_inline bool lock_waits(struct pt_regs *regs, __u32 kind)
{
	__u32 cmd = call_arg(regs, 1);

	if (kind == KIND_flock)
		return !(cmd & LOCK_NB);
	return cmd == F_SETLKW || cmd == F_OFD_SETLKW;
}

#endif
