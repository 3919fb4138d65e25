/* SPDX-License-Identifier: BSD-2-Clause */
/* POSIX message queues. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "factory.h"
#include "queue.h"

static void run_stream(void)
{
	run_queue_stream(true);
}

static void run_server(void)
{
	run_queue_server(true);
}

static void run_choose(void)
{
	run_queue_choose(true);
}

static void run_many(void)
{
	run_queue_many(true);
}

static void run_full(void)
{
	run_queue_full(true);
}

static void run_nonblock(void)
{
	run_queue_nonblock(true);
}

static void run_late(void)
{
	run_queue_late(true);
}

static void must_send(const struct queue *q, size_t len, long tag)
{
	struct message m = { .tag = tag };

	die_if(q_send(q, &m, len, 0), "mq_send: %s", strerror(errno));
}

static void must_receive(const struct queue *q, size_t len, long tag)
{
	struct message m;
	ssize_t n = q_receive(q, &m, MAX_TEXT, 0, 0);

	die_if(n < 0, "mq_receive: %s", strerror(errno));
	die_if(n != (ssize_t)len || m.tag != tag, "received %zd bytes of priority %ld", n, m.tag);
}

/* ---- messages and buffers of the wrong size ---- */

static void run_size(void)
{
	size_t size = arg_num("size");
	struct message m = { .tag = 0 };
	struct queue q;

	q_make(&q, true, "q0", 0, size, 0);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		die_if(!q_send(&q, &m, size + 1, 0) || errno != EMSGSIZE, "no EMSGSIZE");
		must_send(&q, size, 0);
		die_if(q_receive(&q, &m, size - 1, 0, 0) >= 0 || errno != EMSGSIZE, "no EMSGSIZE");
		must_receive(&q, size, 0);
	}
	edge__set_blocked(self, q.chan, ROLE_WRITE, 0, 0);
	edge__set_blocked(self, q.chan, ROLE_READ, 0, 0);
	q_remove(&q);
}

/* ---- time limits ---- */

static uint64_t in_ms(uint64_t ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec + ms * 1000000;
}

static void run_timed(void)
{
	uint64_t times = arg_num("times"), ms = arg_num("ms");
	size_t size = arg_num("size");
	struct message m = { .tag = 1 };
	struct queue q;

	q_make(&q, true, "q0", 1, 0, 0);
	for (uint64_t i = 0; i < times; i++) {
		die_if(q_receive_until(&q, &m, MAX_TEXT, in_ms(ms)) >= 0 || errno != ETIMEDOUT,
		       "mq_timedreceive did not time out");
		die_if(q_send_until(&q, &m, size, in_ms(60000)), "mq_timedsend: %s",
		       strerror(errno));
		die_if(!q_send_until(&q, &m, size, in_ms(ms)) || errno != ETIMEDOUT,
		       "mq_timedsend did not time out");
		die_if(q_receive_until(&q, &m, MAX_TEXT, in_ms(60000)) != (ssize_t)size,
		       "mq_timedreceive: %s", strerror(errno));
	}
	/* The time runs before it sleeps. With one that is past, a call may not sleep at all. */
	if (ms) {
		edge__set_blocked(self, q.chan, ROLE_WRITE, times, ms * times * 500000);
		edge__set_blocked(self, q.chan, ROLE_READ, times, ms * times * 500000);
	}
	q_remove(&q);
}

/* ---- mq_notify ---- */

static void wait_for(int sig, const struct queue *q)
{
	struct timespec limit = { .tv_sec = 60 };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	die_if(sigtimedwait(&set, &info, &limit) != sig, "no signal came: %s", strerror(errno));
	die_if(info.si_code != SI_MESGQ || info.si_value.sival_int != q->id, "another signal came");
}

static void notify_sender(void *arg)
{
	struct queue *q = arg;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };

	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		turn__await(0, 2 * i + 1);
		/* Only one process at a time can be told. */
		die_if(!q_notify(q, &ev) || errno != EBUSY, "mq_notify: no EBUSY");
		must_send(q, arg_num("size"), i % 3);
		turn__pass(0);
	}
}

