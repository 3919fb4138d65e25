/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "sock.h"

/* One call, one operation; a look at what stays there is one of no bytes. */
static ssize_t count_one(const struct end *e, enum role role, int flags, ssize_t ret)
{
	bool peek = role == ROLE_READ && flags & MSG_PEEK && ret > 0;
	int err = errno;

	if (e->chan < 0 || flags & MSG_ERRQUEUE)
		return ret;
	edge__count(end__edge(e, role), e->nonblock || flags & MSG_DONTWAIT, peek ? 0 : ret, err);
	if (peek)
		__atomic_fetch_add(&end__edge(e, role)->peeked, ret, __ATOMIC_RELAXED);
	errno = err;
	return ret;
}

/* Each message is an operation; a call that failed is one too. */
static int count_many(const struct end *e, enum role role, const struct mmsghdr *msgs, int flags,
		      int ret)
{
	if (ret < 0)
		return count_one(e, role, flags, ret);
	for (int i = 0; i < ret; i++)
		count_one(e, role, flags, msgs[i].msg_len);
	return ret;
}

ssize_t x_send(const struct end *e, const void *buf, size_t len, int flags)
{
	return count_one(e, ROLE_WRITE, flags, send(e->fd, buf, len, flags));
}

ssize_t x_recv(const struct end *e, void *buf, size_t len, int flags)
{
	return count_one(e, ROLE_READ, flags, recv(e->fd, buf, len, flags));
}

ssize_t x_sendto(const struct end *e, const void *buf, size_t len, int flags,
		 const struct sockaddr *to, socklen_t to_len)
{
	return count_one(e, ROLE_WRITE, flags, sendto(e->fd, buf, len, flags, to, to_len));
}

ssize_t x_recvfrom(const struct end *e, void *buf, size_t len, int flags, struct sockaddr *from,
		   socklen_t *from_len)
{
	return count_one(e, ROLE_READ, flags, recvfrom(e->fd, buf, len, flags, from, from_len));
}

ssize_t x_sendmsg(const struct end *e, const struct msghdr *msg, int flags)
{
	return count_one(e, ROLE_WRITE, flags, sendmsg(e->fd, msg, flags));
}

ssize_t x_recvmsg(const struct end *e, struct msghdr *msg, int flags)
{
	return count_one(e, ROLE_READ, flags, recvmsg(e->fd, msg, flags));
}

int x_sendmmsg(const struct end *e, struct mmsghdr *msgs, unsigned int n, int flags)
{
	return count_many(e, ROLE_WRITE, msgs, flags, sendmmsg(e->fd, msgs, n, flags));
}

int x_recvmmsg(const struct end *e, struct mmsghdr *msgs, unsigned int n, int flags)
{
	return count_many(e, ROLE_READ, msgs, flags, recvmmsg(e->fd, msgs, n, flags, NULL));
}
