/* SPDX-License-Identifier: BSD-2-Clause */
/* Recordings, whole and damaged, and their text form. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim.h"
#include "user/recfile.h"
#include "user/rectext.h"

static char path[] = "/tmp/ipctrace-test-XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void write_rec(void *f, const struct rec_hdr *rec)
{
	assert_int_equal(recfile__write(f, rec), 0);
}

/* Something of most types. Returns how long it is. */
static long write_sample(void)
{
	static struct sim s;
	struct rec_end end = { .h = { .type = REC_END, .len = sizeof(end) } };
	FILE *f = fopen(path, "w");
	long len;

	memset(&s, 0, sizeof(s));
	s.o = (struct sim_opts){ .seed = 1, .procs = 3, .chans = 2, .steps = 20, .shared = 20 };
	s.emit = write_rec;
	s.ctx = f;
	assert_int_equal(recfile__write_header(f), 0);
	sim__run(&s);
	write_rec(f, &end.h);
	len = ftell(f);
	fclose(f);
	return len;
}

/* Returns how many records came; problem: a part of what must be said, NULL for nothing. */
static size_t count(const char *problem)
{
	struct recfile *rf = recfile__open(path);
	struct graph *g = graph__new();
	const struct rec_hdr *rec;
	size_t n = 0;

	assert_non_null(rf);
	while ((rec = recfile__next(rf))) {
		assert_true(rec->len >= sizeof(*rec));
		graph__handle(g, rec);
		n++;
	}
	assert_int_equal(graph__finish(g), 0);
	if (!problem)
		assert_null(recfile__problem(rf));
	else if (!recfile__problem(rf) || !strstr(recfile__problem(rf), problem))
		fail_msg("%s, not %s", recfile__problem(rf), problem);
	graph__free(g);
	recfile__free(rf);
	return n;
}

static void patch(long at, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "r+");

	fseek(f, at, SEEK_SET);
	fwrite(bytes, len, 1, f);
	fclose(f);
}

static void test_whole(void **state)
{
	(void)state;
	write_sample();
	assert_true(count(NULL) > 20);
}

/* Cut anywhere, all whole records before the cut are there. */
static void test_cut(void **state)
{
	long len = write_sample();
	size_t all = count(NULL), last = all;

	(void)state;
	for (long at = len - 1; at >= 0; at -= 1 + at % 61) {
		size_t n;

		assert_int_equal(truncate(path, at), 0);
		n = count(at ? "" : "is empty");
		assert_true(n <= last);
		last = n;
	}
	assert_int_equal(last, 0);
}

static void test_header(void **state)
{
	__u32 version = 7, len = 3;
	size_t all;

	(void)state;
	write_sample();
	all = count(NULL);
	patch(8, &version, 4);
	assert_int_equal(count("newer"), all);
	patch(12, &len, 4);
	assert_int_equal(count("damaged header"), 0);
	patch(0, "ipct\n\n", 6); /* what a text-mode copy does */
	assert_int_equal(count("not a recording"), 0);
}

static void test_wrong_len(void **state)
{
	const __u16 bad[] = { 0, 1, 15, 17 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_sample();
		patch(sizeof(struct recfile_hdr) + 2, &bad[i], 2);
		assert_int_equal(count("is damaged at byte 16"), 0);
	}
}

static void test_goes_on(void **state)
{
	size_t all;
	FILE *f;

	(void)state;
	write_sample();
	all = count(NULL);
	f = fopen(path, "a");
	fwrite("0123456789abcdef0123456789abcdef", 32, 1, f);
	fclose(f);
	assert_int_equal(count(""), all);
}

/* No bytes at all make it crash. */
static void test_noise(void **state)
{
	long len = write_sample();

	(void)state;
	srand(1);
	for (int i = 0; i < 300; i++) {
		write_sample();
		for (int j = 0; j < 10; j++) {
			char c = rand();

			patch(16 + rand() % (len - 16), &c, 1);
		}
		struct recfile *rf = recfile__open(path);
		struct graph *g = graph__new();
		const struct rec_hdr *rec;

		graph__set_fold_limit(g, 2);
		while ((rec = recfile__next(rf)))
			graph__handle(g, rec);
		assert_int_equal(graph__finish(g), 0);
		graph__free(g);
		recfile__free(rf);
	}
}

