/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls by which processes wait for each other: System V semaphores, and locks on files; futexes are
 * in words.h. As in ops.h, each x_ function is one system call, which is counted.
 */
#ifndef WORKLOAD_SYNC_H
#define WORKLOAD_SYNC_H

#include <sys/sem.h>
#include <time.h>

#include "facts.h"

/* A System V semaphore set. */
struct semset {
	int id, chan;
};

union semun {
	int val;
	unsigned short *array;
};

/* Makes a set, of that key or of none; it is removed at the end unless it was before. */
struct semset sem__make(const char *name, key_t key, int nr);
/* One in an ipc namespace of the caller's own, which takes it along when it goes. */
struct semset sem__make_inside(const char *name, key_t key, int nr);
void sem__remove(const struct semset *s);
/* Those that are still there; run by whoever ends the workload. */
void sync__cleanup(void);
key_t sem__key(int n);

int x_semop(const struct semset *s, struct sembuf *ops, size_t n);
int x_semtimedop(const struct semset *s, struct sembuf *ops, size_t n, const struct timespec *t);
int x_setval(const struct semset *s, int which, int value);
int x_setall(const struct semset *s, unsigned short *values);
/* One operation that must succeed. */
void sem__op(const struct semset *s, int which, int op, int flags);

/* Count a call that the C library made for us. */
void sync__made(int proc, int chan, enum role role, uint64_t ops);
void proc__await_semop(int slot, const struct semset *s);

/* Locks on files. */
struct lockfile {
	int fd, chan;
};

int lockfile__make(const char *name, const char *file);
void lockfile__open(struct lockfile *l, int chan);
int x_flock(const struct lockfile *l, int op);
int x_lock(const struct lockfile *l, int cmd, int type, off_t start, off_t len);

#endif
