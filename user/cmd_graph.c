/* SPDX-License-Identifier: BSD-2-Clause */
/* From a recording: graph, report, dump. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "out.h"
#include "recfile.h"
#include "rectext.h"
#include "util.h"

struct opts {
	const char *file;
	const char **specs;
	struct out_file **outs;
	size_t nr_outs;
	size_t fold;
	bool strict;
};

static int usage(const char *name, FILE *f)
{
	if (!strcmp(name, "dump"))
		fprintf(f, "usage: ipctrace dump FILE\n"
			   "  the records of a recording, a line each\n");
	else
		fprintf(f,
			"usage: ipctrace %s FILE [-o OUT]...\n"
			"  -o, --output OUT  %s; format by extension: %s\n"
			"  --fold N          put dead processes together beyond N (%d; 0: never)\n"
			"  --strict          exit status 4 if the trace lost anything\n",
			name,
			!strcmp(name, "report") ? "instead of a text on stdout"
						: "instead of DOT on stdout",
			out__extensions(), FOLD_LIMIT);
	return f == stdout ? EXIT_OK : EXIT_USAGE;
}

static int parse_number(const char *s, size_t *n)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || *s < '0' || *s > '9' || v > SIZE_MAX)
		return -EINVAL;
	*n = v;
	return 0;
}

enum { OPT_FOLD = 256, OPT_STRICT };

static const struct option long_options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "fold", required_argument, NULL, OPT_FOLD },
	{ "strict", no_argument, NULL, OPT_STRICT },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Returns -1, or the exit status. */
static int parse(struct opts *o, int argc, char **argv, const char *short_options)
{
	int c;

	o->specs = xcalloc(argc + 1, sizeof(*o->specs));
	optind = 0;
	while ((c = getopt_long(argc, argv, short_options, long_options, NULL)) >= 0) {
		switch (c) {
		case 'o':
			o->specs[o->nr_outs++] = optarg;
			break;
		case OPT_FOLD:
			if (parse_number(optarg, &o->fold)) {
				warn_line("--fold: '%s' is not a number", optarg);
				return EXIT_USAGE;
			}
			break;
		case OPT_STRICT:
			o->strict = true;
			break;
		case 'h':
			return usage(argv[0], stdout);
		default:
			warn_line("%s: %s '%s'; see ipctrace %s --help", argv[0],
				  c == ':' ? "an argument is missing after" : "unknown option",
				  argv[optind - 1], argv[0]);
			return EXIT_USAGE;
		}
	}
	if (optind + 1 != argc) {
		warn_line("%s: %s; see ipctrace %s --help", argv[0],
			  optind < argc ? "only one recording at a time" : "which recording?",
			  argv[0]);
		return EXIT_USAGE;
	}
	o->file = argv[optind];
	return -1;
}

static int open_outs(struct opts *o, const char *otherwise)
{
	if (!o->nr_outs)
		o->specs[o->nr_outs++] = otherwise;
	o->outs = xcalloc(o->nr_outs, sizeof(*o->outs));
	for (size_t i = 0; i < o->nr_outs; i++) {
		int err = out_file__open(&o->outs[i], o->specs[i]);

		if (err)
			return err == -EINVAL ? EXIT_USAGE : EXIT_CHECK;
	}
	return EXIT_OK;
}

static void free_opts(struct opts *o)
{
	for (size_t i = 0; o->outs && i < o->nr_outs; i++)
		out_file__free(o->outs[i]);
	free(o->outs);
	free(o->specs);
}

/* Reads all that can be used. Returns the exit status. */
static int read_all(struct opts *o, struct recfile *rf, struct graph *g)
{
	unsigned long long refused = 0;
	const struct rec_hdr *rec;
	int err;

	while ((rec = recfile__next(rf))) {
		err = graph__handle(g, rec);
		if (err == -ENOMEM) {
			warn_line("out of memory");
			return EXIT_CANNOT;
		}
		refused += !!err;
		for (size_t i = 0; !err && i < o->nr_outs; i++)
			out_file__event(o->outs[i], rec);
	}
	if (recfile__problem(rf))
		warn_line("%s %s", o->file, recfile__problem(rf));
	if (refused)
		warn_line("%s holds %llu records that make no sense; they were left out", o->file,
			  refused);
	return recfile__problem(rf) || refused ? EXIT_CHECK : EXIT_OK;
}

static int write_all(struct opts *o, struct graph *g)
{
	int status = EXIT_OK;

	if (graph__finish(g)) {
		warn_line("out of memory");
		return EXIT_CANNOT;
	}
	for (size_t i = 0; i < o->nr_outs; i++)
		if (out_file__finish(o->outs[i], g))
			status = EXIT_CHECK;
	return status;
}

static int run(int argc, char **argv, const char *otherwise)
{
	struct opts o = { .fold = FOLD_LIMIT };
	struct recfile *rf = NULL;
	struct graph *g = NULL;
	int status = parse(&o, argc, argv, ":o:h"), written;

	if (status >= 0)
		goto out;
	rf = recfile__open(o.file);
	g = graph__new();
	if (!rf || !g) {
		warn_line("out of memory");
		status = EXIT_CANNOT;
		goto out;
	}
	graph__set_fold_limit(g, o.fold ? o.fold : SIZE_MAX);
	if (!recfile__usable(rf)) {
		warn_line("%s %s", o.file, recfile__problem(rf));
		status = EXIT_CHECK;
		goto out;
	}
	status = open_outs(&o, otherwise);
	if (status)
		goto out;
	status = read_all(&o, rf, g);
	written = status == EXIT_CANNOT ? EXIT_OK : write_all(&o, g);
	if (written)
		status = written;
	if (!status && o.strict && !graph__complete(g))
		status = EXIT_LOST;
out:
	recfile__free(rf);
	graph__free(g);
	free_opts(&o);
	return status;
}

int cmd_graph(int argc, char **argv)
{
	return run(argc, argv, "dot:-");
}

int cmd_report(int argc, char **argv)
{
	return run(argc, argv, "-");
}

int cmd_dump(int argc, char **argv)
{
	struct opts o = { 0 };
	const struct rec_hdr *rec;
	struct recfile *rf = NULL;
	int status = parse(&o, argc, argv, ":h");

	if (status >= 0)
		goto out;
	rf = recfile__open(o.file);
	if (!rf) {
		warn_line("out of memory");
		status = EXIT_CANNOT;
		goto out;
	}
	while ((rec = recfile__next(rf)))
		rectext__print(stdout, rec);
	status = EXIT_OK;
	if (recfile__problem(rf)) {
		warn_line("%s %s", o.file, recfile__problem(rf));
		status = EXIT_CHECK;
	}
	if (fflush(stdout) || ferror(stdout)) {
		warn_line("cannot write to stdout: %s", strerror(errno));
		status = EXIT_CHECK;
	}
out:
	recfile__free(rf);
	free_opts(&o);
	return status;
}
