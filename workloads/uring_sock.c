/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets through io_uring. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"
#include "ring.h"
#include "unix.h"

#define SEED 6

/* What both processes are given: the ends of a pair, or where to connect to. */
struct job {
	struct link l[2];
	int listener; /* -1: a pair */
	union addr to;
	struct end p[2];
};

/* How a process makes its requests, as its parameters say. */
struct maker {
	struct ring ring;
	struct link l;
	bool fixed, stream;
	uint32_t flags; /* IOSQE_* */
};

static int type_of_pair(void)
{
	if (arg_is("over", "dgram"))
		return SOCK_DGRAM;
	return arg_is("over", "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM;
}

static void job__make(struct job *job)
{
	union addr a;

	job->listener = -1;
	if (!arg_is("over", "tcp")) {
		unix__pair("c0", type_of_pair(), job->l);
		return;
	}
	addr__v4(&a, "127.0.0.1", 0);
	job->listener = tcp__listen(&a, 8, false);
	addr__v4(&job->to, "127.0.0.1", addr__port(&a));
}

static void ring_connect(struct maker *m, const union addr *to)
{
	struct io_uring_sqe *sqe;

	tcp__socket(&m->l.in, "t0", to, 0);
	sqe = ring__put_other(&m->ring, IORING_OP_CONNECT, m->l.in.fd);
	sqe->addr = (uintptr_t)to;
	sqe->off = addr__len(to);
	die_if(ring__run(&m->ring), "connect: %s", strerror(errno));
	m->l.out = m->l.in;
}

static void ring_accept(struct maker *m, int listener)
{
	int fd;

	ring__put_other(&m->ring, IORING_OP_ACCEPT, listener);
	fd = ring__run(&m->ring);
	die_if(fd < 0, "accept: %s", strerror(errno));
	tcp__accepted(&m->l.in, fd);
	m->l.out = m->l.in;
}

static void maker__open(struct maker *m, struct job *job, bool client)
{
	*m = (struct maker){ .l = job->l[!client], .fixed = arg_is("files", "fixed") };
	m->stream = arg_is("over", "stream") || arg_is("over", "tcp");
	ring__open(&m->ring, ring__setup_of_mode());
	if (job->listener < 0)
		link__close(&job->l[client]);
	else if (client)
		ring_connect(m, &job->to);
	else
		ring_accept(m, job->listener);
	if (arg_is("mode", "async"))
		m->flags |= IOSQE_ASYNC;
	if (m->fixed) {
		ring__register(&m->ring, &m->l.in.fd, 1);
		m->flags |= IOSQE_FIXED_FILE;
	}
}

static void maker__close(struct maker *m)
{
	ring__close(&m->ring);
	link__close(&m->l);
}

static struct io_uring_sqe *maker__put(struct maker *m, uint8_t opcode, enum role role,
				       const void *buf, uint32_t len)
{
	struct io_uring_sqe *sqe = ring__put(
		&m->ring, opcode, role == ROLE_READ ? &m->l.in : &m->l.out, role, buf, len);

	sqe->flags = m->flags;
	if (m->fixed)
		sqe->fd = 0;
	return sqe;
}

/* One request that moves up to len bytes. */
static ssize_t move(struct maker *m, enum role role, char *buf, size_t len)
{
	bool in = role == ROLE_READ;
	struct iovec iov[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (arg_is("how", "msg"))
		maker__put(m, in ? IORING_OP_RECVMSG : IORING_OP_SENDMSG, role, &msg, 1);
	else if (arg_is("how", "vec"))
		maker__put(m, in ? IORING_OP_READV : IORING_OP_WRITEV, role, iov, 2);
	else if (arg_is("how", "rw"))
		maker__put(m, in ? IORING_OP_READ : IORING_OP_WRITE, role, buf, len);
	else if (arg_is("how", "zc") && !in)
		maker__put(m, IORING_OP_SEND_ZC, role, buf, len);
	else if (arg_is("how", "waitall") && in)
		maker__put(m, IORING_OP_RECV, role, buf, len)->msg_flags = MSG_WAITALL;
	else
		maker__put(m, in ? IORING_OP_RECV : IORING_OP_SEND, role, buf, len);
	return ring__run(&m->ring);
}

static void whole(struct maker *m, enum role role, char *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = move(m, role, buf + done, len - done);

		die_if(n <= 0, "%s: %s", role == ROLE_READ ? "receive" : "send",
		       n ? strerror(errno) : "end of file");
		die_if(!m->stream && n != (ssize_t)len, "a part of a message");
		done += n;
	}
}

/* Look first without waiting, and at what stays there. */
static void look(struct maker *m, char *buf, size_t len)
{
	struct io_uring_sqe *sqe = maker__put(m, IORING_OP_RECV, ROLE_READ, buf, len);

	sqe->msg_flags = MSG_PEEK | (arg_is("how", "dontwait") ? MSG_DONTWAIT : 0);
	ring__op(&m->ring, sqe)->peek = true;
	ring__op(&m->ring, sqe)->nonblock = sqe->msg_flags & MSG_DONTWAIT;
	die_if(ring__run(&m->ring) <= 0 && errno != EAGAIN, "recv: %s", strerror(errno));
}

static void echo(struct job *job, bool client)
{
	size_t request = arg_num("request"), reply = arg_num("reply");
	char *buf = xmalloc(request > reply ? request : reply);
	bool looks = arg_is("how", "peek") || arg_is("how", "dontwait");
	struct maker m;

	maker__open(&m, job, client);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		size_t put = client ? request : reply, get = client ? reply : request;

		pattern__fill(buf, put, SEED, i);
		if (client)
			whole(&m, ROLE_WRITE, buf, put);
		if (looks)
			look(&m, buf, get);
		whole(&m, ROLE_READ, buf, get);
		die_if(!pattern__check(buf, get, SEED, i), "payload differs");
		pattern__fill(buf, put, SEED, i);
		if (!client)
			whole(&m, ROLE_WRITE, buf, put);
	}
	maker__close(&m);
	free(buf);
}

