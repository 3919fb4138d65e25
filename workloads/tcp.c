/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP connections between one client and one server. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 11

/* What client and server are given. */
struct job {
	int listener;
	union addr to;
	int peer; /* slot, where one waits for the other to sleep */
	int fd;
};

static void job__listen(struct job *job)
{
	union addr a;

	addr__server(&a);
	job->listener = tcp__listen(&a, 128, false);
	addr__client(&job->to, addr__port(&a));
}

static void run_pair(proc_fn server, proc_fn client)
{
	struct job job;

	job__listen(&job);
	proc__spawn("s0", server, &job);
	proc__spawn("c0", client, &job);
	close(job.listener);
}

static void accept_one(struct end *e, const struct job *job)
{
	tcp__accept(e, job->listener);
	close(job->listener);
}

static void connect_one(struct end *e, const struct job *job)
{
	close(job->listener);
	tcp__connect(e, "t0", &job->to);
}

/* ---- requests and replies, by every call that there is ---- */

static ssize_t put_some(const struct end *e, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct mmsghdr msgs[2] = { { .msg_hdr = { .msg_iov = &iov[0], .msg_iovlen = 1 } },
				   { .msg_hdr = { .msg_iov = &iov[1], .msg_iovlen = 1 } } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	int n;

	if (arg_is("how", "send"))
		return x_send(e, buf, len, MSG_NOSIGNAL);
	if (arg_is("how", "msg"))
		return x_sendmsg(e, &msg, 0);
	if (arg_is("how", "iov"))
		return x_writev(e, iov, 2);
	if (arg_is("how", "rw"))
		return x_write(e, buf, len);
	n = x_sendmmsg(e, msgs, 2, 0);
	if (n < 0)
		return n;
	return msgs[0].msg_len + (n > 1 ? msgs[1].msg_len : 0);
}

static ssize_t get_some(const struct end *e, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct mmsghdr msgs[2] = { { .msg_hdr = { .msg_iov = iov, .msg_iovlen = 2 } },
				   { .msg_hdr = { .msg_iov = iov, .msg_iovlen = 0 } } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	int n;

	if (arg_is("how", "send"))
		return x_recv(e, buf, len, 0);
	if (arg_is("how", "msg"))
		return x_recvmsg(e, &msg, MSG_WAITALL);
	if (arg_is("how", "iov"))
		return x_readv(e, iov, 2);
	if (arg_is("how", "rw"))
		return x_read(e, buf, len);
	/* Only one message: a second one would have no room. */
	n = x_recvmmsg(e, msgs, 1, 0);
	return n < 0 ? n : (ssize_t)msgs[0].msg_len;
}

static void put(const struct end *e, char *buf, size_t len, uint64_t offset)
{
	pattern__fill(buf, len, SEED, offset);
	for (size_t done = 0; done < len;) {
		ssize_t n = put_some(e, buf + done, len - done);

		die_if(n <= 0, "send: %s", strerror(errno));
		done += n;
	}
}

static void get(const struct end *e, char *buf, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = get_some(e, buf + done, len - done);

		die_if(n <= 0, "receive: %s", n ? strerror(errno) : "end of file");
		done += n;
	}
	die_if(!pattern__check(buf, len, SEED, offset), "payload differs");
}

static void echo(struct end *e, bool client)
{
	size_t request = arg_num("request"), reply = arg_num("reply");
	char *buf = xmalloc(request > reply ? request : reply);

	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		if (client) {
			put(e, buf, request, i);
			get(e, buf, reply, i);
		} else {
			get(e, buf, request, i);
			put(e, buf, reply, i);
		}
	}
	end__close(e);
	free(buf);
}

static void echo_server(void *arg)
{
	struct end e;

	accept_one(&e, arg);
	echo(&e, false);
}

static void echo_client(void *arg)
{
	struct end e;

	connect_one(&e, arg);
	echo(&e, true);
}

static void run_echo(void)
{
	run_pair(echo_server, echo_client);
}

/* ---- half-closed: the server answers when it has seen the end of what the client has to say ---- */

static void half_server(void *arg)
{
	struct end e;

	accept_one(&e, arg);
	die_if(stream__read(&e, SEED, arg_num("rchunk")) != arg_num("bytes"), "read too little");
	stream__write(&e, SEED, arg_num("reply"), arg_num("chunk"));
	end__close(&e);
}

static void half_client(void *arg)
{
	struct end e;

	connect_one(&e, arg);
	stream__write(&e, SEED, arg_num("bytes"), arg_num("chunk"));
	die_if(shutdown(e.fd, SHUT_WR), "shutdown: %s", strerror(errno));
	die_if(stream__read(&e, SEED, arg_num("rchunk")) != arg_num("reply"), "read too little");
	end__close(&e);
}

static void run_half_close(void)
{
	run_pair(half_server, half_client);
}

/* ---- reset ---- */

#define ACCEPTED 15 /* a turn of its own */

