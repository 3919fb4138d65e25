/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP and UDP as textbooks show them: the time of day, processes that are not related, many to many. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 23
#define MAX_BOXES 16

struct job {
	int listener;
	union addr to;
	struct end box[MAX_BOXES];
	union addr at[MAX_BOXES];
	int index;
};

static void job__listen(struct job *job)
{
	union addr a;

	addr__server(&a);
	job->listener = tcp__listen(&a, 16, false);
	addr__client(&job->to, addr__port(&a));
}

static void job__box(struct job *job, int i)
{
	char name[16];
	union addr a;

	snprintf(name, sizeof(name), "u%d", i);
	addr__server(&a);
	udp__open(&job->box[i], name, &a);
	addr__client(&job->at[i], addr__port(&a));
}

/* ---- the time of day (RFC 867) ---- */

#define DAYTIME "Mon, 01 Jan 2024 12:00:00 +0000\r\n"

static size_t daytime(char *text, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	return strftime(text, size, "%a, %d %b %Y %H:%M:%S %z\r\n", localtime_r(&now, &tm));
}

static void daytime_server(void *arg)
{
	struct job *job = arg;
	char text[64];
	struct end e;

	for (uint64_t i = 0; i < arg_num("clients"); i++) {
		tcp__accept(&e, job->listener);
		exact__write(&e, text, daytime(text, sizeof(text)));
		end__close(&e);
	}
}

static void daytime_client(void *arg)
{
	struct job *job = arg;
	char text[64], name[16];
	size_t len = 0;
	struct end e;
	ssize_t n;

	close(job->listener);
	snprintf(name, sizeof(name), "t%d", job->index);
	tcp__connect(&e, name, &job->to);
	while ((n = x_read(&e, text + len, sizeof(text) - len)) > 0)
		len += n;
	die_if(n || len != strlen(DAYTIME), "%zu bytes came", len);
	end__close(&e);
}

static void run_tcp_daytime(void)
{
	struct job job;

	job__listen(&job);
	proc__spawn("s0", daytime_server, &job);
	for (job.index = 0; job.index < (int)arg_num("clients"); job.index++)
		proc__spawnf(daytime_client, &job, "c%d", job.index);
	close(job.listener);
}

/* A datagram of no bytes asks. */
static void udp_daytime_client(void *arg)
{
	struct job *job = arg;
	union addr mine = job->at[0];
	struct end in, out;
	char text[64], name[16];

	if (mine.sa.sa_family == AF_INET6)
		mine.in6.sin6_port = 0;
	else
		mine.in.sin_port = 0;
	snprintf(name, sizeof(name), "u%d", job->index + 1);
	udp__open(&in, name, &mine);
	end__init(&out, in.fd, job->box[0].chan);
	die_if(x_sendto(&out, text, 0, 0, &job->at[0].sa, addr__len(&job->at[0])) != 0, "send: %s",
	       strerror(errno));
	die_if(x_recv(&in, text, sizeof(text), 0) != strlen(DAYTIME), "receive: %s",
	       strerror(errno));
}

static void run_udp_daytime(void)
{
	struct job job;
	char text[64];

	job__box(&job, 0);
	for (job.index = 0; job.index < (int)arg_num("clients"); job.index++)
		proc__spawnf(udp_daytime_client, &job, "c%d", job.index);
	for (uint64_t i = 0; i < arg_num("clients"); i++) {
		struct end out = job.box[0];
		socklen_t len = sizeof(union addr);
		union addr from;
		size_t n;

		die_if(x_recvfrom(&job.box[0], text, sizeof(text), 0, &from.sa, &len) != 0,
		       "receive: %s", strerror(errno));
		out.chan = udp__chan(&from);
		die_if(out.chan < 0, "a request of nobody's");
		n = daytime(text, sizeof(text));
		die_if(x_sendto(&out, text, n, 0, &from.sa, len) != (ssize_t)n, "send: %s",
		       strerror(errno));
	}
}

/* ---- processes that have nothing in common, and no parents any more ---- */

