/* SPDX-License-Identifier: BSD-2-Clause */
/* Which container a cgroup path tells of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "user/cgroup.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void expect(const char *path, const char *container)
{
	char *got = cgroup__container(path);

	if (container)
		assert_string_equal(got, container);
	else
		assert_null(got);
	free(got);
}

static void containers(void **state)
{
	(void)state;
	expect("/system.slice/docker-" ID ".scope", ID);
	expect("/docker/" ID, ID);
	expect("/docker/" ID "/below", ID);
	expect("/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope", ID);
	expect("/machine.slice/libpod-" ID ".scope/container", ID);
	expect("/lxc.payload.web1/system.slice/cron.service", "web1");
	expect("/lxc/web1", "web1");
	expect("/machine.slice/machine-deb.scope/payload", "deb");
}

static void none(void **state)
{
	(void)state;
	expect("/", NULL);
	expect("", NULL);
	expect("/user.slice/user-0.slice/session-1.scope", NULL);
	expect("/docker/0123456789abcdef", NULL); /* too short for one of theirs */
	expect("/x/" ID "0", NULL);
	expect("/lxc/", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containers),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
