/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IPCTRACE_KTYPES_H
#define IPCTRACE_KTYPES_H

#include <bpf/btf.h>

#define KTYPES_PATH 32

/* An empty file in memory, and its name for libbpf: a descriptor or -errno. */
int ktypes__file(char path[KTYPES_PATH]);
/*
 * Fills it with the kernel's types, which were read and not changed since; with names as far as the
 * objects with these types of ours ask for them.
 */
int ktypes__write(int fd, const struct btf *kernel, const struct btf *const *ours, size_t nr);

#endif
