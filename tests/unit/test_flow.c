/* SPDX-License-Identifier: BSD-2-Clause */
/* What the graph says of who gave whom how much holds against what really happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim.h"

static void handle(void *ctx, const struct rec_hdr *rec)
{
	assert_int_equal(graph__handle(ctx, rec), 0);
}

static const struct gflow *find(const struct graph *g, uint32_t from, uint32_t to, uint32_t chan)
{
	for (size_t i = 0; i < g->nr_flows; i++) {
		const struct gflow *f = g->flows[i];

		if (f->from->key == from && f->to->key == to && f->chan->key == chan)
			return f;
	}
	return NULL;
}

static uint64_t edge_bytes(const struct graph *g, uint32_t proc, uint32_t chan, enum role role)
{
	for (size_t i = 0; i < g->nr_edges; i++) {
		const struct gedge *e = g->edges[i];

		if (e->proc->key == proc && e->chan->key == chan && e->role == role)
			return e->bytes;
	}
	return 0;
}

/* Each flow is a lower bound, and with what is shared an upper one. */
static void check_bounds(const struct sim *s, const struct graph *g)
{
	for (int c = 0; c < s->o.chans; c++)
		for (int from = 0; from <= SIM_PROCS; from++)
			for (int to = 0; to < s->o.procs; to++) {
				uint32_t key = from == SIM_OUTSIDE ? PROC_OUTSIDE : s->ids[from];
				const struct gflow *f =
					key ? find(g, key, s->ids[to], s->chans[c].row.id) : NULL;
				uint64_t truth = s->given[c][from][to];

				if (truth)
					assert_non_null(f);
				if (f) {
					assert_true(f->bytes <= truth);
					assert_true(f->bytes + f->shared_bytes >= truth);
				}
			}
}

/* Nobody gets more than it read, or gives more than it wrote. */
static void check_conservation(const struct graph *g)
{
	for (size_t i = 0; i < g->nr_edges; i++) {
		const struct gedge *e = g->edges[i];
		uint64_t sum = 0, most = 0;

		for (size_t j = 0; j < g->nr_flows; j++) {
			const struct gflow *f = g->flows[j];

			if (f->chan != e->chan ||
			    (e->role == ROLE_WRITE ? f->from : f->to) != e->proc)
				continue;
			sum += f->bytes;
			if (f->shared_bytes > most)
				most = f->shared_bytes;
		}
		assert_true(sum + most <= e->bytes);
		/* Everything that was read came from somewhere. */
		if (e->role == ROLE_READ && !most)
			assert_int_equal(sum, e->bytes);
	}
}

static void run(struct sim_opts o)
{
	static struct sim s;

	for (o.seed = 1; o.seed <= 200; o.seed++) {
		struct graph *g = graph__new();

		memset(&s, 0, sizeof(s));
		s.o = o;
		s.emit = handle;
		s.ctx = g;
		sim__run(&s);
		assert_int_equal(graph__finish(g), 0);
		check_bounds(&s, g);
		check_conservation(g);
		if (!o.shared)
			for (size_t i = 0; i < g->nr_flows; i++)
				assert_int_equal(g->flows[i]->shared_bytes, 0);
		graph__free(g);
	}
}

static void test_one_to_one(void **state)
{
	(void)state;
	run((struct sim_opts){ .procs = 4, .chans = 4, .steps = 100, .writers = 1, .readers = 1 });
}

static void test_found(void **state)
{
	(void)state;
	run((struct sim_opts){
		.procs = 4, .chans = 4, .steps = 100, .writers = 1, .readers = 1, .found = true });
}

static void test_ledger(void **state)
{
	(void)state;
	run((struct sim_opts){ .procs = 8, .chans = 3, .steps = 300 });
}

static void test_shared(void **state)
{
	(void)state;
	run((struct sim_opts){ .procs = 6, .chans = 3, .steps = 200, .shared = 30 });
	run((struct sim_opts){
		.procs = 6, .chans = 3, .steps = 100, .shared = 30, .readers = 1, .drain = true });
	run((struct sim_opts){ .procs = 6, .chans = 3, .steps = 40, .shared = 100, .writers = 2 });
}

/* With several readers and bytes that were found there, the bounds still hold. */
static void test_found_by_many(void **state)
{
	(void)state;
	run((struct sim_opts){
		.procs = 6, .chans = 3, .steps = 100, .writers = 1, .shared = 1, .found = true });
	run((struct sim_opts){ .procs = 6, .chans = 3, .steps = 200, .shared = 20, .found = true });
}

static void test_drained_by_one(void **state)
{
	static struct sim s;

	(void)state;
	for (uint32_t seed = 1; seed <= 100; seed++) {
		struct graph *g = graph__new();

		memset(&s, 0, sizeof(s));
		s.o = (struct sim_opts){ .seed = seed,
					 .procs = 6,
					 .chans = 2,
					 .steps = 100,
					 .writers = 4,
					 .readers = 1,
					 .shared = 100,
					 .drain = true };
		s.emit = handle;
		s.ctx = g;
		sim__run(&s);
		assert_int_equal(graph__finish(g), 0);
		for (size_t i = 0; i < g->nr_flows; i++) {
			const struct gflow *f = g->flows[i];

			assert_int_equal(f->certainty, CERTAIN_EXACT);
			assert_int_equal(f->bytes,
					 edge_bytes(g, f->from->key, f->chan->key, ROLE_WRITE));
		}
		graph__free(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_to_one),    cmocka_unit_test(test_found),
		cmocka_unit_test(test_ledger),        cmocka_unit_test(test_shared),
		cmocka_unit_test(test_found_by_many), cmocka_unit_test(test_drained_by_one),
	};

	return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