static void run_notify(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	bool signals = arg_is("how", "signal");
	struct queue q;
	sigset_t set;

	if (!signals)
		ev.sigev_notify = SIGEV_NONE;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	q_make(&q, true, "q0", 0, 0, 0);
	ev.sigev_value.sival_int = q.id;
	proc__spawn("child", notify_sender, &q);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		die_if(q_notify(&q, &ev), "mq_notify: %s", strerror(errno));
		turn__pass(0);
		if (signals)
			wait_for(SIGUSR2, &q);
		turn__await(0, 2 * i + 2);
		must_receive(&q, arg_num("size"), i % 3);
	}
	/* Registered once more, and taken back. */
	die_if(q_notify(&q, &ev) || q_notify(&q, NULL), "mq_notify: %s", strerror(errno));
	procs__join();
	q_remove(&q);
}

/* ---- a name that is taken away while it is in use, and given again ---- */

static void reader_of(void *arg)
{
	struct queue *q = arg;

	for (uint64_t i = 0; i < arg_num("messages"); i++)
		must_receive(q, arg_num("size"), 1);
}

static void run_unlink(void)
{
	struct queue old, new;

	q_make(&old, true, "q0", 0, 0, 0);
	q_remove(&old);
	q_make_again(&new, "q1", &old);
	proc__spawn("r0", reader_of, &old);
	proc__spawn("r1", reader_of, &new);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		must_send(&old, arg_num("size"), 1);
		must_send(&new, arg_num("size"), 1);
	}
	procs__join();
	q_remove(&new);
}

/* Opened for one direction each, by its name, as two programs would. */
static void opener(void *arg)
{
	const struct queue *q = arg;
	struct queue mine;

	q_open(&mine, q->chan, true, O_RDONLY);
	for (uint64_t i = 0; i < arg_num("messages"); i++)
		must_receive(&mine, arg_num("size"), 1);
	q_close(&mine);
}

static void run_open(void)
{
	struct message m = { .tag = 1 };
	struct queue q, mine;

	q_make(&q, true, "q0", 0, 0, 0);
	q_open(&mine, q.chan, true, O_WRONLY);
	proc__spawn("r0", opener, &q);
	for (uint64_t i = 0; i < arg_num("messages"); i++)
		must_send(&mine, arg_num("size"), 1);
	die_if(q_receive(&mine, &m, MAX_TEXT, 0, 0) >= 0 || errno != EBADF,
	       "received from a queue that is open for sending");
	q_close(&mine);
	procs__join();
	q_remove(&q);
}

/* ---- the same name in two ipc namespaces ---- */

static void namespace_child(void *arg)
{
	struct queue q;

	if (unshare(CLONE_NEWIPC))
		skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
	q_make_again(&q, "q1", arg);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		must_send(&q, arg_num("size") + 1, 2);
		must_receive(&q, arg_num("size") + 1, 2);
	}
	q_remove(&q);
}

static void run_namespaces(void)
{
	struct queue q;

	q_make(&q, true, "q0", 0, 0, 0);
	proc__spawn("child", namespace_child, &q);
	for (uint64_t i = 0; i < arg_num("messages"); i++) {
		must_send(&q, arg_num("size"), 1);
		must_receive(&q, arg_num("size"), 1);
	}
	procs__join();
	q_remove(&q);
}

#define MESSAGES(value) NUM_PARAM("messages", value, 1, 1 << 30, "messages of each sender")
#define SIZE(value, max) NUM_PARAM("size", value, 0, max, "bytes of each")
#define TAGS(value) NUM_PARAM("tags", value, 1, 8, "different priorities")

