/* SPDX-License-Identifier: BSD-2-Clause */
/* What went through each channel, for who is to be told why there is no flow. */
#ifndef IPCTRACE_TRAFFIC_H
#define IPCTRACE_TRAFFIC_H

#include "graph.h"
#include "table.h"

enum side { GIVES, TAKES, SIDES };

/* What went through a channel, and who could have used it. */
struct traffic {
	uint64_t bytes[SIDES], pages[SIDES], events[SIDES];
	size_t users[SIDES];
	const struct gproc *first[SIDES], *last[SIDES];
	uint64_t locks, lock_waits, attached;
	size_t nr_flows;
	bool used;
};

/* traffic: of each channel, by its index; zero at first. */
void traffic__count(struct traffic *traffic, const struct graph *g);

/* Into a table: who could have used it, and why nothing went through. */
int traffic__users(struct table *t, const struct traffic *traffic, enum side side);
void traffic__why(struct table *to, const struct gchan *c, const struct traffic *t);

#endif
