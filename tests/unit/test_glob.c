/* SPDX-License-Identifier: BSD-2-Clause */
/* The patterns of --comm against those of the C library, on random patterns and names. */
#include <errno.h>
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/glob.h"

static int matches(const char *pattern, const char *text)
{
	char name[COMM_LEN] = {};
	struct glob g;

	memcpy(name, text, strnlen(text, COMM_LEN - 1));
	assert_int_equal(glob__compile(&g, pattern), 0);
	return glob_matches(&g, name);
}

static void known(void **state)
{
	(void)state;
	assert_true(matches("nginx", "nginx"));
	assert_false(matches("nginx", "nginx:"));
	assert_true(matches("ng*", "ng"));
	assert_true(matches("**x**", "nginx"));
	assert_true(matches("?[0-9]", "w7"));
	assert_false(matches("?[!0-9]", "w7"));
	assert_true(matches("[]a]", "]"));
	assert_true(matches("\\*", "*"));
	assert_false(matches("\\*", "x"));
	assert_true(matches("\xc3\xa4*", "\xc3\xa4x"));
	assert_true(matches("*", ""));
	assert_false(matches("?", ""));
}

static void bad(void **state)
{
	struct glob g;

	(void)state;
	assert_int_equal(glob__compile(&g, "[ab"), -EINVAL);
	assert_int_equal(glob__compile(&g, "aaaaaaaaaabbbbbbbbbbccccccccccdddd"), -EINVAL);
}

static void as_fnmatch(void **state)
{
	static const char pattern_of[] = "ab*?", name_of[] = "ab";
	char pattern[9], name[9];

	(void)state;
	srand(1);
	for (int round = 0; round < 200000; round++) {
		int p = rand() % 9, n = rand() % 9;

		for (int i = 0; i < p; i++)
			pattern[i] = pattern_of[rand() % 4];
		for (int i = 0; i < n; i++)
			name[i] = name_of[rand() % 2];
		pattern[p] = name[n] = 0;
		if (matches(pattern, name) != !fnmatch(pattern, name, 0))
			fail_msg("'%s' against '%s'", pattern, name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known),
		cmocka_unit_test(bad),
		cmocka_unit_test(as_fnmatch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
