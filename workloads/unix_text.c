/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets as textbooks show them: the time of day, rendezvous, processes that are not related. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "factory.h"
#include "unix.h"

#define SEED 29

struct job {
	struct unix_addr addr;
	int listener;
	struct link link, *pair;
	int index;
};

/* ---- the time of day ---- */

static void daytime_client(void *arg)
{
	struct job *job = arg;
	char text[64];
	size_t len = 0;
	ssize_t n;

	unix__connect(&job->link, &job->addr);
	while ((n = x_read(&job->link.in, text + len, sizeof(text) - len)) > 0)
		len += n;
	die_if(n || len != 24, "%zu bytes came", len);
	link__close(&job->link);
}

static void run_daytime(void)
{
	char text[64], name[16];
	struct link l;
	struct job job;

	unix__name(&job.addr, "daytime");
	job.listener = unix__listen(&job.addr, 16);
	for (uint32_t i = 0; i < arg_num("clients"); i++) {
		time_t now = time(NULL);
		struct tm tm;

		snprintf(name, sizeof(name), "c%u", i);
		unix__socket(&job.link, name, unix__type(), &job.addr);
		proc__spawnf(daytime_client, &job, "client%u", i);
		unix__accept(&l, job.listener, job.link.in.chan);
		link__close(&job.link);
		exact__write(&l.out, text,
			     strftime(text, sizeof(text), "%a %b %d %H:%M:%S %Y",
				      localtime_r(&now, &tm)));
		link__close(&l);
	}
	close(job.listener);
}

/* ---- no room but for one: who sends waits until it was received ---- */

static void meets(void *arg)
{
	struct link *l = arg;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);

	link__close(&l[0]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		turn__await(0, 2 * i + 1);
		exact__read(&l[1].in, buf, size);
		die_if(!pattern__check(buf, size, SEED, i), "payload differs");
		turn__pass(0);
	}
	free(buf);
}

static void run_rendezvous(void)
{
	size_t size = arg_num("size");
	char *buf = xmalloc(size);
	struct link l[2];
	struct chan *c;

	unix__pair("c0", unix__type(), l);
	c = &arena->chans[l[1].in.chan];
	if (unix__type() == SOCK_DGRAM)
		c->highwater_messages = 1;
	else
		c->highwater = size;
	proc__spawn("receiver", meets, l);
	link__close(&l[1]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		pattern__fill(buf, size, SEED, i);
		exact__write(&l[0].out, buf, size);
		turn__pass(0);
		turn__await(0, 2 * i + 2);
	}
	free(buf);
}

/* ---- processes that have nothing in common, and no parents any more ---- */

static void orphan_server(void *arg)
{
	struct job *job = arg;
	struct link l;

	link__close(&job->link);
	turn__await(0, 1);
	unix__accept(&l, job->listener, job->link.in.chan);
	unix__answer(&l);
	link__close(&l);
}

static void orphan_client(void *arg)
{
	struct job *job = arg;

	close(job->listener);
	turn__await(0, 1);
	unix__connect(&job->link, &job->addr);
	unix__ask(&job->link);
	link__close(&job->link);
}

static void run_orphans(void)
{
	struct job job;

	unix__name(&job.addr, "orphans");
	job.listener = unix__listen(&job.addr, 1);
	unix__socket(&job.link, "c0", unix__type(), &job.addr);
	proc__orphan("server", orphan_server, &job);
	proc__orphan("client", orphan_client, &job);
	link__close(&job.link);
	close(job.listener);
	turn__pass(0);
}

/* ---- several processes at both ends: each byte says whose it is ---- */

enum { ASKED, WRITTEN, READ };

#define MAX_WRITERS 64

static void one_writer(void *arg)
{
	uint64_t writers = arg_num("writers");
	struct job *job = arg;
	size_t size = arg_num("size");
	char *buf = xmalloc(size);

	link__close(&job->pair[1]);
	memset(buf, job->index, size);
	if (arg_num("hold"))
		turn__await(WRITTEN, 1);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		if (arg_num("turns"))
			turn__await(READ, i * writers + job->index);
		exact__write(&job->pair[0].out, buf, size);
	}
	free(buf);
}

