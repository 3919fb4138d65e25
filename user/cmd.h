/* SPDX-License-Identifier: BSD-2-Clause */
/* Subcommands, and what they share. */
#ifndef IPCTRACE_CMD_H
#define IPCTRACE_CMD_H

/* Exit statuses; with `-- CMD` a trace ends with the status of CMD instead of 0. */
enum {
	EXIT_OK = 0,
	EXIT_CHECK = 1, /* a check failed, an output could not be written */
	EXIT_USAGE = 2,
	EXIT_CANNOT = 3, /* cannot trace here */
	EXIT_LOST = 4, /* data was lost and --strict was given */
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
};

struct cmd {
	const char *name; /* "" is the trace itself */
	const char *args, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name */
};

int cmd_trace(int argc, char **argv);
int cmd_graph(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

/* One line on stderr, "ipctrace: ...", control characters made harmless. */
void warn_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