static void client(void *arg)
{
	echo(arg, true);
}

static void server(void *arg)
{
	echo(arg, false);
}

static void spawn_both(proc_fn first, proc_fn second)
{
	struct job job;

	job__make(&job);
	proc__spawn("server", first, &job);
	proc__spawn("client", second, &job);
	if (job.listener >= 0) {
		close(job.listener);
		return;
	}
	link__close(&job.l[0]);
	link__close(&job.l[1]);
}

static void run_echo(void)
{
	if (arg_is("how", "zc") && !arg_is("over", "tcp"))
		skip("unix sockets have no zero-copy send");
	spawn_both(server, client);
}

/* ---- one request, many completions ---- */

#define BUFFERS 16
#define GROUP 7
#define OUT_HEADER sizeof(struct io_uring_recvmsg_out)
#define NAME_ROOM 32

struct taker {
	struct ring ring;
	struct end end;
	struct msghdr msg;
	size_t size; /* of a buffer */
	char *buf;
	bool armed;
};

static void give_buffers(struct taker *t, uint16_t first, uint32_t n)
{
	struct io_uring_sqe *sqe = ring__put_other(&t->ring, IORING_OP_PROVIDE_BUFFERS, n);

	sqe->addr = (uintptr_t)(t->buf + first * t->size);
	sqe->len = t->size;
	sqe->off = first;
	sqe->buf_group = GROUP;
}

static void arm(struct taker *t)
{
	bool msg = arg_is("how", "msg"), pipe = arg_is("over", "pipe");
	struct io_uring_sqe *sqe = ring__put(&t->ring,
					     pipe  ? RING_OP_READ_MULTISHOT
					     : msg ? IORING_OP_RECVMSG
						   : IORING_OP_RECV,
					     &t->end, ROLE_READ, msg ? &t->msg : NULL, 0);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	if (pipe)
		sqe->off = -1;
	else
		sqe->ioprio = IORING_RECV_MULTISHOT;
	if (msg && !pipe) {
		t->msg = (struct msghdr){ .msg_namelen = NAME_ROOM };
		ring__op(&t->ring, sqe)->header = OUT_HEADER + NAME_ROOM;
	}
	t->armed = true;
}

