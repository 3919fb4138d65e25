/* SPDX-License-Identifier: BSD-2-Clause */
/* What the measured program does. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { TO_WAKER, FROM_WAKER, UNUSED_WORD, NR_WORDS };

static int own[2]; /* a pipe of which the worker has both ends */
static int unix_ends[2], tcp_ends[2]; /* connections, the same */
static int to_echo[2][2], from_echo[2][2];
static int zero_fd, other_cpu;
static int to_faulter[2], from_faulter[2];
static uint32_t *words; /* shared with one more process, which answers */

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

/* Both ends are the worker's: nobody sleeps. */
static double round_trip(const int ends[2], unsigned int ops)
{
	char c = 0;
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++)
		must(write(ends[0], &c, 1) == 1 && read(ends[1], &c, 1) == 1 &&
		     write(ends[1], &c, 1) == 1 && read(ends[0], &c, 1) == 1);
	return (now_ns() - t) / ops;
}

static double load_unix(unsigned int ops)
{
	return round_trip(unix_ends, ops);
}

static double load_tcp(unsigned int ops)
{
	return round_trip(tcp_ends, ops);
}

static bool connect_tcp(int ends[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	socklen_t len = sizeof(a);

	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&a, &len))
		return false;
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ends[0] < 0 || connect(ends[0], (struct sockaddr *)&a, sizeof(a)))
		return false;
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	return ends[1] >= 0 && !setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) &&
	       !setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
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

/* By a process that shares no memory with anybody. */
static double load_fault(unsigned int ops)
{
	double ns;

	must(write(to_faulter[1], &ops, sizeof(ops)) == sizeof(ops) &&
	     read(from_faulter[0], &ns, sizeof(ns)) == sizeof(ns));
	return ns;
}

static long futex(uint32_t *word, int op, uint32_t val)
{
	return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

/* Nobody waits. */
static double load_futex(unsigned int ops)
{
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++)
		must(!futex(&words[UNUSED_WORD], FUTEX_WAKE, 1));
	return (now_ns() - t) / ops;
}

static void futex_pass(uint32_t *word)
{
	__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
	futex(word, FUTEX_WAKE, 1);
}

static void futex_await(uint32_t *word, uint32_t was)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == was)
		futex(word, FUTEX_WAIT, was);
}

static double load_futex_pingpong(unsigned int ops)
{
	double t = now_ns();

	for (unsigned int i = 0; i < ops; i++) {
		uint32_t was = words[FROM_WAKER];

		futex_pass(&words[TO_WAKER]);
		futex_await(&words[FROM_WAKER], was);
	}
	return (now_ns() - t) / ops;
}

/* A number from what a `perf bench` prints: the one before the word unit. */
static double perf_bench(const char *cmd, const char *unit)
{
	char line[256], word[32];
	double n, found = -1;
	FILE *f = popen(cmd, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		const char *num = strpbrk(line, "0123456789");

		if (num && sscanf(num, "%lf %31s", &n, word) == 2 && !strcmp(word, unit))
			found = n;
	}
	return pclose(f) ? -1 : found;
}

static double load_perf_pipe(unsigned int ops)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "perf bench sched pipe -l %u 2>/dev/null", ops);
	return perf_bench(cmd, "usecs/op") * 1e3;
}

static double load_perf_messaging(unsigned int ops)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "perf bench sched messaging -p -g 1 -l %u 2>/dev/null", ops);
	/* one group is 20 senders, each of which sends to 20 receivers */
	return perf_bench(cmd, "[sec]") * 1e9 / (ops * 400);
}

#define LOAD(name, help, ops, calls, rw, seldom, run)   \
	{                                               \
		name, help, ops, calls, rw, seldom, run \
	}

const struct load loads[LOAD_MAX] = {
	LOAD("pipe", "1-byte write and read of a pipe in one process", 2000, 2, 2, 0, load_pipe),
	LOAD("pingpong-1", "round trip over two pipes, two processes on one core", 500, 4, 2, 0,
	     load_pingpong1),
	LOAD("pingpong-2", "round trip over two pipes, two processes on two cores", 100, 4, 2, 0,
	     load_pingpong2),
	LOAD("getppid", "getppid: does nothing", 2000, 1, 0, 0, load_getppid),
	LOAD("unix", "1-byte round trip over a socketpair, in one process", 1000, 4, 4, 0,
	     load_unix),
	LOAD("tcp", "1-byte round trip over a loopback connection, in one process", 200, 4, 4, 0,
	     load_tcp),
	LOAD("zero", "1-byte read of /dev/zero: a read, but no IPC", 2000, 1, 1, 0, load_zero),
	LOAD("file", "open and close of a regular file", 1000, 2, 0, 0, load_file),
	LOAD("fork", "fork, exit and wait", 20, 0, 0, 0, load_fork),
	LOAD("fault", "page fault of a process that shares no memory", 1000, 1, 0, 0, load_fault),
	LOAD("futex", "FUTEX_WAKE of a shared word on which nobody waits", 2000, 1, 0, 0,
	     load_futex),
	LOAD("futex-pingpong", "round trip over two shared futexes, two processes on one core", 500,
	     4, 0, 0, load_futex_pingpong),
	LOAD("perf-pipe", "perf bench sched pipe, a round trip on one core", 5000, 4, 0, 1,
	     load_perf_pipe),
	LOAD("perf-messaging", "perf bench sched messaging -p, a message, on one core", 100, 2, 0,
	     1, load_perf_messaging),
};

