/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* System V semaphores: from the id of a set to its channel, and what a semop() asks for. */
#ifndef IPCTRACE_SEM_BPF_H
#define IPCTRACE_SEM_BPF_H

#include "sysv.bpf.h"
#include "table.bpf.h"

#define SETVAL 16
#define SETALL 17
#define IPC_RMID 0
#define IPC_64 0x100 /* of 32-bit callers only */
#define IPC_NOWAIT 04000
#define SEMOPM 500

enum { SOP_WAIT = 1, SOP_WAKE = 2, SOP_NOWAIT = 4, SOP_UNREADABLE = 8 };

struct sops {
	__u64 at; /* in user memory */
	__u64 n;
	__u32 seen; /* SOP_* of all of them */
};

static long sops_step(__u32 i, struct sops *s)
{
	struct sembuf op;

	if (bpf_probe_read_user(&op, sizeof(op), (void *)(s->at + i * sizeof(op)))) {
		s->seen = SOP_UNREADABLE;
		return 1;
	}
	s->seen |= op.sem_op > 0 ? SOP_WAKE : SOP_WAIT;
	if (op.sem_flg & IPC_NOWAIT)
		s->seen |= SOP_NOWAIT;
	return 0;
}

/* Looks at all operations of a call. False: it has none, or they cannot be read. */
static __always_inline bool sops_look(struct sops *s)
{
	if (!s->n || s->n > SEMOPM)
		return false;
	if (s->n == 1) {
		sops_step(0, s);
	} else {
		bpf_loop(s->n, sops_step, s, 0);
		s->seen = OF_ANY_ROUND(s->seen);
	}
	return !(s->seen & SOP_UNREADABLE);
}

/* A timeout that says not to wait at all. */
static __always_inline bool is_no_time(__u64 at)
{
	__s64 t[2] = { 1, 1 };

	return at && !bpf_probe_read_user(t, sizeof(t), (void *)at) && !t[0] && !t[1];
}

#endif