static void tcp_orphan_server(void *arg)
{
	struct job *job = arg;
	struct end e;

	turn__await(0, 1);
	tcp__accept(&e, job->listener);
	die_if(stream__read(&e, SEED, 1000) != arg_num("bytes"), "read too little");
	end__close(&e);
}

static void tcp_orphan_client(void *arg)
{
	struct job *job = arg;
	struct end e;

	close(job->listener);
	turn__await(0, 1);
	tcp__connect(&e, "t0", &job->to);
	stream__write(&e, SEED, arg_num("bytes"), 1000);
	end__close(&e);
}

static void run_tcp_orphans(void)
{
	struct job job;

	job__listen(&job);
	proc__orphan("s0", tcp_orphan_server, &job);
	proc__orphan("c0", tcp_orphan_client, &job);
	close(job.listener);
	turn__pass(0);
}

static void udp_orphan_server(void *arg)
{
	struct job *job = arg;
	char buf[100];

	turn__await(0, 1);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_recv(&job->box[0], buf, sizeof(buf), 0) != sizeof(buf), "receive: %s",
		       strerror(errno));
		turn__pass(1);
	}
}

static void udp_orphan_client(void *arg)
{
	struct job *job = arg;
	char buf[100] = "";
	struct end out;

	end__init(&out, socket(job->at[0].sa.sa_family, SOCK_DGRAM, 0), job->box[0].chan);
	end__close(&job->box[0]);
	turn__await(0, 1);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_sendto(&out, buf, sizeof(buf), 0, &job->at[0].sa,
				addr__len(&job->at[0])) != sizeof(buf),
		       "send: %s", strerror(errno));
		turn__await(1, i + 1);
	}
}

static void run_udp_orphans(void)
{
	struct job job;

	job__box(&job, 0);
	proc__orphan("s0", udp_orphan_server, &job);
	proc__orphan("c0", udp_orphan_client, &job);
	close(job.box[0].fd);
	turn__pass(0);
}

/* ---- one socket that sends to many mailboxes ---- */

static void reader(void *arg)
{
	struct job *job = arg;
	char buf[MAX_BOXES + 1];

	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_recv(&job->box[job->index], buf, sizeof(buf), 0) != job->index + 1,
		       "receive: %s", strerror(errno));
		turn__pass(0);
	}
}

static void run_fan_out(void)
{
	uint32_t n = arg_num("receivers");
	char buf[MAX_BOXES] = "";
	struct end out;
	struct job job;

	for (uint32_t i = 0; i < n; i++)
		job__box(&job, i);
	for (job.index = 0; job.index < (int)n; job.index++)
		proc__spawnf(reader, &job, "r%d", job.index);
	end__init(&out, socket(job.at[0].sa.sa_family, SOCK_DGRAM, 0), -1);
	for (uint64_t k = 0; k < arg_num("count"); k++) {
		for (uint32_t i = 0; i < n; i++) {
			out.chan = job.box[i].chan;
			die_if(x_sendto(&out, buf, i + 1, 0, &job.at[i].sa,
					addr__len(&job.at[i])) != i + 1,
			       "send: %s", strerror(errno));
		}
		turn__await(0, (k + 1) * n);
	}
}

/* ---- many senders, and processes that share the mailbox ---- */

static void one_sender(void *arg)
{
	uint64_t senders = arg_num("senders");
	struct job *job = arg;
	char tag = job->index;
	struct end out;

	end__init(&out, socket(job->at[0].sa.sa_family, SOCK_DGRAM, 0), job->box[0].chan);
	end__close(&job->box[0]);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		die_if(x_sendto(&out, &tag, 1, 0, &job->at[0].sa, addr__len(&job->at[0])) != 1,
		       "send: %s", strerror(errno));
		/* Never so many that there is no room. */
		turn__await(1, i * senders > 20 ? i * senders - 20 : 0);
	}
}

/*
 * With a timeout, again and again: when one of several readers of a UDP socket wakes up, the kernel
 * moves all that has come to a second queue, where one that was just about to sleep does not look.
 */
