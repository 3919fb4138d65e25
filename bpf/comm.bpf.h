/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Process names against the globs of --comm: they must be told at exec, before the first call. */
#ifndef IPCTRACE_COMM_BPF_H
#define IPCTRACE_COMM_BPF_H

#include "compat.bpf.h"

/* A `*` may also match nothing. */
static __always_inline __u32 glob_skip(const volatile struct glob *g, __u32 s)
{
	return s | (s & g->star) << 1;
}

static __always_inline __u32 glob_step(const volatile struct glob *g, __u32 s, __u8 c)
{
	s = glob_skip(g, s);
	return (s & g->take[c]) << 1 | (s & g->star);
}

/* Does the name match one of the globs? */
static __noinline bool comm_matches(const char *comm)
{
	char name[COMM_LEN];

	if (!comm || bpf_probe_read_kernel(name, sizeof(name), comm))
		return false;
	for (__u32 g = 0; g < 4; g++) {
		const volatile struct glob *glob = &cfg.comm[g & 3];
		__u32 s = 1;

		if (g >= cfg.nr_comms)
			break;
		for (int i = 0; i < COMM_LEN - 1 && name[i]; i++)
			s = glob_step(glob, s, name[i]);
		s = glob_skip(glob, s);
		if (s & glob->end)
			return true;
	}
	return false;
}

#endif
