/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "toy_graph.h"
#include "user/json.h"
#include "user/out.h"

static char *text;
static size_t size;

static struct json start(int lines)
{
	struct json j;

	json__init(&j, open_memstream(&text, &size), lines);
	return j;
}

static void assert_text(struct json *j, const char *expected)
{
	fclose(j->f);
	assert_string_equal(text, expected);
	free(text);
}

static void owns_the_commas(void **state)
{
	struct json j = start(0);

	(void)state;
	json__object(&j);
	json__put_array(&j, "empty");
	json__close(&j);
	json__put_array(&j, "a");
	json__u64(&j, UINT64_MAX);
	json__i64(&j, INT64_MIN);
	json__object(&j);
	json__put_null(&j, "n");
	json__put_bool(&j, "b", true);
	json__close(&j);
	json__string(&j, NULL);
	json__close(&j);
	json__put_string(&j, "last", "x");
	json__close(&j);
	assert_text(&j, "{\"empty\": [], \"a\": [18446744073709551615, -9223372036854775808, "
			"{\"n\": null, \"b\": true}, null], \"last\": \"x\"}\n");
}

static void breaks_lines(void **state)
{
	struct json j = start(2);

	(void)state;
	json__object(&j);
	json__put_array(&j, "a");
	for (int i = 0; i < 2; i++) {
		json__object(&j);
		json__put_u64(&j, "i", i);
		json__put_u64(&j, "j", i);
		json__close(&j);
	}
	json__close(&j);
	json__put_array(&j, "none");
	json__close(&j);
	json__close(&j);
	assert_text(&j, "{\n\t\"a\": [\n\t\t{\"i\": 0, \"j\": 0},\n\t\t{\"i\": 1, \"j\": 1}\n\t],\n"
			"\t\"none\": []\n}\n");
}

static void escapes_strings(void **state)
{
	struct json j = start(0);

	(void)state;
	json__array(&j);
	json__string(&j, "\"];<script>\n\x1b[31m");
	json__string(&j, "\\\t\x7f\r&");
	json__string_n(&j, "a\0b", 3);
	json__string(&j, "\xff\xc0\x80");
	json__string(&j, "\xe2\x80\xa8\xe2\x80\xa9\xc3\xa9\xc2\x9b");
	json__close(&j);
	assert_text(
		&j,
		"[\"\\\"];\\u003cscript\\u003e\\n\\u001b[31m\", \"\\\\\\t\\u007f\\u000d\\u0026\", "
		"\"a\\u0000b\", \"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\", "
		"\"\\u2028\\u2029\xc3\xa9\\u009b\"]\n");
}

/* Read by somebody who knows JSON and not us. */
static void assert_jq(const char *json, const char *filter)
{
	int fds[2], status;
	pid_t pid;

	assert_return_code(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[0], STDIN_FILENO);
		close(fds[0]);
		close(fds[1]);
		execlp("jq", "jq", "-e", filter, NULL);
		_exit(127);
	}
	close(fds[0]);
	assert_int_equal(write(fds[1], json, strlen(json)), strlen(json));
	close(fds[1]);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void writes_the_graph(void **state)
{
	struct graph *g = toy__chain(3, 1234);
	static uint64_t errors[256];
	char *json;

	(void)state;
	errors[11] = 7;
	errors[ERR_RESTART] = 2;
	errors[0] = 1;
	g->edges[1]->errors = errors;
	g->procs[2]->flags |= PROC_DEAD;
	g->procs[2]->wait_status = 7 << 8;
	g->chans[1]->row.found_bytes = 6;
	json = toy__write(g, &out_json);
	assert_jq(json, ".ipctrace | .schema == 1 and .command == null and .filters == {} and "
			".host == \"toybox\" and .duration_ns == 520000000");
	assert_jq(json,
		  "(.processes | length) == 3 and .processes[2].exit == "
		  "{\"code\": 7, \"signal\": null} and .processes[0].exit == null and "
		  ".processes[1].parent == \"p1\" and .processes[0].cmdline == [\"ls\", \"-x\"]");
	assert_jq(json,
		  ".channels[1] | .mechanism == \"pipe\" and .left_bytes == 6 and "
		  ".found_bytes == 6 and .capacity == 65536 and has(\"rpc\") and .ends == []");
	assert_jq(json, ".edges[1] | .role == \"read\" and .process == \"p2\" and "
			".errors == {\"EAGAIN\": 7, \"ERESTARTSYS\": 2, \"other\": 1}");
	assert_jq(json,
		  ".flows[0] == {\"from\": \"p1\", \"to\": \"p2\", \"channel\": \"c1\", "
		  "\"ops\": 1, \"bytes\": 1234, \"certainty\": \"exact\", \"shared_bytes\": 0}");
	assert_jq(json, ".lost | .complete and .events == 0 and .edges == 0 and .seen == 1234");
	free(json);
	toy__free(g);
}

static void writes_nothing_as_well(void **state)
{
	struct graph *g = toy__new();
	char *json = toy__write(g, &out_json);

	(void)state;
	assert_jq(json, "[.processes, .channels, .edges, .flows] == [[], [], [], []]");
	free(json);
	toy__free(g);
}

static void keeps_hostile_names(void **state)
{
	struct graph *g = toy__hostile();
	char *json = toy__write(g, &out_json), *again = toy__write(g, &out_json);

	(void)state;
	assert_null(strchr(json, '<'));
	assert_null(strchr(json, '\x1b'));
	assert_string_equal(json, again);
	assert_jq(json, ".processes[0].comm == \"\\\"];<script>\\n\\u001b[31m\" and "
			".processes[2].comm == \"\\\\\\\"\" and "
			".ipctrace.filters.comm == [\"\\\"];<script>\\n\\u001b[31m\"]");
	free(json);
	free(again);
	toy__free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owns_the_commas),        cmocka_unit_test(breaks_lines),
		cmocka_unit_test(escapes_strings),        cmocka_unit_test(writes_the_graph),
		cmocka_unit_test(writes_nothing_as_well), cmocka_unit_test(keeps_hostile_names),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
