/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket pairs: all calls that move bytes through them, waiting and not waiting. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "unix.h"

#define SEED 5

/* ---- every call ---- */

/* Where bytes come from or go to that pass through no memory of ours. */
struct side {
	struct end pipe[2];
	struct end file;
};

static int open_file(void)
{
	int fd = open(tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		skip("O_TMPFILE in %s: %s", tmpdir(), strerror(errno));
	return fd;
}

static ssize_t put_by_splice(const struct end *e, struct side *s, const char *buf, size_t len)
{
	exact__write(&s->pipe[1], buf, len);
	return x_splice(&s->pipe[0], e, len, 0);
}

/* No place twice: what is sent are the file's pages themselves. */
static ssize_t put_by_sendfile(const struct end *e, struct side *s, const char *buf, size_t len)
{
	off_t at = lseek(s->file.fd, 0, SEEK_CUR);

	die_if(pwrite(s->file.fd, buf, len, at) != (ssize_t)len, "file: %s", strerror(errno));
	return x_sendfile(e, &s->file, len);
}

/* Two messages in a call. */
static ssize_t put_two(const struct end *e, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct mmsghdr msgs[2] = { { .msg_hdr = { .msg_iov = &iov[0], .msg_iovlen = 1 } },
				   { .msg_hdr = { .msg_iov = &iov[1], .msg_iovlen = 1 } } };

	die_if(x_sendmmsg(e, msgs, 2, 0) != 2, "sendmmsg: %s", strerror(errno));
	return msgs[0].msg_len + msgs[1].msg_len;
}

static ssize_t put(const struct end *e, struct side *s, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, len / 3 }, { buf + len / 3, len - len / 3 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (arg_is("put", "writev"))
		return x_writev(e, iov, 2);
	if (arg_is("put", "send"))
		return x_send(e, buf, len, 0);
	if (arg_is("put", "sendmsg"))
		return x_sendmsg(e, &msg, 0);
	if (arg_is("put", "sendmmsg"))
		return put_two(e, buf, len);
	if (arg_is("put", "splice"))
		return put_by_splice(e, s, buf, len);
	if (arg_is("put", "sendfile"))
		return put_by_sendfile(e, s, buf, len);
	return x_write(e, buf, len);
}

static ssize_t take_two(const struct end *e, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct mmsghdr msgs[2] = { { .msg_hdr = { .msg_iov = &iov[0], .msg_iovlen = 1 } },
				   { .msg_hdr = { .msg_iov = &iov[1], .msg_iovlen = 1 } } };
	int n = x_recvmmsg(e, msgs, 2, MSG_WAITFORONE);

	die_if(n <= 0, "recvmmsg: %s", n ? strerror(errno) : "nothing");
	if (n == 2 && msgs[0].msg_len < iov[0].iov_len)
		memmove(buf + msgs[0].msg_len, iov[1].iov_base, msgs[1].msg_len);
	return msgs[0].msg_len + (n == 2 ? msgs[1].msg_len : 0);
}

static ssize_t take_by_splice(const struct end *e, struct side *s, char *buf, size_t len)
{
	ssize_t n = x_splice(e, &s->pipe[1], len, 0);

	if (n > 0)
		exact__read(&s->pipe[0], buf, n);
	return n;
}

static ssize_t take(const struct end *e, struct side *s, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, len / 3 }, { buf + len / 3, len - len / 3 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (arg_is("take", "readv"))
		return x_readv(e, iov, 2);
	if (arg_is("take", "recv"))
		return x_recv(e, buf, len, 0);
	if (arg_is("take", "recvmsg"))
		return x_recvmsg(e, &msg, 0);
	if (arg_is("take", "recvmmsg"))
		return take_two(e, buf, len);
	if (arg_is("take", "splice"))
		return take_by_splice(e, s, buf, len);
	/* Looked at first, which takes nothing away. */
	if (arg_is("take", "peek"))
		die_if(x_recv(e, buf, len, MSG_PEEK) <= 0, "peek: %s", strerror(errno));
	return x_read(e, buf, len);
}

static bool whole_messages(void)
{
	return unix__type() != SOCK_STREAM;
}

static void putter(void *arg)
{
	struct link *l = arg;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	struct side s = { .file = { .fd = -1, .chan = -1 } };

	link__close(&l[1]);
	if (arg_is("put", "splice"))
		pipe__open("in", s.pipe, O_CLOEXEC);
	if (arg_is("put", "sendfile"))
		s.file.fd = open_file();
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		for (size_t done = 0; done < size;) {
			ssize_t n;

			pattern__fill(buf, size - done, SEED, i * size + done);
			n = put(&l[0].out, &s, buf, size - done);
			die_if(n <= 0, "put: %s", strerror(errno));
			done += n;
		}
	}
	/* Datagrams have no end of file to wait for. */
	free(buf);
}

