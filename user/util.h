/* SPDX-License-Identifier: BSD-2-Clause */
/* For commands: what cannot fail, or ends the program with one line. The caller owns the memory. */
#ifndef IPCTRACE_UTIL_H
#define IPCTRACE_UTIL_H

#include <stdbool.h>
#include <stddef.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Does /proc show processes by the numbers of our own pid namespace? */
bool proc_is_ours(void);

#endif
