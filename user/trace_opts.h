/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of a trace. */
#ifndef IPCTRACE_TRACE_OPTS_H
#define IPCTRACE_TRACE_OPTS_H

#include "tracer.h"

#define MAX_OUTPUTS 16
#define MAX_PIDS 256

struct trace_opts {
	struct tracer_opts tracer;
	const char *outputs[MAX_OUTPUTS];
	size_t nr_outputs;
	pid_t pids[MAX_PIDS];
	char *filters[32]; /* "name=value", for the legend */
	size_t nr_filters;
	double seconds; /* 0: until it ends */
	bool strict, quiet;
	char **command; /* NULL: none */
};

/* 0, or the exit status to end with (EXIT_OK + 256 after --help). Prints one line on error. */
int trace_opts__parse(struct trace_opts *o, int argc, char **argv);
void trace_opts__free(struct trace_opts *o);

#endif
