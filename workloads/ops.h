/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls that workloads make on channels. Each x_ function is one system call, and counts what
 * it returned in the facts of the calling process, on every return path; errno is preserved.
 */
#ifndef WORKLOAD_OPS_H
#define WORKLOAD_OPS_H

#include <sys/uio.h>

#include "facts.h"

/* One file descriptor on a channel. chan < 0: a regular file, which is not counted. */
struct end {
	int fd;
	int chan;
	bool nonblock;
	uint32_t side; /* of a channel with two ends */
};

/* From its flags. */
void end__init(struct end *e, int fd, int chan);
/* The calling process's own edge; its threads may ask at once. */
struct edge *edge__mine(int chan, enum role role);
struct edge *end__edge(const struct end *e, enum role role);
/* The workload's own directory, without a symlink; removed at the end if it is empty. */
const char *tmpdir(void);

ssize_t x_read(const struct end *e, void *buf, size_t len);
ssize_t x_write(const struct end *e, const void *buf, size_t len);
ssize_t x_pread(const struct end *e, void *buf, size_t len, off_t offset);
ssize_t x_pwrite(const struct end *e, const void *buf, size_t len, off_t offset);
ssize_t x_readv(const struct end *e, const struct iovec *iov, int n);
ssize_t x_writev(const struct end *e, const struct iovec *iov, int n);
ssize_t x_preadv2(const struct end *e, const struct iovec *iov, int n, int flags);
ssize_t x_pwritev2(const struct end *e, const struct iovec *iov, int n, int flags);
ssize_t x_splice(const struct end *in, const struct end *out, size_t len, unsigned int flags);
ssize_t x_tee(const struct end *in, const struct end *out, size_t len, unsigned int flags);
ssize_t x_vmsplice(const struct end *e, enum role role, const struct iovec *iov, int n,
		   unsigned int flags);
ssize_t x_sendfile(const struct end *out, const struct end *in, size_t len);
ssize_t x_copy_file_range(const struct end *in, const struct end *out, size_t len);

/* A pipe: p[0] reads, p[1] writes. */
int pipe__open(const char *name, struct end p[2], int flags);
int pipe__openf(struct end p[2], int flags, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Make a FIFO in the workload's own directory; returns its channel. Opening may wait for a peer. */
int fifo__make(const char *name, const char *file);
void fifo__open(struct end *e, int chan, int flags);
void fifo__unlink(int chan);

void end__close(struct end *e);
void end__set_nonblock(struct end *e);
/* Note the highest fill; only where nobody else moves data at this moment. */
uint64_t end__mark_fill(const struct end *e);
/* Say how many bytes are about to be thrown away by the last close. */
void end__mark_leftover(const struct end *e);
void edge__set_blocked(int proc, int chan, enum role role, int64_t blocked, int64_t ns_min);
void edge__set_blocked_at(int proc, int chan, enum role role, uint32_t end, int64_t blocked,
			  int64_t ns_min);

/* A patterned stream; both return the bytes. Reading goes on to the end of file. */
void pattern__fill(void *buf, size_t len, uint32_t seed, uint64_t offset);
bool pattern__check(const void *buf, size_t len, uint32_t seed, uint64_t offset);
uint64_t stream__write(const struct end *e, uint32_t seed, uint64_t total, size_t chunk);
uint64_t stream__read(const struct end *e, uint32_t seed, size_t chunk);
/* Exactly len bytes at a place in the stream, in as many calls as it takes. */
void exact__write(const struct end *e, const void *buf, size_t len);
void exact__read(const struct end *e, void *buf, size_t len);

#endif
