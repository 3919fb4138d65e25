/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Records of one size, each written by one call and small enough to be atomic. Whoever reads one at
 * a time gets whole records, so what it got from whom is known even when all run at once.
 */
#ifndef WORKLOAD_RECORD_H
#define WORKLOAD_RECORD_H

#include "ops.h"

#define MAX_SUMS 512

struct sums {
	uint32_t writers;
	bool ordered; /* each writer's records must come in order, maybe with gaps */
	uint64_t records[MAX_SUMS];
	uint64_t next[MAX_SUMS];
};

void records__write(const struct end *e, uint32_t writer, uint64_t count, size_t size);
/* To the end of file; each record is checked against its tag. */
void records__read(const struct end *e, struct sums *sums, size_t size);

#endif
