/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "util.h"

static const struct cmd cmds[] = {
	{ "", "[OPTION...] [-- CMD ARG...]",
	  "trace all of this machine, or CMD and its descendants", cmd_trace },
	{ "graph", "FILE [-o OUT]...", "draw the graph of a recording", cmd_graph },
	{ "report", "FILE", "say in words what a recording holds", cmd_report },
	{ "dump", "FILE", "the records of a recording, a line each", cmd_dump },
	{ "doctor", "", "what this kernel allows, and what will be missing", cmd_doctor },
};

static void print_usage(FILE *f)
{
	fputs("ipctrace shows how the processes of this machine talk to each other\n\nusage:\n", f);
	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++) {
		const struct cmd *c = &cmds[i];
		int n = fprintf(f, "  ipctrace%s%s%s%s", *c->name ? " " : "", c->name,
				*c->args ? " " : "", c->args);

		fprintf(f, "%*s%s\n", n < 40 ? 40 - n : 1, "", c->help);
	}
	fputs("  ipctrace [COMMAND] --help             its options\n"
	      "  ipctrace --version\n",
	      f);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		puts("ipctrace " IPCTRACE_VERSION);
		return EXIT_OK;
	}
	if (!strcmp(word, "help")) {
		print_usage(stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++)
		if (*cmds[i].name && !strcmp(cmds[i].name, word))
			return cmds[i].run(argc - 1, argv + 1);
	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		print_usage(stdout);
		putchar('\n');
	} else if (*word && *word != '-') {
		warn_line("unknown command '%s'; to trace it: ipctrace -- %s; see ipctrace --help",
			  word, word);
		return EXIT_USAGE;
	}
	return cmd_trace(argc, argv);
}
