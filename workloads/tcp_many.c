/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP servers with many clients and workers, and the same addresses in several namespaces. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 12
#define MAX_WORKERS 200

struct server {
	int listeners[MAX_WORKERS]; /* one, or one for each worker */
	int nr_listeners, index;
	union addr to;
	struct end e; /* a connection that was accepted */
};

static void server__listen(struct server *s, int n)
{
	union addr a;

	addr__server(&a);
	s->nr_listeners = n;
	for (int i = 0; i < n; i++)
		s->listeners[i] = tcp__listen(&a, 4096, n > 1);
	addr__client(&s->to, addr__port(&a));
}

static void server__close(struct server *s)
{
	for (int i = 0; i < s->nr_listeners; i++)
		close(s->listeners[i]);
}

/* ---- data, and even the end, before the server accepts ---- */

static void backlog_client(void *arg)
{
	struct server *s = arg;
	struct end e;
	char name[16];

	server__close(s);
	snprintf(name, sizeof(name), "t%d", s->index);
	tcp__connect(&e, name, &s->to);
	stream__write(&e, SEED, arg_num("bytes") + s->index, arg_num("bytes") + s->index);
	turn__pass(0);
	if (arg_is("mode", "wait"))
		turn__await(1, 1);
	end__close(&e);
}

static void run_backlog(void)
{
	uint64_t clients = arg_num("clients");
	struct server s = { 0 };

	server__listen(&s, 1);
	for (s.index = 0; s.index < (int)clients; s.index++)
		proc__spawnf(backlog_client, &s, "c%d", s.index);
	turn__await(0, clients);
	if (arg_is("mode", "gone"))
		procs__join();
	for (uint64_t i = 0; i < clients; i++) {
		struct end e;

		tcp__accept(&e, s.listeners[0]);
		if (!i)
			turn__pass(1);
		stream__read(&e, SEED, arg_num("bytes") * 2 + clients);
		end__close(&e);
	}
	server__close(&s);
}

/* ---- workers ---- */

static void serve(struct end *e)
{
	size_t request = arg_num("request"), reply = arg_num("reply");
	char *buf = xmalloc(request + reply);

	exact__read(e, buf, request);
	die_if(!pattern__check(buf, request, SEED, 0), "payload differs");
	pattern__fill(buf, reply, SEED, 1);
	exact__write(e, buf, reply);
	end__close(e);
	free(buf);
}

/* Accepts until the parent, which has the same sockets, shuts them down. */
static void worker(void *arg)
{
	struct server *s = arg;
	struct end e;

	while (tcp__accept(&e, s->listeners[s->index % s->nr_listeners]) >= 0)
		serve(&e);
}

static void serve_one(void *arg)
{
	struct server *s = arg;

	server__close(s);
	serve(&s->e);
}

/* A process for each connection: who accepts is not who serves. */
static void forker(void *arg)
{
	struct server *s = arg;

	for (int i = 0; tcp__accept(&s->e, s->listeners[0]) >= 0; i++) {
		proc__spawnf(serve_one, s, "k%d", i);
		end__close(&s->e);
	}
}

static void many_client(void *arg)
{
	size_t request = arg_num("request"), reply = arg_num("reply");
	char *buf = xmalloc(request + reply), name[16];
	struct server *s = arg;
	struct end e;

	server__close(s);
	for (uint64_t i = 0; i < arg_num("conns"); i++) {
		snprintf(name, sizeof(name), "t%d.%d", s->index, (int)i);
		tcp__connect(&e, name, &s->to);
		pattern__fill(buf, request, SEED, 0);
		exact__write(&e, buf, request);
		exact__read(&e, buf, reply);
		die_if(!pattern__check(buf, reply, SEED, 1), "payload differs");
		end__close(&e);
	}
	free(buf);
}

