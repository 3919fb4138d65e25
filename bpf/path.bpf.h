/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names of files, taken when the file is first seen: the process, the file and the mount may be gone
 * before user space could look. Written as names from the leaf to the root, each with its NUL; user
 * space turns them round.
 */
#ifndef IPCTRACE_PATH_BPF_H
#define IPCTRACE_PATH_BPF_H

#include "compat.bpf.h"

#define PATH_DEPTH 32

/* Writes into dst (PATH_LEN bytes); returns how many, with bit 16 set if it did not fit. */
static __noinline __u32 path_names(__u64 path_addr, char *dst)
{
	struct path *path = (struct path *)path_addr;
	struct vfsmount *mnt = BPF_CORE_READ(path, mnt);
	struct dentry *d = BPF_CORE_READ(path, dentry);
	__u32 off = 0, zero = 0;
	bool whole = false;
	char *buf = bpf_map_lookup_elem(&path_scratch, &zero);

	if (!buf || !dst)
		return 0;
	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *up = BPF_CORE_READ(d, d_parent);
		long n;

		if (d == up || d == BPF_CORE_READ(mnt, mnt_root)) {
			struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
			struct mount *parent = BPF_CORE_READ(m, mnt_parent);

			if (m == parent || d != BPF_CORE_READ(mnt, mnt_root)) {
				whole = true;
				break;
			}
			d = BPF_CORE_READ(m, mnt_mountpoint);
			mnt = (void *)parent + bpf_core_field_offset(struct mount, mnt);
			continue;
		}
		if (off >= PATH_LEN)
			break;
		n = bpf_probe_read_kernel_str(buf + off, PATH_LEN, BPF_CORE_READ(d, d_name.name));
		if (n <= 0)
			break;
		off += n;
		d = up;
	}
	if (off > PATH_LEN) {
		whole = false;
		off = PATH_LEN;
	}
	bpf_probe_read_kernel(dst, PATH_LEN, buf);
	return off | (whole ? 0 : 1 << 16);
}

#endif
