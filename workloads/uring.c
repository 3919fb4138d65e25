/* SPDX-License-Identifier: BSD-2-Clause */
/* Pipes and FIFOs through io_uring. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "factory.h"
#include "ring.h"

#define SEED 5

struct side {
	struct end *p;
	int chan; /* of a FIFO; -1: a pipe */
	int index;
};

/* ---- one writer and one reader, each by io_uring or by system calls ---- */

/* How a process makes its requests, as its parameters say. */
struct maker {
	struct ring ring;
	struct end end;
	enum role role;
	bool fixed, vec, registered;
	uint32_t flags; /* IOSQE_* */
	size_t chunk;
	char *buf; /* a piece for each slot */
	struct iovec iov[RING_MAX];
};

/*
 * Before Linux 6.4 (FMODE_NOWAIT for pipes) a worker that finds a pipe not ready polls it and tries
 * again without end, and cannot be killed. Not tried out: that would be a pipe more to see.
 */
static void need_nowait_pipes(void)
{
	unsigned int major, minor;
	struct utsname name;

	uname(&name);
	if (sscanf(name.release, "%u.%u", &major, &minor) == 2 && major * 100 + minor < 604)
		skip("Linux %u.%u has no pipes for io_uring's workers", major, minor);
}

static void maker__open(struct maker *m, const struct end *e, enum role role, size_t chunk)
{
	*m = (struct maker){ .end = *e, .role = role, .chunk = chunk };
	m->fixed = arg_is("files", "fixed");
	m->vec = arg_is("op", "vec");
	m->registered = arg_is("op", "registered");
	m->buf = xmalloc(chunk * RING_MAX);
	ring__open(&m->ring, ring__setup_of_mode());
	if (arg_is("mode", "async"))
		m->flags |= IOSQE_ASYNC;
	if (m->fixed) {
		ring__register(&m->ring, &m->end.fd, 1);
		m->flags |= IOSQE_FIXED_FILE;
	}
	if (m->registered) {
		struct iovec all = { m->buf, chunk * RING_MAX };

		die_if(syscall(__NR_io_uring_register, m->ring.fd, IORING_REGISTER_BUFFERS, &all,
			       1),
		       "IORING_REGISTER_BUFFERS: %s", strerror(errno));
	}
}

static void maker__close(struct maker *m)
{
	ring__close(&m->ring);
	free(m->buf);
}

static char *piece(struct maker *m, uint32_t slot)
{
	return m->buf + slot * m->chunk;
}

/* Queue a request for len bytes; returns its piece of memory, to be filled by a writer. */
static char *maker__put(struct maker *m, size_t len)
{
	static const uint8_t opcodes[2][3] = {
		[ROLE_READ] = { IORING_OP_READ, IORING_OP_READV, IORING_OP_READ_FIXED },
		[ROLE_WRITE] = { IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_WRITE_FIXED },
	};
	uint8_t opcode = opcodes[m->role][m->vec ? 1 : m->registered ? 2 : 0];
	struct io_uring_sqe *sqe = ring__put(&m->ring, opcode, &m->end, m->role, NULL, len);
	uint32_t slot = ring__slot(sqe);

	sqe->flags = m->flags;
	if (m->fixed)
		sqe->fd = 0;
	sqe->off = -1;
	sqe->addr = (uintptr_t)piece(m, slot);
	if (m->vec) {
		m->iov[slot] = (struct iovec){ piece(m, slot), len };
		sqe->addr = (uintptr_t)&m->iov[slot];
		sqe->len = 1;
	}
	return piece(m, slot);
}

/* The stream, so many requests at a time. Several at once may overtake each other. */
static void ring_write(const struct end *e, uint64_t bytes, size_t chunk, uint32_t depth)
{
	struct maker m;
	uint64_t done = 0, asked = 0;
	struct done d;

	maker__open(&m, e, ROLE_WRITE, chunk);
	while (done < bytes) {
		for (; m.ring.pending + m.ring.queued < depth && asked < bytes;) {
			size_t len = bytes - asked < chunk ? bytes - asked : chunk;

			pattern__fill(maker__put(&m, len), len, SEED, asked);
			asked += len;
		}
		if (m.ring.queued)
			ring__submit(&m.ring);
		d = ring__wait(&m.ring);
		die_if(d.res <= 0, "write: %s", strerror(-d.res));
		done += d.res;
		if (!m.ring.pending)
			asked = done; /* some were short */
	}
	maker__close(&m);
}