/* Closing with unread bytes resets the connection. */
static void reset_server(void *arg)
{
	char *buf = xmalloc(arg_num("bytes"));
	struct end e;

	accept_one(&e, arg);
	turn__pass(ACCEPTED);
	turn__await(0, 1);
	if (arg_is("mode", "linger")) {
		turn__await(0, 2);
		exact__read(&e, buf, arg_num("bytes"));
		die_if(x_read(&e, buf, 1) >= 0 || errno != ECONNRESET, "no ECONNRESET");
	} else {
		exact__read(&e, buf, arg_num("take"));
	}
	end__close(&e);
	turn__pass(0);
	free(buf);
}

static void reset_client(void *arg)
{
	struct linger linger = { .l_onoff = 1 };
	struct end e;
	char byte = 'x';

	signal(SIGPIPE, SIG_IGN);
	connect_one(&e, arg);
	stream__write(&e, SEED, arg_num("bytes"), arg_num("bytes"));
	turn__pass(0);
	if (arg_is("mode", "linger")) {
		die_if(setsockopt(e.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)),
		       "SO_LINGER: %s", strerror(errno));
		turn__await(ACCEPTED, 1); /* what is reset has no peer's address any more */
		end__close(&e);
		turn__pass(0);
		return;
	}
	turn__await(0, 2);
	arena->chans[e.chan].leftover = arg_num("bytes") - arg_num("take");
	die_if(x_read(&e, &byte, 1) >= 0 || errno != ECONNRESET, "no ECONNRESET");
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_write(&e, &byte, 1) >= 0 || errno != EPIPE, "no EPIPE");
	die_if(x_read(&e, &byte, 1) != 0, "no end of file");
	end__close(&e);
}

static void run_reset(void)
{
	die_if(arg_num("take") >= arg_num("bytes"), "take must be less than bytes");
	run_pair(reset_server, reset_client);
}

/* ---- connected and never used; refused ---- */

static void unused_server(void *arg)
{
	struct end e;

	accept_one(&e, arg);
	turn__pass(0);
	turn__await(0, 2);
	end__close(&e);
}

static void unused_client(void *arg)
{
	struct job *job = arg;
	struct end e;

	tcp__connect(&e, "t0", &job->to);
	turn__pass(0);
	turn__await(0, 2);
	end__close(&e);
}

/* Nobody listens: no connection, and no channel. */
static void refuse(void)
{
	union addr a, to;
	int bound, fd;

	addr__server(&a);
	bound = inet__bound(SOCK_STREAM, &a, false);
	addr__client(&to, addr__port(&a));
	fd = socket(to.sa.sa_family, SOCK_STREAM, 0);
	die_if(connect(fd, &to.sa, addr__len(&to)) != -1 || errno != ECONNREFUSED,
	       "no ECONNREFUSED");
	die_if(write(fd, "x", 1) != -1 || errno != EPIPE, "no EPIPE");
	close(fd);
	close(bound);
}

static void run_unused(void)
{
	signal(SIGPIPE, SIG_IGN);
	refuse();
	run_pair(unused_server, unused_client);
}

/* ---- non-blocking ---- */

static ssize_t try_send(const struct end *e, const char *buf, size_t len)
{
	return arg_is("how", "flag") ? x_write(e, buf, len) : x_send(e, buf, len, MSG_DONTWAIT);
}

static ssize_t try_recv(const struct end *e, char *buf, size_t len)
{
	return arg_is("how", "flag") ? x_read(e, buf, len) : x_recv(e, buf, len, MSG_DONTWAIT);
}

static void await_event(const struct end *e, short events)
{
	struct pollfd pfd = { .fd = e->fd, .events = events };

	while (poll(&pfd, 1, -1) < 0)
		die_if(errno != EINTR, "poll: %s", strerror(errno));
}

static void nonblock_client(void *arg)
{
	struct job *job = arg;
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	bool flag = arg_is("how", "flag");
	uint64_t sent = 0;
	struct end e;
	ssize_t n;

	close(job->listener);
	tcp__socket(&e, "t0", &job->to, flag ? SOCK_NONBLOCK : 0);
	if (connect(e.fd, &job->to.sa, addr__len(&job->to)) < 0)
		die_if(!flag || errno != EINPROGRESS, "connect: %s", strerror(errno));
	await_event(&e, POLLOUT);
	for (;;) {
		pattern__fill(buf, chunk, SEED, sent);
		n = try_send(&e, buf, chunk);
		if (n < 0)
			break;
		sent += n;
	}
	die_if(errno != EAGAIN, "send: %s", strerror(errno));
	turn__pass(0);
	turn__await(1, 1);
	end__close(&e);
	free(buf);
}

static void nonblock_server(void *arg)
{
	size_t rchunk = arg_num("rchunk");
	char *buf = xmalloc(rchunk);
	uint64_t got = 0;
	struct end e;
	ssize_t n;

	accept_one(&e, arg);
	if (arg_is("how", "flag"))
		end__set_nonblock(&e);
	turn__await(0, 1); /* or it may read as fast as the other one writes, for ever */
	while ((n = try_recv(&e, buf, rchunk))) {
		if (n < 0) {
			die_if(errno != EAGAIN, "receive: %s", strerror(errno));
			turn__pass(1);
			await_event(&e, POLLIN);
			continue;
		}
		die_if(!pattern__check(buf, n, SEED, got), "payload differs");
		got += n;
	}
	end__close(&e);
	free(buf);
}

