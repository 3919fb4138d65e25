/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages with descriptors and credentials, and their facts: which files were passed, by whom. */
#ifndef WORKLOAD_PASS_H
#define WORKLOAD_PASS_H

#include "sock.h"

#define MAX_FDS 64

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int) * MAX_FDS) + CMSG_SPACE(sizeof(struct ucred))];
};

/* One message, with room for what goes with it. */
struct parcel {
	struct iovec iov;
	union control control;
	struct msghdr msg;
};

void parcel__init(struct parcel *p, void *buf, size_t len);
void parcel__put_fds(struct parcel *p, const int *fds, uint32_t n);
void parcel__put_credentials(struct parcel *p, const struct ucred *c);
/* Room for so many descriptors, and credentials if asked for. */
void parcel__room(struct parcel *p, uint32_t fds, bool credentials);
/* What came; returns how many descriptors. */
uint32_t parcel__fds(const struct parcel *p, int *fds);
bool parcel__credentials(const struct parcel *p, struct ucred *c);

/* Facts of one descriptor. what: its channel, -1: none. from: who passed it, -1: the caller did. */
void pass__count(const struct end *over, int from, int fd, int what);
/* The caller took it from the owner of that channel of a process, unasked: facts of both. */
void take__count(int chan, int owner, int fd, int what);
void credentials__count(const struct end *over, enum role role, const struct ucred *c);

/* One message with descriptors, whose channels are whats. */
void pass__fds(const struct end *e, const int *fds, const int *whats, uint32_t n, void *buf,
	       size_t len);
/* Returns how many there were, not counted yet; room: for how many there is. */
uint32_t take__fds(const struct end *e, int *fds, uint32_t room, void *buf, size_t len);

#endif
