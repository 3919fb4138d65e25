/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "inet.h"

#define ANY_TAG 0x1000000 /* so that no tag is 0 */

int inet_ns;

void addr__v4(union addr *a, const char *host, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->in.sin_family = AF_INET;
	a->in.sin_port = htons(port);
	die_if(inet_pton(AF_INET, host, &a->in.sin_addr) != 1, "%s is no address", host);
}

void addr__v6(union addr *a, const char *host, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_port = htons(port);
	die_if(inet_pton(AF_INET6, host, &a->in6.sin6_addr) != 1, "%s is no address", host);
}

void addr__server(union addr *a)
{
	if (arg_is("family", "v6"))
		addr__v6(a, "::1", 0);
	else if (arg_is("family", "dual"))
		addr__v6(a, "::", 0);
	else
		addr__v4(a, "127.0.0.1", 0);
}

void addr__client(union addr *a, uint16_t port)
{
	if (arg_is("family", "v6"))
		addr__v6(a, "::1", port);
	else if (arg_is("family", "mapped"))
		addr__v6(a, "::ffff:127.0.0.1", port);
	else
		addr__v4(a, "127.0.0.1", port);
}

socklen_t addr__len(const union addr *a)
{
	return a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in);
}

uint16_t addr__port(const union addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

void addr__of(int fd, union addr *a)
{
	socklen_t len = sizeof(*a);

	die_if(getsockname(fd, &a->sa, &len), "getsockname: %s", strerror(errno));
}

static void addr__peer(int fd, union addr *a)
{
	socklen_t len = sizeof(*a);

	die_if(getpeername(fd, &a->sa, &len), "getpeername: %s", strerror(errno));
}

static void addr__text(const union addr *a, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN];

	if (a->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%u", host, addr__port(a));
	} else {
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, addr__port(a));
	}
}

void inet__new_ns(int number)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET))
		skip("a network namespace: %s", strerror(errno));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	die_if(fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr), "lo up: %s", strerror(errno));
	close(fd);
	inet_ns = number;
}

static int inet__socket(const union addr *a, int type)
{
	int fd = socket(a->sa.sa_family, type, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		skip("no IPv6 here");
	die_if(fd < 0, "socket: %s", strerror(errno));
	return fd;
}

int inet__bound(int type, union addr *a, bool reuseport)
{
	int fd = inet__socket(a, type), one = 1;

	die_if(reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)),
	       "SO_REUSEPORT: %s", strerror(errno));
	if (bind(fd, &a->sa, addr__len(a))) {
		if (errno == EADDRNOTAVAIL && a->sa.sa_family == AF_INET6)
			skip("no IPv6 here");
		die("bind: %s", strerror(errno));
	}
	addr__of(fd, a);
	return fd;
}

/* ---- TCP ---- */

int tcp__listen(union addr *a, int backlog, bool reuseport)
{
	int fd = inet__bound(SOCK_STREAM, a, reuseport);

	die_if(listen(fd, backlog), "listen: %s", strerror(errno));
	return fd;
}

static uint32_t tag(uint16_t port)
{
	return ANY_TAG | (uint32_t)inet_ns << 16 | port;
}

static void make_socket(struct end *e, const char *name, const union addr *to, uint16_t port,
			int flags)
{
	union addr mine = *to;
	int fd, chan;

	if (mine.sa.sa_family == AF_INET6)
		mine.in6.sin6_port = htons(port);
	else
		mine.in.sin_port = htons(port);
	fd = inet__bound(SOCK_STREAM | flags, &mine, false);
	chan = conn__new(name, "tcp", fd);
	if (!arena->totals_only)
		__atomic_store_n(&arena->chans[chan].tag, tag(addr__port(&mine)), __ATOMIC_SEQ_CST);
	end__init(e, fd, chan);
}

void tcp__socket(struct end *e, const char *name, const union addr *to, int flags)
{
	make_socket(e, name, to, 0, flags);
}

void tcp__socket_at(struct end *e, const char *name, const union addr *to, uint16_t port)
{
	make_socket(e, name, to, port, 0);
}

void tcp__connect(struct end *e, const char *name, const union addr *to)
{
	tcp__socket(e, name, to, 0);
	die_if(connect(e->fd, &to->sa, addr__len(to)), "connect: %s", strerror(errno));
}

/* The last of that tag: ports are used again. */
static int chan_of(const char *mechanism, uint32_t tag)
{
	for (int i = arena->nr_chans - 1; i >= 0; i--)
		if (__atomic_load_n(&arena->chans[i].tag, __ATOMIC_SEQ_CST) == tag &&
		    !strcmp(arena->chans[i].mechanism, mechanism))
			return i;
	return -1;
}

int tcp__accept(struct end *e, int listener)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0 && errno == EINVAL)
		return -1;
	die_if(fd < 0, "accept: %s", strerror(errno));
	return tcp__accepted(e, fd);
}

int tcp__accepted(struct end *e, int fd)
{
	union addr peer;
	int chan = 0;

	if (!arena->totals_only) {
		addr__peer(fd, &peer);
		chan = chan_of("tcp", tag(addr__port(&peer)));
		die_if(chan < 0, "a connection from port %u, which is nobody's", addr__port(&peer));
		conn__set_end(chan, 1, fd);
	}
	end__init(e, fd, chan);
	e->side = 1;
	return chan;
}

/* ---- UDP ---- */

void udp__open(struct end *e, const char *name, union addr *a)
{
	udp__named(e, name, inet__bound(SOCK_DGRAM, a, false));
}

void udp__named(struct end *e, const char *name, int fd)
{
	int chan = chan__new(name, "udp", fd, NULL);
	union addr a;

	addr__of(fd, &a);
	__atomic_store_n(&arena->chans[chan].tag, tag(addr__port(&a)), __ATOMIC_SEQ_CST);
	end__init(e, fd, chan);
}

int udp__chan(const union addr *a)
{
	return chan_of("udp", tag(addr__port(a)));
}

static int named_chan(const char *name, const char *mechanism, const union addr *a)
{
	int chan = chan__add(name, mechanism, 0, 0);

	addr__text(a, arena->chans[chan].label, sizeof(arena->chans[chan].label));
	return chan;
}

int udp__nobody(const char *name, const union addr *a)
{
	return named_chan(name, "udp", a);
}

int multicast__chan(const char *name, const union addr *group)
{
	return named_chan(name, "multicast", group);
}
