/* SPDX-License-Identifier: BSD-2-Clause */
/* Pipes with several writers or readers, and pipes in large numbers. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"
#include "record.h"

#define MAX_SIDE 500

/* What each process of the many is given. */
struct side {
	struct end *p;
	int index;
	int first_writer; /* slot of writer 0; the others follow */
};

static void close_both(struct end p[2])
{
	end__close(&p[0]);
	end__close(&p[1]);
}

/* ---- many writers, one reader ---- */

static void record_writer(void *arg)
{
	struct side *s = arg;

	end__close(&s->p[0]);
	records__write(&s->p[1], s->index, arg_num("records"), arg_num("record"));
}

static void run_many_writers(void)
{
	uint32_t writers = arg_num("writers");
	struct end p[2];
	struct side s = { .p = p };
	struct sums sums = { .writers = writers, .ordered = true };

	pipe__open("c0", p, 0);
	for (s.index = 0; s.index < (int)writers; s.index++)
		proc__spawnf(record_writer, &s, "w%d", s.index);
	end__close(&p[1]);
	records__read(&p[0], &sums, arg_num("record"));
	for (uint32_t i = 0; i < writers; i++)
		die_if(sums.records[i] != arg_num("records"), "writer %u: %llu records", i,
		       (unsigned long long)sums.records[i]);
}

/* ---- one writer, many readers ---- */

static void record_reader(void *arg)
{
	struct side *s = arg;
	struct sums sums = { .writers = 1, .ordered = true };

	end__close(&s->p[1]);
	records__read(&s->p[0], &sums, arg_num("record"));
	__atomic_fetch_add(turn__word(2), sums.records[0], __ATOMIC_SEQ_CST);
}

static void run_many_readers(void)
{
	struct end p[2];
	struct side s = { .p = p };

	pipe__open("c0", p, 0);
	for (s.index = 0; s.index < (int)arg_num("readers"); s.index++)
		proc__spawnf(record_reader, &s, "r%d", s.index);
	end__close(&p[0]);
	records__write(&p[1], 0, arg_num("records"), arg_num("record"));
	end__close(&p[1]);
	procs__join();
	die_if(*turn__word(2) != arg_num("records"), "%u records arrived", *turn__word(2));
}

/* ---- many writers, many readers: in free order, the records tell the flows ---- */

static void free_reader(void *arg)
{
	struct side *s = arg;
	struct sums sums = { .writers = arg_num("writers"), .ordered = true };

	end__close(&s->p[1]);
	records__read(&s->p[0], &sums, arg_num("record"));
	for (uint32_t i = 0; i < sums.writers; i++)
		if (sums.records[i])
			flow__add(s->first_writer + i, self, s->p[0].chan,
				  sums.records[i] * arg_num("record"),
				  sums.writers > 1 && arg_num("readers") > 1);
}

static void run_free(struct end p[2])
{
	struct side s = { .p = p, .first_writer = arena->nr_procs };

	for (s.index = 0; s.index < (int)arg_num("writers"); s.index++)
		proc__spawnf(record_writer, &s, "w%d", s.index);
	for (s.index = 0; s.index < (int)arg_num("readers"); s.index++)
		proc__spawnf(free_reader, &s, "r%d", s.index);
	close_both(p);
}

/*
 * In turns: writer i puts step * (i + 1) bytes in, one after another; then reader after reader
 * takes its share until it is empty; with cross=1 the reads go over the borders between writers.
 */
static size_t turn_size(int writer)
{
	return arg_num("step") * (writer + 1);
}

static size_t read_size(uint32_t nth)
{
	if (!arg_num("cross"))
		return nth < arg_num("writers") ? turn_size(nth) : 1;
	return arg_num("step") * (1 + (nth + 1) % 3);
}

static uint32_t reads_per_round(void)
{
	size_t total = 0, taken = 0;
	uint32_t n = 0;

	for (uint64_t i = 0; i < arg_num("writers"); i++)
		total += turn_size(i);
	for (; taken < total; n++)
		taken += read_size(n);
	return n;
}

static void turn_writer(void *arg)
{
	struct side *s = arg;
	size_t size = turn_size(s->index);
	uint32_t turns = arg_num("writers") + reads_per_round();
	char *buf = xmalloc(size);

	end__close(&s->p[0]);
	memset(buf, s->index, size);
	for (uint32_t round = 0; round < arg_num("rounds"); round++) {
		turn__await(0, round * turns + s->index);
		exact__write(&s->p[1], buf, size);
		end__mark_fill(&s->p[1]);
		turn__pass(0);
	}
	edge__set_blocked(self, s->p[1].chan, ROLE_WRITE, 0, 0);
	free(buf);
}

static void turn_read(struct side *s, uint32_t nth, uint64_t from[256])
{
	size_t want = read_size(nth);
	unsigned char *buf = xmalloc(want);
	ssize_t got = x_read(&s->p[0], buf, want);

	die_if(got <= 0, "read: %s", got ? strerror(errno) : "end of file");
	for (ssize_t i = 0; i < got; i++)
		from[buf[i]]++;
	free(buf);
}

