/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters: what is written is added, and a read takes all of it, or one (semaphore). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define NR_DONE 0 /* turn */

static void eventfd__open(struct end *e, const char *name, unsigned int start, int flags)
{
	char path[64], line[128];
	unsigned int id = 0;
	FILE *info;
	int fd = eventfd(start, flags);

	die_if(fd < 0, "eventfd: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	die_if(!info, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), info) && sscanf(line, "eventfd-id: %u", &id) != 1)
		;
	die_if(ferror(info) || !strstr(line, "eventfd-id"), "no eventfd-id in %s", path);
	fclose(info);
	end__init(e, fd, chan__add(name, "eventfd", 0, id));
	arena->chans[e->chan].found = start;
}

static ssize_t add(const struct end *e, uint64_t n)
{
	struct iovec iov = { .iov_base = &n, .iov_len = sizeof(n) };
	ssize_t ret = arg_is("call", "readv") ? x_writev(e, &iov, 1) : x_write(e, &n, sizeof(n));

	if (ret > 0) {
		end__edge(e, ROLE_WRITE)->value += n;
		end__edge(e, ROLE_WRITE)->has_value = 1;
	}
	return ret;
}

static ssize_t take(const struct end *e, uint64_t *n)
{
	struct iovec iov = { .iov_base = n, .iov_len = sizeof(*n) };
	ssize_t ret = arg_is("call", "readv") ? x_readv(e, &iov, 1) : x_read(e, n, sizeof(*n));

	if (ret > 0) {
		end__edge(e, ROLE_READ)->value += *n;
		end__edge(e, ROLE_READ)->has_value = 1;
	}
	return ret;
}

/* ---- N writers, M readers ---- */

static void writer(void *arg)
{
	struct end *e = arg;

	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(add(e, arg_num("value")) < 0, "write: %s", strerror(errno));
	turn__pass(NR_DONE);
}

static void reader(void *arg)
{
	struct end *e = arg;
	uint64_t n;

	/* The last thing that is put in is one for each, with nothing else before it. */
	turn__await(NR_DONE, arg_num("writers"));
	for (uint64_t i = 0; i < arg_num("reads"); i++)
		die_if(take(e, &n) < 0, "read: %s", strerror(errno));
}

/* What the readers got is of the only writer, or of any of several. */
static void all_flows(int chan, int first_writer, int writers, int first_reader, int readers)
{
	for (int r = 0; r < readers; r++)
		for (int w = 0; w < writers; w++) {
			uint64_t ops = edge__get(first_reader + r, chan, ROLE_READ)->ops;

			if (ops && edge__get(first_writer + w, chan, ROLE_WRITE)->ops)
				flow__add_shared_ops(first_writer + w, first_reader + r, chan, ops,
						     writers > 1);
		}
}

static void run_count(void)
{
	int writers = arg_num("writers"), readers = arg_num("readers"), first;
	uint64_t sum = arg_num("count") * arg_num("value") * writers;
	bool semaphore = arg_is("kind", "semaphore");
	struct end e;

	die_if(semaphore ? arg_num("reads") * readers > sum : readers > 1 || arg_num("reads") > 1,
	       "there is not so much to read");
	eventfd__open(&e, "e0", 0, semaphore ? EFD_SEMAPHORE : 0);
	first = arena->nr_procs;
	for (int i = 0; i < writers; i++)
		proc__spawnf(writer, &e, "w%d", i);
	for (int i = 0; i < readers; i++)
		proc__spawnf(reader, &e, "r%d", i);
	procs__join();
	all_flows(e.chan, first, writers, first + writers, readers);
}

/* ---- two of them, as request and reply ---- */

static void answer(void *arg)
{
	struct end *e = arg;
	uint64_t n;

	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		die_if(take(&e[0], &n) < 0 || add(&e[1], n + 1) < 0, "answer: %s", strerror(errno));
	}
}

