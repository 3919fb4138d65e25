/* SPDX-License-Identifier: BSD-2-Clause */
/* What both kinds of queues are put to; the tables are in msg.c and mq.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "queue.h"

/* At the front of each message that has room for it: so that whoever gets it knows whose it is. */
struct head {
	uint32_t writer, seq;
};

/* What each process is given. */
struct user {
	struct queue *q;
	int index;
	int first_writer; /* slot of writer 0; the others follow */
	int peer;
};

static void put(const struct queue *q, uint32_t writer, uint32_t seq, long tag, size_t len,
		int flags)
{
	struct message m = { .tag = tag };
	struct head h = { writer, seq };

	pattern__fill(m.text, len, writer, seq);
	if (len >= sizeof(h))
		memcpy(m.text, &h, sizeof(h));
	die_if(q_send(q, &m, len, flags), "send: %s", strerror(errno));
}

/* Whose message is it? Checked as far as it is long. */
static uint32_t check(const struct message *m, ssize_t len, uint32_t writer)
{
	struct head h = { writer, 0 };
	struct message want;

	die_if(len < 0, "receive: %s", strerror(errno));
	if (len < (ssize_t)sizeof(h))
		return writer;
	memcpy(&h, m->text, sizeof(h));
	pattern__fill(want.text, len, h.writer, h.seq);
	die_if(memcmp(want.text + sizeof(h), m->text + sizeof(h), len - sizeof(h)),
	       "message %u of writer %u differs", h.seq, h.writer);
	return h.writer;
}

static uint32_t take(const struct queue *q, long select, int flags, size_t len, uint32_t writer)
{
	struct message m;
	ssize_t n = q_receive(q, &m, MAX_TEXT, select, flags);

	die_if(n >= 0 && n != (ssize_t)len, "received %zd bytes of %zu", n, len);
	return check(&m, n, writer);
}

/* Only some tags are let through at once to a System V queue: any number of them is a fact. */
static long tag_of(uint64_t i)
{
	return 1 + i * 7 % arg_num("tags");
}

/* ---- one sender, one receiver, both at once ---- */

static void stream_sender(void *arg)
{
	struct user *u = arg;

	for (uint64_t i = 0; i < arg_num("messages"); i++)
		put(u->q, 0, i, tag_of(i), arg_num("size"), 0);
}

static void stream_receiver(void *arg)
{
	struct user *u = arg;

	for (uint64_t i = 0; i < arg_num("messages"); i++)
		take(u->q, 0, 0, arg_num("size"), 0);
}

void run_queue_stream(bool posix)
{
	bool down = arg_is("direction", "down");
	struct queue q;
	struct user u = { .q = &q };

	q_make(&q, posix, "q0", 0, 0, 0);
	proc__spawn("child", down ? stream_receiver : stream_sender, &u);
	(down ? stream_sender : stream_receiver)(&u);
	procs__join();
	q_remove(&q);
	q_close(&q);
}

/* ---- clients and a server: System V's one queue with a type for each, or a queue for each ---- */

#define TAG_REQUEST 1

struct desk {
	struct queue request;
	struct queue reply[64]; /* POSIX: of each client */
	uint32_t clients;
	int index, first_client;
};

static long reply_tag(const struct desk *d, uint32_t client)
{
	return d->request.posix ? 0 : TAG_REQUEST + 1 + client;
}

static struct queue *reply_queue(struct desk *d, uint32_t client)
{
	return d->request.posix ? &d->reply[client] : &d->request;
}

static void client(void *arg)
{
	struct desk *d = arg;
	struct queue *reply = reply_queue(d, d->index);
	long tag = reply_tag(d, d->index);

	for (uint64_t i = 0; i < arg_num("requests"); i++) {
		put(&d->request, d->index, i, TAG_REQUEST, arg_num("request"), 0);
		take(reply, tag, 0, arg_num("reply"), 1000);
	}
}