static void ring_read(const struct end *e, uint64_t bytes, size_t chunk, uint32_t depth)
{
	bool end = false, ordered = depth == 1 && arg_num("depth") == 1;
	struct maker m;
	uint64_t done = 0;
	struct done d;

	maker__open(&m, e, ROLE_READ, chunk);
	do {
		while (!end && m.ring.pending + m.ring.queued < depth)
			maker__put(&m, chunk);
		if (m.ring.queued)
			ring__submit(&m.ring);
		d = ring__wait(&m.ring);
		die_if(d.res < 0, "read: %s", strerror(-d.res));
		die_if(ordered && !pattern__check(piece(&m, d.slot), d.res, SEED, done),
		       "payload differs near byte %llu", (unsigned long long)done);
		end |= !d.res;
		done += d.res;
	} while (m.ring.pending || !end);
	die_if(done != bytes, "read %llu bytes", (unsigned long long)done);
	maker__close(&m);
}

static struct end open_side(struct side *s, enum role role)
{
	struct end e;

	if (s->chan < 0) {
		end__close(&s->p[role == ROLE_READ]);
		return s->p[role == ROLE_WRITE];
	}
	fifo__open(&e, s->chan, role == ROLE_READ ? O_RDONLY : O_WRONLY);
	return e;
}

static void plain_read(const struct end *e, uint64_t bytes, size_t chunk)
{
	uint64_t done = 0;
	char *buf = xmalloc(chunk);
	ssize_t n;

	while ((n = x_read(e, buf, chunk)) > 0)
		done += n;
	die_if(n < 0 || done != bytes, "read %llu bytes", (unsigned long long)done);
	free(buf);
}

static void writer(void *arg)
{
	struct end e = open_side(arg, ROLE_WRITE);

	if (arg_is("side", "reader"))
		stream__write(&e, SEED, arg_num("bytes"), arg_num("chunk"));
	else
		ring_write(&e, arg_num("bytes"), arg_num("chunk"), arg_num("depth"));
	end__close(&e);
}

static void reader(void *arg)
{
	struct end e = open_side(arg, ROLE_READ);

	if (arg_is("side", "writer"))
		plain_read(&e, arg_num("bytes"), arg_num("rchunk"));
	else
		ring_read(&e, arg_num("bytes"), arg_num("rchunk"), arg_num("depth"));
	end__close(&e);
}

static void run_stream(void)
{
	struct end p[2];
	struct side s = { .p = p, .chan = -1 };

	if (arg_is("mode", "async"))
		need_nowait_pipes();
	if (arg_is("over", "fifo"))
		s.chan = fifo__make("c0", "q");
	else
		pipe__open("c0", p, 0);
	proc__spawn("writer", writer, &s);
	proc__spawn("reader", reader, &s);
	if (s.chan >= 0) {
		procs__join();
		fifo__unlink(s.chan);
		return;
	}
	end__close(&p[0]);
	end__close(&p[1]);
}

/* ---- requests that fail, are cancelled, or never begin ---- */

static void expect(struct ring *r, int32_t res)
{
	struct done d = ring__wait(r);

	die_if(d.res != res, "a request gave %d, not %d", d.res, res);
}

static void run_cancel(void)
{
	uint32_t count = arg_num("count");
	struct io_uring_sqe *sqe;
	struct ring r;
	struct end p[2];
	char buf[8];

	pipe__open("c0", p, 0);
	ring__open(&r, 0);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot;

		sqe = ring__put(&r, IORING_OP_READ, &p[0], ROLE_READ, buf, sizeof(buf));
		slot = ring__slot(sqe);
		ring__submit(&r);
		sqe = ring__put_other(&r, IORING_OP_ASYNC_CANCEL, -1);
		sqe->addr = slot;
		ring__submit(&r);
		/* Which of the two is told first is not said. */
		for (int n = 0; n < 2; n++) {
			struct done d = ring__wait(&r);

			die_if(d.slot == slot && d.res != -ECANCELED, "the read gave %d", d.res);
		}
	}
	die_if(x_write(&p[1], "after", 5) != 5, "write: %s", strerror(errno));
	ring__put(&r, IORING_OP_READ, &p[0], ROLE_READ, buf, sizeof(buf));
	die_if(ring__run(&r) != 5, "read: %s", strerror(errno));
}

/* Linked: what follows a short read is cancelled before it began, and is no operation. */
static void run_link(void)
{
	uint32_t count = arg_num("count"), chunk = arg_num("chunk");
	struct end in[2], out[2];
	struct io_uring_sqe *sqe;
	struct ring r;
	char *buf = xmalloc(chunk);

	memset(buf, 'x', chunk);
	pipe__open("in", in, 0);
	pipe__open("out", out, 0);
	ring__open(&r, 0);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t len = i % 2 ? chunk / 2 : chunk;

		exact__write(&in[1], buf, len);
		sqe = ring__put(&r, IORING_OP_READ, &in[0], ROLE_READ, buf, chunk);
		sqe->flags = IOSQE_IO_LINK;
		sqe = ring__put(&r, IORING_OP_WRITE, &out[1], ROLE_WRITE, buf, chunk);
		if (len < chunk)
			*ring__op(&r, sqe) = (struct ring_op){ .used = true };
		ring__submit(&r);
		expect(&r, len);
		expect(&r, len < chunk ? -ECANCELED : (int32_t)chunk);
		if (len == chunk)
			exact__read(&out[0], buf, chunk);
	}
	free(buf);
}

