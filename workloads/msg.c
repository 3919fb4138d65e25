/* SPDX-License-Identifier: BSD-2-Clause */
/* System V message queues. */
#include <errno.h>
#include <string.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "queue.h"

static void run_stream(void)
{
	run_queue_stream(false);
}

static void run_server(void)
{
	run_queue_server(false);
}

static void run_choose(void)
{
	run_queue_choose(false);
}

static void run_many(void)
{
	run_queue_many(false);
}

static void run_full(void)
{
	run_queue_full(false);
}

static void run_nonblock(void)
{
	run_queue_nonblock(false);
}

static void run_late(void)
{
	run_queue_late(false);
}

/* ---- messages that do not fit, and looking at them without taking ---- */

static void truncate_child(void *arg)
{
	struct queue *q = arg;
	struct message m = { .tag = 1 };
	size_t size = arg_num("size");

	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		turn__await(0, 2 * i);
		pattern__fill(m.text, size, 1, i);
		die_if(q_send(q, &m, size, 0), "msgsnd: %s", strerror(errno));
		turn__pass(0);
	}
}

static void run_truncate(void)
{
	size_t room = arg_num("room"), size = arg_num("size");
	bool fits = room >= size;
	struct message m;
	struct queue q;

	q_make(&q, false, "q0", 0, 0, 0);
	proc__spawn("child", truncate_child, &q);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		ssize_t n;

		turn__await(0, 2 * i + 1);
		n = q_receive(&q, &m, room, 0, IPC_NOWAIT);
		die_if(fits ? n != (ssize_t)size : n >= 0 || errno != E2BIG, "msgrcv gave %zd", n);
		if (n < 0)
			n = q_receive(&q, &m, room, 0, IPC_NOWAIT | MSG_NOERROR);
		die_if(n != (ssize_t)(fits ? size : room) || !pattern__check(m.text, n, 1, i),
		       "msgrcv with MSG_NOERROR gave %zd", n);
		turn__pass(0);
	}
	procs__join();
	q_remove(&q);
}

static void copy_child(void *arg)
{
	struct queue *q = arg;
	struct message m = { .tag = 1 };
	size_t size = arg_num("size");

	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		m.tag = 1 + i % 3;
		pattern__fill(m.text, size, 1, i);
		die_if(q_send(q, &m, size, 0), "msgsnd: %s", strerror(errno));
	}
}

static void run_copy(void)
{
	uint64_t messages = arg_num("messages");
	size_t size = arg_num("size");
	struct message m;
	struct queue q;
	ssize_t n;

	q_make_private(&q, "q0");
	proc__wait(proc__spawn("child", copy_child, &q));
	for (uint64_t i = 0; i < messages; i++) {
		n = q_receive(&q, &m, MAX_TEXT, i, IPC_NOWAIT | MSG_COPY);
		if (n < 0 && errno == ENOSYS)
			skip("this kernel has no MSG_COPY");
		die_if(n != (ssize_t)size || !pattern__check(m.text, n, 1, i), "MSG_COPY gave %zd",
		       n);
	}
	n = q_receive(&q, &m, MAX_TEXT, messages, IPC_NOWAIT | MSG_COPY);
	die_if(n >= 0 || errno != ENOMSG, "MSG_COPY of more than there is gave %zd", n);
	for (uint64_t i = 0; i < messages; i++) {
		n = q_receive(&q, &m, MAX_TEXT, 0, 0);
		die_if(n != (ssize_t)size || !pattern__check(m.text, n, 1, i), "msgrcv gave %zd",
		       n);
	}
	q_remove(&q);
}

/* ---- removal under those who wait ---- */

static void rmid_receiver(void *arg)
{
	struct queue *q = arg;
	struct message m;

	die_if(q_receive(q, &m, MAX_TEXT, 7, 0) >= 0 || errno != EIDRM,
	       "msgrcv did not end with EIDRM");
}

static void rmid_sender(void *arg)
{
	struct queue *q = arg;
	struct message m = { .tag = 1 };

	while (!q_send(q, &m, arg_num("size"), 0))
		;
	die_if(errno != EIDRM, "msgsnd: %s", strerror(errno));
}

static void run_rmid(void)
{
	uint32_t waiters = arg_num("waiters"), never = 0;
	bool full = arg_is("side", "sender");
	int slots[64];
	struct queue q;

	q_make(&q, false, "q0", 0, 0, 0);
	for (uint32_t i = 0; i < waiters; i++)
		slots[i] = proc__spawnf(full ? rmid_sender : rmid_receiver, &q, "p%u", i);
	for (uint32_t i = 0; i < waiters; i++)
		proc__await_sleep(slots[i], full ? SYS_msgsnd : SYS_msgrcv, q.id, &never);
	q_mark_fill(&q);
	q_mark_left(&q);
	q_remove(&q);
	procs__join(); /* their edges are theirs until then */
	for (uint32_t i = 0; i < waiters; i++)
		edge__set_blocked(slots[i], q.chan, full ? ROLE_WRITE : ROLE_READ, 1, 0);
}

/* ---- the same key in two ipc namespaces ---- */

static void namespace_child(void *arg)
{
	struct message m = { .tag = 1 };
	size_t size = arg_num("size");
	struct queue q;

	if (unshare(CLONE_NEWIPC))
		skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
	q_make_again(&q, "q1", arg);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		die_if(q_send(&q, &m, size + 1, 0), "msgsnd: %s", strerror(errno));
		die_if(q_receive(&q, &m, MAX_TEXT, 0, 0) != (ssize_t)size + 1, "msgrcv: %s",
		       strerror(errno));
	}
	q_remove(&q);
}

