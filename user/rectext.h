/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Records as text, one a line: `chan time=5 id=3 mech=fifo ino=7 name="f\0tmp\0"`. What is zero is
 * left out. Strings are bytes in quotes, with \0, \\, \" and \xHH for all that is not printable
 * ASCII: nothing from the traced machine gets through as it is, and nothing gets lost.
 */
#ifndef IPCTRACE_RECTEXT_H
#define IPCTRACE_RECTEXT_H

#include <stdio.h>

#include "../bpf/record.h"

void rectext__print(FILE *f, const struct rec_hdr *rec);

#define RECTEXT_MAX 65536

/*
 * The inverse. buf has RECTEXT_MAX bytes, aligned as a record. Returns 0 or -EINVAL, and then
 * *where is where the line went wrong.
 */
int rectext__parse(const char *line, struct rec_hdr *buf, const char **where);

#endif
