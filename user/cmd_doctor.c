/* SPDX-License-Identifier: BSD-2-Clause */
/* ipctrace doctor: what this kernel allows, what will be missing, and how to get it. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "features.h"

int cmd_doctor(int argc, char **argv)
{
	if (argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
		puts("usage: ipctrace doctor\n"
		     "What this kernel allows, what will be missing, and how to get it.\n"
		     "Exit status: 0 if tracing works here, 3 if not.");
		return EXIT_OK;
	}
	if (argc > 1) {
		warn_line("doctor takes no arguments, but got '%s'", argv[1]);
		return EXIT_USAGE;
	}
	return features__report() ? EXIT_OK : EXIT_CANNOT;
}