static void turn_reader(void *arg)
{
	struct side *s = arg;
	uint32_t writers = arg_num("writers"), readers = arg_num("readers"), n = reads_per_round();
	uint64_t from[256] = { 0 };

	end__close(&s->p[1]);
	for (uint32_t round = 0; round < arg_num("rounds"); round++) {
		for (uint32_t nth = s->index; nth < n; nth += readers) {
			turn__await(0, round * (writers + n) + writers + nth);
			turn_read(s, nth, from);
			turn__pass(0);
		}
	}
	for (uint32_t i = 0; i < writers; i++)
		if (from[i])
			flow__add(s->first_writer + i, self, s->p[0].chan, from[i], false);
	edge__set_blocked(self, s->p[0].chan, ROLE_READ, 0, 0);
}

static void run_turns(struct end p[2])
{
	struct side s = { .p = p, .first_writer = arena->nr_procs };
	uint64_t writers = arg_num("writers");

	/* Every writer's bytes begin a page of their own at worst. */
	die_if(writers > 200, "order=turns has at most 200 writers");
	for (uint64_t i = 0, pages = 0; i < writers; i++) {
		pages += turn_size(i) / 4096 + 1;
		die_if(pages > 16, "order=turns: one round does not fit into the pipe");
	}
	for (s.index = 0; s.index < (int)writers; s.index++)
		proc__spawnf(turn_writer, &s, "w%d", s.index);
	for (s.index = 0; s.index < (int)arg_num("readers"); s.index++)
		proc__spawnf(turn_reader, &s, "r%d", s.index);
	close_both(p);
}

static void run_many_many(void)
{
	struct end p[2];

	pipe__open("c0", p, 0);
	if (arg_is("order", "free"))
		run_free(p);
	else
		run_turns(p);
}

/* ---- threads ---- */

struct thread {
	pthread_t id;
	struct end *e;
	int index;
};

static void *write_thread(void *arg)
{
	struct thread *t = arg;

	records__write(t->e, t->index, arg_num("records"), arg_num("record"));
	return NULL;
}

static void *read_thread(void *arg)
{
	struct thread *t = arg;
	struct sums sums = { .writers = arg_num("writers"), .ordered = true };
	uint64_t n = 0;

	records__read(t->e, &sums, arg_num("record"));
	for (uint32_t i = 0; i < sums.writers; i++)
		n += sums.records[i];
	__atomic_fetch_add(turn__word(2), n, __ATOMIC_SEQ_CST);
	return NULL;
}

static void run_threads_of(struct end *e, int n, void *(*fn)(void *))
{
	struct thread *t = xmalloc(n * sizeof(*t));

	for (int i = 0; i < n; i++) {
		t[i].e = e;
		t[i].index = i;
		die_if(pthread_create(&t[i].id, NULL, fn, &t[i]), "pthread_create");
	}
	for (int i = 0; i < n; i++)
		pthread_join(t[i].id, NULL);
	free(t);
}

static void thread_writer(void *arg)
{
	struct end *p = arg;

	end__close(&p[0]);
	run_threads_of(&p[1], arg_num("writers"), write_thread);
}

static void thread_reader(void *arg)
{
	struct end *p = arg;

	end__close(&p[1]);
	run_threads_of(&p[0], arg_num("readers"), read_thread);
	die_if(*turn__word(2) != arg_num("writers") * arg_num("records"), "%u records arrived",
	       *turn__word(2));
}

static void run_threads(void)
{
	struct end p[2];

	pipe__open("c0", p, 0);
	proc__spawn("w0", thread_writer, p);
	proc__spawn("r0", thread_reader, p);
	close_both(p);
}

/* ---- load ---- */

static void ops_writer(void *arg)
{
	struct end *p = arg;
	uint64_t count = arg_num("count");
	size_t size = arg_num("size");
	char buf[PIPE_BUF];

	end__close(&p[0]);
	pattern__fill(buf, size, 1, 0);
	for (uint64_t i = 0; i < count; i++) {
		buf[0] = i;
		exact__write(&p[1], buf, size);
	}
}

static void ops_reader(void *arg)
{
	struct end *p = arg;
	size_t size = arg_num("size");
	char buf[PIPE_BUF];
	uint64_t n = 0;
	ssize_t got;

	end__close(&p[1]);
	for (; (got = x_read(&p[0], buf, size)) > 0; n++)
		die_if(got != (ssize_t)size || buf[0] != (char)n, "payload differs");
	die_if(got < 0 || n != arg_num("count"), "read %llu times", (unsigned long long)n);
}

static void run_ops(void)
{
	struct end p[2];

	pipe__open("c0", p, 0);
	proc__spawn("w0", ops_writer, p);
	proc__spawn("r0", ops_reader, p);
	close_both(p);
}

