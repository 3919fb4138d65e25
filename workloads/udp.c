/* SPDX-License-Identifier: BSD-2-Clause */
/* UDP mailboxes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 13
#define MAX_BATCH 64

/* What the processes are given: the receiver's mailbox and its address as senders know it. */
struct box {
	struct end e;
	union addr to;
	int index;
};

static void box__open(struct box *b)
{
	union addr a;

	addr__server(&a);
	udp__open(&b->e, "u0", &a);
	addr__client(&b->to, addr__port(&a));
}

/* A socket of one's own that sends to the mailbox. */
static void box__sender(const struct box *b, struct end *e, bool connected)
{
	int fd = socket(b->to.sa.sa_family, SOCK_DGRAM, 0);

	die_if(fd < 0, "socket: %s", strerror(errno));
	if (connected)
		die_if(connect(fd, &b->to.sa, addr__len(&b->to)), "connect: %s", strerror(errno));
	end__init(e, fd, b->e.chan);
}

/* ---- requests and replies ---- */

static ssize_t send_one(const struct end *e, char *buf, size_t len, union addr *to)
{
	struct iovec iov = { buf, len };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };

	if (to) {
		m.msg_hdr.msg_name = to;
		m.msg_hdr.msg_namelen = addr__len(to);
	}
	if (arg_is("how", "msg"))
		return x_sendmsg(e, &m.msg_hdr, 0);
	if (arg_is("how", "mmsg"))
		return x_sendmmsg(e, &m, 1, 0) == 1 ? (ssize_t)m.msg_len : -1;
	if (to)
		return x_sendto(e, buf, len, 0, &to->sa, addr__len(to));
	return arg_is("how", "rw") ? x_write(e, buf, len) : x_send(e, buf, len, 0);
}

static ssize_t recv_one(const struct end *e, char *buf, size_t len, union addr *from)
{
	struct iovec iov = { buf, len };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	socklen_t from_len = sizeof(*from);

	m.msg_hdr.msg_name = from;
	m.msg_hdr.msg_namelen = from ? from_len : 0;
	if (arg_is("how", "msg"))
		return x_recvmsg(e, &m.msg_hdr, 0);
	if (arg_is("how", "mmsg"))
		return x_recvmmsg(e, &m, 1, 0) == 1 ? (ssize_t)m.msg_len : -1;
	if (from)
		return x_recvfrom(e, buf, len, 0, &from->sa, &from_len);
	return arg_is("how", "rw") ? x_read(e, buf, len) : x_recv(e, buf, len, 0);
}

static void echo_server(void *arg)
{
	size_t request = arg_num("request"), reply = arg_num("reply");
	uint64_t n = arg_num("rounds") * arg_num("clients");
	char *buf = xmalloc(request + reply);
	struct box *b = arg;
	union addr from;

	for (uint64_t i = 0; i < n; i++) {
		struct end out = b->e;

		die_if(recv_one(&b->e, buf, request, &from) != (ssize_t)request, "receive: %s",
		       strerror(errno));
		die_if(!pattern__check(buf, request, SEED, 0), "payload differs");
		out.chan = udp__chan(&from);
		die_if(out.chan < 0, "a request from port %u, which is nobody's",
		       addr__port(&from));
		pattern__fill(buf, reply, SEED, 1);
		die_if(send_one(&out, buf, reply, &from) != (ssize_t)reply, "send: %s",
		       strerror(errno));
	}
	free(buf);
}

static void echo_client(void *arg)
{
	size_t request = arg_num("request"), reply = arg_num("reply");
	char *buf = xmalloc(request + reply), name[16];
	bool connected = arg_num("connected");
	struct box *b = arg;
	union addr mine = b->to;
	struct end out, in;

	box__sender(b, &out, connected);
	if (!connected) {
		/* Known by its port before it can be answered. */
		if (mine.sa.sa_family == AF_INET6)
			mine.in6.sin6_port = 0;
		else
			mine.in.sin_port = 0;
		die_if(bind(out.fd, &mine.sa, addr__len(&mine)), "bind: %s", strerror(errno));
	}
	snprintf(name, sizeof(name), "u%d", b->index + 1);
	udp__named(&in, name, out.fd);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		pattern__fill(buf, request, SEED, 0);
		die_if(send_one(&out, buf, request, connected ? NULL : &b->to) != (ssize_t)request,
		       "send: %s", strerror(errno));
		die_if(recv_one(&in, buf, reply, NULL) != (ssize_t)reply, "receive: %s",
		       strerror(errno));
		die_if(!pattern__check(buf, reply, SEED, 1), "payload differs");
	}
	free(buf);
}

static void run_echo(void)
{
	struct box b;

	box__open(&b);
	proc__spawn("s0", echo_server, &b);
	for (b.index = 0; b.index < (int)arg_num("clients"); b.index++)
		proc__spawnf(echo_client, &b, "c%d", b.index);
	close(b.e.fd);
}

/* ---- more than fits: what is too much is thrown away, and the sender does not learn it ---- */

