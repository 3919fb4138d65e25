/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this kernel and this user allow. Nothing is guessed from version numbers: it is tried.
 * For tests IPCTRACE_BTF and IPCTRACE_LOCKDOWN in the environment name other files than the kernel's.
 */
#ifndef IPCTRACE_FEATURES_H
#define IPCTRACE_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Can anything be traced here? If not, *why is one line for the user without a newline (and the
 * exit status is EXIT_CANNOT). Quick: takes well under a millisecond.
 */
bool features__can_trace(char *why, size_t size);

/* Its parts, for the doctor. */
bool features__privileged(char *why, size_t size);
bool features__cap(int cap); /* CAP_... is effective */
const char *features__btf(void); /* where the kernel's types should be */
void features__lockdown(char *mode, size_t size); /* "integrity"; "": the kernel does not say */

#endif
