/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of all kinds, handed from process to process. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "factory.h"
#include "pass.h"
#include "unix.h"

#define MAX_THINGS 16
#define MAX_EACH 16
#define BATCH 4
#define NR_PASSED 0 /* turn */

/* Something with a descriptor. */
struct thing {
	int fd, chan; /* -1: no channel */
};

struct things {
	struct thing of[MAX_THINGS];
	uint32_t nr;
};

static void have(struct things *t, const char *kind, int fd, int chan)
{
	die_if(fd < 0, "%s: %s", kind, strerror(errno));
	die_if(t->nr >= MAX_THINGS, "too many kinds of files");
	t->of[t->nr++] = (struct thing){ fd, chan };
}

static bool wanted(const char *kind)
{
	return arg_is("what", "all") || arg_is("what", kind);
}

static void make_pipes(struct things *t)
{
	struct end p[2];
	int fifo;

	if (wanted("pipe")) {
		pipe__open("pipe", p, O_CLOEXEC);
		have(t, "pipe", p[0].fd, p[0].chan);
		have(t, "pipe", p[1].fd, p[1].chan);
	}
	if (wanted("fifo")) {
		fifo = fifo__make("fifo", "fifo");
		fifo__open(&p[0], fifo, O_RDWR | O_CLOEXEC);
		have(t, "fifo", p[0].fd, fifo);
		fifo__unlink(fifo);
	}
}

static void make_sockets(struct things *t)
{
	struct unix_addr addr = { .un.sun_family = AF_UNIX,
				  .len = offsetof(struct sockaddr_un, sun_path) };
	struct link l[2];

	if (wanted("socket")) {
		unix__pair("socket", SOCK_STREAM, l);
		have(t, "socket", l[0].in.fd, l[0].in.chan);
	}
	if (wanted("mailbox")) {
		unix__pair("box", SOCK_DGRAM, l);
		have(t, "mailbox", l[0].in.fd, l[0].in.chan);
	}
	if (wanted("listener"))
		have(t, "listener", unix__bound(SOCK_STREAM, &addr), -1);
}

static unsigned int eventfd_id(int fd)
{
	char path[64], line[128];
	unsigned int id = 0;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	die_if(!info, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), info) && sscanf(line, "eventfd-id: %u", &id) != 1)
		;
	fclose(info);
	return id;
}

static void make_memory(struct things *t)
{
	int fd;

	if (wanted("memfd")) {
		fd = memfd_create("thing", MFD_CLOEXEC);
		die_if(fd < 0, "memfd_create: %s", strerror(errno));
		have(t, "memfd", fd, chan__new("memfd", "memfd", fd, NULL));
	}
	if (wanted("eventfd")) {
		fd = eventfd(0, EFD_CLOEXEC);
		die_if(fd < 0, "eventfd: %s", strerror(errno));
		have(t, "eventfd", fd, chan__add("eventfd", "eventfd", 0, eventfd_id(fd)));
	}
}

static void make_others(struct things *t)
{
	char path[PATH_MAX + 16];

	if (wanted("file")) {
		snprintf(path, sizeof(path), "%s/file", tmpdir());
		have(t, "file", open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), -1);
		have(t, "file", open(path, O_RDONLY | O_CLOEXEC), -1);
	}
	if (wanted("directory"))
		have(t, "directory", open(tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1);
	if (wanted("device"))
		have(t, "device", open("/dev/null", O_WRONLY | O_CLOEXEC), -1);
	if (wanted("epoll"))
		have(t, "epoll", epoll_create1(EPOLL_CLOEXEC), -1);
}

static uint32_t nr_messages(void)
{
	return arg_num("messages");
}

static uint32_t each(void)
{
	return arg_num("fds");
}

/* What each message says: the channels of its descriptors. */
struct note {
	int whats[MAX_EACH];
};

static void pass_message(const struct things *t, uint32_t i, struct parcel *p, struct note *note,
			 int *fds)
{
	for (uint32_t k = 0; k < each(); k++) {
		const struct thing *one = &t->of[(i * each() + k) % t->nr];

		fds[k] = one->fd;
		note->whats[k] = one->chan;
	}
	parcel__init(p, note, sizeof(*note));
	parcel__put_fds(p, fds, each());
}

/* BATCH messages at most: in one call, or each in one. */
static void pass_batch(const struct end *e, const struct things *t, uint32_t at, uint32_t n)
{
	static struct parcel parcels[BATCH];
	struct mmsghdr msgs[BATCH];
	struct note notes[BATCH];
	int fds[BATCH][MAX_EACH];

	for (uint32_t i = 0; i < n; i++) {
		pass_message(t, at + i, &parcels[i], &notes[i], fds[i]);
		msgs[i] = (struct mmsghdr){ .msg_hdr = parcels[i].msg };
		if (!arg_is("calls", "mmsg"))
			die_if(x_sendmsg(e, &parcels[i].msg, 0) != sizeof(struct note),
			       "sendmsg: %s", strerror(errno));
	}
	if (arg_is("calls", "mmsg"))
		die_if(x_sendmmsg(e, msgs, n, 0) != (int)n, "sendmmsg: %s", strerror(errno));
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < each(); k++)
			pass__count(e, -1, fds[i][k], notes[i].whats[k]);
}

