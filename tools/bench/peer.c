/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whole tracers, ours among them: started and stopped as a user would, told to watch the worker.
 * They do the same count: reads and writes by process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define IPCTRACE "build/ipctrace"
#define READY_MS 10000
#define STOP_MS 20000
#define SLOWER 1.12 /* the cheapest tracer slows a system call down by more than that */
#define BPFTRACE_ONE_LINER                                                     \
	"tracepoint:syscalls:sys_exit_read,tracepoint:syscalls:sys_exit_write" \
	" { @[pid] = sum(args->ret) }"

static bool in_path(const char *name)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : "/usr/bin:/bin"), *save, *dir, file[4096];
	bool found = false;

	for (dir = strtok_r(copy, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
		snprintf(file, sizeof(file), "%s/%s", dir, name);
		found = !access(file, X_OK);
	}
	free(copy);
	return found;
}

const char *peer__missing(enum variant_id v)
{
	switch (v) {
	case VAR_IPCTRACE:
	case VAR_OPS:
		return access(IPCTRACE, X_OK) ? "not built" : NULL;
	case VAR_BPFTRACE:
		if (access("/sys/kernel/tracing/events/syscalls", X_OK) &&
		    access("/sys/kernel/debug/tracing/events/syscalls", X_OK))
			return "no tracefs with system call events here";
		return in_path("bpftrace") ? NULL : "not installed";
	case VAR_PERF:
		return in_path("perf") ? NULL : "not installed";
	case VAR_STRACE:
		return in_path("strace") ? NULL : "not installed";
	default:
		return NULL;
	}
}

static const char *const *const commands[VAR_MAX] = {
	[VAR_IPCTRACE] = (const char *const[]){ IPCTRACE, NULL },
	[VAR_OPS] = (const char *const[]){ IPCTRACE, "--ops", NULL },
	[VAR_BPFTRACE] = (const char *const[]){ "bpftrace", "-e", BPFTRACE_ONE_LINER, NULL },
	[VAR_PERF] = (const char *const[]){ "perf", "trace", "-s", "-e", "read,write", NULL },
	[VAR_STRACE] =
		(const char *const[]){ "strace", "-f", "-c", "-e", "trace=read,write", NULL },
};

/* Everything but the standard files is close-on-exec. */
static void exec_peer(const struct peer *p, const struct worker *w)
{
	char pids[HELPERS + 1][12], all[(HELPERS + 2) * 16] = "";
	const char *argv[24 + 2 * (HELPERS + 1)];
	int n = 0;

	for (int i = 0; i <= HELPERS; i++) {
		snprintf(pids[i], sizeof(pids[i]), "%d", i ? w->others[i - 1] : w->pid);
		strcat(strcat(all, i ? "," : ""), pids[i]);
	}
	for (const char *const *arg = commands[p->variant]; arg && *arg; arg++)
		argv[n++] = *arg;
	if (!n)
		_exit(127);
	switch (p->variant) {
	case VAR_IPCTRACE:
	case VAR_OPS:
	case VAR_STRACE:
		for (int i = 0; i <= HELPERS; i++) {
			argv[n++] = "-p";
			argv[n++] = pids[i];
		}
		argv[n++] = "-o";
		argv[n++] = p->data;
		break;
	case VAR_PERF:
		argv[n++] = "-p";
		argv[n++] = all;
		break;
	default:
		break;
	}
	argv[n] = NULL;
	execvp(argv[0], (char **)argv);
	_exit(127);
}

int peer__start(struct peer *p, enum variant_id v, const struct worker *w)
{
	char dir[] = "/tmp/ipctrace-bench.XXXXXX";

	memset(p, 0, sizeof(*p));
	p->variant = v;
	if (!mkdtemp(dir))
		return -errno;
	snprintf(p->out, sizeof(p->out), "%s/out", dir);
	snprintf(p->data, sizeof(p->data), "%s/data%s", dir,
		 v == VAR_IPCTRACE ? ".json"
		 : v == VAR_OPS    ? ".ipct"
				   : "");
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (p->pid)
		return 0;
	prctl(PR_SET_PDEATHSIG, SIGINT);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	if (open("/dev/null", O_RDONLY) == 0 &&
	    open(p->out, O_WRONLY | O_CREAT | O_APPEND, 0600) == 1 && dup(1) == 2)
		exec_peer(p, w);
	_exit(127);
}

