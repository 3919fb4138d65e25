/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that changes the map of memory all the time, so that nobody else can look at it. */
#ifndef WORKLOAD_CHANGER_H
#define WORKLOAD_CHANGER_H

#include <pthread.h>
#include <stdbool.h>

/* Which memory it is that changes. */
#define CHANGES_PARAM                                                             \
	{                                                                         \
		"changes", "other", "other|same", 0, 0,                           \
			"another mapping, or the one that is used is split again" \
	}

struct changer {
	pthread_t thread;
	void *at;
	size_t size;
	bool changes, stop;
};

/*
 * Returns when it has begun. NULL: what changes is memory of its own, so much that it takes long. Else
 * that memory can be read only for moments, for which whatever mapping it lies in is split.
 */
void changer__start(struct changer *c, void *at, size_t size);
void changer__stop(struct changer *c);

#endif
