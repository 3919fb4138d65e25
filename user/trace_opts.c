// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "cmd.h"
#include "glob.h"
#include "mech.h"
#include "out.h"
#include "trace_opts.h"
#include "util.h"

#define MIN_ROWS 1024
#define MAX_ROWS (1 << 22)
#define MAX_RING (1 << 30)
#define MIN_SAMPLE 0.01
#define MAX_SAMPLE 86400

enum {
	OPT_CGROUP = 256,
	OPT_CONTAINER,
	OPT_COMM,
	OPT_OPS,
	OPT_STRICT,
	OPT_RING,
	OPT_ROWS,
	OPT_SAMPLE
};

static const struct option options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "pid", required_argument, NULL, 'p' },
	{ "mechanism", required_argument, NULL, 'm' },
	{ "duration", required_argument, NULL, 'd' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "cgroup", required_argument, NULL, OPT_CGROUP },
	{ "container", required_argument, NULL, OPT_CONTAINER },
	{ "comm", required_argument, NULL, OPT_COMM },
	{ "ops", no_argument, NULL, OPT_OPS },
	{ "strict", no_argument, NULL, OPT_STRICT },
	{ "ring-size", required_argument, NULL, OPT_RING },
	{ "max-edges", required_argument, NULL, OPT_ROWS },
	{ "shm-sample", required_argument, NULL, OPT_SAMPLE },
	{ "help", no_argument, NULL, 'h' },
	{},
};

static void print_mechs(FILE *f)
{
	for (int m = 1; m < MECH_MAX; m++)
		if (mech__by_name(mech__get(m)->name) == (enum mech)m)
			fprintf(f, "%s%s", m > 1 ? " " : "", mech__get(m)->name);
}

static void help(void)
{
	printf("options of a trace:\n"
	       "  -o, --output FILE      the format by its extension (%s);\n"
	       "                         - is the summary on stdout, json:- JSON there; repeatable\n"
	       "  -p, --pid PID          this process and whom it starts from now on; repeatable\n"
	       "  -m, --mechanism M,...  only these: ",
	       out__extensions());
	print_mechs(stdout);
	printf("\n"
	       "  -d, --duration SECONDS end after that time\n"
	       "  -q, --quiet            no summary\n"
	       "      --cgroup PATH      processes of this cgroup and those below\n"
	       "      --container ID     processes of this container (its cgroup is looked for)\n"
	       "      --comm GLOB        processes of that name; up to %d\n"
	       "      --ops              a record of each operation, for .jsonl and .ipct\n"
	       "      --shm-sample SECS  look so often which pages of shared memory are touched again,\n"
	       "                         at some cost for who has it mapped; see ipctrace(8)\n"
	       "      --strict           exit status 4 if anything was lost\n"
	       "      --ring-size BYTES  for records, a power of two from 4096\n"
	       "      --max-edges N      thread-channel pairs at a time, from %d\n"
	       "Several of -p, --cgroup, --container, --comm add up. With none of them and no CMD\n"
	       "everything on this machine is traced until Ctrl-C.\n"
	       "Exit status: 0 fine, 1 an output could not be written, 2 usage, 3 cannot trace here,\n"
	       "4 lost data with --strict; with CMD its own status instead of 0.\n",
	       MAX_GLOBS, MIN_ROWS);
}

static int bad(const char *fmt, const char *arg, const char *mend)
{
	char *what = xasprintf(fmt, arg);

	warn_line("%s; %s", what, mend);
	free(what);
	return EXIT_USAGE;
}

static void add_filter(struct trace_opts *o, const char *name, const char *value)
{
	if (o->nr_filters < ARRAY_SIZE(o->filters))
		o->filters[o->nr_filters++] = xasprintf("%s=%s", name, value);
}

static int add_pid(struct trace_opts *o, const char *arg)
{
	char *end, path[64];
	long pid = strtol(arg, &end, 10);

	if (*end || end == arg || pid <= 0 || pid > 1 << 22)
		return bad("'%s' is no process id", arg, "give -p a positive number");
	if (!proc_is_ours())
		return bad("cannot look for process %s: /proc is of another pid namespace", arg,
			   "mount one of this, or use `unshare --mount-proc`");
	snprintf(path, sizeof(path), "/proc/%ld", pid);
	if (access(path, F_OK))
		return bad("there is no process %s", arg, "`ps -e` lists those that there are");
	if (o->tracer.nr_pids == MAX_PIDS)
		return bad("too many processes at -p %s", arg, "trace their cgroup with --cgroup");
	o->pids[o->tracer.nr_pids++] = pid;
	o->tracer.scope |= SCOPE_PIDS;
	return 0;
}