static void run_nonblock(void)
{
	uint32_t count = arg_num("count");
	bool vec = arg_is("op", "vec");
	struct io_uring_sqe *sqe;
	char buf[100] = "";
	struct iovec iov = { buf, sizeof(buf) };
	struct ring r;
	struct end p[2];

	need_nowait_pipes();
	pipe__open("c0", p, 0);
	ring__open(&r, 0);
	for (uint32_t i = 0; i < count; i++) {
		if (i % 2)
			exact__write(&p[1], buf, 10);
		sqe = ring__put(&r, vec ? IORING_OP_READV : IORING_OP_READ, &p[0], ROLE_READ,
				vec ? (void *)&iov : buf, vec ? 1 : sizeof(buf));
		sqe->off = -1;
		sqe->rw_flags = RWF_NOWAIT;
		ring__op(&r, sqe)->nonblock = true;
		ring__submit(&r);
		expect(&r, i % 2 ? 10 : -EAGAIN);
	}
}

/* ---- splice and tee ---- */

static void run_splice(void)
{
	uint32_t count = arg_num("count"), chunk = arg_num("chunk");
	bool fixed = arg_is("files", "fixed");
	struct end a[2], b[2], c[2];
	struct io_uring_sqe *sqe;
	char *buf = xmalloc(chunk);
	struct ring r;

	memset(buf, 'x', chunk);
	pipe__open("a", a, 0);
	pipe__open("b", b, 0);
	pipe__open("c", c, 0);
	ring__open(&r, 0);
	ring__register(&r, (int[]){ a[0].fd, b[1].fd, c[1].fd }, 3);
	for (uint32_t i = 0; i < count; i++) {
		exact__write(&a[1], buf, chunk);
		for (int tee = 1; tee >= 0; tee--) {
			const struct end *out = tee ? &c[1] : &b[1];

			sqe = ring__put(&r, tee ? IORING_OP_TEE : IORING_OP_SPLICE, out, ROLE_WRITE,
					NULL, chunk);
			sqe->splice_fd_in = fixed ? 0 : a[0].fd;
			sqe->splice_flags = fixed ? SPLICE_F_FD_IN_FIXED : 0;
			sqe->off = tee ? 0 : -1;
			sqe->splice_off_in = tee ? 0 : -1;
			if (fixed) {
				sqe->flags = IOSQE_FIXED_FILE;
				sqe->fd = tee ? 2 : 1;
			}
			ring__op(&r, sqe)->from = &a[0];
			ring__op(&r, sqe)->peek = tee;
			die_if(ring__run(&r) != chunk, "splice or tee: %s", strerror(errno));
		}
		exact__read(&b[0], buf, chunk);
		exact__read(&c[0], buf, chunk);
	}
	free(buf);
}

/* ---- many writers; a ring that two processes have ---- */

/* Records of one writer, each in one request. */
static void ring_record_writer(void *arg)
{
	struct side *s = arg;
	uint32_t records = arg_num("records"), record = arg_num("record");
	char *buf = xmalloc(record);
	struct ring r;

	end__close(&s->p[0]);
	ring__open(&r, ring__setup_of_mode());
	for (uint32_t i = 0; i < records; i++) {
		struct io_uring_sqe *sqe;

		memset(buf, 'a' + s->index, record);
		sqe = ring__put(&r, IORING_OP_WRITE, &s->p[1], ROLE_WRITE, buf, record);
		sqe->flags = arg_is("mode", "async") ? IOSQE_ASYNC : 0;
		die_if(ring__run(&r) != record, "write: %s", strerror(errno));
	}
	free(buf);
}

static void run_many_writers(void)
{
	struct end p[2];
	struct side s = { .p = p };

	if (arg_is("mode", "async"))
		need_nowait_pipes();
	pipe__open("c0", p, 0);
	for (s.index = 0; s.index < (int)arg_num("writers"); s.index++)
		proc__spawnf(ring_record_writer, &s, "w%d", s.index);
	end__close(&p[1]);
	ring_read(&p[0], arg_num("writers") * arg_num("records") * arg_num("record"),
		  arg_num("record") * 3 / 2, 2);
	end__close(&p[0]);
}

