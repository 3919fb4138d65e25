/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be done with shared memory of every kind, for the factories of each. */
#ifndef WORKLOAD_MEMORY_USE_H
#define WORKLOAD_MEMORY_USE_H

#include "factory.h"
#include "memory.h"

enum memory_kind { KIND_SHM, KIND_POSIXSHM, KIND_MEMFD, KIND_FILE, KIND_ANON, KIND_ZERO };

struct shared {
	enum memory_kind kind;
	int chan, id; /* id: System V */
	struct end e; /* the others, of whoever made it */
	struct mem made; /* anonymous and /dev/zero: mapped where it is made, and inherited */
	pid_t maker;
};

struct shared shared__make(enum memory_kind kind, const char *name, uint32_t places);
/* By any process, at any time while it exists; anonymous memory must have been inherited. */
struct mem shared__attach(const struct shared *s, bool readonly);
void shared__detach(const struct shared *s, struct mem *m);
/* Its name, or what keeps it; whoever has it attached goes on. */
void shared__remove(const struct shared *s);

/* One process writes places, then others read some of them. */
void touch__run(enum memory_kind kind);
#define TOUCH_PARAMS                                                                             \
	COMMON_PARAMS, NUM_PARAM("places", "8", 1, MAX_PLACES, "pages, more than 64 KiB apart"), \
		{ "write", "0,2", NULL, 0, 0, "pages that the producer writes" },                \
		{ "read", "0", NULL, 0, 0, "pages that each consumer reads" },                   \
		NUM_PARAM("readers", "1", 0, 500, "consumers"),                                  \
	{                                                                                        \
		"relation", "child", "child|orphan", 0, 0, "how the processes are related"       \
	}

/* Two processes by turns write a page and read the other's. */
void turns__run(enum memory_kind kind);
#define TURNS_PARAMS COMMON_PARAMS, NUM_PARAM("rounds", "8", 1, MAX_PLACES / 2, "pages each way")

/* Attached before a fork, or before several; children touch what they inherited. */
void inherit__run(enum memory_kind kind);
#define INHERIT_PARAMS                                                  \
	COMMON_PARAMS, NUM_PARAM("children", "2", 1, 200, "processes"), \
		NUM_PARAM("places", "4", 1, MAX_PLACES, "pages of each")

/* Without a call: a sequence lock in memory, a writer and readers. */
void seqlock__run(enum memory_kind kind);
#define SEQLOCK_PARAMS                                                 \
	COMMON_PARAMS, NUM_PARAM("readers", "2", 1, 100, "processes"), \
		NUM_PARAM("updates", "1000", 1, 1 << 30, "of the data, by the writer")

/* One goes on writing, one reading, one does nothing any more: only the first touches fault. */
void busy__run(enum memory_kind kind);
#define BUSY_PARAMS COMMON_PARAMS, NUM_PARAM("ms", "100", 1, 600000, "for how long")

/* Attached several times by one process, which touches a page in each. */
void again__run(enum memory_kind kind);
#define AGAIN_PARAMS                                                    \
	COMMON_PARAMS, NUM_PARAM("times", "3", 1, 1000, "attachments"), \
	{                                                               \
		"order", "together", "together|one-by-one", 0, 0,       \
			"all at once, or each detached first"           \
	}

#endif