static void taker(void *arg)
{
	struct link *l = arg;
	uint64_t total = arg_num("size") * arg_num("count"), got = 0;
	size_t size = arg_num("size");
	struct side s = { .file = { .fd = -1, .chan = -1 } };
	char *buf = xmalloc(size);

	link__close(&l[0]);
	if (arg_is("take", "splice"))
		pipe__open("out", s.pipe, O_CLOEXEC);
	while (got < total) {
		size_t want = whole_messages() || total - got > size ? size : total - got;
		ssize_t n = take(&l[1].in, &s, buf, want);

		die_if(n <= 0, "take: %s", n ? strerror(errno) : "end of file");
		die_if(!pattern__check(buf, n, SEED, got), "payload differs");
		got += n;
	}
	free(buf);
}

static void run_ways(void)
{
	struct link l[2];

	tmpdir();
	if (whole_messages() &&
	    (arg_is("put", "splice") || arg_is("take", "splice") || arg_is("put", "sendfile") ||
	     (arg_is("take", "recvmmsg") && !arg_is("put", "sendmmsg"))))
		skip("messages do not keep their borders that way");
	unix__pair("c0", unix__type(), l);
	proc__spawn("w0", putter, l);
	proc__spawn("r0", taker, l);
	link__close(&l[0]);
	link__close(&l[1]);
}

/* ---- both ways over one pair ---- */

static void answerer(void *arg)
{
	struct link *l = arg;

	link__close(&l[0]);
	unix__answer(&l[1]);
}

static void run_pair(void)
{
	struct link l[2];

	unix__pair("c0", unix__type(), l);
	proc__spawn("child", answerer, l);
	link__close(&l[1]);
	unix__ask(&l[0]);
	link__close(&l[0]);
}

/* ---- several processes at one end ---- */

static void one_of_many(void *arg)
{
	struct link *l = arg;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);

	link__close(&l[1]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		pattern__fill(buf, size, self, i);
		exact__write(&l[0].out, buf, size);
	}
	free(buf);
}

static void run_writers(void)
{
	uint64_t got = 0, total = arg_num("writers") * arg_num("count") * arg_num("size");
	struct link l[2];
	char buf[4096];

	unix__pair("c0", unix__type(), l);
	for (uint32_t i = 0; i < arg_num("writers"); i++)
		proc__spawnf(one_of_many, l, "w%u", i);
	link__close(&l[0]);
	while (got < total) {
		ssize_t n = x_read(&l[1].in, buf, sizeof(buf));

		die_if(n <= 0, "read: %s", n ? strerror(errno) : "end of file");
		got += n;
	}
	for (uint32_t i = 1; i < arena->nr_procs; i++)
		proc__wait(i);
	if (unix__type() != SOCK_DGRAM)
		die_if(x_read(&l[1].in, buf, sizeof(buf)) != 0, "no end of file");
}

/* ---- full and empty ---- */

static void fill_until_full(const struct link *l, uint64_t round)
{
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	bool flag = arg_is("how", "dontwait");
	ssize_t n;

	do {
		pattern__fill(buf, size, SEED, round);
		n = x_send(&l[0].out, buf, size, flag ? MSG_DONTWAIT : 0);
	} while (n > 0);
	die_if(errno != EAGAIN, "send: %s", strerror(errno));
	free(buf);
}

static uint64_t drain(const struct link *l, uint64_t *messages)
{
	char *buf = xmalloc(arg_num("size"));
	bool flag = arg_is("how", "dontwait");
	uint64_t got = 0;
	ssize_t n;

	*messages = 0;
	while ((n = x_recv(&l[1].in, buf, arg_num("size"), flag ? MSG_DONTWAIT : 0)) > 0) {
		got += n;
		++*messages;
	}
	die_if(!n || errno != EAGAIN, "recv: %s", n ? strerror(errno) : "end of file");
	free(buf);
	return got;
}

