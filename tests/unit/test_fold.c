/* SPDX-License-Identifier: BSD-2-Clause */
/* Folding bounds the memory, and no sum changes by it. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim.h"

struct pair {
	struct graph *whole, *folded;
};

static void handle(void *ctx, const struct rec_hdr *rec)
{
	struct pair *p = ctx;

	assert_int_equal(graph__handle(p->whole, rec), 0);
	assert_int_equal(graph__handle(p->folded, rec), 0);
}

struct sums {
	uint64_t ops[ROLE_MAX], bytes[ROLE_MAX], flow_bytes, flow_ops, outside, procs;
};

static struct sums sum(const struct graph *g)
{
	struct sums s = { 0 };

	for (size_t i = 0; i < g->nr_edges; i++) {
		s.ops[g->edges[i]->role] += g->edges[i]->ops;
		s.bytes[g->edges[i]->role] += g->edges[i]->bytes;
	}
	for (size_t i = 0; i < g->nr_flows; i++) {
		s.flow_bytes += g->flows[i]->bytes;
		s.flow_ops += g->flows[i]->ops;
		if (g->flows[i]->from == g->outside)
			s.outside += g->flows[i]->bytes;
	}
	for (size_t i = 0; i < g->nr_procs; i++)
		s.procs += g->procs[i]->count;
	return s;
}

static void compare(const struct graph *whole, const struct graph *folded, bool shared)
{
	struct sums a = sum(whole), b = sum(folded);

	for (int role = 0; role < ROLE_MAX; role++) {
		assert_int_equal(a.ops[role], b.ops[role]);
		assert_int_equal(a.bytes[role], b.bytes[role]);
	}
	assert_int_equal(a.procs, b.procs);
	/* What is open between two of the same group is not open for the group. */
	assert_true(b.flow_bytes >= a.flow_bytes);
	assert_true(b.flow_bytes <= b.bytes[ROLE_READ]);
	if (shared)
		return;
	assert_int_equal(a.flow_bytes, b.flow_bytes);
	assert_int_equal(a.outside, b.outside);
}

static void run(struct sim_opts o, size_t limit)
{
	static struct sim s;

	for (o.seed = 1; o.seed <= 100; o.seed++) {
		struct pair p = { graph__new(), graph__new() };

		graph__set_fold_limit(p.folded, limit);
		memset(&s, 0, sizeof(s));
		s.o = o;
		s.o.deaths = true;
		s.emit = handle;
		s.ctx = &p;
		sim__run(&s);
		assert_int_equal(graph__finish(p.whole), 0);
		assert_int_equal(graph__finish(p.folded), 0);
		compare(p.whole, p.folded, o.shared);
		assert_true(p.folded->nr_procs <= 3 + 5 * limit + 4 + o.procs);
		graph__free(p.whole);
		graph__free(p.folded);
	}
}

static void test_sums(void **state)
{
	(void)state;
	run((struct sim_opts){ .procs = 8, .chans = 4, .steps = 600, .writers = 1, .readers = 1 },
	    4);
	run((struct sim_opts){ .procs = 8, .chans = 4, .steps = 600 }, 4);
	run((struct sim_opts){ .procs = 8, .chans = 4, .steps = 600 }, 1);
}

static void test_sums_shared(void **state)
{
	(void)state;
	run((struct sim_opts){ .procs = 8, .chans = 4, .steps = 600, .shared = 30 }, 4);
}

static void add(struct graph *g, void *rec, enum rec_type type, size_t len)
{
	struct rec_hdr *h = rec;

	h->type = type;
	h->len = len;
	assert_int_equal(graph__handle(g, h), 0);
}

