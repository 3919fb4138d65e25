/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP connections and UDP mailboxes of workloads, with their facts. */
#ifndef WORKLOAD_INET_H
#define WORKLOAD_INET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "sock.h"

union addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/*
 * The parameter `family`: v4, v6, mapped (a v6 client of a v4 server), dual (a v4 client of a v6
 * server that listens on all addresses).
 */
#define FAMILY_PARAM                                                                          \
	{                                                                                     \
		"family", "v4", "v4|v6|mapped|dual", 0, 0,                                    \
			"addresses; mapped: v6 client, v4 server; dual: v4 client, v6 server" \
	}

/* Where a server is bound, and how a client calls it; the port is left 0 for the kernel to choose. */
void addr__server(union addr *a);
void addr__client(union addr *a, uint16_t port);
void addr__v4(union addr *a, const char *host, uint16_t port);
void addr__v6(union addr *a, const char *host, uint16_t port);
socklen_t addr__len(const union addr *a);
uint16_t addr__port(const union addr *a);
void addr__of(int fd, union addr *a);

/* In which network namespace the process is: ports are the same in several. */
extern int inet_ns;
/* A namespace of its own, with the loopback device up. */
void inet__new_ns(int number);

/* Bound, with a port of the kernel's choice if a has none; a gets it. */
int inet__bound(int type, union addr *a, bool reuseport);
int tcp__listen(union addr *a, int backlog, bool reuseport);
/* A socket whose connection will be channel `name`: bound, so that who accepts knows it. */
void tcp__socket(struct end *e, const char *name, const union addr *to, int flags);
/* The same, bound to a port of the caller's choice. */
void tcp__socket_at(struct end *e, const char *name, const union addr *to, uint16_t port);
void tcp__connect(struct end *e, const char *name, const union addr *to);
/* Returns the connection's channel; -1: the listening socket was shut down. */
int tcp__accept(struct end *e, int listener);
/* The same of one that was accepted in another way. */
int tcp__accepted(struct end *e, int fd);

/* A mailbox: the socket is bound if a is not NULL, and e reads from it. */
void udp__open(struct end *e, const char *name, union addr *a);
/* The same of a socket that there is already, bound or connected. */
void udp__named(struct end *e, const char *name, int fd);
/* The channel of the socket at that address; -1: nobody's. */
int udp__chan(const union addr *a);
/* A datagram that nobody gets is written to a channel that is called by its address. */
int udp__nobody(const char *name, const union addr *a);
int multicast__chan(const char *name, const union addr *group);

#endif
