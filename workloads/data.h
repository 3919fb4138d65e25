/* SPDX-License-Identifier: BSD-2-Clause */
/* Contents of regular files: each byte says who wrote it, so that a reader knows what it got of whom. */
#ifndef WORKLOAD_DATA_H
#define WORKLOAD_DATA_H

#include "factory.h"
#include "memory.h"

#define DATA_MAX (1 << 20) /* bytes of one call */

#define DATA_PARAMS                                                              \
	NUM_PARAM("bytes", "100000", 1, 1ULL << 32, "how much each one writes"), \
		NUM_PARAM("chunk", "5000", 2, DATA_MAX, "bytes asked of each call")
#define PROCS_PARAM(name, value, help) NUM_PARAM(name, value, 1, 100, help)

/* How one call is made: at that place in the file, which is also where it stands. */
typedef ssize_t (*data_fn)(const struct end *e, char *buf, size_t n, off_t at);

/* Of the process; DATA_MAX bytes. */
char *data__buffer(void);
/* Makes an empty file; returns its channel. */
int data__file(const char *file);
/* All that parameter "bytes" says, by plain write() if put is NULL. */
void data__write(const struct end *e, data_fn put);
/*
 * To the end of the file, by plain read() if take is NULL; adds the flows of what is found. sure: all
 * that wrote it had returned by then.
 */
void data__read(const struct end *e, size_t chunk, bool sure, data_fn take);
void must(bool ok, const char *what);

#endif