/* False: there is nothing more. Datagrams have no end: as many are asked for as there are. */
static bool read_some(const struct job *job, char *buf, uint64_t *from)
{
	uint64_t total = arg_num("writers") * arg_num("count");
	bool dgram = unix__type() == SOCK_DGRAM;
	size_t piece = dgram ? 0 : arg_num("piece");
	ssize_t n;

	if (dgram && turn__take(ASKED) >= total)
		return false;
	n = x_read(&job->pair[1].in, buf, piece ? piece : arg_num("size"));
	die_if(n < 0, "read: %s", strerror(errno));
	for (ssize_t i = 0; i < n; i++)
		from[buf[i] % MAX_WRITERS]++;
	if (n)
		turn__pass(READ);
	return n > 0;
}

static void one_reader(void *arg)
{
	uint64_t writers = arg_num("writers"), from[MAX_WRITERS] = { 0 };
	struct job *job = arg;
	char *buf = xmalloc(arg_num("size") + arg_num("piece"));

	link__close(&job->pair[0]);
	while (read_some(job, buf, from))
		;
	for (uint64_t i = 0; i < writers; i++)
		if (from[i])
			flow__add(1 + i, self, job->pair[1].in.chan, from[i],
				  writers > 1 && arg_num("readers") > 1 && !arg_num("hold"));
	free(buf);
}

static void run_many(void)
{
	struct link l[2];
	struct job job = { .pair = l };

	unix__pair("c0", unix__type(), l);
	for (job.index = 0; job.index < (int)arg_num("writers"); job.index++)
		proc__spawnf(one_writer, &job, "w%d", job.index);
	for (job.index = 0; job.index < (int)arg_num("readers"); job.index++)
		proc__spawnf(one_reader, &job, "r%d", job.index);
	link__close(&l[0]);
	link__close(&l[1]);
	if (arg_num("hold"))
		hold();
	turn__pass(WRITTEN);
}

#define CONNECTED "stream|seqpacket"

const struct factory unix_text_factories[] = {
	{
		.name = "unix-daytime",
		.help = "the time of day: a server that tells it to whoever connects",
		.params = {
			COMMON_PARAMS, NAME_PARAM, TYPE_PARAM(CONNECTED),
			NUM_PARAM("clients", "3", 1, 100, "processes that ask"),
		},
		.selftest = "clients=1;type=seqpacket name=abstract",
		.run = run_daytime,
	}, {
		.name = "unix-rendezvous",
		.help = "each message is received before the sender goes on: never more than one",
		.params = {
			COMMON_PARAMS, TYPE_PARAM("stream|seqpacket|dgram"),
			NUM_PARAM("count", "20", 1, 1 << 30, "messages"),
			NUM_PARAM("size", "100", 1, 65536, "bytes of each"),
		},
		.selftest = "count=2;type=dgram count=2",
		.run = run_rendezvous,
	}, {
		.name = "unix-orphans",
		.help = "requests and replies between two orphans in sessions of their own",
		.params = { COMMON_PARAMS, NAME_PARAM, TYPE_PARAM(CONNECTED), ECHO_PARAMS },
		.selftest = "rounds=2;name=abstract",
		.run = run_orphans,
	}, {
		.name = "unix-many-many",
		.help = "several processes write at one end of a pair, several read at the other",
		.params = {
			COMMON_PARAMS, TYPE_PARAM("stream|seqpacket|dgram"),
			NUM_PARAM("writers", "3", 1, MAX_WRITERS, "processes"),
			NUM_PARAM("readers", "3", 1, MAX_WRITERS, "processes"),
			NUM_PARAM("count", "50", 1, 1 << 20, "messages of each"),
			NUM_PARAM("size", "300", 1, 4096, "bytes of each"),
			NUM_PARAM("piece", "0", 0, 4096,
				  "bytes that are read at a time, not of datagrams; 0: a message"),
			NUM_PARAM("turns", "0", 0, 1, "1: each message is read before the next one"),
			HOLD_PARAM,
		},
		.selftest = "count=5;type=dgram writers=1;type=seqpacket readers=1;piece=77;"
			    "turns=1",
		.run = run_many,
	},
	{ .name = NULL }
};
