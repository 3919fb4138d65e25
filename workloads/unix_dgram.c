/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets of datagrams: mailboxes with names, connected to or written to by address. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "factory.h"
#include "unix.h"

#define SEED 7

/* A message says who sent it. */
struct tag {
	uint32_t sender;
};

struct box {
	struct unix_addr addr;
	struct end in;
};

static void box__open(struct box *b, const char *name)
{
	int fd;

	unix__name(&b->addr, name);
	fd = unix__bound(SOCK_DGRAM, &b->addr);
	unix__mailbox(&b->in, name, fd, &b->addr);
}

/* A socket to send from; it is connected if the messages have no address of their own. */
static struct end sender_to(const struct box *b)
{
	struct end e = { .chan = b->in.chan, .fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) };

	die_if(e.fd < 0, "socket: %s", strerror(errno));
	if (arg_is("how", "connect") || arg_is("how", "write"))
		die_if(connect(e.fd, (struct sockaddr *)&b->addr.un, b->addr.len), "connect: %s",
		       strerror(errno));
	return e;
}

/* One message, or as many as there are with sendmmsg. Returns how many. */
static int send_some(const struct end *e, struct box *b, void *buf, size_t size, int left)
{
	struct sockaddr *to = (struct sockaddr *)&b->addr.un;
	struct iovec iov = { buf, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_name = to, .msg_namelen = b->addr.len
	};
	struct mmsghdr msgs[3] = { { .msg_hdr = msg }, { .msg_hdr = msg }, { .msg_hdr = msg } };
	ssize_t n;

	if (arg_is("how", "sendmmsg"))
		return x_sendmmsg(e, msgs, left < 3 ? left : 3, 0);
	if (arg_is("how", "sendto"))
		n = x_sendto(e, buf, size, 0, to, b->addr.len);
	else if (arg_is("how", "sendmsg"))
		n = x_sendmsg(e, &msg, 0);
	else if (arg_is("how", "write"))
		n = x_write(e, buf, size);
	else
		n = x_send(e, buf, size, 0);
	return n == (ssize_t)size ? 1 : -1;
}

static void sender(void *arg)
{
	struct box *b = arg;
	size_t size = arg_num("size");
	struct tag *tag = xmalloc(size);
	struct end e;
	int n;

	end__close(&b->in);
	e = sender_to(b);
	pattern__fill(tag, size, SEED, self);
	tag->sender = self;
	for (int i = 0; i < (int)arg_num("count"); i += n) {
		n = send_some(&e, b, tag, size, arg_num("count") - i);
		die_if(n <= 0, "send: %s", strerror(errno));
	}
	end__close(&e);
	free(tag);
}

/* ---- many senders, one owner ---- */

static void run_mailbox(void)
{
	uint64_t total = arg_num("senders") * arg_num("count");
	size_t size = arg_num("size");
	struct tag *tag = xmalloc(size);
	struct box b;

	box__open(&b, "box");
	for (uint32_t i = 0; i < arg_num("senders"); i++)
		proc__spawnf(sender, &b, "s%u", i);
	for (uint64_t i = 0; i < total; i++)
		die_if(x_recv(&b.in, tag, size, 0) != (ssize_t)size, "recv: %s", strerror(errno));
	end__close(&b.in);
	free(tag);
}

/* ---- many senders, and workers that share the mailbox ---- */

static uint32_t *taken_from(uint32_t worker, uint32_t sender)
{
	return &arena->scratch[16 + worker * 16 + sender];
}

static void worker(void *arg)
{
	struct box *b = arg;
	size_t size = arg_num("size");
	struct tag *tag = xmalloc(size);
	uint32_t workers = arg_num("workers"), me = self - 1;

	/* As many messages for each as there are, so that nobody waits in vain. */
	for (uint64_t i = me; i < arg_num("senders") * arg_num("count"); i += workers) {
		die_if(x_recv(&b->in, tag, size, 0) != (ssize_t)size, "recv: %s", strerror(errno));
		die_if(tag->sender <= workers, "a message of nobody");
		++*taken_from(me, tag->sender - 1 - workers);
	}
	free(tag);
}

static void run_shared(void)
{
	struct box b;

	box__open(&b, "box");
	for (uint32_t i = 0; i < arg_num("workers"); i++)
		proc__spawnf(worker, &b, "r%u", i);
	for (uint32_t i = 0; i < arg_num("senders"); i++)
		proc__spawnf(sender, &b, "s%u", i);
	end__close(&b.in);
	procs__join();
	for (uint32_t w = 0; w < arg_num("workers"); w++)
		for (uint32_t s = 0; s < arg_num("senders"); s++)
			if (*taken_from(w, s))
				flow__add(1 + arg_num("workers") + s, 1 + w, b.in.chan,
					  (uint64_t)*taken_from(w, s) * arg_num("size"), false);
}