static void run_pair(void)
{
	uint64_t rounds = arg_num("rounds"), n;
	struct end e[2];
	int child;

	eventfd__open(&e[0], "request", 0, 0);
	eventfd__open(&e[1], "reply", 0, 0);
	child = proc__spawn("child", answer, e);
	for (uint64_t i = 1; i <= rounds; i++) {
		die_if(add(&e[0], i) < 0 || take(&e[1], &n) < 0, "ask: %s", strerror(errno));
		die_if(n != i + 1, "got %llu", (unsigned long long)n);
	}
	procs__join();
	flow__add_ops(0, child, e[0].chan, rounds);
	flow__add_ops(child, 0, e[1].chan, rounds);
}

/* ---- waiting, and not ---- */

static void waiter(void *arg)
{
	struct end *e = arg;
	uint64_t n;

	die_if(take(e, &n) < 0 || n != 1, "read: %s", strerror(errno));
	edge__set_blocked(self, e->chan, ROLE_READ, 1, 1);
}

static void run_wait(void)
{
	uint32_t never = 0;
	struct end e;
	int child;

	eventfd__open(&e, "e0", 0, 0);
	child = proc__spawn("child", waiter, &e);
	while (!proc__pid(child))
		usleep(100);
	proc__await_sleep(child, SYS_read, e.fd, &never);
	die_if(add(&e, 1) < 0, "write: %s", strerror(errno));
	procs__join();
	flow__add_ops(0, child, e.chan, 1);
}

static void run_nonblock(void)
{
	struct end e;
	uint64_t n;

	eventfd__open(&e, "e0", arg_num("start"), EFD_NONBLOCK);
	die_if(take(&e, &n) < 0, "read: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(take(&e, &n) >= 0 || errno != EAGAIN, "no EAGAIN when it is 0");
	die_if(add(&e, UINT64_MAX - 1) < 0, "write: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("count"); i++)
		die_if(add(&e, 1) >= 0 || errno != EAGAIN, "no EAGAIN when it is full");
	/* It began with more than nothing: whose that was is not known. */
	flow__add_shared_ops(0, 0, e.chan, 1, true);
}

#define CALL_PARAM                                                             \
	{                                                                      \
		"call", "read", "read|readv", 0, 0, "read and write, or readv" \
	}

const struct factory eventfd_factories[] = {
	{
		.name = "eventfd-count",
		.help = "several add to a counter, others read it then",
		.params = {
			COMMON_PARAMS, CALL_PARAM,
			NUM_PARAM("writers", "1", 1, 100, "processes that add"),
			NUM_PARAM("readers", "1", 1, 100, "processes that read"),
			NUM_PARAM("count", "10", 1, 10000, "times each adds"),
			NUM_PARAM("value", "3", 1, 1000, "how much"),
			NUM_PARAM("reads", "1", 1, 10000, "times each reads"),
			{ "kind", "counter", "counter|semaphore", 0, 0,
			  "a read takes all, or one" },
		},
		.selftest = "count=5;writers=3;kind=semaphore readers=2 reads=4;call=readv",
		.run = run_count,
	}, {
		.name = "eventfd-pair",
		.help = "requests over one counter, replies over another",
		.params = { COMMON_PARAMS, CALL_PARAM, NUM_PARAM("rounds", "10", 1, 100000, "requests") },
		.selftest = "rounds=5;call=readv",
		.run = run_pair,
	}, {
		.name = "eventfd-wait",
		.help = "one waits until another one adds",
		.params = { COMMON_PARAMS, CALL_PARAM },
		.selftest = "",
		.run = run_wait,
	}, {
		.name = "eventfd-nonblock",
		.help = "EAGAIN of an empty counter and of a full one",
		.params = {
			COMMON_PARAMS, CALL_PARAM, NUM_PARAM("count", "3", 1, 10000, "failing calls"),
			NUM_PARAM("start", "5", 1, 1000, "what it begins with"),
		},
		.selftest = "count=2",
		.run = run_nonblock,
	},
	{ .name = NULL }
};
