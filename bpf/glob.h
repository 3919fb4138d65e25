/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A glob over process names as a bit-parallel automaton, compiled by user/glob.c and run in the kernel:
 * in state bit i the first i elements of the pattern have matched; a `*` keeps its bit.
 */
#ifndef IPCTRACE_GLOB_H
#define IPCTRACE_GLOB_H

#include "record.h"

struct glob {
	__u32 star; /* bit i: element i is a `*` */
	__u32 end; /* bit of the last state */
	__u32 take[256]; /* bit i: element i takes this byte */
};

/* A `*` may also match nothing. */
static inline __attribute__((always_inline)) __u32 glob_skip(const volatile struct glob *g, __u32 s)
{
	return s | (s & g->star) << 1;
}

static inline __attribute__((always_inline)) int glob_matches(const volatile struct glob *g,
							      const char name[COMM_LEN])
{
	__u32 s = 1;

	for (int i = 0; i < COMM_LEN - 1 && name[i]; i++) {
		s = glob_skip(g, s);
		s = (s & g->take[(__u8)name[i]]) << 1 | (s & g->star);
	}
	return (glob_skip(g, s) & g->end) != 0;
}

#endif
