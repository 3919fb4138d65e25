/* SPDX-License-Identifier: BSD-2-Clause */
/* The fields of each type of record, for printing and parsing alike. */
#ifndef IPCTRACE_RECTEXT_PRIV_H
#define IPCTRACE_RECTEXT_PRIV_H

#include "../bpf/record.h"

enum kind {
	NUMBER,
	SIGNED,
	ENUM, /* names by value */
	FLAGS, /* names by bit */
	MECH,
	PROCESS, /* id, or one of the special ones */
	STRING, /* up to its NUL */
	BYTES, /* as many as another field says */
	ERRORS, /* err_no[] and errs[] */
};

struct field {
	const char *name;
	enum kind kind;
	__u16 at, size;
	__u16 len_at, len_size; /* BYTES: that other field */
	const char *const *names; /* ends with NULL; "": no name */
};

struct type {
	const char *name;
	const struct field *fields; /* ends with one without a name */
};

#define NR_TYPES (REC_PASS + 1)

extern const struct type rectext_types[NR_TYPES];

/* Of every type, before its own. */
extern const struct field rectext_hdr_fields[];

/* The one enum whose 0 is always printed. */
extern const char *const rectext_roles[];

#endif