/* A recording of format 1 before its rows grew. */
static void test_older(void **state)
{
	struct rec_chan chan = { .h = { REC_CHAN, offsetof(struct rec_chan, row.ends), 0, 0 } };
	struct rec_end end = { .h = { REC_END, sizeof(end), 0, 0 } };
	const struct rec_hdr *rec;
	struct recfile *rf;
	FILE *f = fopen(path, "w");

	(void)state;
	chan.row.id = 7;
	memset(chan.row.ends, 0xff, sizeof(chan.row.ends)); /* not written */
	recfile__write_header(f);
	recfile__write(f, &chan.h);
	recfile__write(f, &end.h);
	fclose(f);
	rf = recfile__open(path);
	rec = recfile__next(rf);
	assert_non_null(rec);
	assert_int_equal(rec->len, sizeof(chan));
	assert_int_equal(((const struct rec_chan *)rec)->row.id, 7);
	assert_int_equal(((const struct rec_chan *)rec)->row.ends[1].ino, 0);
	rec = recfile__next(rf);
	assert_int_equal(rec->type, REC_END);
	assert_null(recfile__problem(rf));
	recfile__free(rf);
}

static void test_not_there(void **state)
{
	struct recfile *rf = recfile__open("/nonexistent/x.ipct");

	(void)state;
	assert_false(recfile__usable(rf));
	assert_null(recfile__next(rf));
	assert_non_null(strstr(recfile__problem(rf), "cannot be opened"));
	recfile__free(rf);
	rf = recfile__open("/");
	assert_false(recfile__usable(rf));
	assert_non_null(strstr(recfile__problem(rf), "cannot be read"));
	recfile__free(rf);
}

static void check_text(const struct rec_hdr *rec, const char *expected)
{
	static union {
		struct rec_hdr hdr;
		char bytes[RECTEXT_MAX];
	} back;
	const char *where;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	rectext__print(f, rec);
	fclose(f);
	if (expected)
		assert_string_equal(text, expected);
	for (size_t i = 0; i + 1 < len; i++)
		assert_in_range(text[i], ' ', '~');
	assert_int_equal(rectext__parse(text, &back.hdr, &where), 0);
	assert_int_equal(back.hdr.len, rec->len);
	assert_memory_equal(&back, rec, rec->len);
	free(text);
}

static void test_text(void **state)
{
	struct rec_edge edge = {
		.h = { REC_EDGE, sizeof(edge), 1, 5 },
		.row = { .proc = 1,
			 .chan = 2,
			 .role = ROLE_WRITE,
			 .err_no = { EAGAIN, ERR_RESTART },
			 .errs = { 3, 4 },
			 .ops = ~0ull },
	};
	struct rec_flow flow = {
		.h = { REC_FLOW, sizeof(flow), 0, 0 },
		.key = { .chan = 1, .from = PROC_SHARED, .to = PROC_OUTSIDE },
	};
	struct rec_op op = { .h = { REC_OP, sizeof(op), 0, 0 }, .ret = -11, .role = 12 };
	struct {
		struct rec_hdr h;
		char more[256];
	} odd = { .h = { 999, sizeof(odd), 0, 0 } };

	(void)state;
	check_text(&edge.h, "edge time=5 cpu=1 proc=1 chan=2 role=write ops=18446744073709551615 "
			    "errors=EAGAIN:3,255:4\n");
	check_text(&flow.h, "flow chan=1 from=shared to=outside\n");
	check_text(&op.h, "op role=12 ret=-11\n");
	for (int i = 0; i < 256; i++)
		odd.more[i] = i;
	check_text(&odd.h, NULL);
	odd.h.type = REC_END;
	check_text(&odd.h, NULL);
}

static void test_bad_text(void **state)
{
	static const char *const lines[] = {
		"",
		"nothing",
		"edge proc",
		"edge proc=",
		"edge proc=x",
		"edge nothing=1",
		"edge role=maybe",
		"edge errors=EWHAT:1",
		"edge errors=1:1,2:2,3:3,4:4",
		"chan mech=carrier-pigeon",
		"proc comm=x",
		"proc comm=\"",
		"proc comm=\"\\",
		"proc comm=\"\\x",
		"proc comm=\"\\xg0\"",
		"proc comm=\"12345678901234567\"",
		"proc id=1,",
		"proc id=99999999999999999999",
		"type65536",
		"type",
		"proc flags=dead+",
	};
	static union {
		struct rec_hdr hdr;
		char bytes[RECTEXT_MAX];
	} rec;
	const char *where;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		int err = rectext__parse(lines[i], &rec.hdr, &where);

		if (err != -EINVAL)
			fail_msg("taken: %s", lines[i]);
		assert_in_range(where - lines[i], 0, strlen(lines[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),   cmocka_unit_test(test_cut),
		cmocka_unit_test(test_header),  cmocka_unit_test(test_wrong_len),
		cmocka_unit_test(test_goes_on), cmocka_unit_test(test_noise),
		cmocka_unit_test(test_older),   cmocka_unit_test(test_not_there),
		cmocka_unit_test(test_text),    cmocka_unit_test(test_bad_text),
	};

	return cmocka_run_group_tests_name("recfile", tests, setup, teardown);
}
