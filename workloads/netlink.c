/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets to the kernel (netlink), and between a machine and its host (vsock). */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define SEED 12

static bool has_end(const char *buf, ssize_t len)
{
	for (const struct nlmsghdr *h = (const struct nlmsghdr *)buf; NLMSG_OK(h, len);
	     h = NLMSG_NEXT(h, len))
		if (h->nlmsg_type == NLMSG_DONE)
			return true;
	return false;
}

/* Ask for all network interfaces, and read what comes. */
static void run_route(void)
{
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} ask = {
		.h = { .nlmsg_len = NLMSG_LENGTH(sizeof(ask.g)),
		       .nlmsg_type = RTM_GETLINK,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.g = { .rtgen_family = AF_UNSPEC },
	};
	static char buf[65536] __attribute__((aligned(8)));
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct end e;
	ssize_t n;

	die_if(fd < 0, "socket: %s", strerror(errno));
	end__init(&e, fd, conn__new("n0", "netlink", fd));
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		ask.h.nlmsg_seq = i + 1;
		die_if(x_write(&e, &ask, ask.h.nlmsg_len) < 0, "write: %s", strerror(errno));
		do {
			n = x_read(&e, buf, sizeof(buf));
			die_if(n <= 0, "read: %s", strerror(errno));
		} while (!has_end(buf, n));
	}
	end__close(&e);
}

/* ---- vsock ---- */

static void vsock_client(void *arg)
{
	struct sockaddr_vm *at = arg;
	uint64_t bytes = arg_num("bytes");
	char *buf = xmalloc(bytes);
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct end e;

	die_if(fd < 0 || connect(fd, (struct sockaddr *)at, sizeof(*at)), "connect: %s",
	       strerror(errno));
	end__init(&e, fd, 0);
	conn__set_end(0, 0, fd);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		pattern__fill(buf, bytes, SEED, i);
		exact__write(&e, buf, bytes);
		exact__read(&e, buf, 1);
	}
	free(buf);
}

static void run_vsock(void)
{
	struct sockaddr_vm at = { .svm_family = AF_VSOCK,
				  .svm_cid = VMADDR_CID_LOCAL,
				  .svm_port = VMADDR_PORT_ANY };
	uint64_t bytes = arg_num("bytes");
	char *buf = xmalloc(bytes);
	socklen_t len = sizeof(at);
	struct end e;
	int fd;

	/* A tracer that started before the module was loaded does not know its sockets. */
	if (access("/sys/module/vsock_loopback", F_OK))
		skip("vsock_loopback is not loaded");
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		skip("no vsock to oneself here: %s", strerror(errno));
	die_if(getsockname(fd, (struct sockaddr *)&at, &len) || listen(fd, 1), "listen: %s",
	       strerror(errno));
	chan__add("v0", "vsock", 0, 0);
	arena->chans[0].two_ends = 1;
	proc__spawn("client", vsock_client, &at);
	end__init(&e, accept(fd, NULL, NULL), 0);
	e.side = 1;
	conn__set_end(0, 1, e.fd);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		exact__read(&e, buf, bytes);
		die_if(!pattern__check(buf, bytes, SEED, i), "payload differs");
		exact__write(&e, "", 1);
	}
	free(buf);
}

const struct factory netlink_factories[] = {
	{
		.name = "netlink-route",
		.help = "asks the kernel for all network interfaces",
		.params = { COMMON_PARAMS, NUM_PARAM("count", "3", 1, 10000, "times") },
		.selftest = "count=2",
		.run = run_route,
	}, {
		.name = "vsock-local",
		.help = "a client and a server on one machine",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("1000"),
			NUM_PARAM("rounds", "5", 1, 100000, "requests"),
		},
		.selftest = "rounds=2",
		.run = run_vsock,
	},
	{ .name = NULL }
};
