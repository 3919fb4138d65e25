/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workload: processes that communicate in a known way, and the exact facts of what they did.
 * A mechanism is a file with a table of factories; a factory is a row there and a function.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts.h"

extern const struct factory pipe_factories[], pipe_life_factories[];
extern const struct factory pipe_many_factories[], pipe_splice_factories[];
extern const struct factory fifo_factories[], uring_factories[], uring_sock_factories[];
extern const struct factory shm_factories[], posixshm_factories[], memfd_factories[];
extern const struct factory mmap_factories[], pages_factories[];
extern const struct factory sem_factories[], sem_many_factories[];
extern const struct factory msg_factories[], mq_factories[];
extern const struct factory tcp_factories[];
extern const struct factory futex_factories[], futex_lib_factories[];
extern const struct factory futex_new_factories[];
extern const struct factory lock_factories[], file_factories[], file_life_factories[];
extern const struct factory unix_server_factories[], unix_ways_factories[];
extern const struct factory unix_dgram_factories[], unix_pass_factories[];
extern const struct factory unix_fds_factories[], vm_fds_factories[];
extern const struct factory tcp_factories[], tcp_many_factories[], udp_factories[];
extern const struct factory udp_many_factories[], tcp_ways_factories[];
extern const struct factory tcp_life_factories[], tcp_full_factories[];
extern const struct factory uring_dgram_factories[];
extern const struct factory inet_text_factories[];
extern const struct factory unix_text_factories[];
extern const struct factory signal_factories[], signal_life_factories[];
extern const struct factory vm_factories[], vm_trace_factories[], vm_fault_factories[];
extern const struct factory eventfd_factories[], pty_factories[], netlink_factories[];

/* clang-format off */
const struct factory *const factory_tables[] = {
	pipe_factories,
	pipe_life_factories,
	pipe_many_factories,
	pipe_splice_factories,
	fifo_factories,
	uring_factories,
	uring_sock_factories,
	uring_dgram_factories,
	shm_factories,
	posixshm_factories,
	memfd_factories,
	mmap_factories,
	pages_factories,
	sem_factories,
	sem_many_factories,
	msg_factories,
	mq_factories,
	tcp_factories,
	futex_factories,
	futex_lib_factories,
	futex_new_factories,
	lock_factories,
	file_factories,
	file_life_factories,
	unix_server_factories,
	unix_ways_factories,
	unix_dgram_factories,
	unix_pass_factories,
	unix_fds_factories,
	vm_fds_factories,
	unix_text_factories,
	tcp_many_factories,
	tcp_ways_factories,
	tcp_life_factories,
	tcp_full_factories,
	inet_text_factories,
	udp_factories,
	udp_many_factories,
	signal_factories,
	signal_life_factories,
	eventfd_factories,
	pty_factories,
	netlink_factories,
	vm_factories,
	vm_trace_factories,
	vm_fault_factories,
	NULL
};
/* clang-format on */

static const char usage[] =
	"usage: workload [--facts FILE] NAME [key=value...]   run, and write the facts (JSON)\n"
	"       workload --list                               factories and their parameters\n"
	"       workload --selftest [NAME...]                 run all with small parameters\n"
	"       workload --help\n"
	"Every factory also has deadline= (seconds, 60) and comm= (prefix of process names).\n"
	"Exit status: 0 it did what the facts say, 1 it did not, 2 usage, 77 not possible here.\n";

static const struct factory *next_factory(const struct factory *f)
{
	static const struct factory *const *table;

	if (!f)
		table = factory_tables;
	else
		f++;
	if (f && f->name)
		return f;
	if (f)
		table++;
	return *table;
}

static const struct factory *find_factory(const char *name)
{
	for (const struct factory *f = next_factory(NULL); f; f = next_factory(f))
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

static int usage_error(const char *what, const char *arg)
{
	fprintf(stderr, "workload: %s%s (try --help or --list)\n", what, arg);
	return EXIT_USAGE;
}

static void list(void)
{
	for (const struct factory *f = next_factory(NULL); f; f = next_factory(f)) {
		printf("%s: %s\n", f->name, f->help);
		for (int i = 0; i < MAX_PARAMS && f->params[i].name; i++) {
			const struct param *p = &f->params[i];

			if (!strcmp(p->name, "deadline") || !strcmp(p->name, "comm"))
				continue;
			printf("    %s=%s", p->name, p->value);
			if (p->choices)
				printf(" (%s)", p->choices);
			printf("  %s\n", p->help);
		}
	}
}

/* The facts go out in one write, at the end, by the main process. */
static int put_facts(int fd)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	ssize_t n = 1;

	if (!out)
		return -ENOMEM;
	facts__write(out);
	fclose(out);
	for (size_t done = 0; done < len && n > 0; done += n)
		n = write(fd, text + done, len - done);
	free(text);
	return n > 0 ? 0 : -errno;
}