/* A pipe of its own and one that all have, as in a shell loop that writes to a log. */
static void one_process(struct graph *g, uint32_t i)
{
	struct rec_proc proc = { .row = {
					 .id = 10 + i * 2, .parent = 1, .pid = i, .start_ns = i } };
	struct rec_chan chan = { .row = { .id = 11 + i * 2, .first_ns = i } };
	struct rec_edge edge = {
		.row = { .proc = 10 + i * 2, .chan = 11 + i * 2, .ops = 1, .bytes = 10 }
	};
	struct rec_life life = { .what = LIFE_FORK, .proc = 10 + i * 2, .other = 1 };

	snprintf(proc.row.comm, COMM_LEN, "echo");
	proc.row.exe_len = 10;
	memcpy(proc.row.exe, "/bin/echo", 10);
	proc.row.args_len = ARGS_LEN;
	memset(proc.row.args, 'x', ARGS_LEN);
	chan.row.key.mech = MECH_PIPE;
	add(g, &life, REC_LIFE, sizeof(life));
	add(g, &chan, REC_CHAN, sizeof(chan));
	add(g, &edge, REC_EDGE, sizeof(edge));
	edge.row.role = ROLE_READ;
	add(g, &edge, REC_EDGE, sizeof(edge));
	edge.row.role = ROLE_WRITE;
	edge.row.chan = 2;
	add(g, &edge, REC_EDGE, sizeof(edge));
	edge.row.proc = 1;
	edge.row.role = ROLE_READ;
	add(g, &edge, REC_EDGE, sizeof(edge));
	proc.row.flags = PROC_DEAD;
	add(g, &proc, REC_PROC, sizeof(proc));
	chan.row.flags = CHAN_GONE;
	add(g, &chan, REC_CHAN, sizeof(chan));
}

static size_t allocated(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void test_flat(void **state)
{
	struct graph *g = graph__new();
	size_t before = 0;
	struct sums s;

	(void)state;
	graph__set_fold_limit(g, 1000);
	for (uint32_t i = 0; i < 100000; i++) {
		if (i == 10000)
			before = allocated();
		one_process(g, i);
	}
	/* A few bytes per process that was stay: see fold.c. */
	assert_true(allocated() < before + 100000 * 32);
	assert_int_equal(graph__finish(g), 0);
	s = sum(g);
	assert_int_equal(s.bytes[ROLE_WRITE], 2000000);
	assert_int_equal(s.bytes[ROLE_READ], 2000000);
	assert_int_equal(s.flow_bytes, 2000000);
	assert_int_equal(s.procs, 100001);
	assert_true(g->nr_procs < 6010);
	graph__free(g);
}

/* Without edges they leave no trace, and cost nothing. */
static void test_idle(void **state)
{
	struct graph *g = graph__new();
	size_t before = 0;

	(void)state;
	graph__set_fold_limit(g, 1000);
	for (uint32_t i = 0; i < 100000; i++) {
		struct rec_proc proc = { .row = { .id = 10 + i, .flags = PROC_DEAD } };

		if (i == 10000)
			before = allocated();
		add(g, &proc, REC_PROC, sizeof(proc));
	}
	assert_true(allocated() < before + 100000 * 16);
	assert_int_equal(graph__finish(g), 0);
	assert_int_equal(g->nr_procs, 0);
	graph__free(g);
}

/* Records that come late find the group; a parent that left still makes relatives. */
static void test_late(void **state)
{
	struct graph *g = graph__new();
	struct sums s;

	(void)state;
	graph__set_fold_limit(g, 10);
	for (uint32_t i = 0; i < 100; i++)
		one_process(g, i);
	one_process(g, 3);
	assert_int_equal(graph__finish(g), 0);
	s = sum(g);
	assert_int_equal(s.bytes[ROLE_WRITE], 2020);
	assert_int_equal(s.procs, 101);
	assert_true(s.flow_bytes <= 2020);
	for (size_t i = 0; i < g->nr_chans; i++)
		if (g->chans[i]->key == 2)
			assert_string_equal(g->chans[i]->relation, "parent-child");
	graph__free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums), cmocka_unit_test(test_sums_shared),
		cmocka_unit_test(test_flat), cmocka_unit_test(test_idle),
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
