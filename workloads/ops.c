/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops.h"

/* Threads of one process share its edges; the common case is the same channel as last time. */
static struct edge *mine_at(int chan, enum role role, uint32_t end)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static __thread struct edge *last[NR_ROLES];
	struct edge *e = last[role];

	if (arena->totals_only)
		return &arena->totals[role];
	if (e && e->chan == chan && e->proc == self && e->end == end)
		return e;
	pthread_mutex_lock(&lock);
	e = edge__at(self, chan, role, end);
	pthread_mutex_unlock(&lock);
	last[role] = e;
	return e;
}

struct edge *edge__mine(int chan, enum role role)
{
	return mine_at(chan, role, 0);
}

struct edge *end__edge(const struct end *e, enum role role)
{
	return mine_at(e->chan, role, e->side);
}

static ssize_t count(const struct end *e, enum role role, bool nonblock, ssize_t ret)
{
	int err = errno;

	if (e->chan >= 0)
		edge__count(end__edge(e, role), nonblock, ret, err);
	errno = err;
	return ret;
}

ssize_t x_read(const struct end *e, void *buf, size_t len)
{
	return count(e, ROLE_READ, e->nonblock, read(e->fd, buf, len));
}

ssize_t x_write(const struct end *e, const void *buf, size_t len)
{
	return count(e, ROLE_WRITE, e->nonblock, write(e->fd, buf, len));
}

ssize_t x_pread(const struct end *e, void *buf, size_t len, off_t offset)
{
	return count(e, ROLE_READ, e->nonblock, pread(e->fd, buf, len, offset));
}

ssize_t x_pwrite(const struct end *e, const void *buf, size_t len, off_t offset)
{
	return count(e, ROLE_WRITE, e->nonblock, pwrite(e->fd, buf, len, offset));
}

ssize_t x_readv(const struct end *e, const struct iovec *iov, int n)
{
	return count(e, ROLE_READ, e->nonblock, readv(e->fd, iov, n));
}

ssize_t x_writev(const struct end *e, const struct iovec *iov, int n)
{
	return count(e, ROLE_WRITE, e->nonblock, writev(e->fd, iov, n));
}

/* Offset -1 is "the current position", the only one that a pipe has. */
ssize_t x_preadv2(const struct end *e, const struct iovec *iov, int n, int flags)
{
	return count(e, ROLE_READ, e->nonblock || flags & RWF_NOWAIT,
		     preadv2(e->fd, iov, n, -1, flags));
}

ssize_t x_pwritev2(const struct end *e, const struct iovec *iov, int n, int flags)
{
	return count(e, ROLE_WRITE, e->nonblock || flags & RWF_NOWAIT,
		     pwritev2(e->fd, iov, n, -1, flags));
}

/* do_splice() and do_tee() do not wait if any of the pipes or the call is non-blocking. */
ssize_t x_splice(const struct end *in, const struct end *out, size_t len, unsigned int flags)
{
	bool nonblock = flags & SPLICE_F_NONBLOCK || (in->chan >= 0 && in->nonblock) ||
			(out->chan >= 0 && out->nonblock);
	ssize_t ret = splice(in->fd, NULL, out->fd, NULL, len, flags);

	count(in, ROLE_READ, nonblock, ret);
	return count(out, ROLE_WRITE, nonblock, ret);
}

ssize_t x_tee(const struct end *in, const struct end *out, size_t len, unsigned int flags)
{
	bool nonblock = flags & SPLICE_F_NONBLOCK || in->nonblock || out->nonblock;
	ssize_t ret = tee(in->fd, out->fd, len, flags);

	/* It consumes nothing: an operation of no bytes, and the bytes looked at beside it. */
	count(in, ROLE_READ, nonblock, ret > 0 ? 0 : ret);
	if (ret > 0 && !arena->totals_only)
		__atomic_fetch_add(&end__edge(in, ROLE_READ)->peeked, ret, __ATOMIC_RELAXED);
	return count(out, ROLE_WRITE, nonblock, ret);
}

/* vmsplice() looks at its own flag only, not at O_NONBLOCK. */
ssize_t x_vmsplice(const struct end *e, enum role role, const struct iovec *iov, int n,
		   unsigned int flags)
{
	return count(e, role, flags & SPLICE_F_NONBLOCK, vmsplice(e->fd, iov, n, flags));
}

ssize_t x_sendfile(const struct end *out, const struct end *in, size_t len)
{
	ssize_t ret = sendfile(out->fd, in->fd, NULL, len);

	count(in, ROLE_READ, in->nonblock, ret);
	return count(out, ROLE_WRITE, out->nonblock, ret);
}

ssize_t x_copy_file_range(const struct end *in, const struct end *out, size_t len)
{
	ssize_t ret = copy_file_range(in->fd, NULL, out->fd, NULL, len, 0);

	count(in, ROLE_READ, in->nonblock, ret);
	return count(out, ROLE_WRITE, out->nonblock, ret);
}

/* ---- channels and their ends ---- */

void end__init(struct end *e, int fd, int chan)
{
	int flags = fcntl(fd, F_GETFL);

	*e = (struct end){ .fd = fd, .chan = chan, .nonblock = flags & O_NONBLOCK };
}

int pipe__open(const char *name, struct end p[2], int flags)
{
	int fds[2], chan;

	die_if(pipe2(fds, flags), "pipe: %s", strerror(errno));
	chan = chan__new(name, "pipe", fds[0], NULL);
	end__init(&p[0], fds[0], chan);
	end__init(&p[1], fds[1], chan);
	return chan;
}

