/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets as clients and servers use them: who accepts, who serves, who is gone by then. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "unix.h"

#define SEED 3

/* What the processes of a factory are given. */
struct job {
	struct unix_addr addr;
	int listener;
	struct link link;
};

static void read_eof(const struct link *l)
{
	char byte;

	die_if(x_read(&l->in, &byte, 1) != 0, "no end of file");
}

/* ---- one client, one server ---- */

static void serve(struct link *l)
{
	unix__answer(l);
	read_eof(l);
	link__close(l);
}

static void echo_server(void *arg)
{
	struct job *job = arg;
	struct link l;

	link__close(&job->link);
	unix__accept(&l, job->listener, 0);
	serve(&l);
}

static void run_echo(void)
{
	struct job job;

	unix__name(&job.addr, "echo");
	job.listener = unix__listen(&job.addr, 1);
	unix__socket(&job.link, "c0", unix__type(), &job.addr);
	proc__spawn("server", echo_server, &job);
	close(job.listener);
	unix__connect(&job.link, &job.addr);
	unix__ask(&job.link);
	link__close(&job.link);
}

/* ---- many clients, and who serves them ---- */

static void client(void *arg)
{
	struct job *job = arg;
	struct link l;
	char name[16];

	for (uint32_t i = 0; i < arg_num("connections"); i++) {
		snprintf(name, sizeof(name), "%d-%u", self, i);
		unix__socket(&l, name, unix__type(), &job->addr);
		unix__connect(&l, &job->addr);
		unix__hello(&l);
		unix__ask(&l);
		link__close(&l);
	}
}

/* Is there another connection to accept, of those that are not another worker's? */
static bool more_clients(void)
{
	return __atomic_fetch_add(&arena->scratch[0], 1, __ATOMIC_SEQ_CST) <
	       arg_num("clients") * arg_num("connections");
}

static void prefork_worker(void *arg)
{
	struct job *job = arg;
	struct link l;

	while (more_clients()) {
		unix__accept(&l, job->listener, -1);
		serve(&l);
	}
}

static void served(void *arg)
{
	serve(arg);
}

/* Accepts itself, and has a child serve each: the socket's peer credentials still name the parent. */
static void forking_server(void *arg)
{
	struct job *job = arg;
	struct link l;

	for (uint32_t i = 0; more_clients(); i++) {
		unix__accept(&l, job->listener, -1);
		proc__spawnf(served, &l, "served%u", i);
		link__close(&l);
	}
	for (uint32_t i = 1; i < arena->nr_procs; i++)
		if (arena->procs[i].parent == self)
			proc__wait(i);
}

static void run_clients(proc_fn server, uint32_t servers)
{
	struct job job;

	unix__name(&job.addr, "server");
	job.listener = unix__listen(&job.addr, 128);
	for (uint32_t i = 0; i < servers; i++)
		proc__spawnf(server, &job, "server%u", i);
	close(job.listener);
	for (uint32_t i = 0; i < arg_num("clients"); i++)
		proc__spawnf(client, &job, "client%u", i);
}

static void run_prefork(void)
{
	run_clients(prefork_worker, arg_num("workers"));
}

static void run_fork(void)
{
	run_clients(forking_server, 1);
}

/* ---- clients that are gone before anybody accepts ---- */

static void early_client(void *arg)
{
	struct job *job = arg;

	unix__connect(&job->link, &job->addr);
	if (arg_num("bytes"))
		stream__write(&job->link.out, SEED, arg_num("bytes"), 1000);
	link__close(&job->link);
}

static void late_server(void *arg)
{
	struct job *job = arg;
	struct link l;

	link__close(&job->link);
	turn__await(0, 1);
	unix__accept(&l, job->listener, 0);
	die_if(stream__read(&l.in, SEED, 700) != arg_num("bytes"), "not all of it came");
	link__close(&l);
}

static void run_early_close(void)
{
	struct job job;
	int slot;

	unix__name(&job.addr, "late");
	job.listener = unix__listen(&job.addr, 1);
	unix__socket(&job.link, "c0", SOCK_STREAM, &job.addr);
	slot = proc__spawn("client", early_client, &job);
	proc__spawn("server", late_server, &job);
	link__close(&job.link);
	close(job.listener);
	proc__wait(slot);
	turn__pass(0);
}

/* ---- socket activation: a program finds its socket as a descriptor of a known number ---- */

static void activated_stage(const char *arg)
{
	struct link l;

	(void)arg;
	unix__accept(&l, 3, 0);
	serve(&l);
}

static void activated(void *arg)
{
	struct job *job = arg;

	if (job->listener != 3)
		die_if(dup2(job->listener, 3) < 0, "dup2: %s", strerror(errno));
	fcntl(3, F_SETFD, 0);
	proc__exec_self("listen");
}

