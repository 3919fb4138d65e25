/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that changes the map of memory all the time, so that nobody else can look at it. */
#ifndef WORKLOAD_CHANGER_H
#define WORKLOAD_CHANGER_H

#include <pthread.h>
#include <stdbool.h>

struct changer {
	pthread_t thread;
	bool changes, stop;
};

/* Returns when it has begun. */
void changer__start(struct changer *c);
void changer__stop(struct changer *c);

#endif
