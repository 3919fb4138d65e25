/* SPDX-License-Identifier: BSD-2-Clause */
/* Control groups by their ids, as the kernel side sees them. */
#ifndef IPCTRACE_CGROUP_H
#define IPCTRACE_CGROUP_H

#include <stddef.h>
#include <stdint.h>

/* Where the cgroup2 file system is mounted; the caller frees it. NULL: nowhere. */
char *cgroup__mount(void);

/* The path of a living cgroup below the mount, "/" for the root; 0 or -errno. */
int cgroup__path(uint64_t id, char *path, size_t size);

/*
 * The container that a cgroup path is of, as Docker, Podman, containerd, CRI-O, LXC and
 * systemd-nspawn name theirs: its id or name, to be freed by the caller. NULL: none.
 */
char *cgroup__container(const char *path);

#endif