static int run(const struct factory *f, char **args, int facts_fd)
{
	const char *wrong;
	int err;

	arena__create(f);
	wrong = params_default(f);
	while (!wrong && *args)
		wrong = params_set(f, *args++);
	if (wrong)
		return usage_error("", wrong);
	run_setup(arg_num("deadline"));
	proc__enter(proc__slot("parent", -1));
	f->run();
	procs__join();
	run_cleanup();
	alarm(0);
	if (facts__finish())
		return 1;
	err = put_facts(facts_fd);
	if (err)
		fprintf(stderr, "workload: writing facts: %s\n", strerror(-err));
	arena__free();
	return err ? 1 : 0;
}

/* ---- selftest ---- */

static int run_variant(const struct factory *f, char *params)
{
	char *args[MAX_PARAMS + 1] = { NULL }, *save;
	int n = 0, status, null;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return 1;
	if (!pid) {
		for (char *a = strtok_r(params, " ", &save); a && n < MAX_PARAMS;
		     a = strtok_r(NULL, " ", &save))
			args[n++] = a;
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		_exit(run(f, args, null));
	}
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void selftest_one(const struct factory *f, int counts[3])
{
	static const char *const words[] = { "ok", "not ok", "ok" };
	char *all = strdup(f->selftest ? f->selftest : ""), *rest = all, *one;

	while ((one = strsep(&rest, ";"))) {
		char shown[256];
		int ret, what;

		snprintf(shown, sizeof(shown), "%s%s%s", f->name, *one == ' ' || !*one ? "" : " ",
			 one);
		ret = run_variant(f, one);
		what = ret == EXIT_SKIP ? 2 : !!ret;
		counts[what]++;
		printf("%s - %s%s\n", words[what], shown, what == 2 ? " # SKIP" : "");
	}
	free(all);
}

static int selftest(char **names)
{
	int counts[3] = { 0 };

	if (*names) {
		for (; *names; names++) {
			const struct factory *f = find_factory(*names);

			if (!f)
				return usage_error("unknown workload ", *names);
			selftest_one(f, counts);
		}
	} else {
		for (const struct factory *f = next_factory(NULL); f; f = next_factory(f))
			selftest_one(f, counts);
	}
	printf("%d passed, %d failed, %d skipped\n", counts[0], counts[1], counts[2]);
	return counts[1] ? 1 : 0;
}

/* The hidden --stage ARENA-FD SLOT NAME ARG: a process of a running workload after its exec. */
static int stage(char **args)
{
	if (!args[0] || !args[1] || !args[2] || !args[3])
		return usage_error("--stage is not for you", "");
	factory = find_factory(args[2]);
	if (!factory || !factory->stage)
		return usage_error("no stages in ", args[2]);
	arena__attach(atoi(args[0]));
	close(atoi(args[0]));
	proc__enter(atoi(args[1]));
	factory->stage(args[3]);
	proc__finish();
}

int main(int argc, char **argv)
{
	const struct factory *f;
	int fd = STDOUT_FILENO;

	argv++;
	if (argc < 2)
		return usage_error("no workload named", "");
	if (!strcmp(*argv, "--help") || !strcmp(*argv, "-h"))
		return fputs(usage, stdout) < 0;
	if (!strcmp(*argv, "--list"))
		return list(), 0;
	if (!strcmp(*argv, "--selftest"))
		return selftest(argv + 1);
	if (!strcmp(*argv, "--stage"))
		return stage(argv + 1);
	if (!strcmp(*argv, "--facts")) {
		if (!argv[1] || !argv[2])
			return usage_error("--facts needs a file and a workload", "");
		f = find_factory(argv[2]);
		if (!f)
			return usage_error("unknown workload ", argv[2]);
		fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0)
			return usage_error("cannot write ", argv[1]);
		return run(f, argv + 3, fd);
	}
	if (**argv == '-')
		return usage_error("unknown option ", *argv);
	f = find_factory(*argv);
	if (!f)
		return usage_error("unknown workload ", *argv);
	return run(f, argv + 1, fd);
}