static void server(struct desk *d)
{
	uint64_t requests = arg_num("requests");

	for (uint64_t i = 0; i < d->clients * requests; i++) {
		uint32_t who = take(&d->request, TAG_REQUEST, 0, arg_num("request"), 0);

		die_if(who >= d->clients, "a request of client %u", who);
		put(reply_queue(d, who), 1000, i, reply_tag(d, who), arg_num("reply"), 0);
	}
	/* One end of all requests, and of all replies to a client: who sent what to whom is plain. */
	for (uint32_t i = 0; i < d->clients; i++) {
		flow__add(d->first_client + i, self, d->request.chan, requests * arg_num("request"),
			  false);
		flow__add(self, d->first_client + i, reply_queue(d, i)->chan,
			  requests * arg_num("reply"), false);
	}
}

void run_queue_server(bool posix)
{
	static struct desk d;

	d = (struct desk){ .clients = arg_num("clients"), .first_client = arena->nr_procs };
	q_make(&d.request, posix, "request", 0, posix ? arg_num("request") : 0, 0);
	for (uint32_t i = 0; posix && i < d.clients; i++) {
		char name[16];

		snprintf(name, sizeof(name), "reply%u", i);
		q_make(&d.reply[i], posix, name, 0, arg_num("reply"), 0);
	}
	for (d.index = 0; d.index < (int)d.clients; d.index++)
		proc__spawnf(client, &d, "c%d", d.index);
	server(&d);
	procs__join();
	q_remove(&d.request);
	for (uint32_t i = 0; posix && i < d.clients; i++)
		q_remove(&d.reply[i]);
}

/* ---- receivers that choose, in turns ---- */

static void choose_sender(void *arg)
{
	struct user *u = arg;
	uint32_t writers = arg_num("writers"), turns = writers + arg_num("readers");
	uint64_t messages = arg_num("messages");

	for (uint32_t round = 0; round < arg_num("rounds"); round++) {
		turn__await(0, round * turns + u->index);
		for (uint64_t i = 0; i < messages; i++)
			put(u->q, u->index, round * messages + i, tag_of(i + u->index),
			    arg_num("size") + u->index, 0);
		q_mark_fill(u->q);
		turn__pass(0);
	}
	edge__set_blocked(self, u->q->chan, ROLE_WRITE, 0, 0);
}

/* The nth thing that a reader asks for; what nobody asked for is taken with "any" in the end. */
static long selection(const struct user *u, uint64_t nth, int *flags)
{
	uint64_t tags = arg_num("tags");

	*flags = 0;
	if (u->q->posix || arg_is("how", "any"))
		return 0;
	if (arg_is("how", "lowest"))
		return -(long)tags;
	if (arg_is("how", "except"))
		*flags = MSG_EXCEPT;
	return 1 + (u->index + nth) % tags;
}

static uint64_t choose(const struct user *u, uint64_t want, uint64_t from[])
{
	uint64_t got = 0, misses = 0;
	struct message m;

	while (got < want) {
		int flags;
		long select = selection(u, got + misses, &flags);
		ssize_t n = q_receive(u->q, &m, MAX_TEXT, select, flags | IPC_NOWAIT);
		uint32_t writer;

		if (n < 0) {
			die_if(errno != ENOMSG || ++misses > 1000, "receive: %s", strerror(errno));
			continue;
		}
		writer = check(&m, n, 0);
		die_if(n != (ssize_t)(arg_num("size") + writer), "%zd bytes of writer %u", n,
		       writer);
		from[writer] += n;
		got++;
	}
	return got;
}

static void choose_receiver(void *arg)
{
	struct user *u = arg;
	uint32_t writers = arg_num("writers"), readers = arg_num("readers");
	uint64_t all = writers * arg_num("messages"), mine = all / readers, from[64] = { 0 };

	if (u->index == (int)readers - 1)
		mine += all % readers;
	for (uint32_t round = 0; round < arg_num("rounds"); round++) {
		turn__await(0, round * (writers + readers) + writers + u->index);
		choose(u, mine, from);
		turn__pass(0);
	}
	for (uint32_t i = 0; i < writers; i++)
		if (from[i])
			flow__add(u->first_writer + i, self, u->q->chan, from[i], false);
	edge__set_blocked(self, u->q->chan, ROLE_READ, 0, 0);
}

