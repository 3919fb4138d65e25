/* SPDX-License-Identifier: BSD-2-Clause */
/* Text in aligned columns. Cells are made visible (escape.h) when they are put in. */
#ifndef IPCTRACE_TABLE_H
#define IPCTRACE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct column {
	const char *title; /* "" for none */
	bool right; /* aligned */
	bool elastic; /* may be cut to make the table fit */
};

struct table;

/* The columns must live as long as the table. NULL: no memory. */
struct table *table__new(const struct column *columns, size_t nr);
void table__free(struct table *t);

/* The next cell, row by row. Memory that is short shows up in table__print(). */
void table__add(struct table *t, const char *text);
void table__addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* In at most `width` terminal columns if that can be done (0: no limit). 0 or -ENOMEM. */
int table__print(const struct table *t, FILE *f, size_t width, const char *on, const char *off);

#endif
