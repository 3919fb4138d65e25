/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * System V IPC: from an id to the kernel's object. An id means something in an ipc namespace only, and
 * both are used again: the object's address tells one that lives from one that is gone.
 */
#ifndef IPCTRACE_SYSV_BPF_H
#define IPCTRACE_SYSV_BPF_H

#include "compat.bpf.h"

enum sysv { SYSV_SEM = 0, SYSV_MSG = 1, SYSV_SHM = 2 }; /* as the kernel numbers them */

/* IPCMNI_SHIFT, and what it is with ipcmni_extend on the kernel's command line. */
#define SYSV_INDEX_BITS 15
#define SYSV_INDEX_BITS_MORE 24

#define XA_CHUNK_SHIFT 6
#define XA_LEVELS 4 /* 24 bits */

/* What an IDR holds at an index. */
static __always_inline __u64 idr_at(__u64 idr, __u64 index)
{
	__u64 at = PEEK_ADDR(struct idr, idr, idr_rt.xa_head);

	for (int i = 0; i <= XA_LEVELS; i++) {
		__u64 node = at & ~3ULL;
		__u32 shift;

		if ((at & 3) != 2) /* not a node, but what was looked for */
			return i || !index ? at : 0;
		shift = PEEK(struct xa_node, node, shift);
		if (shift > SYSV_INDEX_BITS_MORE || (!i && index >> (shift + XA_CHUNK_SHIFT)))
			return 0;
		at = addr_at(node + bpf_core_field_offset(struct xa_node, slots) +
			     (index >> shift & ((1 << XA_CHUNK_SHIFT) - 1)) * sizeof(void *));
	}
	return 0;
}

static __always_inline __u64 sysv_namespace(void)
{
	struct task_struct *me = UNTRUSTED(struct task_struct, bpf_get_current_task_btf());
	__u64 nsproxy = (__u64)me->nsproxy;

	return nsproxy ? PEEK_ADDR(struct nsproxy, nsproxy, ipc_ns) : 0;
}

/* Address of the object of that id in the current task's namespace; 0: there is none. */
__noinline __u64 sysv_object(enum sysv which, __u32 id)
{
	__u64 ns = sysv_namespace(), idr, object;

	if (!ns || which > SYSV_SHM)
		return 0;
	idr = ns + bpf_core_field_offset(struct ipc_namespace, ids) +
	      which * bpf_core_type_size(struct ipc_ids) +
	      bpf_core_field_offset(struct ipc_ids, ipcs_idr);
	object = idr_at(idr, id & ((1 << SYSV_INDEX_BITS) - 1));
	if (object && PEEK(struct kern_ipc_perm, object, id) == (int)id)
		return object;
	object = idr_at(idr, id & ((1 << SYSV_INDEX_BITS_MORE) - 1));
	return object && PEEK(struct kern_ipc_perm, object, id) == (int)id ? object : 0;
}

/*
 * Something that tells an ipc namespace from those before it, as its own number is used again: each has
 * its file system of POSIX queues, whose root has an inode number like all others.
 */
static __always_inline __u32 ipcns_ident(__u64 ns)
{
	__u64 mount, root;

	if (!bpf_core_field_exists(((struct ipc_namespace *)0)->mq_mnt))
		return 0;
	mount = PEEK_ADDR(struct ipc_namespace, ns, mq_mnt);
	root = PEEK_ADDR(struct vfsmount, mount, mnt_root);
	return PEEK(struct inode, PEEK_ADDR(struct dentry, root, d_inode), i_ino);
}

/* Makes the key of its channel. */
static __always_inline void sysv_chan_key(struct chan_key *key, enum mech mech, __u32 id,
					  __u64 object)
{
	__u64 ns = sysv_namespace();

	key->mech = mech;
	key->dev = PEEK(struct ipc_namespace, ns, ns.inum);
	key->ino = id;
	key->gen = object >> 6 ^ ipcns_ident(ns) * (__u32)SPREAD;
}

#endif