static void run_namespaces(void)
{
	struct message m = { .tag = 1 };
	size_t size = arg_num("size");
	struct queue q;

	q_make(&q, false, "q0", 0, 0, 0);
	proc__spawn("child", namespace_child, &q);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		die_if(q_send(&q, &m, size, 0), "msgsnd: %s", strerror(errno));
		die_if(q_receive(&q, &m, MAX_TEXT, 0, 0) != (ssize_t)size, "msgrcv: %s",
		       strerror(errno));
	}
	procs__join();
	q_remove(&q);
}

#define MESSAGES(value) NUM_PARAM("messages", value, 1, 1 << 30, "messages of each sender")
#define SIZE(value, max) NUM_PARAM("size", value, 0, max, "bytes of each")
#define TAGS(value) NUM_PARAM("tags", value, 1, 8, "different types")

const struct factory msg_factories[] = {
	{
		.name = "msg-parent-child",
		.help = "messages from parent to child or back",
		.params = {
			COMMON_PARAMS, MESSAGES("1000"), SIZE("100", MAX_TEXT), TAGS("1"),
			{ "direction", "down", "down|up", 0, 0,
			  "who sends: the parent or the child" },
		},
		.selftest = "messages=100;direction=up tags=5;size=0 messages=10;size=8192",
		.run = run_stream,
	}, {
		.name = "msg-server",
		.help = "clients and a server on one queue: each client's replies have its type",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("clients", "4", 1, 7, "clients"),
			NUM_PARAM("requests", "100", 1, 1 << 30, "requests of each"),
			NUM_PARAM("request", "50", 8, MAX_TEXT / 8, "bytes of a request"),
			NUM_PARAM("reply", "200", 8, MAX_TEXT / 8, "bytes of a reply"),
		},
		.selftest = "requests=20;clients=1 requests=100;clients=7 requests=10",
		.run = run_server,
	}, {
		.name = "msg-choose",
		.help = "several senders, then several receivers that choose by type, in turns",
		.params = {
			COMMON_PARAMS, MESSAGES("5"), SIZE("100", MAX_TEXT / 8), TAGS("3"),
			NUM_PARAM("writers", "3", 1, 60, "senders"),
			NUM_PARAM("readers", "2", 1, 60, "receivers"),
			NUM_PARAM("rounds", "3", 1, 1 << 30, "rounds"),
			{ "how", "any", "any|type|lowest|except", 0, 0,
			  "msgtyp 0, > 0, < 0, or > 0 with MSG_EXCEPT" },
		},
		.selftest = ";how=type;how=lowest tags=5;how=except readers=3;writers=1 readers=4",
		.run = run_choose,
	}, {
		.name = "msg-many-many",
		.help = "several senders and receivers, all at once",
		.params = {
			COMMON_PARAMS, MESSAGES("200"), SIZE("64", MAX_TEXT / 8), TAGS("1"),
			NUM_PARAM("writers", "3", 1, 60, "senders"),
			NUM_PARAM("readers", "2", 1, 60, "receivers"),
		},
		.selftest = "messages=50;readers=1;writers=1 readers=5;tags=4",
		.run = run_many,
	}, {
		.name = "msg-full",
		.help = "one side waits until the other sleeps: exact numbers of blocked calls",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "20", 1, 1 << 30, "messages"),
			SIZE("100", 1024),
			NUM_PARAM("bound", "1024", 1, 16384, "msg_qbytes"),
			{ "side", "sender", "sender|receiver", 0, 0,
			  "who blocks, on a full or an empty queue" },
		},
		.selftest = ";side=receiver;size=1000 messages=5",
		.run = run_full,
	}, {
		.name = "msg-nonblock",
		.help = "filled until EAGAIN, drained until ENOMSG, in turns, with IPC_NOWAIT",
		.params = {
			COMMON_PARAMS, SIZE("100", 1024),
			NUM_PARAM("bound", "4096", 1, 16384, "msg_qbytes"),
			NUM_PARAM("rounds", "3", 1, 1 << 30, "times that it is filled"),
		},
		.selftest = ";bound=1000 size=1000;size=0 bound=20",
		.run = run_nonblock,
	}, {
		.name = "msg-late",
		.help = "the sender has ended before the receiver is there, which may leave some",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "10", 1, 60, "messages"),
			SIZE("100", 256),
			NUM_PARAM("left", "0", 0, 60, "messages that nobody takes"),
		},
		.selftest = ";left=3;left=10",
		.run = run_late,
	}, {
		.name = "msg-truncate",
		.help = "receivers without room: E2BIG, then MSG_NOERROR, which cuts off the rest",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "5", 1, 1 << 20, "messages"),
			SIZE("100", MAX_TEXT), NUM_PARAM("room", "30", 0, MAX_TEXT, "bytes asked for"),
		},
		.selftest = ";room=100;room=0",
		.run = run_truncate,
	}, {
		.name = "msg-copy",
		.help = "messages are looked at with MSG_COPY before they are taken; a private queue",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "5", 1, 64, "messages"),
			SIZE("100", 256),
		},
		.selftest = ";messages=1",
		.run = run_copy,
	}, {
		.name = "msg-rmid",
		.help = "the queue is removed under those who sleep in it: EIDRM",
		.params = {
			COMMON_PARAMS, NUM_PARAM("waiters", "3", 1, 60, "those who sleep"),
			SIZE("1000", MAX_TEXT),
			{ "side", "receiver", "receiver|sender", 0, 0,
			  "on an empty, or on a full queue" },
		},
		.selftest = ";side=sender;waiters=1",
		.run = run_rmid,
	}, {
		.name = "msg-namespaces",
		.help = "the same key in two ipc namespaces is two queues",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "5", 1, 1 << 20, "messages"),
			SIZE("100", 1024),
		},
		.selftest = "",
		.run = run_namespaces,
	},
	{ .name = NULL }
};