static void run_nonblock(void)
{
	run_pair(nonblock_server, nonblock_client);
}

/* ---- one side sleeps in each call ---- */

enum { READY, DONE, PEER_FD, RECEIVED };

static void wait_server(void *arg)
{
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	struct job *job = arg;
	struct end e;

	tcp__accept(&e, job->listener);
	*turn__word(PEER_FD) = e.fd;
	turn__pass(READY);
	for (uint64_t i = 0; i < arg_num("calls"); i++) {
		die_if(x_recv(&e, buf, chunk, 0) != (ssize_t)chunk, "short read");
		die_if(!pattern__check(buf, chunk, SEED, i), "payload differs");
		turn__pass(RECEIVED);
	}
	die_if(x_recv(&e, buf, chunk, 0) != 0, "no end of file");
	turn__pass(DONE);
	free(buf);
}

static void wait_client(void *arg)
{
	uint64_t calls = arg_num("calls"), total_ns = 0, asleep;
	size_t chunk = arg_num("chunk");
	char *buf = xmalloc(chunk);
	struct job *job = arg;
	struct end e;

	connect_one(&e, job);
	turn__await(READY, 1);
	for (uint64_t i = 0; i <= calls; i++) {
		/* A busy machine delivers late: the sleep must not be the one of the call before. */
		turn__await(RECEIVED, i);
		asleep = proc__await_sleep(job->peer, SYS_recvfrom, *turn__word(PEER_FD),
					   turn__word(DONE));
		pattern__fill(buf, chunk, SEED, i);
		total_ns += now_ns() - asleep;
		if (i == calls)
			end__close(&e);
		else
			die_if(x_write(&e, buf, chunk) != (ssize_t)chunk, "short write");
	}
	edge__set_blocked_at(job->peer, e.chan, ROLE_READ, 1, calls + 1, total_ns);
	edge__set_blocked_at(self, e.chan, ROLE_WRITE, 0, 0, 0);
	free(buf);
}

static void run_wait(void)
{
	struct job job;

	job__listen(&job);
	job.peer = proc__spawn("s0", wait_server, &job);
	proc__spawn("c0", wait_client, &job);
	close(job.listener);
}

#define HOW_PARAM                                                                          \
	{                                                                                  \
		"how", "rw", "rw|send|msg|iov|mmsg", 0, 0, "the calls that move the bytes" \
	}

const struct factory tcp_factories[] = {
	{
		.name = "tcp-echo",
		.help = "requests and replies over one connection",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, HOW_PARAM,
			NUM_PARAM("rounds", "100", 1, 1ULL << 32, "requests"),
			NUM_PARAM("request", "100", 2, 1 << 20, "bytes of each request"),
			NUM_PARAM("reply", "1000", 2, 1 << 20, "bytes of each reply"),
		},
		.selftest = "rounds=10;how=send family=v6;how=msg family=mapped;how=iov "
			    "family=dual;how=mmsg;reply=1000000 rounds=2",
		.run = run_echo,
	}, {
		.name = "tcp-half-close",
		.help = "the client shuts its side down, then the server answers",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, BYTES_PARAM("256K"), CHUNK_PARAM("4096"),
			RCHUNK_PARAM("4096"),
			NUM_PARAM("reply", "100000", 0, 1ULL << 32, "bytes of the answer"),
		},
		.selftest = "bytes=10000;family=v6 reply=0;bytes=0",
		.run = run_half_close,
	}, {
		.name = "tcp-reset",
		.help = "closed with unread bytes, or without lingering: ECONNRESET, EPIPE",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("bytes", "1000", 1, 16384, "bytes that the client sends"),
			NUM_PARAM("take", "100", 0, 16384, "bytes of these that the server reads"),
			NUM_PARAM("count", "3", 0, 1000, "writes that fail"),
			{ "mode", "unread", "unread|linger", 0, 0,
			  "who resets: the server, or the client when all is sent" },
		},
		.selftest = "take=0;mode=linger;family=v6",
		.run = run_reset,
	}, {
		.name = "tcp-unused",
		.help = "a connection that nobody uses, and one that is refused",
		.params = { COMMON_PARAMS, FAMILY_PARAM },
		.selftest = "family=v4",
		.run = run_unused,
	}, {
		.name = "tcp-nonblock",
		.help = "the client sends until EAGAIN, the server receives with EAGAIN and poll",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, CHUNK_PARAM("4096"), RCHUNK_PARAM("65536"),
			{ "how", "flag", "flag|dontwait", 0, 0, "O_NONBLOCK or MSG_DONTWAIT" },
		},
		.selftest = "how=flag;how=dontwait chunk=100000",
		.run = run_nonblock,
	}, {
		.name = "tcp-wait",
		.help = "the client writes only when the server sleeps: exact numbers of blocked calls",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("chunk", "100", 1, 4096, "bytes of each call"),
			NUM_PARAM("calls", "10", 1, 1 << 30, "calls"),
		},
		.selftest = "calls=5",
		.run = run_wait,
	},
	{ .name = NULL }
};
