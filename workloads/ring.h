/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io_uring by its system calls and mapped rings. A request counts in the facts of the process that
 * takes its completion, which is the one that submitted it: once for each completion.
 */
#ifndef WORKLOAD_RING_H
#define WORKLOAD_RING_H

#include <linux/io_uring.h>

#include "ops.h"

/* Newer than the headers of Debian 12. */
#define RING_OP_READ_MULTISHOT 49

#define RING_MAX 64 /* requests under way at once */

struct ring_op {
	const struct end *from, *to; /* read, written; NULL: neither */
	uint32_t header; /* bytes of a completion that are none of the message */
	bool nonblock, peek, used;
};

struct ring {
	int fd;
	uint32_t setup; /* IORING_SETUP_* */
	uint32_t queued; /* filled in and not submitted */
	uint32_t pending; /* and not completed */
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	uint32_t *sq_tail, *sq_mask, *sq_flags, *sq_array;
	uint32_t *cq_head, *cq_tail, *cq_mask;
	struct ring_op ops[RING_MAX];
};

/* A completion. */
struct done {
	int32_t res;
	uint32_t flags; /* IORING_CQE_F_* */
	uint32_t slot; /* of the request, as ring__slot() gave it */
};

/* Skips the workload where io_uring or one of the flags is refused. The ring is closed at exit. */
uint32_t ring__setup_of_mode(void); /* as parameter "mode" asks for it: IORING_SETUP_* */
void ring__open(struct ring *r, uint32_t setup);
void ring__close(struct ring *r);
/* A request on fd e, or on registered file number fixed; to be changed before ring__submit(). */
struct io_uring_sqe *ring__put(struct ring *r, uint8_t opcode, const struct end *e, enum role role,
			       const void *buf, uint32_t len);
/* The same on no channel. */
struct io_uring_sqe *ring__put_other(struct ring *r, uint8_t opcode, int fd);
struct ring_op *ring__op(struct ring *r, const struct io_uring_sqe *sqe);
uint32_t ring__slot(const struct io_uring_sqe *sqe);
void ring__submit(struct ring *r);
struct done ring__wait(struct ring *r);
/* All that is queued, one request: its result, with errno. */
ssize_t ring__run(struct ring *r);
/* Refer to the descriptors as registered files 0, 1... */
void ring__register(struct ring *r, const int *fds, unsigned int n);

#endif
