/* SPDX-License-Identifier: BSD-2-Clause */
/* What the measured program does. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static int own[2]; /* a pipe of which the worker has both ends */
static int to_echo[2][2], from_echo[2][2];
static int zero_fd, other_cpu;

double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void must(bool ok)
{
	if (!ok)
		_exit(1);
}

static double load_pipe(unsigned int ops)
{
	char c = 0;
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++)
		must(write(own[1], &c, 1) == 1 && read(own[0], &c, 1) == 1);
	return (now_ns() - t) / ops;
}

static double pingpong(int which, unsigned int ops)
{
	char c = 0;
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++)
		must(write(to_echo[which][1], &c, 1) == 1 && read(from_echo[which][0], &c, 1) == 1);
	return (now_ns() - t) / ops;
}

static double load_pingpong1(unsigned int ops)
{
	return pingpong(0, ops);
}

static double load_pingpong2(unsigned int ops)
{
	return other_cpu < 0 ? -1 : pingpong(1, ops);
}

static double load_getppid(unsigned int ops)
{
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++)
		syscall(SYS_getppid);
	return (now_ns() - t) / ops;
}

static double load_zero(unsigned int ops)
{
	char c;
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++)
		must(read(zero_fd, &c, 1) == 1);
	return (now_ns() - t) / ops;
}

static double load_file(unsigned int ops)
{
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++) {
		int fd = openat(AT_FDCWD, "/etc/passwd", O_RDONLY);

		must(fd >= 0 && !close(fd));
	}
	return (now_ns() - t) / ops;
}

static double load_fork(unsigned int ops)
{
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		must(pid > 0 && waitpid(pid, &status, 0) == pid);
	}
	return (now_ns() - t) / ops;
}

/* Total time of a `perf bench` in ns, taken from its simple format. */
static double perf_bench(const char *cmd, unsigned int ops)
{
	char line[256];
	double sec = -1;
	FILE *f = popen(cmd, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		sec = atof(line);
	return pclose(f) || sec <= 0 ? -1 : sec * 1e9 / ops;
}

static double load_perf_pipe(unsigned int ops)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "perf bench -f simple sched pipe -l %u 2>/dev/null", ops);
	return perf_bench(cmd, ops);
}

static double load_perf_messaging(unsigned int ops)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "perf bench -f simple sched messaging -p -g 1 -l %u 2>/dev/null",
		 ops);
	/* one group is 20 senders, each of which sends to 20 receivers */
	return perf_bench(cmd, ops * 400);
}

const struct load loads[LOAD_MAX] = {
	[LOAD_PIPE] = { "pipe", "1-byte write and read of a pipe in one process", 2000, 2, false,
			load_pipe },
	[LOAD_PINGPONG1] = { "pingpong-1", "round trip over two pipes, two processes on one core",
			     500, 4, false, load_pingpong1 },
	[LOAD_PINGPONG2] = { "pingpong-2", "round trip over two pipes, two processes on two cores",
			     100, 4, false, load_pingpong2 },
	[LOAD_GETPPID] = { "getppid", "getppid: does nothing", 2000, 1, false, load_getppid },
	[LOAD_ZERO] = { "zero", "1-byte read of /dev/zero: a read, but no IPC", 2000, 1, false,
			load_zero },
	[LOAD_FILE] = { "file", "open and close of a regular file", 1000, 2, false, load_file },
	[LOAD_FORK] = { "fork", "fork, exit and wait", 20, 0, false, load_fork },
	[LOAD_PERF_PIPE] = { "perf-pipe", "perf bench sched pipe, a round trip", 10000, 4, true,
			     load_perf_pipe },
	[LOAD_PERF_MSG] = { "perf-messaging", "perf bench sched messaging -p, a message", 50, 2,
			    true, load_perf_messaging },
};

struct request {
	uint32_t load, ops;
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* The last two CPUs that the benchmark may use: what else goes on is mostly on the first. */
static void choose_cpus(int *cpu, int *other)
{
	cpu_set_t set;

	*cpu = *other = -1;
	must(!sched_getaffinity(0, sizeof(set), &set));
	for (int i = CPU_SETSIZE - 1; i >= 0 && *other < 0; i--) {
		if (!CPU_ISSET(i, &set))
			continue;
		if (*cpu < 0)
			*cpu = i;
		else
			*other = i;
	}
}

static pid_t start_echo(int which, int cpu)
{
	char c;
	pid_t pid;

	must(!pipe2(to_echo[which], O_CLOEXEC) && !pipe2(from_echo[which], O_CLOEXEC));
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cpu >= 0)
		pin(cpu);
	while (read(to_echo[which][0], &c, 1) == 1 && write(from_echo[which][1], &c, 1) == 1)
		;
	_exit(0);
}

static void worker_main(int ask, int answer, int cpu)
{
	struct request req;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(ask, &req, sizeof(req)) == sizeof(req)) {
		const struct load *l = &loads[req.load];
		cpu_set_t all;
		double ns;

		/* perf bench places its own processes */
		if (l->per_block) {
			memset(&all, 0xff, sizeof(all));
			sched_setaffinity(0, sizeof(all), &all);
		} else {
			pin(cpu);
			l->run(req.ops / 100 + 1);
		}
		ns = l->run(req.ops);
		must(write(answer, &ns, sizeof(ns)) == sizeof(ns));
	}
	_exit(0);
}

int worker__start(struct worker *w)
{
	int ask[2], answer[2], cpu;

	choose_cpus(&cpu, &other_cpu);
	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (zero_fd < 0 || pipe2(own, O_CLOEXEC) || pipe2(ask, O_CLOEXEC) ||
	    pipe2(answer, O_CLOEXEC))
		return -1;
	w->echo[0] = start_echo(0, cpu);
	w->echo[1] = start_echo(1, other_cpu);
	w->pid = fork();
	if (w->pid < 0 || w->echo[0] < 0 || w->echo[1] < 0)
		return -1;
	if (!w->pid)
		worker_main(ask[0], answer[1], cpu);
	close(ask[0]);
	close(answer[1]);
	w->ask = ask[1];
	w->answer = answer[0];
	return 0;
}

void worker__stop(struct worker *w)
{
	pid_t pids[] = { w->pid, w->echo[0], w->echo[1] };

	for (unsigned int i = 0; i < 3; i++) {
		if (pids[i] <= 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

double worker__run(struct worker *w, enum load_id load, unsigned int ops)
{
	struct request req = { load, ops };
	double ns;

	if (write(w->ask, &req, sizeof(req)) != sizeof(req) ||
	    read(w->answer, &ns, sizeof(ns)) != sizeof(ns)) {
		fprintf(stderr, "bench: the measured process ended\n");
		exit(1);
	}
	return ns;
}
