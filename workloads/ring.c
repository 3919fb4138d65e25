/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ring.h"

static void *map(struct ring *r, size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, what);

	die_if(at == MAP_FAILED, "mmap of a ring: %s", strerror(errno));
	return at;
}

uint32_t ring__setup_of_mode(void)
{
	if (arg_is("mode", "sqpoll"))
		return IORING_SETUP_SQPOLL;
	if (arg_is("mode", "defer"))
		return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	return 0;
}

void ring__open(struct ring *r, uint32_t setup)
{
	struct io_uring_params p = { .flags = setup, .sq_thread_idle = 50 };
	char *sq, *cq;

	memset(r, 0, sizeof(*r));
	r->fd = syscall(__NR_io_uring_setup, RING_MAX, &p);
	if (r->fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
		skip("io_uring_setup with flags %#x: %s", setup, strerror(errno));
	die_if(r->fd < 0, "io_uring_setup: %s", strerror(errno));
	r->setup = setup;
	sq = map(r, p.sq_off.array + p.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
	cq = map(r, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	r->sqes = map(r, p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	r->sq_tail = (uint32_t *)(sq + p.sq_off.tail);
	r->sq_mask = (uint32_t *)(sq + p.sq_off.ring_mask);
	r->sq_flags = (uint32_t *)(sq + p.sq_off.flags);
	r->sq_array = (uint32_t *)(sq + p.sq_off.array);
	r->cq_head = (uint32_t *)(cq + p.cq_off.head);
	r->cq_tail = (uint32_t *)(cq + p.cq_off.tail);
	r->cq_mask = (uint32_t *)(cq + p.cq_off.ring_mask);
	r->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

void ring__close(struct ring *r)
{
	close(r->fd);
	r->fd = -1;
}

static uint32_t new_slot(struct ring *r)
{
	for (uint32_t i = 0; i < RING_MAX; i++)
		if (!r->ops[i].used)
			return i;
	die("more than %d requests under way", RING_MAX);
}

struct io_uring_sqe *ring__put_other(struct ring *r, uint8_t opcode, int fd)
{
	uint32_t tail = *r->sq_tail + r->queued, slot = new_slot(r);
	struct io_uring_sqe *sqe = &r->sqes[tail & *r->sq_mask];

	r->sq_array[tail & *r->sq_mask] = tail & *r->sq_mask;
	r->ops[slot] = (struct ring_op){ .used = true };
	r->queued++;
	*sqe = (struct io_uring_sqe){ .opcode = opcode, .fd = fd, .user_data = slot };
	return sqe;
}

struct io_uring_sqe *ring__put(struct ring *r, uint8_t opcode, const struct end *e, enum role role,
			       const void *buf, uint32_t len)
{
	struct io_uring_sqe *sqe = ring__put_other(r, opcode, e->fd);
	struct ring_op *op = ring__op(r, sqe);

	sqe->addr = (uintptr_t)buf;
	sqe->len = len;
	if (role == ROLE_READ)
		op->from = e;
	else
		op->to = e;
	return sqe;
}

uint32_t ring__slot(const struct io_uring_sqe *sqe)
{
	return sqe->user_data;
}

struct ring_op *ring__op(struct ring *r, const struct io_uring_sqe *sqe)
{
	return &r->ops[ring__slot(sqe)];
}

static void enter(struct ring *r, uint32_t submit, uint32_t wait, uint32_t flags)
{
	long n;

	do
		n = syscall(__NR_io_uring_enter, r->fd, submit, wait, flags, NULL, 0);
	while (n < 0 && errno == EINTR);
	die_if(n < 0, "io_uring_enter: %s", strerror(errno));
	die_if(!(r->setup & IORING_SETUP_SQPOLL) && n != submit,
	       "io_uring_enter took %ld of %u requests", n, submit);
}

void ring__submit(struct ring *r)
{
	uint32_t n = r->queued;

	r->queued = 0;
	r->pending += n;
	__atomic_store_n(r->sq_tail, *r->sq_tail + n, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(r->setup & IORING_SETUP_SQPOLL))
		enter(r, n, 0, 0);
	else if (__atomic_load_n(r->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP)
		enter(r, n, 0, IORING_ENTER_SQ_WAKEUP);
}

static void count(const struct end *e, enum role role, const struct ring_op *op, int32_t res)
{
	struct edge *edge;

	if (!e || e->chan < 0)
		return;
	edge = end__edge(e, role);
	/* A request waits in the ring, and nobody sleeps. */
	if (edge->blocked == UNKNOWN)
		edge->blocked = 0;
	if (res >= (int32_t)op->header)
		res -= op->header;
	if (op->peek && role == ROLE_READ && res > 0) {
		__atomic_fetch_add(&edge->peeked, res, __ATOMIC_RELAXED);
		res = 0;
	}
	edge__count(edge, op->nonblock, res, -res);
}

struct done ring__wait(struct ring *r)
{
	uint32_t head = *r->cq_head;
	const struct io_uring_cqe *cqe;
	struct ring_op *op;
	struct done d;

	die_if(!r->pending, "no request is under way");
	while (__atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) == head)
		enter(r, 0, 1, IORING_ENTER_GETEVENTS);
	cqe = &r->cqes[head & *r->cq_mask];
	d = (struct done){ cqe->res, cqe->flags, cqe->user_data };
	__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
	op = &r->ops[d.slot];
	if (!(d.flags & IORING_CQE_F_NOTIF)) {
		count(op->from, ROLE_READ, op, d.res);
		count(op->to, ROLE_WRITE, op, d.res);
	}
	if (!(d.flags & IORING_CQE_F_MORE)) {
		op->used = false;
		r->pending--;
	}
	return d;
}

ssize_t ring__run(struct ring *r)
{
	struct done d;

	ring__submit(r);
	d = ring__wait(r);
	/* A zero-copy send tells a second time, when its memory may be used again. */
	if (d.flags & IORING_CQE_F_MORE)
		ring__wait(r);
	errno = d.res < 0 ? -d.res : 0;
	return d.res < 0 ? -1 : d.res;
}

void ring__register(struct ring *r, const int *fds, unsigned int n)
{
	die_if(syscall(__NR_io_uring_register, r->fd, IORING_REGISTER_FILES, fds, n),
	       "IORING_REGISTER_FILES: %s", strerror(errno));
}
