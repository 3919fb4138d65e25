/* SPDX-License-Identifier: BSD-2-Clause */
/* Names, relations, classes, order. Records are given as text, see rectext.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "user/graph.h"
#include "user/map.h"
#include "user/rectext.h"

static struct graph *graph_of(const char *const *lines)
{
	static union {
		struct rec_hdr hdr;
		char bytes[RECTEXT_MAX];
	} rec;
	struct graph *g = graph__new();
	const char *where;

	for (; *lines; lines++) {
		if (rectext__parse(*lines, &rec.hdr, &where))
			fail_msg("%s: %s", *lines, where);
		assert_int_equal(graph__handle(g, &rec.hdr), 0);
	}
	assert_int_equal(graph__finish(g), 0);
	return g;
}

#define GRAPH(...) graph_of((const char *const[]){ __VA_ARGS__, NULL })

static void check_exe(const char *exe, const char *expected)
{
	char line[1024];
	struct graph *g;

	snprintf(line, sizeof(line), "proc id=1 flags=root %s", exe);
	g = GRAPH(line);
	assert_string_equal(g->procs[0]->exe, expected);
	graph__free(g);
}

static void test_paths(void **state)
{
	(void)state;
	check_exe("exe=\"cat\\0bin\\0usr\\0\"", "/usr/bin/cat");
	check_exe("exe=\"cat\\0bin\\0/\\0\"", "/bin/cat");
	check_exe("exe=\"/usr/bin/cat\"", "/usr/bin/cat");
	check_exe("exe=\"/usr/bin/cat\\0\"", "/usr/bin/cat");
	check_exe("exe=\"/\\0\"", "/");
	check_exe("", "");
	check_exe("flags=root+cut exe=\"cat\\0bin\\0us\"", "\xe2\x80\xa6/bin/cat");
	check_exe("flags=root+cut exe=\"/usr/bin/c\"", "/usr/bin/c\xe2\x80\xa6");
	check_exe("exe=\"\\0\\0\\0\"", "/");
}

static void test_cut_args(void **state)
{
	struct graph *g;
	char line[400] = "proc id=1 flags=root+cut exe=\"a\\0b\\0\" args=\"ls\\0";
	size_t n = strlen(line);

	(void)state;
	memset(line + n, 'x', 253);
	strcpy(line + n + 253, "\"");
	g = GRAPH(line);
	assert_string_equal(g->procs[0]->exe, "/b/a");
	assert_string_equal(g->procs[0]->args, "ls");
	assert_int_equal(g->procs[0]->args_len, ARGS_LEN + 4);
	assert_memory_equal(g->procs[0]->args + ARGS_LEN, "\xe2\x80\xa6", 4);
	graph__free(g);
}

#define ENDS(a, b)                                                                                 \
	"chan id=50 mech=pipe ino=7 first=1", "edge proc=" #a " chan=50 role=write ops=1 bytes=1", \
		"edge proc=" #b " chan=50 role=read ops=1 bytes=1"

static void check_relation(struct graph *g, const char *expected)
{
	assert_int_equal(g->nr_chans, 1);
	assert_string_equal(g->chans[0]->relation, expected);
	graph__free(g);
}

static void test_relations(void **state)
{
	(void)state;
	check_relation(GRAPH("proc id=1", "proc id=2 parent=1", ENDS(1, 2)), "parent-child");
	check_relation(GRAPH("proc id=1", "proc id=2 parent=1", ENDS(2, 1)), "parent-child");
	check_relation(GRAPH("proc id=2 parent=1", "proc id=3 parent=1", ENDS(2, 3)), "siblings");
	check_relation(GRAPH("proc id=1", "proc id=2 parent=1", "proc id=3 parent=2", ENDS(1, 3)),
		       "ancestor");
	check_relation(GRAPH("proc id=1", "proc id=2", ENDS(1, 2)), "unrelated");
	check_relation(GRAPH("proc id=1", ENDS(1, 1)), "same-process");
	/* At the edge of what is watched there are only pids. */
	check_relation(GRAPH("proc id=1 pid=5 ppid=4", "proc id=2 pid=6 ppid=4", ENDS(1, 2)),
		       "siblings");
	check_relation(GRAPH("proc id=1 pid=5 ppid=1", "proc id=2 pid=6 ppid=1", ENDS(1, 2)),
		       "unrelated");
	check_relation(GRAPH("proc id=1 pid=5 ppid=4", "proc id=2 pid=6 ppid=5", ENDS(1, 2)),
		       "parent-child");
	check_relation(GRAPH("proc id=1", "proc id=2 parent=1", "proc id=3", ENDS(1, 2),
			     "edge proc=3 chan=50 role=read ops=1"),
		       "mixed");
	/* The fork is known before the rows, and an ancestor may have no row at all. */
	check_relation(
		GRAPH("life what=fork proc=2 other=1", "life what=fork proc=3 other=2", ENDS(1, 3)),
		"ancestor");
	/* A loop of parents, which only a damaged recording has. */
	check_relation(
		GRAPH("proc id=1 parent=2", "proc id=2 parent=3", "proc id=3 parent=2", ENDS(1, 9)),
		"unrelated");
}