/* What bounds a mailbox is the number of messages. */
static void note_full(const struct link *l, uint64_t bytes, uint64_t messages)
{
	struct chan *c = &arena->chans[l[1].in.chan];
	socklen_t len = sizeof(int);
	int size;

	if (unix__type() == SOCK_DGRAM) {
		c->capacity_messages = unix__mailbox_bound();
		if ((int64_t)messages > c->highwater_messages)
			c->highwater_messages = messages;
		return;
	}
	die_if(getsockopt(l[1].in.fd, SOL_SOCKET, SO_SNDBUF, &size, &len), "SO_SNDBUF");
	c->capacity = size;
	if ((int64_t)bytes > c->highwater)
		c->highwater = bytes;
}

static void drainer(void *arg)
{
	struct link *l = arg;

	link__close(&l[0]);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		uint64_t bytes, messages;

		turn__await(0, 2 * i + 1);
		bytes = drain(l, &messages);
		note_full(l, bytes, messages);
		turn__pass(0);
	}
}

static void set_nonblock(struct link l[2])
{
	for (int i = 0; i < 2; i++) {
		end__set_nonblock(&l[i].in);
		l[i].out.nonblock = true;
	}
}

static void filler(void *arg)
{
	struct link *l = arg;

	link__close(&l[1]);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 2 * i);
		fill_until_full(l, i);
		turn__pass(0);
	}
	turn__await(0, 2 * arg_num("rounds"));
}

static void run_nonblock(void)
{
	struct link l[2];

	unix__pair("c0", unix__type(), l);
	if (arg_is("how", "flag"))
		set_nonblock(l);
	proc__spawn("w0", filler, l);
	proc__spawn("r0", drainer, l);
	link__close(&l[0]);
	link__close(&l[1]);
}

/* ---- waiting ---- */

enum { CALL, DONE, GONE };

struct slow {
	struct link *l;
	int peer, peer_fd;
};

static void full_writer(void *arg)
{
	struct slow *slow = arg;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);

	link__close(&slow->l[1]);
	for (uint64_t i = 0; i < arg_num("calls"); i++) {
		pattern__fill(buf, size, SEED, i * size);
		turn__take(CALL);
		die_if(x_write(&slow->l[0].out, buf, size) != (ssize_t)size, "short write");
	}
	turn__pass(DONE);
	free(buf);
}

/* Reads only while the writer sleeps: each call of it that sleeps is seen. */
static void full_reader(void *arg)
{
	struct slow *slow = arg;
	const struct end *in = &slow->l[1].in;
	uint64_t total_ns = 0, blocked = 0, last = 0, offset = 0, asleep;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	ssize_t n;

	link__close(&slow->l[0]);
	while ((asleep = proc__await_sleep(slow->peer, SYS_write, slow->peer_fd,
					   turn__word(DONE)))) {
		blocked += last != *turn__word(CALL);
		last = *turn__word(CALL);
		total_ns += now_ns() - asleep;
		n = x_read(in, buf, size);
		die_if(n <= 0 || !pattern__check(buf, n, SEED, offset), "payload differs");
		offset += n;
	}
	while (offset < size * arg_num("calls")) {
		n = x_read(in, buf, size);
		die_if(n <= 0 || !pattern__check(buf, n, SEED, offset), "payload differs");
		offset += n;
	}
	edge__set_blocked_at(slow->peer, in->chan, ROLE_WRITE, 0, blocked, total_ns);
	edge__set_blocked_at(self, in->chan, ROLE_READ, in->side, 0, 0);
	free(buf);
}

static void empty_reader(void *arg)
{
	struct slow *slow = arg;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);

	link__close(&slow->l[0]);
	for (uint64_t i = 0; i < arg_num("calls"); i++) {
		die_if(x_read(&slow->l[1].in, buf, size) != (ssize_t)size, "short read");
		die_if(!pattern__check(buf, size, SEED, i * size), "payload differs");
	}
	turn__pass(DONE);
	free(buf);
}

