/* SPDX-License-Identifier: BSD-2-Clause */
/* What this kernel and this user allow. Nothing is guessed from version numbers: it is tried. */
#ifndef IPCTRACE_FEATURES_H
#define IPCTRACE_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Can anything be traced here? If not, *why is one line for the user without a newline (and the
 * exit status is EXIT_CANNOT). Quick: takes well under a millisecond.
 */
bool features__can_trace(char *why, size_t size);

/* Print everything to stdout. Returns whether tracing works. */
bool features__report(void);

#endif