static void flood(void *arg)
{
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	struct box *b = arg;
	struct end e;

	box__sender(b, &e, true);
	memset(buf, b->index, size);
	turn__await(0, b->index);
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_send(&e, buf, size, 0) != (ssize_t)size, "send: %s", strerror(errno));
	turn__pass(0);
	free(buf);
}

/* Nothing has been read yet: it was never fuller. */
static void note_memory(const struct end *e)
{
	uint32_t memory[SK_MEMINFO_VARS];
	socklen_t len = sizeof(memory);

	die_if(getsockopt(e->fd, SOL_SOCKET, SO_MEMINFO, memory, &len), "SO_MEMINFO: %s",
	       strerror(errno));
	arena->chans[e->chan].highwater = memory[SK_MEMINFO_RMEM_ALLOC];
	arena->chans[e->chan].capacity = memory[SK_MEMINFO_RCVBUF];
}

static void run_drop(void)
{
	size_t size = arg_num("size"), senders = arg_num("senders");
	char *buf = xmalloc(size);
	int bytes = arg_num("rcvbuf"), first;
	uint64_t got[256] = { 0 }, total = 0, lost;
	struct box b;
	ssize_t n;

	box__open(&b);
	die_if(setsockopt(b.e.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), "SO_RCVBUF: %s",
	       strerror(errno));
	first = arena->nr_procs;
	for (b.index = 0; b.index < (int)senders; b.index++)
		proc__spawnf(flood, &b, "w%d", b.index);
	turn__await(0, senders);
	note_memory(&b.e);
	while ((n = x_recv(&b.e, buf, size, MSG_DONTWAIT)) >= 0) {
		die_if(n != (ssize_t)size, "short datagram");
		got[(unsigned char)buf[0]] += n;
		total += n;
	}
	die_if(errno != EAGAIN, "receive: %s", strerror(errno));
	/* Whose datagrams were thrown away, no counter tells. */
	lost = senders * arg_num("count") * size - total;
	for (size_t i = 0; i < senders; i++)
		if (got[i])
			flow__add(first + i, self, b.e.chan, got[i], senders > 1 && lost);
	arena->chans[b.e.chan].leftover = lost;
	arena->chans[b.e.chan].highwater_messages = total / size;
	free(buf);
}

/* ---- nobody there; refused ---- */

static void run_nobody(void)
{
	struct end e, other;
	union addr a;
	struct box b;
	char byte = 0;
	int fd;

	/* A port that was just free: bound, and closed again. */
	addr__server(&a);
	fd = inet__bound(SOCK_DGRAM, &a, false);
	addr__client(&b.to, addr__port(&a));
	close(fd);
	b.e.chan = udp__nobody("n0", &b.to);
	box__sender(&b, &e, true);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_send(&e, &byte, 1, 0) != 1, "send: %s", strerror(errno));
		/* The answer to that is an error of the next call. */
		die_if(x_send(&e, &byte, 1, 0) != -1 || errno != ECONNREFUSED, "no ECONNREFUSED");
	}
	arena->chans[b.e.chan].leftover = arg_num("count");
	close(e.fd);
	/* Who starts later gets nothing of that. */
	udp__open(&b.e, "u0", &a);
	box__sender(&b, &other, false);
	die_if(x_sendto(&other, &byte, 1, 0, &b.to.sa, addr__len(&b.to)) != 1, "send: %s",
	       strerror(errno));
	die_if(x_recv(&b.e, &byte, 1, 0) != 1, "receive: %s", strerror(errno));
}

/* ---- looked at, cut, and empty ---- */

static void odd_sender(void *arg)
{
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	struct box *b = arg;
	struct end e;

	box__sender(b, &e, arg_num("connected"));
	pattern__fill(buf, size, SEED, 0);
	for (int i = 0; i < 3; i++)
		die_if(x_sendto(&e, buf, size, 0, &b->to.sa, addr__len(&b->to)) != (ssize_t)size,
		       "send: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("empty"); i++)
		die_if(x_sendto(&e, buf, 0, 0, &b->to.sa, addr__len(&b->to)) != 0, "send: %s",
		       strerror(errno));
	free(buf);
}

static void run_odd(void)
{
	size_t size = arg_num("size"), cut = size / 2;
	char *buf = xmalloc(size);
	struct box b;

	box__open(&b);
	proc__spawn("w0", odd_sender, &b);
	for (uint64_t i = 0; i < arg_num("peeks"); i++)
		die_if(x_recv(&b.e, buf, size, MSG_PEEK) != (ssize_t)size, "peek: %s",
		       strerror(errno));
	die_if(x_recv(&b.e, buf, size, 0) != (ssize_t)size, "receive: %s", strerror(errno));
	die_if(!pattern__check(buf, size, SEED, 0), "payload differs");
	die_if(x_recv(&b.e, buf, cut, 0) != (ssize_t)cut, "receive: %s", strerror(errno));
	die_if(x_recv(&b.e, buf, cut, MSG_TRUNC) != (ssize_t)size, "receive: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("empty"); i++)
		die_if(x_recv(&b.e, buf, size, 0) != 0, "receive: %s", strerror(errno));
	arena->chans[b.e.chan].leftover = size - cut;
	free(buf);
}

/* ---- many in one call ---- */

static void batch_sender(void *arg)
{
	struct mmsghdr msgs[MAX_BATCH] = { 0 };
	struct iovec iov[MAX_BATCH];
	uint32_t batch = arg_num("batch");
	char buf[MAX_BATCH] = { 0 };
	struct box *b = arg;
	struct end e;

	box__sender(b, &e, false);
	for (uint32_t i = 0; i < batch; i++) {
		iov[i] = (struct iovec){ buf, i + 1 };
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i],
						   .msg_iovlen = 1,
						   .msg_name = &b->to,
						   .msg_namelen = addr__len(&b->to) };
	}
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 2 * i);
		die_if(x_sendmmsg(&e, msgs, batch, 0) != (int)batch, "sendmmsg: %s",
		       strerror(errno));
		turn__pass(0);
	}
}