void run_queue_choose(bool posix)
{
	uint64_t writers = arg_num("writers"), all = writers * arg_num("messages");
	struct queue q;
	struct user u = { .q = &q, .first_writer = arena->nr_procs };

	q_make(&q, posix, "q0", posix && all > 10 ? all : 0, 0, 0);
	die_if(!posix &&
		       all * (arg_num("size") + writers) > (uint64_t)arena->chans[q.chan].capacity,
	       "one round does not fit into the queue");
	for (u.index = 0; u.index < (int)writers; u.index++)
		proc__spawnf(choose_sender, &u, "w%d", u.index);
	for (u.index = 0; u.index < (int)arg_num("readers"); u.index++)
		proc__spawnf(choose_receiver, &u, "r%d", u.index);
	procs__join();
	q_remove(&q);
	q_close(&q);
}

/* ---- many to many, all at once: the messages say whose they are ---- */

static void free_sender(void *arg)
{
	struct user *u = arg;

	for (uint64_t i = 0; i < arg_num("messages"); i++)
		put(u->q, u->index, i, tag_of(i), arg_num("size"), 0);
}

static void free_receiver(void *arg)
{
	struct user *u = arg;
	uint64_t writers = arg_num("writers"), from[64] = { 0 };

	/* Tickets, so that as many are asked for as there are. */
	while (turn__take(2) < writers * arg_num("messages"))
		from[take(u->q, 0, 0, arg_num("size"), 0)] += arg_num("size");
	for (uint64_t i = 0; i < writers; i++)
		if (from[i])
			flow__add(u->first_writer + i, self, u->q->chan, from[i],
				  writers > 1 && arg_num("readers") > 1);
}

void run_queue_many(bool posix)
{
	struct queue q;
	struct user u = { .q = &q, .first_writer = arena->nr_procs };

	q_make(&q, posix, "q0", 0, 0, 0);
	for (u.index = 0; u.index < (int)arg_num("writers"); u.index++)
		proc__spawnf(free_sender, &u, "w%d", u.index);
	for (u.index = 0; u.index < (int)arg_num("readers"); u.index++)
		proc__spawnf(free_receiver, &u, "r%d", u.index);
	procs__join();
	q_remove(&q);
	q_close(&q);
}

/* ---- one side waits until the other really sleeps ---- */

/* Turn words: which call the blocking side is in, that it is done. */
enum { CALL, DONE };

static void full_sender(void *arg)
{
	struct user *u = arg;

	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		turn__take(CALL);
		put(u->q, 0, i, 1, arg_num("size"), 0);
	}
	turn__pass(DONE);
}

static void full_receiver(void *arg)
{
	struct user *u = arg;
	uint64_t asleep, total_ns = 0, blocked = 0, last = 0, got = 0;

	while ((asleep = proc__await_sleep(u->peer, q_send_nr(u->q), u->q->id, turn__word(DONE)))) {
		if (last != *turn__word(CALL))
			blocked++;
		last = *turn__word(CALL);
		q_mark_fill(u->q);
		total_ns += now_ns() - asleep;
		take(u->q, 0, 0, arg_num("size"), 0);
		got++;
	}
	q_mark_fill(u->q);
	for (; got < arg_num("messages"); got++)
		take(u->q, 0, 0, arg_num("size"), 0);
	edge__set_blocked(u->peer, u->q->chan, ROLE_WRITE, blocked, total_ns);
	edge__set_blocked(self, u->q->chan, ROLE_READ, 0, 0);
}

static void empty_receiver(void *arg)
{
	struct user *u = arg;

	for (uint64_t i = 0; i < arg_num("messages"); i++)
		take(u->q, 0, 0, arg_num("size"), 0);
}

