/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages by their type or priority, on an edge. */
#ifndef IPCTRACE_TAGS_H
#define IPCTRACE_TAGS_H

#include <stdint.h>

#define TAGS_MAX 8

/* The first that were seen; of further ones only how many messages there were. */
struct gtags {
	struct {
		int32_t tag;
		uint64_t ops; /* 0: free */
	} of[TAGS_MAX];
	uint64_t others;
};

void tags__add(struct gtags *t, int32_t tag, uint64_t ops);
void tags__merge(struct gtags *into, const struct gtags *from);

#endif