static void run_workers(void)
{
	uint64_t workers = arg_num("workers"), clients = arg_num("clients");
	bool fork_each = arg_is("mode", "fork");
	struct server s = { 0 };
	int first;

	server__listen(&s, arg_is("mode", "reuseport") ? workers : 1);
	for (s.index = 0; s.index < (int)(fork_each ? 1 : workers); s.index++)
		proc__spawnf(fork_each ? forker : worker, &s, "s%d", s.index);
	first = arena->nr_procs;
	for (s.index = 0; s.index < (int)clients; s.index++)
		proc__spawnf(many_client, &s, "c%d", s.index);
	/* A server that forks makes slots of its own meanwhile: only children are waited for here. */
	for (uint32_t i = first; i < arena->nr_procs; i++)
		if (arena->procs[i].parent == self)
			proc__wait(i);
	for (int i = 0; i < s.nr_listeners; i++)
		shutdown(s.listeners[i], SHUT_RDWR);
	server__close(&s);
}

/* ---- the same addresses and ports in two network namespaces ---- */

struct place {
	int number;
	struct server s;
};

static void place_client(void *arg)
{
	struct place *p = arg;
	char buf[4096], name[16];
	struct end e;
	size_t bytes = arg_num("bytes") * p->number;

	server__close(&p->s);
	snprintf(name, sizeof(name), "t%d", p->number);
	tcp__socket_at(&e, name, &p->s.to, arg_num("port") + 1);
	die_if(connect(e.fd, &p->s.to.sa, addr__len(&p->s.to)), "connect: %s", strerror(errno));
	pattern__fill(buf, bytes, SEED, p->number);
	exact__write(&e, buf, bytes);
	/* Both connections are there before either ends. */
	turn__pass(0);
	turn__await(0, 2);
	exact__read(&e, buf, bytes / 2);
	die_if(!pattern__check(buf, bytes / 2, SEED, p->number + 2), "payload differs");
	end__close(&e);
}

static void place_server(void *arg)
{
	struct place *p = arg;
	size_t bytes = arg_num("bytes") * p->number;
	char buf[4096];
	union addr a;
	struct end e;

	inet__new_ns(p->number);
	addr__v4(&a, "127.0.0.1", arg_num("port"));
	p->s.nr_listeners = 1;
	p->s.listeners[0] = tcp__listen(&a, 1, false);
	p->s.to = a;
	proc__spawnf(place_client, p, "c%d", p->number);
	tcp__accept(&e, p->s.listeners[0]);
	exact__read(&e, buf, bytes);
	die_if(!pattern__check(buf, bytes, SEED, p->number), "payload differs");
	pattern__fill(buf, bytes / 2, SEED, p->number + 2);
	exact__write(&e, buf, bytes / 2);
	end__close(&e);
}

static void run_two_ns(void)
{
	struct place p = { .number = 1 };

	proc__spawn("s1", place_server, &p);
	p.number = 2;
	proc__spawn("s2", place_server, &p);
}

#define CLIENTS_PARAM NUM_PARAM("clients", "4", 1, 500, "processes that connect")

const struct factory tcp_many_factories[] = {
	{
		.name = "tcp-backlog",
		.help = "clients send, and may be gone, before the server accepts",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, CLIENTS_PARAM,
			NUM_PARAM("bytes", "1000", 1, 1 << 16, "bytes of the first client"),
			{ "mode", "gone", "gone|wait", 0, 0, "clients end first, or stay" },
		},
		.selftest = "mode=gone;mode=wait clients=2;family=v6 clients=20 bytes=1",
		.run = run_backlog,
	}, {
		.name = "tcp-workers",
		.help = "a server of several processes, and many clients",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM, CLIENTS_PARAM,
			NUM_PARAM("workers", "3", 1, MAX_WORKERS, "processes that serve"),
			NUM_PARAM("conns", "3", 1, 1000, "connections of each client"),
			NUM_PARAM("request", "100", 1, 1 << 16, "bytes of each request"),
			NUM_PARAM("reply", "1000", 1, 1 << 16, "bytes of each reply"),
			{ "mode", "prefork", "prefork|reuseport|fork", 0, 0,
			  "one socket for all, one for each, or a process for each connection" },
		},
		.selftest = "mode=prefork;mode=reuseport clients=10;mode=fork;family=dual",
		.run = run_workers,
	}, {
		.name = "tcp-two-ns",
		.help = "the same addresses and ports in two network namespaces: two channels",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("bytes", "100", 2, 2048, "of the first; twice as many then"),
			NUM_PARAM("port", "7000", 1, 65534, "of the server; the next is the client's"),
		},
		.selftest = "bytes=100",
		.run = run_two_ns,
	},
	{ .name = NULL }
};
