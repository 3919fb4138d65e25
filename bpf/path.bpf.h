/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names of files, taken when the file is first seen: the process, the file and the mount may be gone
 * before user space could look. Written as names from the leaf to the root, each with its NUL; user
 * space turns them round.
 */
#ifndef IPCTRACE_PATH_BPF_H
#define IPCTRACE_PATH_BPF_H

#include "compat.bpf.h"

#define PATH_DEPTH 64

struct path_walk {
	__u64 dentry, mnt; /* addresses */
	__u32 off;
	bool whole;
};

/* One step towards the root. A loop by helper, as the verifier would go through each of its rounds. */
static long path_step(__u32 i, struct path_walk *w)
{
	__u64 up = PEEK_ADDR(struct dentry, w->dentry, d_parent), at = OF_ANY_ROUND(w->off);
	__u32 zero = 0;
	char *buf = bpf_map_lookup_elem(&path_scratch, &zero);
	long n;

	if (!buf)
		return 1;
	if (w->dentry == up || w->dentry == PEEK_ADDR(struct vfsmount, w->mnt, mnt_root)) {
		__u64 m = w->mnt - bpf_core_field_offset(struct mount, mnt);
		__u64 parent = PEEK_ADDR(struct mount, m, mnt_parent);

		if (m == parent || w->dentry != PEEK_ADDR(struct vfsmount, w->mnt, mnt_root)) {
			w->whole = true;
			return 1;
		}
		w->dentry = PEEK_ADDR(struct mount, m, mnt_mountpoint);
		w->mnt = parent + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	/* Compared in the very register that is added, or 6.1 does not see the bound. */
	asm volatile("" : "+r"(at));
	if (at >= PATH_LEN)
		return 1;
	n = bpf_probe_read_kernel_str(buf + at, PATH_LEN,
				      (void *)PEEK_ADDR(struct dentry, w->dentry, d_name.name));
	if (n <= 0)
		return 1;
	w->off += n;
	w->dentry = up;
	return 0;
}

static __always_inline bool dentry_is_gone(__u64 dentry)
{
	return !PEEK_ADDR(struct dentry, dentry, d_hash.pprev);
}

#define PATH_LINKS 4

/* The name that the inode got last, of those that are still there. 0: none. */
static __noinline __u64 dentry_of_inode(__u64 inode)
{
	__u64 at = inode ? PEEK_ADDR(struct inode, inode, i_dentry.first) : 0, dentry;

	for (int i = 0; i < PATH_LINKS && at; i++) {
		dentry = at - bpf_core_field_offset(struct dentry, d_u.d_alias);
		if (!dentry_is_gone(dentry) && PEEK_ADDR(struct dentry, dentry, d_inode) == inode)
			return dentry;
		at = PEEK_ADDR(struct hlist_node, at, next);
	}
	return 0;
}

/* Of a file whose name was taken away: another one that it has. sem_open() makes files so. */
static __always_inline __u64 dentry_still_there(__u64 dentry)
{
	__u64 other;

	if (!dentry_is_gone(dentry))
		return dentry;
	other = dentry_of_inode(PEEK_ADDR(struct dentry, dentry, d_inode));
	return other ? other : dentry;
}

/* Writes into path_scratch; returns how many bytes, with bit 16 set if it did not fit. */
__noinline __u32 path_walk(__u64 dentry, __u64 mnt)
{
	struct path_walk w = { .mnt = mnt, .dentry = dentry_still_there(dentry) };
	__u32 zero = 0;
	char *buf = bpf_map_lookup_elem(&path_scratch, &zero);

	if (!buf)
		return 0;
	bpf_loop(PATH_DEPTH, path_step, &w, 0);
	if (!w.off) {
		/* In no directory: memory that was never opened, a memfd. It has a name all the same. */
		long n = bpf_probe_read_kernel_str(
			buf, PATH_LEN, (void *)PEEK_ADDR(struct dentry, w.dentry, d_name.name));

		w.off = n > 0 ? n : 0;
	}
	if (w.off > PATH_LEN) {
		w.whole = false;
		w.off = PATH_LEN;
	}
	return w.off | (w.whole ? 0 : 1 << 16);
}

/* The same into dst (PATH_LEN bytes). */
static __always_inline __u32 path_names(__u64 path, char *dst)
{
	__u32 n =
		path_walk(PEEK_ADDR(struct path, path, dentry), PEEK_ADDR(struct path, path, mnt));
	__u32 zero = 0;
	char *buf = bpf_map_lookup_elem(&path_scratch, &zero);

	if (buf)
		bpf_probe_read_kernel(dst, PATH_LEN, buf);
	return n;
}

#endif
