/* SPDX-License-Identifier: BSD-2-Clause */
/* What features__can_trace() says where tracing cannot work: one line, the right one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/features.h"

static void cannot(const char *needle)
{
	char why[256] = "";

	assert_false(features__can_trace(why, sizeof(why)));
	assert_null(strchr(why, '\n'));
	assert_int_equal(strncmp(why, "cannot trace: ", 14), 0);
	if (!strstr(why, needle))
		fail_msg("'%s' is not in '%s'", needle, why);
}

static void need_root(void)
{
	char why[256];

	if (geteuid() || !features__can_trace(why, sizeof(why)))
		skip();
}

static void test_no_btf(void **state)
{
	(void)state;
	need_root();
	setenv("IPCTRACE_BTF", "/nonexistent", 1);
	cannot("no kernel types (/nonexistent)");
	unsetenv("IPCTRACE_BTF");
}

static void lockdown(const char *line, const char *needle)
{
	char path[] = "/tmp/ipctrace-test-XXXXXX", why[256];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	close(fd);
	setenv("IPCTRACE_LOCKDOWN", path, 1);
	if (needle)
		cannot(needle);
	else
		assert_true(features__can_trace(why, sizeof(why)));
	unsetenv("IPCTRACE_LOCKDOWN");
	unlink(path);
}

static void test_lockdown(void **state)
{
	(void)state;
	need_root();
	lockdown("none integrity [confidentiality]\n", "locked down (confidentiality)");
	lockdown("none [integrity] confidentiality\n", NULL);
	lockdown("[none] integrity confidentiality\n", NULL);
	lockdown("", NULL);
	lockdown("[confidentiality", NULL);
}

/* Last: what it gives up does not come back. */
static void test_not_root(void **state)
{
	(void)state;
	if (!geteuid())
		assert_int_equal(seteuid(65534), 0);
	cannot("must be root");
	/* The first thing to be mended is named first. */
	setenv("IPCTRACE_BTF", "/nonexistent", 1);
	cannot("must be root");
	unsetenv("IPCTRACE_BTF");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_btf),
		cmocka_unit_test(test_lockdown),
		cmocka_unit_test(test_not_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
