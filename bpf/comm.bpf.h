/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Process names against the globs of --comm: they must be told at exec, before the first call. */
#ifndef IPCTRACE_COMM_BPF_H
#define IPCTRACE_COMM_BPF_H

#include "compat.bpf.h"

/* Does the name match one of the globs? */
static __noinline bool comm_matches(const char *comm)
{
	char name[COMM_LEN];

	if (!comm || bpf_probe_read_kernel(name, sizeof(name), comm))
		return false;
	for (__u32 g = 0; g < MAX_GLOBS; g++) {
		if (g >= cfg.nr_comms)
			break;
		if (glob_matches(&cfg.comm[g], name))
			return true;
	}
	return false;
}

#endif