enum variant_id load__floor(enum load_id l)
{
	return l == LOAD_FAULT ? VAR_FAULT : VAR_EXIT;
}

#define MAX_FAULTS 2048
#define WARM_UP(ops) ((ops) / 100 + 1)

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

/* Ctrl-C is for main(), which stops what it started in order. */
static void detach_from_main(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static pid_t start_echo(int which, int cpu)
{
	char c;
	pid_t pid;

	must(!pipe2(to_echo[which], O_CLOEXEC) && !pipe2(from_echo[which], O_CLOEXEC));
	pid = fork();
	if (pid)
		return pid;
	detach_from_main();
	if (cpu >= 0)
		pin(cpu);
	while (read(to_echo[which][0], &c, 1) == 1 && write(from_echo[which][1], &c, 1) == 1)
		;
	_exit(0);
}

static pid_t start_waker(int cpu)
{
	pid_t pid;

	words = mmap(NULL, NR_WORDS * sizeof(*words), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(words != MAP_FAILED);
	pid = fork();
	if (pid)
		return pid;
	detach_from_main();
	pin(cpu);
	for (uint32_t was = 0;; was++) {
		futex_await(&words[TO_WAKER], was);
		futex_pass(&words[FROM_WAKER]);
	}
}

/*
 * By reading: the kernel needs no memory for that, and so not always another time. Pages are given
 * back only after the clock has stopped.
 */
static double touch_pages(char *pages, unsigned int nr, size_t page)
{
	double t = now_ns(), ns;

	for (unsigned int i = 0; i < nr; i++)
		must(!*(volatile char *)(pages + i * page));
	ns = (now_ns() - t) / nr;
	must(!madvise(pages, nr * page, MADV_DONTNEED));
	return ns;
}

static pid_t start_faulter(int cpu)
{
	size_t page = sysconf(_SC_PAGESIZE);
	unsigned int nr;
	pid_t pid;
	char *pages;
	double ns;

	must(!pipe2(to_faulter, O_CLOEXEC) && !pipe2(from_faulter, O_CLOEXEC));
	pid = fork();
	if (pid)
		return pid;
	detach_from_main();
	pin(cpu);
	/* Away from what the worker shares, as the memory of a program of its own would be. */
	pages = mmap((void *)(1UL << 44), MAX_FAULTS * page, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(pages != MAP_FAILED && !madvise(pages, MAX_FAULTS * page, MADV_NOHUGEPAGE));
	while (read(to_faulter[0], &nr, sizeof(nr)) == sizeof(nr) && nr <= MAX_FAULTS) {
		ns = touch_pages(pages, nr, page);
		must(write(from_faulter[1], &ns, sizeof(ns)) == sizeof(ns));
	}
	_exit(0);
}

static bool start_helpers(struct worker *w, int cpu)
{
	/* This one is first, while there is nothing to share. */
	w->others[HELPER_FAULT] = start_faulter(cpu);
	w->others[HELPER_ECHO1] = start_echo(0, cpu);
	w->others[HELPER_ECHO2] = start_echo(1, other_cpu);
	w->others[HELPER_FUTEX] = start_waker(cpu);
	for (int i = 0; i < HELPERS; i++)
		if (w->others[i] < 0)
			return false;
	return true;
}

static void worker_main(int ask, int answer, int cpu)
{
	struct request req;

	detach_from_main();
	pin(cpu); /* perf's processes too: on several CPUs their times never repeat */
	while (read(ask, &req, sizeof(req)) == sizeof(req)) {
		const struct load *l = &loads[req.load];
		double ns;

		if (!l->seldom)
			l->run(WARM_UP(req.ops));
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
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, unix_ends) || !connect_tcp(tcp_ends))
		return -1;
	if (zero_fd < 0 || pipe2(own, O_CLOEXEC) || pipe2(ask, O_CLOEXEC) ||
	    pipe2(answer, O_CLOEXEC))
		return -1;
	if (!start_helpers(w, cpu))
		return -1;
	w->pid = fork();
	if (w->pid < 0)
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
	for (int i = 0; i <= HELPERS; i++) {
		pid_t pid = i ? w->others[i - 1] : w->pid;

		if (pid <= 0)
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
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
	if (!loads[load].seldom)
		ops += WARM_UP(ops);
	w->calls += (long long)loads[load].rw * ops + 2;
	if (load != LOAD_ZERO && load != LOAD_UNIX && load != LOAD_TCP)
		w->piped += (long long)loads[load].rw * ops;
	w->piped += 2;
	w->bytes += (long long)loads[load].rw * ops + sizeof(req) + sizeof(ns);
	return ns;
}
