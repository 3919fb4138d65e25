/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/escape.h"
#include "user/human.h"
#include "user/table.h"

static void assert_visible(const char *s, size_t max, const char *expected)
{
	char *got = escape__visible(s, max);

	assert_string_equal(got, expected);
	free(got);
}

static void shows_what_is_harmful(void **state)
{
	(void)state;
	assert_visible("plain \xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80", 0,
		       "plain \xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80");
	assert_visible("\"];<script>\n\x1b[31m", 0, "\"];<script>\\n\\x1b[31m");
	assert_visible("\r\t\x7f", 0, "\\r\\t\\x7f");
	assert_visible("\xc2\x9b"
		       "31m",
		       0, "\\u009b31m");
	assert_visible("\xe2\x80\xae"
		       "gpj",
		       0, "\\u202egpj");
	assert_visible("\xe2\x81\xa6\xe2\x80\x8b\xef\xbb\xbf", 0, "\\u2066\\u200b\\ufeff");
	assert_visible("\xf3\xa0\x80\x81", 0, "\\U000e0001");
	assert_visible("\xef\xbf\xbf", 0, "\\uffff");
	assert_visible(NULL, 0, "");
}

static void shows_what_is_no_utf8(void **state)
{
	(void)state;
	assert_visible("\xff", 0, "\\xff");
	assert_visible("\xc0\x80", 0, "\\xc0\\x80"); /* overlong */
	assert_visible("\xe0\x80\xaf", 0, "\\xe0\\x80\\xaf");
	assert_visible("\xed\xa0\x80", 0, "\\xed\\xa0\\x80"); /* surrogate */
	assert_visible("\xf4\x90\x80\x80", 0, "\\xf4\\x90\\x80\\x80"); /* beyond the last */
	assert_visible("\xe2\x80", 0, "\\xe2\\x80"); /* cut */
	assert_visible("a\xc3", 0, "a\\xc3");
}

static void cuts_the_middle(void **state)
{
	(void)state;
	assert_visible("/usr/lib/x/y/z/program", 15, "/usr/l...rogram");
	assert_visible("/usr/lib/x/y/z/program", 22, "/usr/lib/x/y/z/program");
	/* Escapes are never cut in two. */
	assert_visible("abcdef\x1b\x1b\x1b\x1b\x1b\x1bxyz", 12, "abcd...xyz");
	/* Two columns each. */
	assert_visible("\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad", 9,
		       "\xe4\xb8\xad...\xe4\xb8\xad");
	for (size_t max = 1; max < 40; max++) {
		char *s = escape__visible("a\n\x1b\xff\xe4\xb8\xad\xe2\x80\xae"
					  "bcdefghijklmnop\xff",
					  max);

		assert_true(escape__columns(s) <= max);
		free(s);
	}
}

static void quotes_arguments(void **state)
{
	static const char args[] = "sh\0-c\0it's\n\0\0/a-b_c.d";
	char *s = escape__args(args, sizeof(args));

	(void)state;
	assert_string_equal(s, "sh -c 'it'\\''s\\n' '' /a-b_c.d");
	free(s);
}

typedef void (*escaper)(FILE *f, const char *s);

static void assert_escaped(escaper escape, const char *s, const char *expected)
{
	char *got;
	size_t size;
	FILE *f = open_memstream(&got, &size);

	escape(f, s);
	fclose(f);
	assert_string_equal(got, expected);
	free(got);
}

static void escapes_for_its_target(void **state)
{
	(void)state;
	assert_escaped(escape__text, "a\x1b[31m\\", "a\\x1b[31m\\");
	assert_escaped(escape__dot, "a\"b\\c\n&amp;", "a\\\"b\\\\c\\\\n&amp;");
	assert_escaped(escape__dot_label, "<&lt;>", "<&amp;lt;>");
	assert_escaped(escape__xml, "<a b='\"&\n\x01", "&lt;a b=&#39;&quot;&amp;\\n\\x01");
}

static void undoes_dot(void **state)
{
	static const char *const names[] = { "plain", "\\", "\\\"", "a\\\\\"", "\\N", "\"\"" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char *got;
		size_t size;
		FILE *f = open_memstream(&got, &size);

		escape__dot(f, names[i]);
		fclose(f);
		escape__undot(got);
		assert_string_equal(got, names[i]);
		free(got);
	}
}

static void writes_numbers_for_people(void **state)
{
	char b[HUMAN_LEN];

	(void)state;
	assert_string_equal(human__count(b, 0), "0");
	assert_string_equal(human__count(b, 999), "999");
	assert_string_equal(human__count(b, 1000), "1,000");
	assert_string_equal(human__count(b, UINT64_MAX), "18,446,744,073,709,551,615");
	assert_string_equal(human__bytes(b, 0), "0 B");
	assert_string_equal(human__bytes(b, 1023), "1023 B");
	assert_string_equal(human__bytes(b, 1024), "1.0 KiB");
	assert_string_equal(human__bytes(b, 1048575), "1.0 MiB");
	assert_string_equal(human__bytes(b, UINT64_MAX), "16 EiB");
	assert_string_equal(human__exact(b, 1234567), "1,234,567 B");
	assert_string_equal(human__exact(b, 10 << 20), "10 MiB");
	assert_string_equal(human__time(b, 0), "0 ns");
	assert_string_equal(human__time(b, 1234), "1.2 us");
	assert_string_equal(human__time(b, 999999), "1.0 ms");
	assert_string_equal(human__time(b, 999999999), "1.0 s");
	assert_string_equal(human__time(b, 125000000000), "2 min 5 s");
	assert_string_equal(human__time(b, UINT64_MAX), "5124095 h 34 min");
	assert_string_equal(human__date(b, 1763686080123456789), "2025-11-21T00:48:00.123456789Z");
	assert_string_equal(human__moment(b, 1763686080123456789), "2025-11-21 00:48:00 UTC");
	human__moment(b, UINT64_MAX);
}

static void aligns_columns(void **state)
{
	static const struct column columns[] = {
		{ .title = "NAME", .elastic = true },
		{ .title = "N", .right = true },
		{ .title = "" },
	};
	struct table *t = table__new(columns, 3);
	char *got;
	size_t size;
	FILE *f = open_memstream(&got, &size);

	(void)state;
	table__add(t, "a\n");
	table__addf(t, "%d", 1);
	table__add(t, "x");
	table__add(t, "\xe4\xb8\xad and a long name");
	table__add(t, "1,000");
	table__add(t, "");
	assert_int_equal(table__print(t, f, 23, "", ""), 0);
	fclose(f);
	assert_string_equal(got, "NAME               N  \n"
				 "a\\n                1  x\n"
				 "\xe4\xb8\xad an... name  1,000  \n");
	free(got);
	table__free(t);
	table__free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_what_is_harmful),
		cmocka_unit_test(shows_what_is_no_utf8),
		cmocka_unit_test(cuts_the_middle),
		cmocka_unit_test(quotes_arguments),
		cmocka_unit_test(escapes_for_its_target),
		cmocka_unit_test(undoes_dot),
		cmocka_unit_test(writes_numbers_for_people),
		cmocka_unit_test(aligns_columns),
	};

	return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}