int pipe__openf(struct end p[2], int flags, const char *fmt, ...)
{
	char name[16];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	return pipe__open(name, p, flags);
}

const char *tmpdir(void)
{
	const char *tmp = getenv("TMPDIR");
	char dir[PATH_MAX];

	if (arena->tmpdir[0])
		return arena->tmpdir;
	snprintf(dir, sizeof(dir), "%s/workload-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	die_if(!mkdtemp(dir), "mkdtemp %s: %s", dir, strerror(errno));
	/* Canonical: the tracer finds the path in the kernel, where no symlink is left. */
	die_if(!realpath(dir, arena->tmpdir), "realpath %s: %s", dir, strerror(errno));
	return arena->tmpdir;
}

int fifo__make(const char *name, const char *file)
{
	char path[PATH_MAX + 64];
	int fd, chan;

	snprintf(path, sizeof(path), "%s/%s", tmpdir(), file);
	die_if(mkfifo(path, 0600), "mkfifo %s: %s", path, strerror(errno));
	/* O_PATH opens the name only: no end of the channel exists yet. */
	fd = open(path, O_PATH | O_CLOEXEC);
	die_if(fd < 0, "open %s: %s", path, strerror(errno));
	chan = chan__new(name, "fifo", fd, path);
	close(fd);
	return chan;
}

void fifo__open(struct end *e, int chan, int flags)
{
	struct chan *c = &arena->chans[chan];
	int mode = flags & O_ACCMODE, fd = open(c->path, flags);

	die_if(fd < 0, "open %s: %s", c->path, strerror(errno));
	end__init(e, fd, chan);
	c->capacity = fcntl(fd, F_GETPIPE_SZ);
	if (mode == O_RDONLY || mode == O_RDWR)
		edge__mine(chan, ROLE_READ);
	if (mode == O_WRONLY || mode == O_RDWR)
		edge__mine(chan, ROLE_WRITE);
}

void fifo__unlink(int chan)
{
	die_if(unlink(arena->chans[chan].path), "unlink %s: %s", arena->chans[chan].path,
	       strerror(errno));
}

void end__close(struct end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

void end__set_nonblock(struct end *e)
{
	int flags = fcntl(e->fd, F_GETFL);

	die_if(fcntl(e->fd, F_SETFL, flags | O_NONBLOCK), "O_NONBLOCK: %s", strerror(errno));
	e->nonblock = true;
}

static uint64_t end__fill(const struct end *e)
{
	int n = 0;

	die_if(ioctl(e->fd, FIONREAD, &n), "FIONREAD: %s", strerror(errno));
	return n;
}

uint64_t end__mark_fill(const struct end *e)
{
	struct chan *c = &arena->chans[e->chan];
	int64_t n = end__fill(e);

	if (n > c->highwater)
		c->highwater = n;
	return n;
}

void end__mark_leftover(const struct end *e)
{
	arena->chans[e->chan].leftover += end__fill(e);
}

void edge__set_blocked(int proc, int chan, enum role role, int64_t blocked, int64_t ns_min)
{
	edge__set_blocked_at(proc, chan, role, 0, blocked, ns_min);
}

void edge__set_blocked_at(int proc, int chan, enum role role, uint32_t end, int64_t blocked,
			  int64_t ns_min)
{
	struct edge *e = edge__at(proc, chan, role, end);

	e->blocked = blocked;
	e->blocked_ns_min = ns_min;
}

/* ---- payload ---- */

static unsigned char pattern(uint32_t seed, uint64_t offset)
{
	return seed * 151 + offset * 7 + (offset >> 8) + (offset >> 16);
}

void pattern__fill(void *buf, size_t len, uint32_t seed, uint64_t offset)
{
	unsigned char *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = pattern(seed, offset + i);
}

bool pattern__check(const void *buf, size_t len, uint32_t seed, uint64_t offset)
{
	const unsigned char *p = buf;

	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(seed, offset + i))
			return false;
	return true;
}

uint64_t stream__write(const struct end *e, uint32_t seed, uint64_t total, size_t chunk)
{
	unsigned char *buf = xmalloc(chunk);
	uint64_t offset = 0;

	while (offset < total) {
		size_t want = total - offset < chunk ? total - offset : chunk;
		ssize_t n;

		pattern__fill(buf, want, seed, offset);
		n = x_write(e, buf, want);
		die_if(n <= 0, "write: %s", n ? strerror(errno) : "wrote nothing");
		offset += n;
	}
	free(buf);
	return offset;
}

uint64_t stream__read(const struct end *e, uint32_t seed, size_t chunk)
{
	unsigned char *buf = xmalloc(chunk);
	uint64_t offset = 0;
	ssize_t n;

	while ((n = x_read(e, buf, chunk)) > 0) {
		die_if(!pattern__check(buf, n, seed, offset), "payload differs near byte %llu",
		       (unsigned long long)offset);
		offset += n;
	}
	die_if(n < 0, "read: %s", strerror(errno));
	free(buf);
	return offset;
}

void exact__write(const struct end *e, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = x_write(e, (const char *)buf + done, len - done);

		die_if(n <= 0, "write: %s", n ? strerror(errno) : "wrote nothing");
		done += n;
	}
}

void exact__read(const struct end *e, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = x_read(e, (char *)buf + done, len - done);

		die_if(n <= 0, "read: %s", n ? strerror(errno) : "end of file too early");
		done += n;
	}
}