static int unknown_mech(const char *word)
{
	char *names = NULL;
	size_t size;
	FILE *f = open_memstream(&names, &size);

	if (f) {
		print_mechs(f);
		fclose(f);
	}
	warn_line("unknown mechanism '%s'; ipctrace --help lists them: %s", word,
		  names ? names : "?");
	free(names);
	return EXIT_USAGE;
}

static int add_mechs(struct trace_opts *o, const char *arg)
{
	char *list = xstrdup(arg), *save = NULL, *word;
	int err = 0;

	for (word = strtok_r(list, ",", &save); word && !err; word = strtok_r(NULL, ",", &save)) {
		enum mech m = mech__by_name(word);

		if (m == MECH_NONE)
			err = unknown_mech(word);
		o->tracer.mechs |= 1U << m;
	}
	if (!err && !o->tracer.mechs)
		err = bad("-m '%s' names no mechanism", arg, "`ipctrace --help` lists them");
	free(list);
	return err;
}

static int number(const char *what, const char *arg, double min, double max, double *out)
{
	char *end, *range = xasprintf("give a number from %.15g to %.15g", min, max);
	int err = 0;

	errno = 0;
	*out = strtod(arg, &end);
	if (errno || *end || end == arg || !(*out >= min && *out <= max)) {
		warn_line("%s '%s' is out of the question; %s", what, arg, range);
		err = EXIT_USAGE;
	}
	free(range);
	return err;
}

static int ring_size(struct trace_opts *o, const char *arg)
{
	double n;
	int err = number("--ring-size", arg, 4096, MAX_RING, &n);

	if (err)
		return err;
	o->tracer.ring_bytes = n;
	if (o->tracer.ring_bytes & (o->tracer.ring_bytes - 1))
		return bad("--ring-size %s is no power of two", arg, "try 1048576");
	return 0;
}

/* --- cgroups --- */

/* A directory of the cgroup file system is its id. */
static int use_cgroup(struct trace_opts *o, const char *path)
{
	struct stat st;

	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return bad("there is no cgroup '%s'", path,
			   "`systemd-cgls` shows those that there are");
	if (o->tracer.scope & SCOPE_CGROUP)
		return bad("a second cgroup '%s'", path, "give one that holds both");
	o->tracer.cgroup = st.st_ino;
	o->tracer.scope |= SCOPE_CGROUP;
	return 0;
}

static int add_cgroup(struct trace_opts *o, const char *arg)
{
	char *mount = cgroup__mount(), *path = NULL;
	int err;

	if (!mount)
		return bad("no cgroup2 file system for --cgroup %s", arg,
			   "mount -t cgroup2 none /sys/fs/cgroup");
	if (strncmp(arg, mount, strlen(mount)))
		path = xasprintf("%s/%s", mount, arg);
	err = use_cgroup(o, path ? path : arg);
	free(path);
	free(mount);
	return err;
}

static const char *wanted;
static char *found;

static int is_wanted(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type != FTW_D || !strstr(path + ftw->base, wanted))
		return 0;
	found = xstrdup(path);
	return 1;
}

static int add_container(struct trace_opts *o, const char *arg)
{
	char *mount = cgroup__mount();
	int err;

	if (strlen(arg) < 8 || strchr(arg, '/') || !mount) {
		free(mount);
		return bad("cannot look for container '%s'", arg,
			   "give at least 8 characters of its id");
	}
	wanted = arg;
	nftw(mount, is_wanted, 16, FTW_PHYS);
	free(mount);
	if (!found)
		return bad("no cgroup is named after container '%s'", arg,
			   "is it running? its full id is safest");
	err = use_cgroup(o, found);
	free(found);
	return err;
}