static void run_batch(void)
{
	struct mmsghdr msgs[MAX_BATCH] = { 0 };
	char bufs[MAX_BATCH][MAX_BATCH];
	struct iovec iov[MAX_BATCH];
	uint32_t batch = arg_num("batch");
	struct box b;

	box__open(&b);
	proc__spawn("w0", batch_sender, &b);
	for (uint32_t i = 0; i < batch; i++) {
		iov[i] = (struct iovec){ bufs[i], MAX_BATCH };
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 2 * i + 1);
		die_if(x_recvmmsg(&b.e, msgs, batch, MSG_DONTWAIT) != (int)batch, "recvmmsg: %s",
		       strerror(errno));
		for (uint32_t k = 0; k < batch; k++)
			die_if(msgs[k].msg_len != k + 1, "a datagram of %u bytes", msgs[k].msg_len);
		turn__pass(0);
	}
	die_if(x_recvmmsg(&b.e, msgs, batch, MSG_DONTWAIT) != -1, "too many datagrams");
}

#define HOW_PARAM                                                                            \
	{                                                                                    \
		"how", "send", "rw|send|msg|mmsg", 0, 0, "the calls that move the datagrams" \
	}

const struct factory udp_factories[] = {
	{
		.name = "udp-echo",
		.help = "requests to one mailbox, replies to those of the clients",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, HOW_PARAM,
			NUM_PARAM("clients", "3", 1, 200, "processes that ask"),
			NUM_PARAM("connected", "0", 0, 1, "1: clients connect their sockets"),
			NUM_PARAM("rounds", "20", 1, 1ULL << 32, "requests of each"),
			NUM_PARAM("request", "100", 1, 1 << 15, "bytes of each request"),
			NUM_PARAM("reply", "1000", 1, 1 << 15, "bytes of each reply"),
		},
		.selftest = "rounds=5;connected=1 family=v6 how=rw;how=msg family=mapped;how=mmsg "
			    "family=dual connected=1",
		.run = run_echo,
	}, {
		.name = "udp-drop",
		.help = "more than fits into the buffer: the rest is thrown away",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("senders", "2", 1, 200, "processes that send, in turns"),
			NUM_PARAM("count", "100", 1, 1 << 20, "datagrams of each"),
			NUM_PARAM("size", "500", 1, 1 << 15, "bytes of each"),
			NUM_PARAM("rcvbuf", "65536", 1, 1 << 20, "asked for with SO_RCVBUF"),
		},
		.selftest = "count=200;senders=3 count=1;family=v6",
		.run = run_drop,
	}, {
		.name = "udp-nobody",
		.help = "sent to a port of nobody: ECONNREFUSED; and who starts later",
		.params = { COMMON_PARAMS, FAMILY_PARAM, NUM_PARAM("count", "3", 1, 1000, "times") },
		.selftest = "count=2;family=v6",
		.run = run_nobody,
	}, {
		.name = "udp-odd",
		.help = "MSG_PEEK, MSG_TRUNC, datagrams that are cut, and empty ones",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("connected", "0", 0, 1, "1: the sender connects its socket"),
			NUM_PARAM("size", "1000", 2, 1 << 15, "bytes of each"),
			NUM_PARAM("peeks", "3", 0, 1000, "looks at the first"),
			NUM_PARAM("empty", "2", 0, 100, "datagrams of no bytes"),
		},
		.selftest = "size=10;connected=1 peeks=0",
		.run = run_odd,
	}, {
		.name = "udp-batch",
		.help = "many datagrams in one sendmmsg and recvmmsg, in turns",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("batch", "16", 1, MAX_BATCH, "datagrams, of 1, 2, 3.. bytes"),
			NUM_PARAM("rounds", "5", 1, 1 << 29, "times"),
		},
		.selftest = "rounds=2;batch=64 family=v6",
		.run = run_batch,
	},
	{ .name = NULL }
};