const struct factory mq_factories[] = {
	{
		.name = "mq-parent-child",
		.help = "messages from parent to child or back",
		.params = {
			COMMON_PARAMS, MESSAGES("1000"), SIZE("100", MAX_TEXT), TAGS("1"),
			{ "direction", "down", "down|up", 0, 0,
			  "who sends: the parent or the child" },
		},
		.selftest = "messages=100;direction=up tags=5;size=0 messages=10;size=8192",
		.run = run_stream,
	}, {
		.name = "mq-server",
		.help = "clients and a server: a queue for requests, and one for each client's replies",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("clients", "4", 1, 60, "clients"),
			NUM_PARAM("requests", "100", 1, 1 << 30, "requests of each"),
			NUM_PARAM("request", "50", 8, MAX_TEXT, "bytes of a request"),
			NUM_PARAM("reply", "200", 8, MAX_TEXT, "bytes of a reply"),
		},
		.selftest = "requests=20;clients=1 requests=100;clients=7 requests=10",
		.run = run_server,
	}, {
		.name = "mq-choose",
		.help = "several senders, then several receivers, in turns: the highest priority first",
		.params = {
			COMMON_PARAMS, MESSAGES("3"), SIZE("100", MAX_TEXT / 8), TAGS("3"),
			NUM_PARAM("writers", "3", 1, 60, "senders"),
			NUM_PARAM("readers", "2", 1, 60, "receivers"),
			NUM_PARAM("rounds", "3", 1, 1 << 30, "rounds"),
			{ "how", "any", "any", 0, 0, "there is no choice" },
		},
		.selftest = ";tags=1 readers=3;writers=1 readers=3 messages=10 tags=5",
		.run = run_choose,
	}, {
		.name = "mq-many-many",
		.help = "several senders and receivers, all at once",
		.params = {
			COMMON_PARAMS, MESSAGES("200"), SIZE("64", MAX_TEXT / 8), TAGS("1"),
			NUM_PARAM("writers", "3", 1, 60, "senders"),
			NUM_PARAM("readers", "2", 1, 60, "receivers"),
		},
		.selftest = "messages=50;readers=1;writers=1 readers=5;tags=4",
		.run = run_many,
	}, {
		.name = "mq-full",
		.help = "one side waits until the other sleeps: exact numbers of blocked calls",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "20", 1, 1 << 30, "messages"),
			SIZE("100", 1024),
			NUM_PARAM("bound", "5", 1, 10, "mq_maxmsg"),
			{ "side", "sender", "sender|receiver", 0, 0,
			  "who blocks, on a full or an empty queue" },
		},
		.selftest = ";side=receiver;bound=1 messages=5",
		.run = run_full,
	}, {
		.name = "mq-nonblock",
		.help = "filled until EAGAIN, drained until EAGAIN, in turns, with O_NONBLOCK",
		.params = {
			COMMON_PARAMS, SIZE("100", 1024),
			NUM_PARAM("bound", "10", 1, 10, "mq_maxmsg"),
			NUM_PARAM("rounds", "3", 1, 1 << 30, "times that it is filled"),
		},
		.selftest = ";bound=1;size=0",
		.run = run_nonblock,
	}, {
		.name = "mq-late",
		.help = "the sender has ended before the receiver is there, which may leave some",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "10", 1, 10, "messages"),
			SIZE("100", 256),
			NUM_PARAM("left", "0", 0, 10, "messages that nobody takes"),
		},
		.selftest = ";left=3;left=10",
		.run = run_late,
	}, {
		.name = "mq-size",
		.help = "messages that are too long and room that is too short: EMSGSIZE",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "5", 1, 1 << 20, "messages"),
			NUM_PARAM("size", "100", 1, MAX_TEXT - 1, "mq_msgsize"),
		},
		.selftest = ";size=1",
		.run = run_size,
	}, {
		.name = "mq-timed",
		.help = "calls with a time limit: some reach it, some do not",
		.params = {
			COMMON_PARAMS, NUM_PARAM("times", "3", 1, 1000, "times"),
			NUM_PARAM("ms", "50", 0, 10000, "time limit; 0: already over"),
			SIZE("100", 1024),
		},
		.selftest = ";ms=0",
		.run = run_timed,
	}, {
		.name = "mq-notify",
		.help = "who is told of a message by mq_notify, and who is told EBUSY",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "5", 1, 1 << 20, "messages"),
			SIZE("100", 1024),
			{ "how", "signal", "signal|none", 0, 0, "SIGEV_SIGNAL or SIGEV_NONE" },
		},
		.selftest = ";how=none",
		.run = run_notify,
	}, {
		.name = "mq-unlink",
		.help = "a name is unlinked in use and made again: two queues, one name",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "20", 1, 1 << 20, "messages on each"),
			SIZE("100", 1024),
		},
		.selftest = "",
		.run = run_unlink,
	}, {
		.name = "mq-open",
		.help = "opened by name, by one to send and by the other to receive",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "20", 1, 1 << 20, "messages"),
			SIZE("100", 1024),
		},
		.selftest = "",
		.run = run_open,
	}, {
		.name = "mq-namespaces",
		.help = "the same name in two ipc namespaces is two queues",
		.params = {
			COMMON_PARAMS, NUM_PARAM("messages", "5", 1, 1 << 20, "messages"),
			SIZE("100", 1023),
		},
		.selftest = "",
		.run = run_namespaces,
	},
	{ .name = NULL }
};
