/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recordings (.ipct): a header, then records one after the other, as in record.h, little endian.
 * Reading trusts nothing: a damaged file gives its good part, and says what is wrong.
 */
#ifndef IPCTRACE_RECFILE_H
#define IPCTRACE_RECFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "../bpf/record.h"

#define RECFILE_MAGIC "ipct\r\n\x1a\n" /* shows what a text-mode copy did to it */
#define RECFILE_VERSION 1

struct recfile_hdr {
	char magic[8];
	__u32 version; /* grows when readers of the older one would be wrong, not just incomplete */
	__u32 len; /* of this header: records begin there */
};

int recfile__write_header(FILE *f);
int recfile__write(FILE *f, const struct rec_hdr *rec);

/* The caller frees it; records belong to it, and each lives until the next is asked for. */
struct recfile;

/* "-" is stdin. Never NULL but without memory; what is wrong, recfile__problem() says. */
struct recfile *recfile__open(const char *path);

/* False if not even its header is. */
bool recfile__usable(const struct recfile *rf);

/* NULL: no more, or nothing more that can be used. */
const struct rec_hdr *recfile__next(struct recfile *rf);

/* The first thing that is wrong, one line; NULL: nothing so far. */
const char *recfile__problem(const struct recfile *rf);
void recfile__free(struct recfile *rf);

/* What a record of a known type must at least have; 0 for unknown types. Newer ones may be longer. */
size_t record_min_len(unsigned int type);

#endif
