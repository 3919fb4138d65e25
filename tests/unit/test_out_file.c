/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "toy_graph.h"
#include "user/out.h"

static char dir[] = "/tmp/ipctrace-test-XXXXXX";

static size_t nr_files(void)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int go_to_empty_dir(void **state)
{
	(void)state;
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int leave_dir(void **state)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	(void)state;
	while ((e = readdir(d)))
		unlink(e->d_name);
	closedir(d);
	return chdir("/") || rmdir(dir);
}

static int write_file(const char *spec, const struct graph *g)
{
	struct out_file *of;
	int err = out_file__open(&of, spec);

	if (err)
		return err;
	err = out_file__finish(of, g);
	out_file__free(of);
	return err;
}

static void knows_formats(void **state)
{
	(void)state;
	assert_ptr_equal(out__by_filename("x.dot"), &out_dot);
	assert_ptr_equal(out__by_filename("a.b/x.gv"), &out_dot);
	assert_ptr_equal(out__by_filename("x.svg.json"), &out_json);
	assert_ptr_equal(out__by_filename("x.jsonl"), &out_jsonl);
	assert_ptr_equal(out__by_filename("x.ipct"), &out_ipct);
	assert_null(out__by_filename("x"));
	assert_null(out__by_filename("x."));
	assert_null(out__by_filename("x.do"));
	assert_null(out__by_filename("a.dot/x"));
	assert_null(out__by_filename("x.dot gv"));
	assert_non_null(strstr(out__extensions(), "dot gv svg png pdf json jsonl ipct"));
}

static void refuses_what_cannot_be(void **state)
{
	struct graph *g = toy__new();

	(void)state;
	assert_int_equal(write_file("x.xyz", g), -EINVAL);
	assert_int_equal(write_file("", g), -EINVAL);
	assert_int_equal(write_file("none/x.dot", g), -ENOENT);
	mkdir("d.dot", 0700);
	assert_int_equal(write_file("d.dot", g), -EISDIR);
	rmdir("d.dot");
	assert_int_equal(nr_files(), 0);
	toy__free(g);
}

static void replaces_at_the_end(void **state)
{
	struct graph *g = toy__chain(2, 1);
	struct out_file *of;
	struct stat st;
	FILE *f = fopen("x.json", "w");

	(void)state;
	fputs("old", f);
	fclose(f);
	chmod("x.json", 0640);
	symlink("x.json", "link.json");
	assert_int_equal(out_file__open(&of, "link.json"), 0);
	stat("x.json", &st);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(out_file__finish(of, g), 0);
	out_file__free(of);
	stat("x.json", &st);
	assert_true(st.st_size > 100);
	assert_int_equal(st.st_mode & 0777, 0640);
	lstat("link.json", &st);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(nr_files(), 2);
	toy__free(g);
}

static void leaves_nothing_when_given_up(void **state)
{
	struct rec_end end = { .h = { .type = REC_END, .len = sizeof(end) } };
	struct out_file *of;

	(void)state;
	assert_int_equal(out_file__open(&of, "x.jsonl"), 0);
	assert_int_equal(out_file__event(of, &end.h), 0);
	assert_int_equal(nr_files(), 1);
	out_file__free(of);
	assert_int_equal(nr_files(), 0);
	out_file__free(NULL);
}

static void streams_events(void **state)
{
	struct rec_end end = { .h = { .type = REC_END, .len = sizeof(end) }, .duration_ns = 7 };
	struct graph *g = toy__new();
	struct out_file *of;
	char line[128] = "";
	FILE *f;

	(void)state;
	assert_int_equal(out_file__open(&of, "x.jsonl"), 0);
	assert_int_equal(out_file__event(of, &end.h), 0);
	end.h.type = 999;
	assert_int_equal(out_file__event(of, &end.h), 0);
	assert_int_equal(out_file__finish(of, g), 0);
	out_file__free(of);
	f = fopen("x.jsonl", "r");
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "{\"type\": \"end\", \"time\": 0, \"duration_ns\": 7}\n");
	assert_null(fgets(line, sizeof(line), f));
	fclose(f);
	toy__free(g);
}

/* The disk fills up while tracing, and when it ends. */
static void survives_a_full_disk(void **state)
{
	struct rec_end end = { .h = { .type = REC_END, .len = sizeof(end) } };
	struct graph *g = toy__chain(100, 1);
	struct out_file *of;
	int err = 0;

	(void)state;
	assert_int_equal(write_file("json:/dev/full", g), -ENOSPC);
	assert_int_equal(write_file("dot:/dev/full", g), -ENOSPC);
	assert_int_equal(write_file("text:/dev/full", g), -ENOSPC);
	assert_int_equal(write_file("svg:/dev/full", g), -ENOSPC);
	assert_int_equal(out_file__open(&of, "jsonl:/dev/full"), 0);
	for (int i = 0; i < 1000 && !err; i++)
		err = out_file__event(of, &end.h);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(out_file__event(of, &end.h), 0);
	assert_int_equal(out_file__finish(of, g), -ENOSPC);
	out_file__free(of);
	assert_int_equal(nr_files(), 0);
	toy__free(g);
}

static void keeps_the_old_file_when_it_fails(void **state)
{
	const struct rlimit small = { .rlim_cur = 1000, .rlim_max = RLIM_INFINITY };
	const struct rlimit any = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	struct graph *g = toy__chain(100, 1);
	struct stat st;
	FILE *f = fopen("x.json", "w");

	(void)state;
	fputs("old", f);
	fclose(f);
	signal(SIGXFSZ, SIG_IGN);
	assert_return_code(setrlimit(RLIMIT_FSIZE, &small), errno);
	assert_int_equal(write_file("x.json", g), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &any);
	stat("x.json", &st);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(nr_files(), 1);
	toy__free(g);
}

static void summarizes(void **state)
{
	struct graph *g = toy__chain(3, 1234);
	char *text;

	(void)state;
	toy__edge(g, g->procs[0], toy__chan(g, MECH_FIFO, "/tmp/\x1b[31m"), ROLE_WRITE, 0, 0)
		->holder = true;
	text = toy__write(g, &out_text);
	assert_non_null(strstr(text, "ls[1001]    -> grep[1002]  pipe  pipe:[4711]  1,234 B"));
	assert_non_null(strstr(text, "1.2 ms in 2"));
	assert_non_null(strstr(text, "/tmp/\\x1b[31m"));
	assert_non_null(strstr(text, "never used"));
	assert_non_null(strstr(text, "Nothing lost"));
	assert_null(strchr(text, '\x1b'));
	free(text);
	toy__free(g);
}

int main(void)
{
#define TEST_IN_DIR(test) cmocka_unit_test_setup_teardown(test, go_to_empty_dir, leave_dir)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_formats),
		TEST_IN_DIR(refuses_what_cannot_be),
		TEST_IN_DIR(replaces_at_the_end),
		TEST_IN_DIR(leaves_nothing_when_given_up),
		TEST_IN_DIR(streams_events),
		TEST_IN_DIR(survives_a_full_disk),
		TEST_IN_DIR(keeps_the_old_file_when_it_fails),
		cmocka_unit_test(summarizes),
	};

	return cmocka_run_group_tests_name("out", tests, NULL, NULL);
}
