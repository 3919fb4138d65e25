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

/* All of one program, and no two alike in whom they talk to: better one of many than an "other". */
static void test_coarse(void **state)
{
	const struct reduce_opts opts = { .merge_above = 40, .max_nodes = 20 };
	struct graph *g = graph__new(), *r;

	(void)state;
	for (int i = 0; i < 100; i++)
		add(g, "proc id=%d start=%d comm=\"peer\"", 10 + i, 10 + i);
	for (int i = 0; i < 99; i++) {
		add(g, "chan id=%d mech=pipe first=%d ino=%d", 1000 + i, i + 1, i);
		add(g, "edge proc=%d chan=%d role=write ops=1 bytes=100", 10 + i, 1000 + i);
		add(g, "edge proc=%d chan=%d role=read ops=1 bytes=100", 11 + i, 1000 + i);
	}
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &opts);
	check_sums(g, r);
	assert_int_equal(r->nr_procs, 1);
	assert_string_equal(r->procs[0]->comm, "peer");
	assert_int_equal(r->procs[0]->count, 100);
	assert_int_equal(r->nr_chans, 1);
	reduce__free(r);
	graph__free(g);
}

/* The same, but all were begun by the first one: that is not one of many. */
static void test_master(void **state)
{
	const struct reduce_opts opts = { .merge_above = 40, .max_nodes = 20 };
	struct graph *g = graph__new(), *r;

	(void)state;
	add(g, "proc id=10 start=10 comm=\"peer\"");
	for (int i = 1; i < 100; i++)
		add(g, "proc id=%d start=%d comm=\"peer\" parent=10", 10 + i, 10 + i);
	for (int i = 1; i < 100; i++) {
		add(g, "chan id=%d mech=pipe first=%d ino=%d", 1000 + i, i, i);
		add(g, "edge proc=10 chan=%d role=write ops=1 bytes=%d", 1000 + i, i);
		add(g, "edge proc=%d chan=%d role=read ops=1 bytes=%d", 10 + i, 1000 + i, i);
		add(g, "edge proc=%d chan=%d role=read ops=0 bytes=0", 10 + i / 2, 1000 + i);
	}
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &opts);
	check_sums(g, r);
	assert_int_equal(r->nr_procs, 2);
	assert_int_equal(r->procs[0]->count, 1);
	assert_int_equal(r->procs[1]->count, 99);
	reduce__free(r);
	graph__free(g);
}

/* Among much that moves bytes, the only page and the only signal are not "other". */
static void test_kinds(void **state)
{
	struct graph *g = graph__new(), *r;
	bool memory = false, signal = false;

	(void)state;
	for (int i = 0; i < 100; i++) {
		add(g, "proc id=%d start=%d comm=\"w%d\"", 10 + i, 10 + i, i);
		add(g, "chan id=%d mech=pipe first=%d ino=%d", 1000 + i, i + 1, i);
		add(g, "edge proc=%d chan=%d role=write ops=1 bytes=1000000", 10 + i, 1000 + i);
	}
	add(g, "chan id=2000 mech=mmap first=200 ino=1");
	add(g, "edge proc=10 chan=2000 role=write ops=0 pages=1");
	add(g, "chan id=2001 mech=signal first=201 dev=10 ino=10 gen=4711");
	add(g, "edge proc=11 chan=2001 role=send-signal ops=1");
	assert_int_equal(graph__finish(g), 0);
	r = reduce__for_drawing(g, &defaults);
	check_sums(g, r);
	for (size_t i = 0; i < r->nr_chans; i++) {
		memory |= !strcmp(r->chans[i]->name, "mmap:[1]");
		signal |= !strcmp(r->chans[i]->name, "SIGUSR1 to 4711");
	}
	assert_true(memory && signal);
	reduce__free(r);
	graph__free(g);
}

/* Two children that end, one of which also writes; more: a third that sends another's SIGCHLD. */
static struct graph *family(bool more, const char *filter)
{
	struct graph *g = graph__new();

	if (filter)
		add(g, "meta text=\"filter\\0%s\\0\"", filter);
	add(g, "proc id=1 start=1 comm=\"sh\" flags=root");
	add(g, "proc id=2 start=2 comm=\"true\" parent=1");
	add(g, "proc id=3 start=3 comm=\"echo\" parent=1");
	add(g, "chan id=10 mech=signal first=4 dev=17 ino=1 gen=100");
	add(g, "chan id=11 mech=pipe first=5 ino=7");
	add(g, "edge proc=1 chan=10 role=receive-signal ops=2");
	add(g, "edge proc=2 chan=10 role=send-signal ops=1");
	add(g, "edge proc=3 chan=10 role=send-signal ops=1");
	add(g, "edge proc=3 chan=11 role=write ops=1 bytes=5");
	if (more) {
		add(g, "proc id=4 start=4 comm=\"kill\" parent=2");
		add(g, "edge proc=4 chan=10 role=send-signal ops=1");
	}
	assert_int_equal(graph__finish(g), 0);
	return g;
}

static void check_family(struct graph *g, size_t procs, size_t chans)
{
	struct graph *r = reduce__for_drawing(g, &defaults);

	assert_int_equal(r->nr_procs, procs);
	assert_int_equal(r->nr_chans, chans);
	assert_int_equal(!!r->meta.notes[0], chans == 1);
	if (chans == 1)
		assert_non_null(strstr(r->meta.notes[0], "SIGCHLD of children, 2 in all"));
	reduce__free(r);
	graph__free(g);
}

static void test_quiet(void **state)
{
	(void)state;
	check_family(family(false, NULL), 2, 1);
	check_family(family(true, NULL), 4, 2);
	check_family(family(false, "mechanism=pipe"), 2, 1);
	check_family(family(false, "mechanism=pipe,signal"), 3, 2);
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
		cmocka_unit_test(test_coarse),      cmocka_unit_test(test_master),
		cmocka_unit_test(test_kinds),       cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests_name("reduce", tests, NULL, NULL);
}
