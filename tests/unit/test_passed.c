/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that were passed: who got them from whom, also when those have been folded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../user/graph.h"

#define PAIRS 200
#define SECOND 1000000000ull

static uint64_t now = 1;

static void add(struct graph *g, void *rec, enum rec_type type, size_t len)
{
	struct rec_hdr *h = rec;

	h->type = type;
	h->len = len;
	h->time = now++;
	assert_int_equal(graph__handle(g, h), 0);
}

static void proc(struct graph *g, uint32_t id, uint32_t flags)
{
	struct rec_proc rec = { .row = { .id = id, .pid = id, .start_ns = id, .flags = flags } };

	strcpy(rec.row.comm, id % 2 ? "giver" : "taker");
	add(g, &rec, REC_PROC, sizeof(rec));
}

static void chan(struct graph *g, uint32_t id, enum mech mech, uint32_t flags)
{
	struct rec_chan rec = { .row = { .id = id, .first_ns = id, .flags = flags } };

	rec.row.key.mech = mech;
	rec.row.key.ino = id;
	add(g, &rec, REC_CHAN, sizeof(rec));
}

static void edge(struct graph *g, uint32_t who, uint32_t over, enum role role, uint64_t ops)
{
	struct rec_edge rec = {
		.row = { .proc = who, .chan = over, .role = role, .ops = ops, .end = role % 2 }
	};

	add(g, &rec, REC_EDGE, sizeof(rec));
}

/* what: channel, or 0 for a file with that inode. */
static void pass(struct graph *g, uint32_t who, uint32_t over, enum role role, uint32_t what,
		 uint64_t ino, uint64_t ops)
{
	struct rec_pass rec = {
		.key = { .over = over,
			 .proc = who,
			 .role = role,
			 .end = role % 2,
			 .kind = what ? PASSED_PIPE : PASSED_FILE,
			 .modes = 1 << ROLE_WRITE,
			 .what = what,
			 .ino = ino },
		.val = { .ops = ops },
	};

	add(g, &rec, REC_PASS, sizeof(rec));
}

struct sums {
	uint64_t given, taken, flows, shared;
};

static struct sums sum(const struct graph *g)
{
	struct sums s = { 0 };

	for (size_t i = 0; i < g->nr_edges; i++) {
		const struct gedge *e = g->edges[i];

		s.given += e->role == ROLE_PASS_FD ? passes__total(&e->passes) : 0;
		s.taken += e->role == ROLE_TAKE_FD ? passes__total(&e->passes) : 0;
	}
	for (size_t i = 0; i < g->nr_flows; i++) {
		s.flows += passes__total(&g->flows[i]->passes);
		s.shared += g->flows[i]->shared_fds;
	}
	return s;
}

/* Ids: processes 2i+1 and 2i+2, channels 1000+2i (unix), 1001+2i (pipe). */
static void pair(struct graph *g, uint32_t i)
{
	const uint32_t giver = 2 * i + 1, taker = 2 * i + 2, over = 1000 + 2 * i, pipe = over + 1;

	proc(g, giver, 0);
	proc(g, taker, 0);
	chan(g, over, MECH_UNIX, CHAN_TWO_ENDS);
	chan(g, pipe, MECH_PIPE, 0);
	edge(g, giver, over, ROLE_WRITE, 1);
	edge(g, taker, over, ROLE_READ, 1);
	edge(g, giver, over, ROLE_PASS_FD, 3);
	edge(g, taker, over, ROLE_TAKE_FD, 3);
	pass(g, giver, over, ROLE_PASS_FD, pipe, pipe, 1);
	pass(g, taker, over, ROLE_TAKE_FD, pipe, pipe, 1);
	pass(g, giver, over, ROLE_PASS_FD, 0, 7, 2);
	pass(g, taker, over, ROLE_TAKE_FD, 0, 7, 2);
	proc(g, giver, PROC_DEAD);
	now += SECOND;
	chan(g, over, MECH_UNIX, CHAN_TWO_ENDS | CHAN_GONE);
	chan(g, pipe, MECH_PIPE, CHAN_GONE);
	proc(g, taker, PROC_DEAD);
	now += SECOND;
}

