/* SPDX-License-Identifier: BSD-2-Clause */
/* Patterns of --comm; the kernel side runs what comes out. */
#ifndef IPCTRACE_USER_GLOB_H
#define IPCTRACE_USER_GLOB_H

#include "../bpf/glob.h"

/* 0, or -EINVAL: a [ without its ], or longer than any process name. */
int glob__compile(struct glob *g, const char *pattern);

#endif