/* ---- requests by address, and replies to where they came from ---- */

static void dgram_client(void *arg)
{
	struct box *b = arg, mine;
	size_t size = arg_num("size");
	char *buf = xmalloc(size), name[16];
	struct end to = { .chan = b->in.chan };

	end__close(&b->in);
	snprintf(name, sizeof(name), "client%d", self);
	box__open(&mine, name);
	to.fd = mine.in.fd;
	/* So that the server knows to which channel its reply goes. */
	memcpy(buf, &mine.in.chan, sizeof(mine.in.chan));
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_sendto(&to, buf, size, 0, (struct sockaddr *)&b->addr.un, b->addr.len) < 0,
		       "sendto: %s", strerror(errno));
		die_if(x_recvfrom(&mine.in, buf, size, 0, NULL, NULL) != (ssize_t)size, "recv: %s",
		       strerror(errno));
	}
	end__close(&mine.in);
	free(buf);
}

static void run_dgram_echo(void)
{
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	struct box b;

	box__open(&b, "server");
	for (uint32_t i = 0; i < arg_num("clients"); i++)
		proc__spawnf(dgram_client, &b, "client%u", i);
	for (uint64_t i = 0; i < arg_num("clients") * arg_num("count"); i++) {
		struct unix_addr from = { .len = sizeof(from.un) };
		struct end to = { .fd = b.in.fd };

		die_if(x_recvfrom(&b.in, buf, size, 0, (struct sockaddr *)&from.un, &from.len) !=
			       (ssize_t)size,
		       "recv: %s", strerror(errno));
		memcpy(&to.chan, buf, sizeof(to.chan));
		die_if(x_sendto(&to, buf, size, 0, (struct sockaddr *)&from.un, from.len) < 0,
		       "sendto: %s", strerror(errno));
	}
	end__close(&b.in);
	free(buf);
}

/* ---- one socket, messages for several ---- */

static void receiver(void *arg)
{
	struct box *b = arg;
	char buf[64];

	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_recv(&b[self - 1].in, buf, sizeof(buf), 0) <= 0, "recv: %s",
		       strerror(errno));
}

static void run_fan_out(void)
{
	struct box b[16];
	struct end e = { .fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
	uint32_t n = arg_num("receivers");
	char name[16], buf[64] = "";

	die_if(e.fd < 0, "socket: %s", strerror(errno));
	for (uint32_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "box%u", i);
		box__open(&b[i], name);
	}
	for (uint32_t i = 0; i < n; i++)
		proc__spawnf(receiver, b, "r%u", i);
	for (uint64_t k = 0; k < arg_num("count") * n; k++) {
		struct box *to = &b[k % n];

		e.chan = to->in.chan;
		die_if(x_sendto(&e, buf, 1 + k % n, 0, (struct sockaddr *)&to->addr.un,
				to->addr.len) < 0,
		       "sendto: %s", strerror(errno));
	}
}

/* ---- too long, left behind, nobody there ---- */

static void run_cut(void)
{
	size_t size = arg_num("size"), room = arg_num("room");
	char *buf = xmalloc(size);
	struct link l[2];

	unix__pair("c0", SOCK_DGRAM, l);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		struct chan *c = &arena->chans[l[1].in.chan];
		ssize_t n;

		die_if(x_write(&l[0].out, buf, size) != (ssize_t)size, "write: %s",
		       strerror(errno));
		n = x_recv(&l[1].in, buf, room, 0);
		die_if(n < 0, "recv: %s", strerror(errno));
		c->truncated += size - n;
	}
	for (uint64_t i = 0; i < arg_num("left"); i++) {
		die_if(x_write(&l[0].out, buf, size) != (ssize_t)size, "write");
		arena->chans[l[1].in.chan].leftover += size;
	}
	free(buf);
}

/* ---- gone as soon as it has what it waited for ---- */

#define MAX_PAIRS 200

enum { READY };

struct pairs {
	struct link l[MAX_PAIRS][2];
};