static ssize_t receive_one(const struct end *e, char *tag)
{
	union addr from;
	ssize_t n;

	do {
		socklen_t len = sizeof(from);

		n = arg_is("how", "recv") ? x_recv(e, tag, 1, 0)
					  : x_recvfrom(e, tag, 1, 0, &from.sa, &len);
	} while (n < 0 && errno == EAGAIN);
	return n;
}

static void one_receiver(void *arg)
{
	uint64_t senders = arg_num("senders"), from[64] = { 0 };
	struct job *job = arg;
	char tag;

	while (turn__take(0) < senders * arg_num("count")) {
		die_if(receive_one(&job->box[0], &tag) != 1, "receive: %s", strerror(errno));
		from[tag % 64]++;
		turn__pass(1);
	}
	for (uint64_t i = 0; i < senders; i++)
		if (from[i])
			flow__add(1 + i, self, job->box[0].chan, from[i],
				  senders > 1 && arg_num("readers") > 1 && arg_is("how", "recv"));
}

static void run_udp_many(void)
{
	struct timeval timeout = { .tv_sec = 1 };
	struct job job;

	job__box(&job, 0);
	die_if(setsockopt(job.box[0].fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)),
	       "SO_RCVTIMEO: %s", strerror(errno));
	for (job.index = 0; job.index < (int)arg_num("senders"); job.index++)
		proc__spawnf(one_sender, &job, "w%d", job.index);
	for (job.index = 0; job.index < (int)arg_num("readers"); job.index++)
		proc__spawnf(one_receiver, &job, "r%d", job.index);
	close(job.box[0].fd);
}

#define CLIENTS_PARAM NUM_PARAM("clients", "3", 1, 100, "processes that ask")

const struct factory inet_text_factories[] = {
	{
		.name = "tcp-daytime",
		.help = "the time of day: a server that tells it to whoever connects",
		.params = { COMMON_PARAMS, FAMILY_PARAM, CLIENTS_PARAM },
		.selftest = "clients=1;family=v6",
		.run = run_tcp_daytime,
	}, {
		.name = "tcp-orphans",
		.help = "a stream between two orphans in sessions of their own",
		.params = { COMMON_PARAMS, FAMILY_PARAM, BYTES_PARAM("50000") },
		.selftest = "bytes=1000;family=v6",
		.run = run_tcp_orphans,
	}, {
		.name = "udp-daytime",
		.help = "the time of day: an empty datagram asks for it",
		.params = { COMMON_PARAMS, FAMILY_PARAM, CLIENTS_PARAM },
		.selftest = "clients=1;family=v6",
		.run = run_udp_daytime,
	}, {
		.name = "udp-orphans",
		.help = "datagrams between two orphans in sessions of their own, one at a time",
		.params = { COMMON_PARAMS, FAMILY_PARAM,
			    NUM_PARAM("count", "20", 1, 1 << 30, "datagrams") },
		.selftest = "count=2;family=v6",
		.run = run_udp_orphans,
	}, {
		.name = "udp-fan-out",
		.help = "one socket that sends to several mailboxes in turn",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("count", "20", 1, 1 << 30, "datagrams to each"),
			NUM_PARAM("receivers", "4", 1, MAX_BOXES, "mailboxes, each of a process"),
		},
		.selftest = "count=2;family=v6",
		.run = run_fan_out,
	}, {
		.name = "udp-many-many",
		.help = "several processes send to a mailbox that several others share",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("senders", "3", 1, 8, "processes"),
			NUM_PARAM("readers", "3", 1, 8, "processes"),
			NUM_PARAM("count", "20", 1, 1 << 20, "datagrams of each"),
			{ "how", "recvfrom", "recvfrom|recv", 0, 0,
			  "do readers ask who has sent what they get?" },
		},
		.selftest = "count=5;senders=1;readers=1 family=v6;how=recv",
		.run = run_udp_many,
	},
	{ .name = NULL }
};