static void take_message(const struct end *e, struct parcel *p, const struct note *note)
{
	int fds[MAX_FDS];

	die_if(parcel__fds(p, fds) != each(), "not all descriptors came");
	for (uint32_t k = 0; k < each(); k++) {
		pass__count(e, 0, fds[k], note->whats[k]);
		/* Some stay open to the end. */
		if (k % 2)
			close(fds[k]);
	}
}

static void take_batch(const struct end *e, uint32_t n)
{
	static struct parcel parcels[BATCH];
	struct mmsghdr msgs[BATCH];
	struct note notes[BATCH];

	for (uint32_t i = 0; i < n; i++) {
		parcel__init(&parcels[i], &notes[i], sizeof(notes[i]));
		parcel__room(&parcels[i], each(), false);
		msgs[i] = (struct mmsghdr){ .msg_hdr = parcels[i].msg };
		if (!arg_is("calls", "mmsg"))
			die_if(x_recvmsg(e, &parcels[i].msg, 0) != sizeof(struct note),
			       "recvmsg: %s", strerror(errno));
	}
	if (arg_is("calls", "mmsg"))
		die_if(x_recvmmsg(e, msgs, n, 0) != (int)n, "recvmmsg: %s", strerror(errno));
	for (uint32_t i = 0; i < n; i++) {
		if (arg_is("calls", "mmsg"))
			parcels[i].msg = msgs[i].msg_hdr;
		take_message(e, &parcels[i], &notes[i]);
	}
}

static void kinds_taker(void *arg)
{
	struct link *l = arg;

	link__close(&l[0]);
	for (uint32_t i = 0; i < nr_messages(); i += BATCH)
		take_batch(&l[1].in, nr_messages() - i < BATCH ? nr_messages() - i : BATCH);
	/* A mailbox that is closed has no name any more for who is still in his call. */
	turn__await(NR_PASSED, 1);
}

static void run_kinds(void)
{
	struct things things = { .nr = 0 };
	struct link l[2];

	unix__pair("over", unix__type(), l);
	proc__spawn("taker", kinds_taker, l);
	link__close(&l[1]);
	make_pipes(&things);
	make_sockets(&things);
	make_memory(&things);
	make_others(&things);
	for (uint32_t i = 0; i < nr_messages(); i += BATCH)
		pass_batch(&l[0].out, &things, i,
			   nr_messages() - i < BATCH ? nr_messages() - i : BATCH);
	turn__pass(NR_PASSED);
	if (wanted("file")) {
		char path[PATH_MAX + 16];

		/* Its name is known all the same, if it was there when it was passed. */
		procs__join();
		snprintf(path, sizeof(path), "%s/file", tmpdir());
		unlink(path);
	}
}

/* ---- several pass what is their own, or one and the same thing, to the owner of a mailbox ---- */

struct many_job {
	struct end box, out;
	struct end shared[2];
};

/* Which process it was, and the channel. */
struct many_note {
	int from, what;
};

static void many_giver(void *arg)
{
	struct many_job *job = arg;
	struct many_note note = { .from = self };
	struct end p[2], *one = &job->shared[1];

	for (uint64_t i = 0; i < arg_num("count"); i++) {
		if (!arg_num("same")) {
			pipe__openf(p, O_CLOEXEC, "p%d-%u", self, (unsigned int)i);
			one = &p[1];
		}
		note.what = one->chan;
		pass__fds(&job->out, &one->fd, &note.what, 1, &note, sizeof(note));
		if (!arg_num("same")) {
			end__close(&p[0]);
			end__close(&p[1]);
		}
	}
}

static void run_many(void)
{
	struct many_job job;
	struct link l[2];

	unix__pair("box", SOCK_DGRAM, l);
	job.box = l[0].in;
	job.out = l[1].out;
	if (arg_num("same"))
		pipe__open("same", job.shared, O_CLOEXEC);
	for (uint64_t i = 0; i < arg_num("givers"); i++)
		proc__spawnf(many_giver, &job, "giver%u", (unsigned int)i);
	for (uint64_t i = 0; i < arg_num("givers") * arg_num("count"); i++) {
		struct many_note note;
		int fd;

		die_if(take__fds(&job.box, &fd, 1, &note, sizeof(note)) != 1, "no descriptor");
		pass__count(&job.box, note.from, fd, note.what);
		close(fd);
	}
}

const struct factory unix_fds_factories[] = {
	{
		.name = "fd-kinds",
		.help = "descriptors of many kinds are passed to a process that does not use them",
		.params = {
			COMMON_PARAMS, TYPE_PARAM("stream|seqpacket|dgram"),
			{ "what", "all",
			  "all|pipe|fifo|socket|mailbox|listener|memfd|eventfd|file|directory|device|epoll",
			  0, 0, "kind of file" },
			NUM_PARAM("messages", "8", 1, 100, "one after the other"),
			NUM_PARAM("fds", "4", 1, MAX_EACH, "descriptors in each"),
			{ "calls", "msg", "msg|mmsg", 0, 0, "one message in a call, or several" },
		},
		.selftest = "messages=3;what=pipe type=dgram;calls=mmsg messages=6;type=seqpacket fds=16",
		.run = run_kinds,
	}, {
		.name = "fd-many",
		.help = "several processes pass descriptors to the owner of one mailbox",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("givers", "3", 1, 100, "processes"),
			NUM_PARAM("count", "5", 1, 40, "descriptors from each"),
			NUM_PARAM("same", "0", 0, 1, "all of one pipe"),
		},
		.selftest = "count=2;same=1",
		.run = run_many,
	},
	{ .name = NULL }
};