/* All that comes, to its end; returns the bytes. */
static uint64_t take_all(struct taker *t)
{
	uint64_t bytes = 0;
	bool end = false;

	give_buffers(t, 0, BUFFERS);
	die_if(ring__run(&t->ring) < 0, "IORING_OP_PROVIDE_BUFFERS: %s", strerror(errno));
	arm(t);
	ring__submit(&t->ring);
	while (t->ring.pending) {
		struct done d = ring__wait(&t->ring);
		const struct ring_op *op = &t->ring.ops[d.slot];

		if (!op->from && op->used == false)
			continue; /* a buffer is back */
		if (d.res == -EINVAL)
			skip("this kernel has no such request");
		die_if(d.res < 0 && d.res != -ENOBUFS, "receive: %s", strerror(-d.res));
		end |= d.res >= 0 && d.res <= (int32_t)op->header;
		if (d.res > (int32_t)op->header)
			bytes += d.res - op->header;
		if (d.flags & IORING_CQE_F_BUFFER)
			give_buffers(t, d.flags >> IORING_CQE_BUFFER_SHIFT, 1);
		if (!(d.flags & IORING_CQE_F_MORE) && !end)
			arm(t);
		if (t->ring.queued)
			ring__submit(&t->ring);
	}
	return bytes;
}

static void taker(void *arg)
{
	struct taker t = { .size = arg_num("chunk") + 100 };
	struct job *job = arg;
	uint64_t bytes;

	t.buf = xmalloc(t.size * BUFFERS);
	ring__open(&t.ring, 0);
	if (arg_is("over", "pipe")) {
		end__close(&job->p[1]);
		t.end = job->p[0];
	} else if (job->listener >= 0) {
		tcp__accept(&t.end, job->listener);
	} else {
		link__close(&job->l[1]);
		t.end = job->l[0].in;
	}
	bytes = take_all(&t);
	die_if(bytes != arg_num("count") * arg_num("chunk"), "%llu bytes came",
	       (unsigned long long)bytes);
	end__close(&t.end);
	free(t.buf);
}

static void giver(void *arg)
{
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	struct job *job = arg;
	struct end e;

	if (arg_is("over", "pipe")) {
		end__close(&job->p[0]);
		e = job->p[1];
	} else if (job->listener >= 0) {
		tcp__connect(&e, "t0", &job->to);
	} else {
		link__close(&job->l[0]);
		e = job->l[1].out;
	}
	memset(buf, 'x', chunk);
	for (uint64_t i = 0; i < arg_num("count"); i++)
		exact__write(&e, buf, chunk);
	end__close(&e);
	free(buf);
}

static void run_multishot(void)
{
	struct job job = { .listener = -1 };

	if (!arg_is("over", "pipe")) {
		spawn_both(taker, giver);
		return;
	}
	pipe__open("c0", job.p, 0);
	proc__spawn("taker", taker, &job);
	proc__spawn("giver", giver, &job);
	end__close(&job.p[0]);
	end__close(&job.p[1]);
}

const struct factory uring_sock_factories[] = {
	{
		.name = "uring-sock",
		.help = "requests and replies over sockets, both sides by io_uring",
		.params = {
			COMMON_PARAMS, ECHO_PARAMS,
			{ "over", "stream", "stream|seqpacket|dgram|tcp", 0, 0,
			  "a unix socketpair, or a TCP connection" },
			{ "how", "send", "send|msg|rw|vec|zc|waitall|peek|dontwait", 0, 0,
			  "requests: send and recv, sendmsg and recvmsg, read and write, readv and "
			  "writev, zero-copy, with flags, looking before" },
			{ "mode", "plain", "plain|async|sqpoll|defer", 0, 0,
			  "IOSQE_ASYNC, a thread that submits, completions in the submitter only" },
			{ "files", "plain", "plain|fixed", 0, 0, "descriptors or registered files" },
		},
		.selftest = "rounds=5;over=seqpacket how=msg mode=async rounds=5;"
			    "over=dgram how=vec rounds=5;over=tcp how=zc rounds=5;"
			    "over=tcp files=fixed mode=sqpoll rounds=5 how=waitall;"
			    "mode=defer how=peek rounds=5;how=dontwait rounds=5;how=rw rounds=5",
		.run = run_echo,
	}, {
		.name = "uring-multishot",
		.help = "one request that takes all messages, a completion for each",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("count", "50", 0, 1 << 20, "messages"),
			NUM_PARAM("chunk", "100", 1, 1 << 16, "bytes of each"),
			{ "over", "stream", "stream|seqpacket|tcp|pipe", 0, 0,
			  "a unix socketpair, a TCP connection, or a pipe" },
			{ "how", "recv", "recv|msg", 0, 0, "recv or recvmsg" },
		},
		.selftest = "count=5;over=seqpacket how=msg count=5;over=tcp count=5;"
			    "over=pipe count=5;how=msg count=0",
		.run = run_multishot,
	},
	{ .name = NULL }
};
