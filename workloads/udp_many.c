/* SPDX-License-Identifier: BSD-2-Clause */
/* Datagrams to many: multicast, broadcast, workers that share a port; and equal addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 14
#define MAX_MEMBERS 50

enum { JOINED, SENT };

struct group {
	int chan, index, first; /* slot of member 0 */
	union addr to;
};

/* ---- a group: everybody who has joined gets everything, also from himself ---- */

/*
 * The loopback device of a new namespace has no route for IPv6 groups; one that is not local would be
 * made one that refuses, as with all routes over that device.
 */
static void route_groups(void)
{
	struct in6_rtmsg route = { .rtmsg_dst.s6_addr = { 0xff },
				   .rtmsg_dst_len = 8,
				   .rtmsg_metric = 256,
				   .rtmsg_flags = RTF_UP | RTF_LOCAL,
				   .rtmsg_ifindex = if_nametoindex("lo") };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	if (fd < 0)
		skip("no IPv6 here");
	die_if(ioctl(fd, SIOCADDRT, &route), "a route to IPv6 groups: %s", strerror(errno));
	close(fd);
}

static void join_six(int fd, const struct group *g)
{
	struct ipv6_mreq six = { .ipv6mr_multiaddr = g->to.in6.sin6_addr,
				 .ipv6mr_interface = if_nametoindex("lo") };
	int lo = six.ipv6mr_interface;

	die_if(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &six, sizeof(six)) ||
		       setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &lo, sizeof(lo)),
	       "joining the group: %s", strerror(errno));
}

static void join(int fd, const struct group *g)
{
	struct ip_mreq four = { .imr_multiaddr = g->to.in.sin_addr };
	struct in_addr lo = { .s_addr = htonl(INADDR_LOOPBACK) };

	if (g->to.sa.sa_family == AF_INET6) {
		join_six(fd, g);
		return;
	}
	four.imr_interface = lo;
	die_if(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof(four)) ||
		       setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)),
	       "joining the group: %s", strerror(errno));
}

static void member_socket(struct end *e, const struct group *g)
{
	union addr any = g->to;
	int fd = socket(any.sa.sa_family, SOCK_DGRAM, 0), one = 1;

	if (any.sa.sa_family == AF_INET6)
		any.in6.sin6_addr = in6addr_any;
	else
		any.in.sin_addr.s_addr = htonl(INADDR_ANY);
	die_if(fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
		       setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) ||
		       bind(fd, &any.sa, addr__len(&any)),
	       "bind: %s", strerror(errno));
	end__init(e, fd, g->chan);
}

static void say(const struct end *e, const struct group *g, size_t len)
{
	char *buf = xmalloc(len);

	pattern__fill(buf, len, SEED, g->index);
	die_if(x_sendto(e, buf, len, 0, &g->to.sa, addr__len(&g->to)) != (ssize_t)len, "send: %s",
	       strerror(errno));
	free(buf);
}

static void hear(const struct end *e, size_t len)
{
	char *buf = xmalloc(len);

	die_if(x_recv(e, buf, len, 0) != (ssize_t)len, "receive: %s", strerror(errno));
	free(buf);
}

static void chat_member(void *arg)
{
	uint32_t members = arg_num("members"), senders = arg_num("senders");
	uint64_t rounds = arg_num("rounds");
	struct group *g = arg;
	struct end e;

	member_socket(&e, g);
	if (!arg_num("broadcast"))
		join(e.fd, g);
	turn__pass(JOINED);
	turn__await(JOINED, members);
	/* In turns: what has been said is heard by all before the next one speaks. */
	for (uint64_t i = 0; i < rounds * senders; i++) {
		turn__await(SENT, i * members);
		if ((int)(i % senders) == g->index)
			say(&e, g, arg_num("size"));
		hear(&e, arg_num("size"));
		turn__pass(SENT);
		turn__await(SENT, (i + 1) * members);
	}
	for (uint32_t i = 0; i < senders; i++)
		flow__add(g->first + i, self, g->chan, rounds * arg_num("size"), false);
}

static void run_chat(void)
{
	bool broadcast = arg_num("broadcast");
	struct group g = { .first = arena->nr_procs };

	die_if(arg_num("senders") > arg_num("members"), "more senders than members");
	die_if(broadcast && arg_is("family", "v6"), "IPv6 has no broadcast");
	inet__new_ns(1);
	if (arg_is("family", "v6")) {
		route_groups();
		addr__v6(&g.to, "ff15::1:2:3", arg_num("port"));
	} else {
		addr__v4(&g.to, broadcast ? "127.255.255.255" : "239.1.2.3", arg_num("port"));
	}
	g.chan = multicast__chan("g0", &g.to);
	arena->chans[g.chan].to_all = 1;
	for (g.index = 0; g.index < (int)arg_num("members"); g.index++)
		proc__spawnf(chat_member, &g, "m%d", g.index);
}