static void test_kept(void **state)
{
	struct graph *g = GRAPH("proc id=1", "proc id=2 parent=1", "proc id=3 parent=2",
				"proc id=4 parent=1", "chan id=60 mech=pipe", ENDS(3, 3));

	(void)state;
	/* Ancestors are needed, who has no part in anything is not; nor are unused channels. */
	assert_int_equal(g->nr_procs, 3);
	assert_ptr_equal(g->procs[2]->parent, g->procs[1]);
	assert_ptr_equal(g->procs[1]->parent, g->procs[0]);
	assert_int_equal(g->nr_chans, 1);
	graph__free(g);
}

static void test_holders(void **state)
{
	struct graph *g =
		GRAPH("holder chan=50 proc=1 modes=write+read", "holder chan=50 proc=2 modes=read",
		      "edge proc=2 chan=50 role=read errors=EAGAIN:1",
		      "chan id=50 mech=fifo name=\"f\\0tmp\\0\"");

	(void)state;
	assert_int_equal(g->nr_edges, 3);
	assert_true(g->edges[0]->holder);
	assert_true(g->edges[1]->holder);
	assert_false(g->edges[2]->holder);
	assert_int_equal(g->edges[2]->errors[11], 1);
	assert_int_equal(g->edges[0]->errors[11], 0);
	assert_string_equal(g->chans[0]->name, "/tmp/f");
	assert_string_equal(g->chans[0]->direction, "unused");
	assert_int_equal(g->nr_flows, 0);
	assert_null(g->outside);
	graph__free(g);
}

/* Counters of threads add up; rows are replaced. */
static void test_sums(void **state)
{
	struct graph *g =
		GRAPH("proc id=1 comm=\"old\"",
		      "edge proc=1 chan=9 role=write ops=1 bytes=2 "
		      "blocked=1 blocked-ns=5 max-blocked-ns=5 first=10 last=20",
		      "edge proc=1 chan=9 role=write ops=3 bytes=4 blocked=1 blocked-ns=3 "
		      "max-blocked-ns=3 first=5 last=15 blocked-since=15 errors=EPIPE:1",
		      "proc id=1 comm=\"new\"", "chan id=9 mech=pipe ino=3");
	const struct gedge *e = g->edges[0];

	(void)state;
	assert_int_equal(g->nr_edges, 1);
	assert_int_equal(e->ops, 4);
	assert_int_equal(e->bytes, 6);
	assert_int_equal(e->blocked_ns, 8);
	assert_int_equal(e->max_blocked_ns, 5);
	assert_int_equal(e->blocked_now, 1);
	assert_int_equal(e->first_ns, 5);
	assert_int_equal(e->last_ns, 20);
	assert_int_equal(e->errors[32], 1);
	assert_string_equal(g->procs[0]->comm, "new");
	assert_string_equal(g->chans[0]->name, "pipe:[3]");
	graph__free(g);
}

static void test_order(void **state)
{
	struct graph *g =
		GRAPH("proc id=5 start=30", "proc id=6 start=10 pid=9", "proc id=7 start=10 pid=8",
		      "chan id=20 mech=pipe first=5 ino=2", "chan id=21 mech=pipe first=5 ino=1",
		      "edge proc=5 chan=20 role=write ops=1", "edge proc=6 chan=20 role=read ops=1",
		      "edge proc=7 chan=21 role=read ops=1");

	(void)state;
	assert_int_equal(g->procs[0]->key, 7);
	assert_int_equal(g->procs[1]->key, 6);
	assert_int_equal(g->procs[2]->key, 5);
	assert_string_equal(g->procs[2]->id, "p3");
	assert_int_equal(g->chans[0]->key, 21);
	assert_string_equal(g->chans[0]->id, "c1");
	assert_int_equal(g->edges[0]->proc->key, 7);
	graph__free(g);
}

static void test_complete(void **state)
{
	struct graph *g = GRAPH("lost seen=5 delivered=4 unfinished=1");

	(void)state;
	assert_true(graph__complete(g));
	graph__free(g);
	g = GRAPH("lost seen=6 delivered=4 unfinished=1");
	assert_false(graph__complete(g));
	graph__free(g);
	g = GRAPH("lost ring-op=1");
	assert_false(graph__complete(g));
	graph__free(g);
	g = GRAPH("end duration=5");
	assert_false(graph__complete(g));
	assert_int_equal(g->meta.duration_ns, 5);
	assert_string_equal(g->meta.host, "");
	graph__free(g);
}

static void test_map(void **state)
{
	static char values[5000];
	struct map m = { 0 };

	(void)state;
	assert_null(map__get(&m, 1, 1));
	map__del(&m, 1, 1);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(map__put(&m, i, i % 7, &values[i]), 0);
	for (int i = 0; i < 5000; i += 3)
		map__del(&m, i, i % 7);
	for (int i = 0; i < 5000; i++)
		assert_ptr_equal(map__get(&m, i, i % 7), i % 3 ? &values[i] : NULL);
	assert_int_equal(m.used, 5000 - 1667);
	map__free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),     cmocka_unit_test(test_cut_args),
		cmocka_unit_test(test_relations), cmocka_unit_test(test_kept),
		cmocka_unit_test(test_holders),   cmocka_unit_test(test_sums),
		cmocka_unit_test(test_order),     cmocka_unit_test(test_complete),
		cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