static void empty_sender(void *arg)
{
	struct user *u = arg;
	uint64_t asleep, total_ns = 0, messages = arg_num("messages");

	for (uint64_t i = 0; i < messages; i++) {
		asleep = proc__await_sleep(u->peer, q_receive_nr(u->q), u->q->id, turn__word(DONE));
		total_ns += now_ns() - asleep;
		put(u->q, 0, i, 1, arg_num("size"), 0);
	}
	edge__set_blocked(u->peer, u->q->chan, ROLE_READ, messages, total_ns);
	edge__set_blocked(self, u->q->chan, ROLE_WRITE, 0, 0);
}

void run_queue_full(bool posix)
{
	bool full = arg_is("side", "sender");
	struct queue q;
	struct user u = { .q = &q };

	q_make(&q, posix, "q0", arg_num("bound"), 0, 0);
	u.peer = proc__spawn(full ? "w0" : "r0", full ? full_sender : empty_receiver, &u);
	proc__spawn(full ? "r0" : "w0", full ? full_receiver : empty_sender, &u);
	procs__join();
	q_remove(&q);
	q_close(&q);
}

/* ---- fill until EAGAIN, drain until ENOMSG or EAGAIN, in turns ---- */

static void filler(void *arg)
{
	struct user *u = arg;
	struct message m = { .tag = 1 };
	uint64_t seq = 0;

	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 2 * i);
		do
			pattern__fill(m.text, arg_num("size"), 0, seq++);
		while (!q_send(u->q, &m, arg_num("size"), IPC_NOWAIT));
		die_if(errno != EAGAIN, "send: %s", strerror(errno));
		seq--;
		q_mark_fill(u->q);
		turn__pass(0);
	}
}

static void drainer(void *arg)
{
	struct user *u = arg;
	struct message m;
	uint64_t seq = 0;
	ssize_t n;

	for (uint32_t i = 0; i < arg_num("rounds"); i++) {
		turn__await(0, 2 * i + 1);
		while ((n = q_receive(u->q, &m, MAX_TEXT, 0, IPC_NOWAIT)) >= 0)
			die_if(n != (ssize_t)arg_num("size") ||
				       !pattern__check(m.text, n, 0, seq++),
			       "message differs");
		die_if(errno != (u->q->posix ? EAGAIN : ENOMSG), "receive: %s", strerror(errno));
		turn__pass(0);
	}
}

void run_queue_nonblock(bool posix)
{
	struct queue q;
	struct user u = { .q = &q };

	q_make(&q, posix, "q0", arg_num("bound"), 0, O_NONBLOCK);
	proc__spawn("w0", filler, &u);
	proc__spawn("r0", drainer, &u);
	procs__join();
	q_remove(&q);
	q_close(&q);
}

/* ---- who sends is gone before who receives is there ---- */

static void late_sender(void *arg)
{
	struct user *u = arg;
	struct queue q;

	q_open(&q, u->q->chan, u->q->posix, O_RDWR);
	for (uint64_t i = 0; i < arg_num("messages"); i++)
		put(&q, u->index, i, 1, arg_num("size"), 0);
	q_mark_fill(&q);
	q_close(&q);
}

static void late_receiver(void *arg)
{
	struct user *u = arg;
	uint64_t n = arg_num("messages") - arg_num("left");
	struct queue q;

	q_open(&q, u->q->chan, u->q->posix, O_RDWR);
	for (uint64_t i = 0; i < n; i++)
		take(&q, 0, 0, arg_num("size"), 0);
	q_mark_left(&q);
	q_close(&q);
}

void run_queue_late(bool posix)
{
	struct queue q;
	struct user u = { .q = &q };

	die_if(arg_num("left") > arg_num("messages"), "left= is more than messages=");
	q_make(&q, posix, "q0", 0, 0, 0);
	q_close(&q);
	proc__wait(proc__spawn("w0", late_sender, &u));
	proc__wait(proc__spawn("r0", late_receiver, &u));
	q_open(&q, q.chan, posix, O_RDWR);
	q_remove(&q);
	q_close(&q);
}