/* The children of the churn have no slots: only their sums are facts. */
static pid_t churn_child(const char *name, void (*fn)(void *), struct end p[2])
{
	pid_t pid = fork();

	die_if(pid < 0, "fork: %s", strerror(errno));
	if (!pid) {
		proc__enter_unlisted(name);
		fn(p);
		_exit(0);
	}
	arena->total_procs++;
	return pid;
}

static void churn_reap(uint64_t running)
{
	int status;

	for (; running; running--) {
		die_if(waitpid(-1, &status, 0) < 0, "waitpid: %s", strerror(errno));
		die_if(status, "a process ended with wait status %#x", status);
	}
}

static void run_churn(void)
{
	uint64_t n = arg_num("n"), jobs = arg_num("jobs"), running = 0;

	arena->totals_only = 1;
	arena->total_procs = 1;
	for (uint64_t i = 0; i < n; i++) {
		struct end p[2];

		if (running == 2 * jobs) {
			churn_reap(2);
			running -= 2;
		}
		pipe__open("", p, 0);
		churn_child("w", ops_writer, p);
		churn_child("r", ops_reader, p);
		close_both(p);
		running += 2;
	}
	churn_reap(running);
	die_if(arena->totals[ROLE_READ].bytes != n * arg_num("count") * arg_num("size"),
	       "read too little");
}

#define WRITERS_PARAM NUM_PARAM("writers", "3", 1, MAX_SIDE, "processes that write")
#define READERS_PARAM NUM_PARAM("readers", "3", 1, MAX_SIDE, "processes that read")
#define RECORD_PARAMS                                                      \
	NUM_PARAM("records", "200", 1, 1 << 30, "records of each writer"), \
		NUM_PARAM("record", "4096", 16, PIPE_BUF, "bytes of a record")
#define SIZE_PARAM NUM_PARAM("size", "1", 1, PIPE_BUF, "bytes of each write and read")

const struct factory pipe_many_factories[] = {
	{
		.name = "pipe-many-writers",
		.help = "several children write tagged records, the parent reads them",
		.params = { COMMON_PARAMS, WRITERS_PARAM, RECORD_PARAMS },
		.selftest = "records=50;writers=20 records=10 record=100;writers=1",
		.run = run_many_writers,
	}, {
		.name = "pipe-many-readers",
		.help = "the parent writes records, several children read one at a time",
		.params = { COMMON_PARAMS, READERS_PARAM, RECORD_PARAMS },
		.selftest = "records=50;readers=20 record=16",
		.run = run_many_readers,
	}, {
		.name = "pipe-many-many",
		.help = "several writers and readers, in turns or all at once; true flows known",
		.params = {
			COMMON_PARAMS, WRITERS_PARAM, READERS_PARAM, RECORD_PARAMS,
			{ "order", "turns", "turns|free", 0, 0,
			  "turns: exact flows; free: shared ones" },
			NUM_PARAM("rounds", "3", 1, 1 << 20,
				  "turns: times that each writer writes"),
			NUM_PARAM("cross", "1", 0, 1,
				  "turns: 0: each read takes just one write's bytes"),
			NUM_PARAM("step", "10", 1, 4096,
				  "turns: writer i writes step * (i + 1) bytes"),
		},
		.selftest = "writers=2 readers=2 cross=0;;writers=5 readers=4 step=100 rounds=5;"
			    "order=free records=50;order=free writers=8 readers=5 record=100",
		.run = run_many_many,
	}, {
		.name = "pipe-threads",
		.help = "several threads of one process write, several of another read",
		.params = {
			COMMON_PARAMS, RECORD_PARAMS,
			NUM_PARAM("writers", "3", 1, MAX_SIDE, "threads that write"),
			NUM_PARAM("readers", "3", 1, MAX_SIDE, "threads that read"),
		},
		.selftest = "records=50;writers=10 readers=1;writers=1 readers=10",
		.run = run_threads,
	}, {
		.name = "pipe-ops",
		.help = "count writes and count reads between two processes as fast as they can",
		.params = {
			COMMON_PARAMS, SIZE_PARAM,
			NUM_PARAM("count", "100000", 0, 1ULL << 40, "writes"),
		},
		.selftest = "count=20000;count=100 size=4096",
		.run = run_ops,
	}, {
		.name = "pipe-churn",
		.help = "n short-lived pairs, each with a pipe of its own; only totals are facts",
		.params = {
			COMMON_PARAMS, SIZE_PARAM,
			NUM_PARAM("n", "1000", 1, 1ULL << 32, "pairs of processes"),
			NUM_PARAM("jobs", "4", 1, 1000, "pairs at a time"),
			NUM_PARAM("count", "1", 0, 1ULL << 32, "writes of each writer"),
		},
		.selftest = "n=50;n=20 jobs=1 count=10 size=100",
		.run = run_churn,
	},
	{ .name = NULL }
};