static struct sums run(size_t limit)
{
	struct graph *g = graph__new();
	struct sums s;

	graph__set_fold_limit(g, limit);
	for (uint32_t i = 0; i < PAIRS; i++)
		pair(g, i);
	assert_int_equal(graph__finish(g), 0);
	if (limit < PAIRS)
		assert_true(g->nr_procs < PAIRS);
	s = sum(g);
	graph__free(g);
	return s;
}

static void test_fold(void **state)
{
	static const size_t limits[] = { SIZE_MAX, 50, 5, 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		const struct sums s = run(limits[i]);

		assert_int_equal(s.given, 3 * PAIRS);
		assert_int_equal(s.taken, 3 * PAIRS);
		assert_int_equal(s.flows, 3 * PAIRS);
		assert_int_equal(s.shared, 0);
	}
}

/* Of one file from two: open, unless all of it has come. */
static void test_several(void **state)
{
	(void)state;
	for (int taken = 1; taken <= 2; taken++) {
		struct graph *g = graph__new();
		struct sums s;

		for (uint32_t id = 1; id <= 3; id++)
			proc(g, id, 0);
		chan(g, 1000, MECH_UNIX, CHAN_TWO_ENDS);
		edge(g, 1, 1000, ROLE_PASS_FD, 1);
		edge(g, 3, 1000, ROLE_PASS_FD, 1);
		edge(g, 2, 1000, ROLE_TAKE_FD, taken);
		pass(g, 1, 1000, ROLE_PASS_FD, 0, 7, 1);
		pass(g, 3, 1000, ROLE_PASS_FD, 0, 7, 1);
		pass(g, 2, 1000, ROLE_TAKE_FD, 0, 7, taken);
		assert_int_equal(graph__finish(g), 0);
		s = sum(g);
		assert_int_equal(s.flows, taken == 2 ? 2 : 0);
		assert_int_equal(s.shared, taken == 2 ? 0 : 2);
		graph__free(g);
	}
}

/* More kinds than are told apart: how many there were stays known. */
static void test_many(void **state)
{
	struct graph *g = graph__new();
	struct sums s;

	(void)state;
	proc(g, 1, 0);
	proc(g, 2, 0);
	chan(g, 1000, MECH_UNIX, CHAN_TWO_ENDS);
	edge(g, 1, 1000, ROLE_PASS_FD, 5000);
	edge(g, 2, 1000, ROLE_TAKE_FD, 5000);
	for (uint32_t i = 0; i < 5000; i++) {
		pass(g, 1, 1000, ROLE_PASS_FD, 0, 10000 - i, 1);
		pass(g, 2, 1000, ROLE_TAKE_FD, 0, 5001 + i, 1);
	}
	assert_int_equal(graph__finish(g), 0);
	s = sum(g);
	assert_int_equal(s.given, 5000);
	assert_int_equal(s.taken, 5000);
	assert_int_equal(s.flows, 5000);
	assert_true(g->edges[0]->passes.nr < 5000);
	graph__free(g);
}

/* Who takes a channel has it. */
static void test_holder(void **state)
{
	struct graph *g = graph__new();

	(void)state;
	proc(g, 1, 0);
	proc(g, 2, 0);
	chan(g, 1000, MECH_UNIX, CHAN_TWO_ENDS);
	chan(g, 1001, MECH_PIPE, 0);
	edge(g, 2, 1000, ROLE_TAKE_FD, 1);
	pass(g, 2, 1000, ROLE_TAKE_FD, 1001, 1001, 1);
	assert_int_equal(graph__finish(g), 0);
	assert_int_equal(g->nr_edges, 2);
	assert_int_equal(g->edges[1]->role, ROLE_WRITE);
	assert_true(g->edges[1]->holder);
	assert_ptr_equal(g->edges[0]->passes.at[0].file->chan, g->edges[1]->chan);
	graph__free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fold),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_holder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
