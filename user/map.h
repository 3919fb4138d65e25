/* SPDX-License-Identifier: BSD-2-Clause */
/* A hash table from pairs of numbers to pointers. It owns neither keys nor values. */
#ifndef IPCTRACE_MAP_H
#define IPCTRACE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
	uint64_t a, b;
	void *value; /* NULL: free */
};

/* All zero is an empty table. */
struct map {
	struct map_slot *slots;
	size_t size; /* power of two */
	size_t used;
};

void *map__get(const struct map *m, uint64_t a, uint64_t b);
int map__put(struct map *m, uint64_t a, uint64_t b, void *value); /* 0 or -ENOMEM; replaces */
void map__del(struct map *m, uint64_t a, uint64_t b);
void map__free(struct map *m);

#endif
