/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "escape.h"
#include "util.h"

static void *check(void *p)
{
	if (p)
		return p;
	fputs("ipctrace: out of memory\n", stderr);
	exit(EXIT_CANNOT);
}

void *xcalloc(size_t n, size_t size)
{
	return check(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n, size_t size)
{
	return check(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *xstrdup(const char *s)
{
	return check(strdup(s));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return check(n < 0 ? NULL : s);
}

/* File and command names come from anywhere: what would move the cursor is shown as \n, \x1b. */
void warn_line(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	fputs("ipctrace: ", stderr);
	if (n < 0) {
		fputs("out of memory", stderr);
	} else {
		escape__text(stderr, s);
		free(s);
	}
	fputc('\n', stderr);
}

bool proc_is_ours(void)
{
	char self[16], pid[16];
	ssize_t n = readlink("/proc/self", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = 0;
	snprintf(pid, sizeof(pid), "%d", getpid());
	return !strcmp(self, pid);
}
