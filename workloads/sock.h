/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls that only sockets have; see ops.h. Each message is an operation. */
#ifndef WORKLOAD_SOCK_H
#define WORKLOAD_SOCK_H

#include <sys/socket.h>

#include "ops.h"

ssize_t x_send(const struct end *e, const void *buf, size_t len, int flags);
ssize_t x_recv(const struct end *e, void *buf, size_t len, int flags);
ssize_t x_sendto(const struct end *e, const void *buf, size_t len, int flags,
		 const struct sockaddr *to, socklen_t to_len);
ssize_t x_recvfrom(const struct end *e, void *buf, size_t len, int flags, struct sockaddr *from,
		   socklen_t *from_len);
ssize_t x_sendmsg(const struct end *e, const struct msghdr *msg, int flags);
ssize_t x_recvmsg(const struct end *e, struct msghdr *msg, int flags);
int x_sendmmsg(const struct end *e, struct mmsghdr *msgs, unsigned int n, int flags);
int x_recvmmsg(const struct end *e, struct mmsghdr *msgs, unsigned int n, int flags);

#endif