/* ---- workers that share a port ---- */

static void port_worker(void *arg)
{
	struct group *g = arg;
	union addr a = g->to;
	struct end e;
	char byte;

	end__init(&e, inet__bound(SOCK_DGRAM, &a, true), g->chan);
	turn__pass(JOINED);
	turn__await(SENT, 1);
	while (x_recv(&e, &byte, 1, MSG_DONTWAIT) == 1)
		__atomic_fetch_add(turn__word(2), 1, __ATOMIC_SEQ_CST);
	die_if(errno != EAGAIN, "receive: %s", strerror(errno));
}

static void run_reuseport(void)
{
	struct group g = { .index = 0 };
	struct end e;
	char byte = 0;
	union addr a;
	int first;

	addr__v4(&a, "127.0.0.1", 0);
	/* Keeps the port, and gets nothing: the kernel takes the port from where it is bound first. */
	first = inet__bound(SOCK_DGRAM, &a, true);
	g.to = a;
	close(first);
	g.chan = chan__add("u0", "udp", 0, 0);
	snprintf(arena->chans[g.chan].label, sizeof(arena->chans[g.chan].label), "127.0.0.1:%u",
		 addr__port(&a));
	arena->chans[g.chan].any_ino = 1;
	for (g.index = 0; g.index < (int)arg_num("workers"); g.index++)
		proc__spawnf(port_worker, &g, "r%d", g.index);
	turn__await(JOINED, arg_num("workers"));
	/* Another socket each time, so that the kernel gives it to another worker. */
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		end__init(&e, socket(AF_INET, SOCK_DGRAM, 0), g.chan);
		die_if(x_sendto(&e, &byte, 1, 0, &g.to.sa, addr__len(&g.to)) != 1, "send: %s",
		       strerror(errno));
		end__close(&e);
	}
	turn__pass(SENT);
	procs__join();
	die_if(*turn__word(2) != arg_num("count"), "%u datagrams arrived", *turn__word(2));
}

/* ---- the same address and port in two network namespaces ---- */

static void place(void *arg)
{
	struct group *g = arg;
	size_t len = arg_num("size") * (g->index + 1);
	char *buf = xmalloc(len), name[16];
	struct end in, out;
	union addr a;

	inet__new_ns(g->index + 1);
	addr__v4(&a, "127.0.0.1", arg_num("port"));
	snprintf(name, sizeof(name), "u%d", g->index);
	udp__open(&in, name, &a);
	turn__pass(JOINED);
	turn__await(JOINED, 2);
	end__init(&out, socket(AF_INET, SOCK_DGRAM, 0), in.chan);
	die_if(x_sendto(&out, buf, len, 0, &a.sa, addr__len(&a)) != (ssize_t)len, "send: %s",
	       strerror(errno));
	die_if(x_recv(&in, buf, len, 0) != (ssize_t)len, "receive: %s", strerror(errno));
	turn__pass(SENT);
	turn__await(SENT, 2);
	free(buf);
}

static void run_two_ns(void)
{
	struct group g = { .index = 0 };

	proc__spawn("p0", place, &g);
	g.index = 1;
	proc__spawn("p1", place, &g);
}

#define SIZE_PARAM NUM_PARAM("size", "100", 1, 8192, "bytes of each datagram")
#define PORT_PARAM NUM_PARAM("port", "7100", 1, 65535, "in a network namespace of its own")

const struct factory udp_many_factories[] = {
	{
		.name = "udp-chat",
		.help = "members of a multicast group talk in turns; or by broadcast",
		.params = {
			COMMON_PARAMS, SIZE_PARAM, PORT_PARAM,
			{ "family", "v4", "v4|v6", 0, 0, "of the group's address" },
			NUM_PARAM("members", "4", 1, MAX_MEMBERS, "processes that listen"),
			NUM_PARAM("senders", "1", 1, MAX_MEMBERS, "of these, who also talk"),
			NUM_PARAM("rounds", "5", 1, 1 << 20, "messages of each"),
			NUM_PARAM("broadcast", "0", 0, 1, "1: to the broadcast address"),
		},
		.selftest = "rounds=2;senders=3;broadcast=1;family=v6 senders=2",
		.run = run_chat,
	}, {
		.name = "udp-reuseport",
		.help = "several workers share a port: the kernel chooses who gets what",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("workers", "4", 1, MAX_MEMBERS, "processes that receive"),
			NUM_PARAM("count", "40", 1, 200, "datagrams"),
		},
		.selftest = "count=20",
		.run = run_reuseport,
	}, {
		.name = "udp-two-ns",
		.help = "the same address and port in two network namespaces: two mailboxes",
		.params = { COMMON_PARAMS, SIZE_PARAM, PORT_PARAM },
		.selftest = "size=10",
		.run = run_two_ns,
	},
	{ .name = NULL }
};
