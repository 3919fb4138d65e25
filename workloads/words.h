/* SPDX-License-Identifier: BSD-2-Clause */
/* Words in shared memory, and futex calls on them. As in ops.h, what an x_ function calls is counted. */
#ifndef WORKLOAD_WORDS_H
#define WORKLOAD_WORDS_H

#include <linux/futex.h>
#include <time.h>

#include "facts.h"

/* Shared memory of one of these kinds. */
#define MEMORY_PARAM(kind)                                                                       \
	{                                                                                        \
		"memory", kind, "anon|zero|file|posixshm|memfd|shm", 0, 0, "what the word is in" \
	}

struct region {
	char *addr;
	size_t size;
	int fd, shmid; /* -1: none */
	uint64_t dev, ino;
	char path[64];
};

/* As the parameter `memory` says; removed by name at once, or at the end if it is a file. */
void region__make(struct region *r, size_t size);
/* This process sees it at another address from now on. */
void region__move(struct region *r);

/* A word of it, and its channel. Where it is mapped is the region's business. */
struct word {
	const struct region *region;
	size_t offset;
	int chan;
};

struct word word__new(const struct region *r, size_t offset, const char *name);
uint32_t *word__at(const struct word *w);

long x_futex(const struct word *w, int op, uint32_t val, const struct timespec *t, uint32_t bits);
#define x_wait(w, val) x_futex(w, FUTEX_WAIT, val, NULL, 0)
#define x_wake(w, n) x_futex(w, FUTEX_WAKE, n, NULL, 0)
/* wake and move as many; cmp: FUTEX_CMP_REQUEUE, or with PI. */
long x_requeue(const struct word *from, const struct word *to, int op, int wake, int move,
	       uint32_t val);
long x_wake_op(const struct word *a, const struct word *b, int wake_a, int wake_b, uint32_t op);

/* Count calls that the C library made. */
void futex__made(int proc, int chan, enum role role, uint64_t ops);
/* Wait until the process sleeps on a word in these bytes of the region; returns which one. */
size_t proc__await_futex(int slot, const struct region *r, size_t offset, size_t len);

#endif