static void run_activation(void)
{
	struct job job;
	struct link l;

	/* The arena's own descriptor must not be the one that is replaced. */
	while (arena->fd < 4) {
		int fd = fcntl(arena->fd, F_DUPFD_CLOEXEC, 4);

		die_if(fd < 0, "dup: %s", strerror(errno));
		close(arena->fd);
		arena->fd = fd;
	}
	unix__name(&job.addr, "active");
	job.listener = unix__listen(&job.addr, 1);
	unix__socket(&l, "c0", SOCK_STREAM, &job.addr);
	fcntl(l.in.fd, F_SETFD, FD_CLOEXEC);
	/* Connected, and written to, before there is anybody who could serve. */
	unix__connect(&l, &job.addr);
	proc__spawn("server", activated, &job);
	close(job.listener);
	unix__ask(&l);
	link__close(&l);
}

/* ---- a peer that goes away ---- */

static void run_epipe(void)
{
	char buf[100] = "";
	struct link l[2];

	unix__pair("c0", unix__type(), l);
	signal(SIGPIPE, SIG_IGN);
	die_if(x_write(&l[0].out, buf, sizeof(buf)) != sizeof(buf), "short write");
	if (arg_num("unread")) {
		/* Closed with something unread: a reset for the other end, once. */
		arena->chans[l[0].in.chan].leftover = sizeof(buf);
		link__close(&l[1]);
		die_if(x_read(&l[0].in, buf, sizeof(buf)) >= 0 || errno != ECONNRESET, "no reset");
	} else {
		die_if(x_read(&l[1].in, buf, sizeof(buf)) != sizeof(buf), "short read");
		link__close(&l[1]);
	}
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(x_send(&l[0].out, buf, 1, i & 1 ? MSG_NOSIGNAL : 0) >= 0 || errno != EPIPE,
		       "no EPIPE");
	read_eof(&l[0]);
}

#define CLIENTS_PARAMS                                         \
	NUM_PARAM("clients", "5", 1, 500, "client processes"), \
		NUM_PARAM("connections", "3", 1, 1000, "of each, one by one")

const struct factory unix_server_factories[] = {
	{
		.name = "unix-echo",
		.help = "a client and a server, requests and replies",
		.params = { COMMON_PARAMS, ECHO_PARAMS, TYPE_PARAM("stream|seqpacket"), NAME_PARAM },
		.selftest = "rounds=5;type=seqpacket name=abstract;name=autobind rounds=0",
		.run = run_echo,
	}, {
		.name = "unix-prefork",
		.help = "clients connect again and again to workers that wait for them",
		.params = {
			COMMON_PARAMS, ECHO_PARAMS, TYPE_PARAM("stream"), NAME_PARAM,
			CLIENTS_PARAMS, NUM_PARAM("workers", "3", 1, 100, "server processes"),
		},
		.selftest = "rounds=2;name=abstract clients=2 workers=5 rounds=1",
		.run = run_prefork,
	}, {
		.name = "unix-fork",
		.help = "a server that accepts and has a child of its own serve each client",
		.params = {
			COMMON_PARAMS, ECHO_PARAMS, TYPE_PARAM("stream"), NAME_PARAM,
			CLIENTS_PARAMS,
		},
		.selftest = "rounds=2 connections=2 clients=2",
		.run = run_fork,
	}, {
		.name = "unix-early-close",
		.help = "the client has written and is gone before the server accepts",
		.params = {
			COMMON_PARAMS, NUM_PARAM("bytes", "5000", 0, 65536, "what it wrote"),
			NAME_PARAM, TYPE_PARAM("stream"),
		},
		.selftest = "bytes=3000;bytes=0 name=abstract",
		.run = run_early_close,
	}, {
		.name = "unix-activation",
		.help = "the server is a program that finds its listening socket open, and a client",
		.params = { COMMON_PARAMS, ECHO_PARAMS, NAME_PARAM, TYPE_PARAM("stream") },
		.selftest = "rounds=3",
		.exec = true,
		.run = run_activation,
		.stage = activated_stage,
	}, {
		.name = "unix-epipe",
		.help = "the other end is closed: EPIPE, end of file, ECONNRESET",
		.params = {
			COMMON_PARAMS, NUM_PARAM("count", "3", 0, 1 << 20, "writes that fail"),
			NUM_PARAM("unread", "0", 0, 1, "leave something unread before"),
			TYPE_PARAM("stream|seqpacket"),
		},
		.selftest = "count=2;unread=1;type=seqpacket",
		.run = run_epipe,
	},
	{ .name = NULL }
};
