/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets of workloads, with their facts: connections, and mailboxes of datagrams. */
#ifndef WORKLOAD_UNIX_H
#define WORKLOAD_UNIX_H

#include <sys/socket.h>
#include <sys/un.h>

#include "sock.h"

struct unix_addr {
	struct sockaddr_un un;
	socklen_t len;
};

/* One socket: what it reads from and writes to. The same of a connection, two mailboxes else. */
struct link {
	struct end in, out;
};

#define TYPE_PARAM(choices)                                       \
	{                                                         \
		"type", "stream", choices, 0, 0, "kind of socket" \
	}
#define NAME_PARAM                                              \
	{                                                       \
		"name", "path", "path|abstract|autobind", 0, 0, \
			"what the listening socket is bound to" \
	}

/* SOCK_* by the parameter of that name. */
int unix__type(void);
/* A name by parameter `name`; autobind: empty, the kernel chooses when it is bound. */
void unix__name(struct unix_addr *a, const char *what);
/* As it is shown: '@' for the NUL that an abstract name begins with. */
void unix__show(const struct unix_addr *a, char *text, size_t size);
/* Bound to it; autobind: a gets the name. */
int unix__bound(int type, struct unix_addr *a);
int unix__listen(struct unix_addr *a, int backlog);

void unix__pair(const char *name, int type, struct link l[2]);
/* A socket whose connection will be that channel, end 0; not connected yet. */
void unix__socket(struct link *l, const char *name, int type, const struct unix_addr *a);
void unix__connect(struct link *l, const struct unix_addr *a);
/* End 1 of that channel; chan < 0: the client says which in its first 4 bytes, see unix__hello(). */
void unix__accept(struct link *l, int listener, int chan);
void unix__hello(const struct link *l);
/* The mailbox of a socket of datagrams; fd is bound to a, which may be NULL. */
void unix__mailbox(struct end *e, const char *name, int fd, const struct unix_addr *a);
/* How many messages fit into one. */
int64_t unix__mailbox_bound(void);

void link__close(struct link *l);
/* Messages of one size, there and back again: rounds of request and reply. */
void unix__ask(const struct link *l);
void unix__answer(const struct link *l);
#define ECHO_PARAMS                                                         \
	NUM_PARAM("rounds", "20", 0, 1 << 30, "requests, each replied to"), \
		NUM_PARAM("request", "100", 4, 1 << 20, "its bytes"),       \
		NUM_PARAM("reply", "1000", 1, 1 << 20, "its bytes")

#endif