struct shared {
	struct ring r;
	struct end p[2];
};

static void second_submitter(void *arg)
{
	struct shared *s = arg;

	ring__put(&s->r, IORING_OP_WRITE, &s->p[1], ROLE_WRITE, "child", 5);
	die_if(ring__run(&s->r) != 5, "the child's write: %s", strerror(errno));
}

/* A request is of the process that submits it, whoever set the ring up. */
static void run_inherited(void)
{
	struct shared s;
	char buf[16];

	pipe__open("c0", s.p, 0);
	ring__open(&s.r, 0);
	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		ring__put(&s.r, IORING_OP_WRITE, &s.p[1], ROLE_WRITE, "parent's", 8);
		die_if(ring__run(&s.r) != 8, "write: %s", strerror(errno));
		exact__read(&s.p[0], buf, 8);
		proc__wait(proc__spawnf(second_submitter, &s, "child%u", i));
		exact__read(&s.p[0], buf, 5);
	}
}

#define MODE_PARAM                                                                                \
	{                                                                                         \
		"mode", "plain", "plain|async|sqpoll|defer", 0, 0,                                \
			"IOSQE_ASYNC (worker threads), a thread that submits, or completions in " \
			"the submitter only"                                                      \
	}
#define FILES_PARAM                                                                      \
	{                                                                                \
		"files", "plain", "plain|fixed", 0, 0, "descriptors or registered files" \
	}

const struct factory uring_factories[] = {
	{
		.name = "uring-stream",
		.help = "a stream through a pipe or FIFO by io_uring on both sides, or one",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("200K"), CHUNK_PARAM("4096"),
			RCHUNK_PARAM("5000"), MODE_PARAM, FILES_PARAM,
			NUM_PARAM("depth", "1", 1, RING_MAX / 2, "requests at once"),
			{ "op", "plain", "plain|vec|registered", 0, 0,
			  "read and write, readv and writev, or registered buffers" },
			{ "side", "both", "both|writer|reader", 0, 0, "who uses io_uring" },
			{ "over", "pipe", "pipe|fifo", 0, 0, "the channel" },
		},
		.selftest = "bytes=20000;mode=async depth=4 bytes=20000;mode=sqpoll bytes=20000;"
			    "mode=defer depth=8 bytes=20000;files=fixed op=vec bytes=20000;"
			    "op=registered side=writer bytes=20000;side=reader over=fifo",
		.run = run_stream,
	}, {
		.name = "uring-cancel",
		.help = "reads of an empty pipe that are cancelled, and one that is not",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("count", "5", 1, 1 << 20, "reads cancelled"),
		},
		.selftest = "count=3",
		.run = run_cancel,
	}, {
		.name = "uring-link",
		.help = "a read and a write that is linked to it; every second read is too short",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "6", 1, 1 << 20, "pairs"),
			NUM_PARAM("chunk", "100", 2, 4096, "bytes"),
		},
		.selftest = "count=4",
		.run = run_link,
	}, {
		.name = "uring-nonblock",
		.help = "reads with RWF_NOWAIT of a pipe that is empty every second time",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "6", 1, 1 << 20, "reads"),
			{ "op", "plain", "plain|vec", 0, 0, "read or readv" },
		},
		.selftest = "count=4;op=vec",
		.run = run_nonblock,
	}, {
		.name = "uring-splice",
		.help = "tee and splice from one pipe to two others",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "4", 1, 1 << 20, "rounds"),
			NUM_PARAM("chunk", "3000", 1, 4096, "bytes"), FILES_PARAM,
		},
		.selftest = "count=2;files=fixed count=2",
		.run = run_splice,
	}, {
		.name = "uring-many-writers",
		.help = "writers with a ring each, and one reader with two reads under way",
		.params = {
			COMMON_PARAMS, NUM_PARAM("writers", "4", 1, 100, "writers"),
			NUM_PARAM("records", "50", 1, 1 << 20, "records of each"),
			NUM_PARAM("record", "200", 1, 4096, "bytes of each record"), MODE_PARAM,
			FILES_PARAM, NUM_PARAM("depth", "2", 2, 2, "reads at once"),
			{ "op", "plain", "plain|vec", 0, 0, "how it is read" },
		},
		.selftest = "records=10;mode=async records=10;mode=sqpoll writers=2",
		.run = run_many_writers,
	}, {
		.name = "uring-inherited",
		.help = "a ring used by the process that made it and by its children",
		.params = {
			COMMON_PARAMS, NUM_PARAM("rounds", "2", 1, 100, "children"),
		},
		.selftest = "rounds=1",
		.run = run_inherited,
	},
	{ .name = NULL }
};
