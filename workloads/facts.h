/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The facts: which processes and channels a workload really had and what its calls really returned.
 * They live in one shared mapping, the arena; every process adds to its own edges there.
 */
#ifndef WORKLOAD_FACTS_H
#define WORKLOAD_FACTS_H

#include <limits.h>
#include <stdio.h>

#include "util.h"

#define MAX_PROCS 2048
#define MAX_CHANS 2048
#define MAX_EDGES 8192
#define MAX_FLOWS 8192
#define MAX_ERRNOS 6
#define MAX_PLACES 256 /* pages of one channel of shared memory that are used */
#define MAX_TAGS 8
#define MAX_PASSES 4096
#define UNKNOWN (-1) /* shown as null */

enum role {
	ROLE_READ,
	ROLE_WRITE,
	ROLE_ATTACH,
	ROLE_WAIT,
	ROLE_WAKE,
	ROLE_LOCK,
	ROLE_SEND_SIGNAL,
	ROLE_RECEIVE_SIGNAL,
	ROLE_PASS_FD,
	ROLE_TAKE_FD,
	NR_ROLES
};

struct proc {
	char name[16], comm[16];
	int32_t parent;
	pid_t pid;
	int32_t expect_signal;
	uint32_t done;
	uint32_t reaped;
};

struct chan {
	char name[16];
	char mechanism[12];
	uint64_t dev, ino;
	int64_t capacity, highwater;
	uint64_t found; /* what a counter begins with */
	uint64_t leftover; /* bytes written that nobody read before all ends closed */
	char path[PATH_MAX];
	/* Of some mechanisms only. */
	uint64_t ends[2]; /* of a connection: the inodes of its sockets */
	uint32_t two_ends;
	uint32_t to_all; /* every reader gets all of it */
	uint32_t any_ino; /* it is known by its label alone */
	uint32_t tag; /* the workload's own */
	char label[64]; /* what it is called, without a path */
	int64_t key; /* System V; UNKNOWN: none */
	uint64_t ns; /* inode of the namespace that it belongs to; 0: none */
	uint64_t offset; /* of a word in memory */
	int32_t receiver; /* of a signal, or whose memory it is: process + 1 */
	uint32_t remove; /* a System V object that must not be left behind */
	int64_t capacity_messages, highwater_messages;
	uint64_t truncated; /* bytes of messages, cut off by receivers that had no room */
	uint32_t unordered; /* who woke whom is not known: only how many were */
	char unseen[16]; /* why touches of its pages are not seen */
	uint64_t page_size; /* of its pages; 0: what is usual */
	int32_t writers[MAX_PLACES]; /* process + 1 that touched that page last to write */
};

struct edge {
	int32_t proc, chan;
	enum role role;
	uint32_t end; /* of the channel, if it has two */
	uint32_t ready;
	uint64_t ops, bytes, peeked, nonblocking;
	uint64_t ignored, merged; /* signals */
	int64_t value; /* sum of an eventfd's counts; last si_value */
	uint32_t has_value;
	uint64_t pages; /* of memory, touched by a fault */
	uint64_t credentials; /* messages that carried them */
	int64_t ucred[3]; /* the last: pid, uid, gid */
	int64_t blocked, blocked_ns_min;
	struct {
		int32_t err;
		uint64_t n;
	} errors[MAX_ERRNOS];
	uint32_t nr_tags;
	struct {
		int64_t tag; /* type or priority of messages */
		uint64_t n;
	} tags[MAX_TAGS];
};

struct flow {
	int32_t from, to, chan;
	uint32_t shared;
	uint64_t bytes, ops, pages;
};

/* A descriptor that was passed over a channel, as one of the two knows it. */
struct pass {
	int32_t proc, over;
	enum role role;
	uint32_t end; /* of over, if it has two */
	int32_t from; /* who passed it, if this is who took it */
	int32_t what; /* channel; -1: none */
	char kind[12], mode[12];
	char name[112]; /* of no channel */
};

struct arena {
	char values[MAX_PARAMS][MAX_VALUE];
	char tmpdir[PATH_MAX];
	int32_t fd; /* memfd, -1 without exec */
	uint64_t dev, ino; /* of itself: shared memory that is none of the facts */
	uint32_t failed; /* 1 failed, 2 skipped */
	char error[256];
	uint32_t turns[NR_TURNS];
	uint32_t scratch[256]; /* whatever the processes of a factory share */
	uint32_t nr_procs, nr_chans, nr_edges, nr_flows, nr_passes;
	uint32_t totals_only; /* too many processes to list: add up in totals[] */
	uint64_t total_procs, total_chans;
	struct edge totals[NR_ROLES];
	struct proc procs[MAX_PROCS];
	struct chan chans[MAX_CHANS];
	struct edge edges[MAX_EDGES];
	struct flow flows[MAX_FLOWS];
	struct pass passes[MAX_PASSES];
};

extern struct arena *arena;

void arena__create(const struct factory *f);
void arena__attach(int fd);
void arena__free(void);

/* The file behind mapped memory; -ENOENT. */
int mapped_file(const void *at, uint64_t *dev, uint64_t *ino);

int chan__new(const char *name, const char *mechanism, int fd, const char *path);
/* The same of one that has no descriptor. */
int chan__add(const char *name, const char *mechanism, uint64_t dev, uint64_t ino);
/* A connection: what is written at one end is read at the other. fd: of end 0, if it has a socket. */
int conn__new(const char *name, const char *mechanism, int fd);
void conn__set_end(int chan, int end, int fd);
struct edge *edge__get(int proc, int chan, enum role role);
struct edge *edge__at(int proc, int chan, enum role role, uint32_t end);
void edge__count(struct edge *e, bool nonblock, long ret, int err);
/* A message of that type or priority went through it. */
void edge__tag(struct edge *e, int64_t tag);
void flow__add(int from, int to, int chan, uint64_t bytes, bool shared);
/* Where not bytes are what counts. */
void flow__add_ops(int from, int to, int chan, uint64_t ops);
/* The same; shared: of that many it is not known how many each gave. */
void flow__add_shared_ops(int from, int to, int chan, uint64_t ops, bool shared);
/* By the reader itself only. */
void flow__add_pages(int from, int to, int chan, uint64_t pages);

/* Fill in the flows that follow from the counts; returns how many inconsistencies it told of. */
int facts__finish(void);
void facts__write(FILE *out);

#endif
