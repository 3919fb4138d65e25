// SPDX-License-Identifier: BSD-2-Clause
/* Which of the kernel's types keep their names, in the copy for CO-RE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../user/ktypes.h"

static struct btf *kernel;

/* Read, as the kernel's are, and not made here. */
static int make_kernel(void **state)
{
	struct btf *made = btf__new_empty();
	const void *raw;
	uint32_t size;

	(void)state;
	assert_int_equal(btf__add_struct(made, "sock", 16), 1);
	assert_int_equal(btf__add_struct(made, "socket", 8), 2);
	assert_int_equal(btf__add_union(made, "file", 8), 3);
	assert_int_equal(btf__add_typedef(made, "u8_like", 1), 4);
	assert_int_equal(btf__add_enum(made, "file_type", 4), 5);
	assert_int_equal(btf__add_const(made, 7), 6);
	assert_int_equal(btf__add_struct(made, "of_a_constant", 8), 7);
	assert_int_equal(btf__add_struct(made, "in_between", 8), 8);
	assert_int_equal(btf__add_struct(made, "at_the_end", 8), 9);
	assert_int_equal(btf__add_field(made, "field", 2, 0, 0), 0);
	raw = btf__raw_data(made, &size);
	kernel = btf__new(raw, size);
	assert_non_null(kernel);
	btf__free(made);
	return 0;
}

static int free_kernel(void **state)
{
	(void)state;
	btf__free(kernel);
	return 0;
}

static const char *name_of(const struct btf *btf, uint32_t id)
{
	return btf__name_by_offset(btf, btf__type_by_id(btf, id)->name_off);
}

/* What the objects with these types get. */
static struct btf *written(const struct btf *const *ours, size_t nr)
{
	char path[KTYPES_PATH];
	int fd = ktypes__file(path);
	struct btf *got;

	assert_true(fd >= 0);
	assert_int_equal(ktypes__write(fd, kernel, ours, nr), 0);
	got = btf__parse(path, NULL);
	assert_non_null(got);
	close(fd);
	return got;
}

static void test_names(void **state)
{
	struct btf *one = btf__new_empty(), *two = btf__new_empty(), *got;
	const struct btf *ours[] = { one, two };

	(void)state;
	assert_true(btf__add_struct(one, "sock___6_12", 4) > 0);
	assert_true(btf__add_struct(two, "file_type", 4) > 0);
	assert_true(btf__add_struct(two, "not_in_the_kernel", 4) > 0);
	got = written(ours, 2);
	assert_string_equal(name_of(got, 1), "sock");
	assert_string_equal(name_of(got, 2), "");
	assert_string_equal(name_of(got, 3), "");
	assert_string_equal(name_of(got, 4), "u8_like");
	assert_string_equal(name_of(got, 5), "file_type");
	assert_int_equal(btf__type_by_id(got, 1)->size, 16);
	/* What it was made from is as it was. */
	assert_string_equal(name_of(kernel, 2), "socket");
	btf__free(got);
	btf__free(one);
	btf__free(two);
}

/* It ends after what is asked for, and what that is made of. */
static void test_end(void **state)
{
	struct btf *one = btf__new_empty(), *got;
	const struct btf *ours[] = { one };

	(void)state;
	assert_true(btf__add_struct(one, "sock", 4) > 0);
	got = written(ours, 1);
	assert_int_equal(btf__type_cnt(got), 1 + 1);
	btf__free(got);

	assert_true(btf__add_enum(one, "of_a_constant", 4) > 0);
	got = written(ours, 1);
	assert_int_equal(btf__type_cnt(got), 1 + 7);
	btf__free(got);

	assert_true(btf__add_struct(one, "at_the_end", 4) > 0);
	got = written(ours, 1);
	assert_int_equal(btf__type_cnt(got), btf__type_cnt(kernel));
	btf__free(got);
	btf__free(one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, make_kernel, free_kernel),
		cmocka_unit_test_setup_teardown(test_end, make_kernel, free_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