static bool ended(struct peer *p)
{
	if (p->pid > 0 && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
		p->pid = 0;
	return p->pid <= 0;
}

static double fastest_pipe(struct worker *w, unsigned int times, unsigned int ops)
{
	double min = worker__run(w, LOAD_PIPE, ops);

	for (unsigned int i = 1; i < times; i++) {
		double ns = worker__run(w, LOAD_PIPE, ops);

		if (ns < min)
			min = ns;
	}
	return min;
}

static unsigned int files_of(pid_t pid)
{
	char dir[32];
	unsigned int nr = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", pid);
	d = opendir(dir);
	if (!d)
		return 0;
	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}

int peer__wait_ready(struct peer *p, struct worker *w, double untraced)
{
	double deadline = now_ns() + READY_MS * 1e6;
	unsigned int same = 0, open_before = 0;

	/* Its hooks are there, and it is slow for a while in which the tracer opened nothing more. */
	while (same < 5) {
		unsigned int links = links__count(), open_now = links + files_of(p->pid);
		bool ours = p->variant == VAR_IPCTRACE || p->variant == VAR_OPS;

		if (ended(p) || now_ns() > deadline)
			return -ESRCH;
		if (!same) {
			p->calls = w->calls;
			p->piped = w->piped;
			p->bytes = w->bytes;
		}
		if ((ours && !links) || open_now != open_before ||
		    fastest_pipe(w, 10, 200) < untraced * SLOWER)
			same = 0;
		else
			same++;
		open_before = open_now;
		usleep(15000);
	}
	return 0;
}

void peer__stop(struct peer *p)
{
	double deadline = now_ns() + STOP_MS * 1e6;

	if (ended(p))
		return;
	kill(p->pid, SIGINT);
	while (!ended(p)) {
		if (now_ns() > deadline) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, &p->status, 0);
			p->pid = 0;
			return;
		}
		usleep(2000);
	}
}

static long long number_from(const char *cmd)
{
	char line[64];
	long long n = -1;
	FILE *f = popen(cmd, "re");

	if (!f)
		return -1;
	if (fgets(line, sizeof(line), f))
		n = atoll(line);
	return pclose(f) ? -1 : n;
}

/*
 * A tracer begins once, so if it missed anything after we took it for ready then also the first
 * calls, and its number is too small. The file names are our own, from mkdtemp().
 */
bool peer__counted_all(const struct peer *p, const struct worker *w)
{
	char cmd[512];

	switch (p->variant) {
	case VAR_IPCTRACE:
		snprintf(cmd, sizeof(cmd),
			 "jq '([.processes[] | select(.pid == %d).id]) as $ids | "
			 "([.channels[] | select(.mechanism == \"pipe\").id]) as $pipes | "
			 "[.edges[] | select((.process | IN($ids[])) and "
			 "(.channel | IN($pipes[]))).ops] | add // 0' %s",
			 w->pid, p->data);
		return number_from(cmd) >= w->piped - p->piped;
	case VAR_BPFTRACE:
		snprintf(cmd, sizeof(cmd), "sed -n 's/^@\\[%d\\]: //p' %s", w->pid, p->out);
		return number_from(cmd) >= w->bytes - p->bytes;
	case VAR_STRACE:
		snprintf(
			cmd, sizeof(cmd),
			"awk '$NF == \"read\" || $NF == \"write\" { n += $4 } END { print n + 0 }' %s",
			p->data);
		return number_from(cmd) >= w->calls - p->calls;
	default:
		return true;
	}
}

void peer__clean(struct peer *p)
{
	char *slash;

	unlink(p->data);
	unlink(p->out);
	slash = strrchr(p->out, '/');
	if (!slash)
		return;
	*slash = '\0';
	rmdir(p->out);
}
