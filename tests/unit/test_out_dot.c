/* SPDX-License-Identifier: BSD-2-Clause */
/* The DOT is read back with Graphviz's own parser, and drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <graphviz/cgraph.h>

#include "toy_graph.h"
#include "user/dot.h"
#include "user/escape.h"
#include "user/out.h"

static const char *attr(void *object, const char *name)
{
	const char *value = agget(object, (char *)name);

	assert_non_null(value);
	return value;
}

static Agraph_t *parse(const struct graph *g)
{
	char *dot = toy__write(g, &out_dot);
	Agraph_t *graph = agmemread(dot);

	assert_non_null(graph);
	assert_int_equal(agerrors(), 0);
	free(dot);
	return graph;
}

static void writes_a_pipeline(void **state)
{
	struct graph *g = toy__chain(3, 1234);
	Agraph_t *graph = parse(g);
	Agnode_t *ls = agnode(graph, "p1", 0), *pipe = agnode(graph, "c1", 0);
	Agedge_t *e;

	(void)state;
	assert_int_equal(agnnodes(graph), 5);
	assert_int_equal(agnedges(graph), 4);
	assert_string_equal(attr(ls, "comm"), "ls");
	assert_string_equal(attr(ls, "pid"), "1001");
	assert_string_equal(attr(ls, "shape"), "box");
	assert_string_equal(attr(pipe, "mechanism"), "pipe");
	assert_string_equal(attr(pipe, "name"), "pipe:[4711]");
	assert_string_equal(attr(pipe, "capacity"), "65536");
	assert_string_equal(attr(pipe, "shape"), "ellipse");
	e = agedge(graph, ls, pipe, NULL, 0);
	assert_non_null(e);
	assert_string_equal(attr(e, "role"), "write");
	assert_string_equal(attr(e, "bytes"), "1234");
	assert_string_equal(attr(e, "ops"), "37");
	e = agedge(graph, pipe, agnode(graph, "p2", 0), NULL, 0);
	assert_string_equal(attr(e, "role"), "read");
	assert_string_equal(attr(e, "blocked_ns"), "1234567");
	assert_string_equal(attr(graph, "host"), "toybox");
	assert_non_null(strstr(attr(graph, "label"), "layout: dot"));
	assert_non_null(strstr(attr(graph, "label"), "Nothing lost"));
	agclose(graph);
	toy__free(g);
}

static void keeps_hostile_names(void **state)
{
	struct graph *g = toy__hostile();
	Agraph_t *graph = parse(g);

	(void)state;
	assert_int_equal(agnnodes(graph), g->nr_procs + g->nr_chans);
	assert_int_equal(agnedges(graph), g->nr_edges);
	for (size_t i = 0; i < g->nr_procs; i++) {
		char *expected = escape__visible(g->procs[i]->comm, 0);
		char *got = strdup(attr(agnode(graph, g->procs[i]->id, 0), "comm"));

		escape__undot(got);
		assert_string_equal(got, expected);
		free(got);
		free(expected);
	}
	agclose(graph);
	toy__free(g);
}

static void groups_by_cgroup(void **state)
{
	struct graph *g = toy__chain(4, 10);
	Agraph_t *graph, *web;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		g->procs[i]->cgroup_path = strdup(i < 2 ? "/a.slice/web" : "/b.slice/shell");
	graph = parse(g);
	web = agsubg(graph, "cluster_0", 0);
	assert_non_null(web);
	assert_string_equal(attr(web, "label"), "/a.slice/web");
	/* Its own channel is in it, the one to the other group is not. */
	assert_non_null(agsubnode(web, agnode(graph, "c1", 0), 0));
	assert_null(agsubnode(web, agnode(graph, "c2", 0), 0));
	assert_null(agsubnode(web, agnode(graph, "p3", 0), 0));
	agclose(graph);
	toy__free(g);
}

static void wraps_long_chains(void **state)
{
	struct graph *g = toy__chain(20, 10), *brief = toy__chain(8, 10);
	char *dot = toy__write(g, &out_dot), *brief_dot = toy__write(brief, &out_dot);
	size_t wraps = 0;

	(void)state;
	for (const char *s = dot; (s = strstr(s, "constraint=false")); s++)
		wraps++;
	assert_int_equal(wraps, 3);
	assert_null(strstr(brief_dot, "constraint=false"));
	free(dot);
	free(brief_dot);
	toy__free(g);
	toy__free(brief);
}

static void draws_who_is_outside(void **state)
{
	struct graph *g = toy__chain(2, 10);
	Agraph_t *graph;
	Agedge_t *e;

	(void)state;
	g->outside = calloc(1, sizeof(*g->outside));
	strcpy(g->outside->id, "outside");
	g->outside->index = g->nr_procs;
	toy__flow(g, g->outside, g->procs[1], g->chans[0], 5);
	toy__flow(g, g->outside, g->procs[0], g->chans[0], 6);
	graph = parse(g);
	e = agedge(graph, agnode(graph, "outside", 0), agnode(graph, "c1", 0), NULL, 0);
	assert_non_null(e);
	assert_string_equal(attr(e, "bytes"), "11");
	assert_int_equal(agnedges(graph), 3);
	agclose(graph);
	toy__free(g);
}

static void says_what_was_lost(void **state)
{
	struct graph *g = toy__chain(2, 10);
	char *dot;

	(void)state;
	g->lost.causes[LOSS_NO_EDGE] = 12;
	dot = toy__write(g, &out_dot);
	assert_non_null(strstr(dot, "LOST: 12 calls"));
	assert_non_null(strstr(dot, "complete=false"));
	free(dot);
	toy__free(g);
}

static void chooses_the_layout(void **state)
{
	(void)state;
	assert_string_equal(dot__engine(0), "dot");
	assert_string_equal(dot__engine(150), "dot");
	assert_string_equal(dot__engine(151), "fdp");
	assert_string_equal(dot__engine(401), "sfdp");
}

static void draws_hostile_names(void **state)
{
	struct graph *g = toy__hostile();
	char *svg = toy__write(g, &out_svg), *again = toy__write(g, &out_svg);

	(void)state;
	assert_non_null(strstr(svg, "</svg>"));
	assert_null(strstr(svg, "<script"));
	assert_null(strchr(svg, '\x1b'));
	assert_null(strstr(svg, "href=\"javascript"));
	assert_string_equal(svg, again);
	free(svg);
	free(again);
	toy__free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_a_pipeline),    cmocka_unit_test(keeps_hostile_names),
		cmocka_unit_test(groups_by_cgroup),     cmocka_unit_test(wraps_long_chains),
		cmocka_unit_test(draws_who_is_outside), cmocka_unit_test(says_what_was_lost),
		cmocka_unit_test(chooses_the_layout),   cmocka_unit_test(draws_hostile_names),
	};

	return cmocka_run_group_tests_name("dot", tests, NULL, NULL);
}