static void hasty_receiver(void *arg)
{
	struct pairs *p = arg;
	char buf[16];

	for (uint64_t i = 0; i < arg_num("pairs"); i++)
		link__close(&p->l[i][0]);
	for (uint64_t i = 0; i < arg_num("pairs"); i++) {
		turn__pass(READY);
		/* It does not sleep: to be woken would take longer than its sender needs. */
		while (x_recv(&p->l[i][1].in, buf, sizeof(buf), MSG_DONTWAIT) < 0)
			die_if(errno != EAGAIN, "receive: %s", strerror(errno));
		link__close(&p->l[i][1]);
	}
}

static void hasty_sender(void *arg)
{
	struct pairs *p = arg;

	for (uint64_t i = 0; i < arg_num("pairs"); i++)
		link__close(&p->l[i][1]);
	for (uint64_t i = 0; i < arg_num("pairs"); i++) {
		turn__await(READY, i + 1);
		die_if(x_send(&p->l[i][0].out, "now", 3, 0) != 3, "send: %s", strerror(errno));
	}
}

static void run_hasty(void)
{
	struct pairs p;
	char name[16];

	for (uint64_t i = 0; i < arg_num("pairs"); i++) {
		snprintf(name, sizeof(name), "c%d", (int)i);
		unix__pair(name, SOCK_DGRAM, p.l[i]);
	}
	proc__spawn("r0", hasty_receiver, &p);
	proc__spawn("s0", hasty_sender, &p);
	for (uint64_t i = 0; i < arg_num("pairs"); i++) {
		link__close(&p.l[i][0]);
		link__close(&p.l[i][1]);
	}
}

#define HOW_PARAM                                                                   \
	{                                                                           \
		"how", "connect", "connect|write|sendto|sendmsg|sendmmsg", 0, 0,    \
			"by a connected socket, or with an address in each message" \
	}
#define MESSAGES_PARAMS(size)                                     \
	NUM_PARAM("count", "50", 0, 1 << 30, "messages of each"), \
		NUM_PARAM("size", size, 4, 65536, "bytes of each")

const struct factory unix_dgram_factories[] = {
	{
		.name = "unix-mailbox",
		.help = "several processes send datagrams to the socket of one",
		.params = {
			COMMON_PARAMS, HOW_PARAM, NAME_PARAM, MESSAGES_PARAMS("200"),
			NUM_PARAM("senders", "4", 1, 500, "processes"),
		},
		.selftest = "count=10;how=sendto name=abstract;how=sendmsg name=autobind;"
			    "how=sendmmsg count=10;how=write senders=1",
		.run = run_mailbox,
	}, {
		.name = "unix-shared-mailbox",
		.help = "several processes send to a socket that several others receive from",
		.params = {
			COMMON_PARAMS, HOW_PARAM, NAME_PARAM, MESSAGES_PARAMS("200"),
			NUM_PARAM("senders", "3", 1, 15, "processes"),
			NUM_PARAM("workers", "3", 1, 15, "processes that share the mailbox"),
		},
		.selftest = "count=10;how=sendto senders=5 workers=2",
		.run = run_shared,
	}, {
		.name = "unix-dgram-echo",
		.help = "clients with mailboxes of their own, a server that replies to them",
		.params = {
			COMMON_PARAMS, NAME_PARAM, MESSAGES_PARAMS("100"),
			NUM_PARAM("clients", "3", 1, 200, "processes"),
		},
		.selftest = "count=10;name=abstract;name=autobind clients=1",
		.run = run_dgram_echo,
	}, {
		.name = "unix-fan-out",
		.help = "one socket that sends to several mailboxes in turn",
		.params = {
			COMMON_PARAMS, NAME_PARAM,
			NUM_PARAM("count", "20", 0, 1 << 30, "messages to each"),
			NUM_PARAM("receivers", "4", 1, 16, "mailboxes, each of a process"),
		},
		.selftest = "count=5;name=abstract receivers=2",
		.run = run_fan_out,
	}, {
		.name = "unix-cut",
		.help = "datagrams longer than the room that their receiver has, and some unread",
		.params = {
			COMMON_PARAMS, MESSAGES_PARAMS("100"),
			NUM_PARAM("room", "60", 0, 65536, "bytes that the receiver asks for"),
			NUM_PARAM("left", "3", 0, 5, "messages that nobody reads"),
		},
		.selftest = "count=5;room=1000 left=0",
		.run = run_cut,
	}, {
		.name = "unix-hasty",
		.help = "pairs of sockets used once: who receives closes at once",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("pairs", "100", 1, MAX_PAIRS, "one after the other"),
		},
		.selftest = "pairs=10",
		.run = run_hasty,
	},
	{ .name = NULL }
};