static void empty_writer(void *arg)
{
	struct slow *slow = arg;
	const struct end *out = &slow->l[0].out;
	uint64_t total_ns = 0, asleep;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);

	link__close(&slow->l[1]);
	for (uint64_t i = 0; i < arg_num("calls"); i++) {
		asleep = proc__await_sleep(slow->peer, SYS_read, slow->peer_fd, turn__word(DONE));
		die_if(!asleep, "it did not sleep");
		pattern__fill(buf, size, SEED, i * size);
		total_ns += now_ns() - asleep;
		die_if(x_write(out, buf, size) != (ssize_t)size, "short write");
	}
	edge__set_blocked_at(slow->peer, out->chan, ROLE_READ, slow->l[1].in.side, arg_num("calls"),
			     total_ns);
	edge__set_blocked_at(self, out->chan, ROLE_WRITE, 0, 0, 0);
	free(buf);
}

static void run_full(void)
{
	bool full = arg_is("side", "writer");
	struct link l[2];
	struct slow slow = { .l = l };

	unix__pair("c0", unix__type(), l);
	slow.peer_fd = l[!full].in.fd;
	slow.peer = proc__spawn(full ? "w0" : "r0", full ? full_writer : empty_reader, &slow);
	proc__spawn(full ? "r0" : "w0", full ? full_reader : empty_writer, &slow);
	link__close(&l[0]);
	link__close(&l[1]);
}

#define ALL_TYPES "stream|seqpacket|dgram"

const struct factory unix_ways_factories[] = {
	{
		.name = "unix-ways",
		.help = "one way through a pair of sockets, by each of the calls that can",
		.params = {
			COMMON_PARAMS, TYPE_PARAM(ALL_TYPES),
			{ "put", "write", "write|writev|send|sendmsg|sendmmsg|splice|sendfile", 0, 0,
			  "how bytes get in" },
			{ "take", "read", "read|readv|recv|recvmsg|recvmmsg|splice|peek", 0, 0,
			  "and out" },
			NUM_PARAM("count", "100", 1, 1 << 30, "messages"),
			NUM_PARAM("size", "1000", 4, 65536, "bytes of each"),
		},
		.selftest = "put=writev take=readv;put=send take=recv type=dgram;put=sendmsg "
			    "take=recvmsg type=seqpacket;put=sendmmsg take=recvmmsg;put=splice "
			    "take=splice;put=sendfile take=peek;put=sendmmsg take=recvmsg type=dgram",
		.run = run_ways,
	}, {
		.name = "unix-pair",
		.help = "requests and replies between parent and child over a pair of sockets",
		.params = { COMMON_PARAMS, ECHO_PARAMS, TYPE_PARAM(ALL_TYPES) },
		.selftest = "rounds=5;type=dgram;type=seqpacket",
		.run = run_pair,
	}, {
		.name = "unix-writers",
		.help = "several processes write at one end of a pair, by descriptors they inherited",
		.params = {
			COMMON_PARAMS, TYPE_PARAM(ALL_TYPES),
			NUM_PARAM("writers", "4", 1, 100, "processes"),
			NUM_PARAM("count", "50", 1, 1 << 30, "messages of each"),
			NUM_PARAM("size", "300", 1, 4096, "bytes of each"),
		},
		.selftest = "count=10;type=dgram writers=2",
		.run = run_writers,
	}, {
		.name = "unix-nonblock",
		.help = "fill until EAGAIN, drain until EAGAIN, in turns",
		.params = {
			COMMON_PARAMS, TYPE_PARAM(ALL_TYPES),
			{ "how", "flag", "flag|dontwait", 0, 0, "O_NONBLOCK or MSG_DONTWAIT" },
			NUM_PARAM("size", "1000", 1, 65536, "bytes of each message"),
			NUM_PARAM("rounds", "3", 1, 1 << 20, "times"),
		},
		.selftest = "rounds=2;how=dontwait;type=dgram;type=seqpacket size=5000",
		.run = run_nonblock,
	}, {
		.name = "unix-full",
		.help = "one side waits for the other in every call",
		.params = {
			COMMON_PARAMS, TYPE_PARAM(ALL_TYPES),
			{ "side", "writer", "writer|reader", 0, 0, "who waits" },
			NUM_PARAM("size", "30000", 1, 65536, "bytes of each message"),
			NUM_PARAM("calls", "20", 1, 1 << 20, "messages"),
		},
		.selftest = "calls=15;side=reader;type=dgram;type=seqpacket side=reader",
		.run = run_full,
	},
	{ .name = NULL }
};
