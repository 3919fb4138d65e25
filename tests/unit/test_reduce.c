/* SPDX-License-Identifier: BSD-2-Clause */
/* What is drawn is less, and sums up to the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim.h"
#include "user/reduce.h"
#include "user/rectext.h"

static const struct reduce_opts defaults = REDUCE_DEFAULTS;

static void add(struct graph *g, const char *fmt, ...)
{
	static union {
		struct rec_hdr hdr;
		char bytes[RECTEXT_MAX];
	} rec;
	char line[512];
	const char *where;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (rectext__parse(line, &rec.hdr, &where))
		fail_msg("%s: %s", line, where);
	assert_int_equal(graph__handle(g, &rec.hdr), 0);
}

static void handle(void *g, const struct rec_hdr *rec)
{
	assert_int_equal(graph__handle(g, rec), 0);
}

struct sums {
	uint64_t ops, bytes, errors, flow_bytes, shared, procs, chans, chan_bytes;
};

static struct sums sum(const struct graph *g)
{
	struct sums s = { 0 };

	for (size_t i = 0; i < g->nr_edges; i++) {
		s.ops += g->edges[i]->ops;
		s.bytes += g->edges[i]->bytes;
		for (int j = 0; j < 256; j++)
			s.errors += g->edges[i]->errors[j];
		assert_ptr_equal(g->procs[g->edges[i]->proc->index], g->edges[i]->proc);
		assert_ptr_equal(g->chans[g->edges[i]->chan->index], g->edges[i]->chan);
	}
	for (size_t i = 0; i < g->nr_flows; i++) {
		s.flow_bytes += g->flows[i]->bytes;
		s.shared += g->flows[i]->shared_bytes;
	}
	for (size_t i = 0; i < g->nr_procs; i++)
		s.procs += g->procs[i]->count;
	for (size_t i = 0; i < g->nr_chans; i++)
		s.chans += g->chans[i]->count;
	return s;
}

static void check_sums(const struct graph *g, const struct graph *r)
{
	struct sums a = sum(g), b = sum(r);

	assert_memory_equal(&a, &b, sizeof(a));
}

static void test_small_stays(void **state)
{
	static struct sim s;
	struct graph *g = graph__new(), *r;

	(void)state;
	memset(&s, 0, sizeof(s));
	s.o = (struct sim_opts){ .seed = 3, .procs = 8, .chans = 3, .steps = 100, .shared = 20 };
	s.emit = handle;
	s.ctx = g;
	sim__run(&s);
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &defaults);
	check_sums(g, r);
	assert_int_equal(r->nr_procs, g->nr_procs);
	assert_int_equal(r->nr_edges, g->nr_edges);
	assert_int_equal(r->nr_flows, g->nr_flows);
	for (size_t i = 0; i < g->nr_chans; i++)
		assert_string_equal(r->chans[i]->name, g->chans[i]->name);
	reduce__free(r);
	graph__free(g);
}

/* A master, workers with a pipe each, and one that is not like them. */
static void test_workers(void **state)
{
	struct graph *g = graph__new(), *r;

	(void)state;
	add(g, "proc id=1 start=1 comm=\"master\"");
	for (int i = 0; i < 100; i++) {
		add(g, "proc id=%d start=%d comm=\"worker\" parent=1", 10 + i, 10 + i);
		add(g, "chan id=%d mech=pipe first=%d ino=%d", 1000 + i, i + 1, i);
		add(g, "edge proc=1 chan=%d role=write ops=1 bytes=100", 1000 + i);
		add(g, "edge proc=%d chan=%d role=read ops=1 bytes=100 errors=EAGAIN:2", 10 + i,
		    1000 + i);
	}
	add(g, "proc id=5 start=5 comm=\"log\"");
	add(g, "chan id=2000 mech=pipe first=500 ino=9");
	add(g, "edge proc=1 chan=2000 role=write ops=1 bytes=1000");
	add(g, "edge proc=5 chan=2000 role=read ops=1 bytes=900");
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &defaults);
	check_sums(g, r);
	assert_int_equal(r->nr_procs, 3);
	assert_int_equal(r->nr_chans, 2);
	assert_int_equal(r->nr_edges, 4);
	assert_int_equal(r->nr_flows, 2);
	assert_string_equal(r->procs[2]->comm, "worker");
	assert_int_equal(r->procs[2]->count, 100);
	assert_int_equal(r->chans[0]->count, 100);
	assert_string_equal(r->chans[0]->name, "pipe");
	assert_string_equal(r->chans[1]->name, "pipe:[9]");
	assert_non_null(strstr(r->meta.notes[0], "5 of 203 nodes"));
	assert_null(strstr(r->meta.notes[0], "other"));
	reduce__free(r);
	graph__free(g);
}

/* All unlike: the heaviest stay, the others become one. */
static void test_others(void **state)
{
	struct graph *g = graph__new(), *r;

	(void)state;
	for (int i = 0; i < 200; i++) {
		add(g, "proc id=%d start=%d comm=\"w%d\"", 10 + i, 10 + i, i);
		add(g, "proc id=%d start=%d comm=\"r%d\"", 1010 + i, 10 + i, i);
		add(g, "chan id=%d mech=%s first=%d ino=%d", 10000 + i, i % 2 ? "pipe" : "fifo",
		    i + 1, i);
		add(g, "edge proc=%d chan=%d role=write ops=1 bytes=%d", 10 + i, 10000 + i,
		    i * i * i);
		add(g, "edge proc=%d chan=%d role=read ops=1 bytes=%d", 1010 + i, 10000 + i,
		    i * i * i);
	}
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &defaults);
	check_sums(g, r);
	assert_true(r->nr_procs + r->nr_chans <= 80 + 3);
	assert_true(r->nr_procs + r->nr_chans >= 60);
	reduce__free(r);
	graph__free(g);
}

static void test_random(void **state)
{
	static struct sim s;

	(void)state;
	for (uint32_t seed = 1; seed <= 100; seed++) {
		struct reduce_opts opts = { .max_nodes = seed % 12,
					    .node_fraction = .02,
					    .edge_fraction = .01 };
		struct graph *g = graph__new(), *r;

		memset(&s, 0, sizeof(s));
		s.o = (struct sim_opts){ .seed = seed,
					 .procs = 12,
					 .chans = 5,
					 .steps = 400,
					 .writers = 4,
					 .readers = 3,
					 .shared = seed % 3 * 10,
					 .found = true,
					 .deaths = true };
		s.emit = handle;
		s.ctx = g;
		sim__run(&s);
		assert_int_equal(graph__finish(g), 0);
		r = reduce__for_drawing(g, &opts);
		check_sums(g, r);
		assert_true(r->nr_procs + r->nr_chans <= opts.max_nodes + 2);
		reduce__free(r);
		graph__free(g);
	}
}

static void test_empty(void **state)
{
	struct graph *g = graph__new(), *r;

	(void)state;
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &defaults);
	assert_non_null(r);
	assert_int_equal(r->nr_procs, 0);
	reduce__free(r);
	reduce__free(NULL);
	graph__free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_stays), cmocka_unit_test(test_workers),
		cmocka_unit_test(test_others),      cmocka_unit_test(test_random),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests_name("reduce", tests, NULL, NULL);
}