static int add_comm(struct trace_opts *o, const char *arg)
{
	struct glob g;

	if (o->tracer.nr_globs == MAX_GLOBS)
		return bad("too many names at --comm %s", arg, "a glob can cover several: '[ab]*'");
	if (glob__compile(&g, arg))
		return bad("--comm '%s' is no pattern", arg,
			   "close its [ and keep it as short as a process name, as in 'ng[iI]nx*'");
	if (!*arg)
		return bad("--comm is empty%s", arg, "give a name, or a glob such as 'nginx*'");
	o->tracer.globs[o->tracer.nr_globs++] = arg;
	o->tracer.scope |= SCOPE_COMM;
	return 0;
}

/* --- */

static int one_option(struct trace_opts *o, int opt)
{
	double n;
	int err;

	switch (opt) {
	case 'o':
		if (o->nr_outputs == MAX_OUTPUTS)
			return bad("too many outputs at -o %s", optarg,
				   "record to .ipct and draw later");
		o->outputs[o->nr_outputs++] = optarg;
		return 0;
	case 'p':
		add_filter(o, "pid", optarg);
		return add_pid(o, optarg);
	case 'm':
		add_filter(o, "mechanism", optarg);
		return add_mechs(o, optarg);
	case 'd':
		return number("-d", optarg, 0.001, 1e9, &o->seconds);
	case 'q':
		o->quiet = true;
		return 0;
	case OPT_CGROUP:
		add_filter(o, "cgroup", optarg);
		return add_cgroup(o, optarg);
	case OPT_CONTAINER:
		add_filter(o, "container", optarg);
		return add_container(o, optarg);
	case OPT_COMM:
		add_filter(o, "comm", optarg);
		return add_comm(o, optarg);
	case OPT_OPS:
		o->tracer.ops = true;
		return 0;
	case OPT_SAMPLE:
		add_filter(o, "shm-sample", optarg);
		err = number("--shm-sample", optarg, MIN_SAMPLE, MAX_SAMPLE, &n);
		o->tracer.sample_ns = err ? 0 : n * 1e9;
		return err;
	case OPT_STRICT:
		o->strict = true;
		return 0;
	case OPT_RING:
		return ring_size(o, optarg);
	case OPT_ROWS:
		err = number("--max-edges", optarg, MIN_ROWS, MAX_ROWS, &n);
		o->tracer.rows = err ? 0 : n;
		return err;
	case 'h':
		help();
		return EXIT_OK + 256;
	}
	return EXIT_USAGE;
}

static int complain(int opt, char **argv)
{
	if (opt == ':')
		return bad("option '%s' needs a value", argv[optind - 1], "see `ipctrace --help`");
	return bad("unknown option '%s'", argv[optind - 1], "see `ipctrace --help`");
}

int trace_opts__parse(struct trace_opts *o, int argc, char **argv)
{
	bool mechs_given;
	int opt, err;

	optind = 0;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+:o:p:m:d:qh", options, NULL)) != -1) {
		err = opt == '?' || opt == ':' ? complain(opt, argv) : one_option(o, opt);
		if (err)
			return err;
	}
	o->tracer.pids = o->pids;
	mechs_given = o->tracer.mechs;
	for (int m = 0; !mechs_given && m < MECH_MAX; m++)
		if (!mech__get(m)->off)
			o->tracer.mechs |= 1U << m;
	if (o->tracer.sample_ns && !(o->tracer.mechs & MECHS_MEMORY))
		return bad("--shm-sample%s without shared memory", "",
			   "leave -m out, or add shm, posixshm, memfd or mmap to it");
	if (argv[optind])
		o->command = &argv[optind];
	else if (argc > 1 && !strcmp(argv[argc - 1], "--"))
		return bad("no command after '%s'", "--", "give one, or leave the -- out");
	if (o->command && o->tracer.scope)
		return bad("a command ('%s') and another choice of processes", *o->command,
			   "start it apart and trace it with -p");
	if (o->command)
		o->tracer.scope = SCOPE_PIDS;
	else if (!o->tracer.scope)
		o->tracer.scope = SCOPE_ALL;
	return 0;
}

void trace_opts__free(struct trace_opts *o)
{
	for (size_t i = 0; i < o->nr_filters; i++)
		free(o->filters[i]);
}
