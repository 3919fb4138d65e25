// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "launch.h"

/* Shared with the child. No pipe, as that would be in the trace. */
struct gate {
	uint32_t open;
	int error; /* of exec */
};

struct launch {
	pid_t pid;
	struct gate *gate;
	bool gone, reaped;
	int status;
};

static int check(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode) || access(path, X_OK))
		return -EACCES;
	return 0;
}

/* Only to say early what execvp() would; it does its own looking. */
static int look_up(const char *name)
{
	const char *path = getenv("PATH"), *end;
	char file[PATH_MAX];
	int err, best = -ENOENT;

	if (strchr(name, '/'))
		return check(name);
	for (path = path ? path : "/bin:/usr/bin"; *name; path = end + 1) {
		end = strchrnul(path, ':');
		if (snprintf(file, sizeof(file), "%.*s%s%s", (int)(end - path), path,
			     end > path ? "/" : "", name) < (int)sizeof(file)) {
			err = check(file);
			if (!err)
				return 0;
			if (err == -EACCES)
				best = err;
		}
		if (!*end)
			break;
	}
	return best;
}

static void __attribute__((noreturn)) child(struct gate *gate, char **argv, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!__atomic_load_n(&gate->open, __ATOMIC_ACQUIRE) && getppid() == parent)
		syscall(__NR_futex, &gate->open, FUTEX_WAIT, 0, NULL, NULL, 0);
	if (getppid() != parent)
		_exit(EXIT_CANNOT);
	/* From here on it lives its own life, as under a tracer that is gone. */
	prctl(PR_SET_PDEATHSIG, 0);
	execvp(*argv, argv);
	gate->error = errno;
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

int launch__prepare(struct launch **out, char **argv)
{
	pid_t parent = getpid();
	struct launch *l;
	int err = look_up(*argv);

	if (err)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->gate = mmap(NULL, sizeof(*l->gate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (l->gate == MAP_FAILED) {
		free(l);
		return -ENOMEM;
	}
	fflush(NULL);
	l->pid = fork();
	if (l->pid < 0) {
		err = -errno;
		munmap(l->gate, sizeof(*l->gate));
		free(l);
		return err;
	}
	if (!l->pid)
		child(l->gate, argv, parent);
	*out = l;
	return 0;
}

pid_t launch__pid(const struct launch *l)
{
	return l->pid;
}

void launch__go(struct launch *l)
{
	l->gone = true;
	__atomic_store_n(&l->gate->open, 1, __ATOMIC_RELEASE);
	syscall(__NR_futex, &l->gate->open, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool launch__ended(struct launch *l, int *status)
{
	int st;

	if (!l->reaped) {
		if (waitpid(l->pid, &st, WNOHANG) != l->pid)
			return false;
		l->reaped = true;
		l->status = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
	}
	*status = l->status;
	return true;
}

int launch__errno(const struct launch *l)
{
	return l->gate->error;
}

void launch__free(struct launch *l)
{
	if (!l)
		return;
	if (!l->gone && !l->reaped) {
		kill(l->pid, SIGKILL);
		waitpid(l->pid, NULL, 0);
	}
	munmap(l->gate, sizeof(*l->gate));
	free(l);
}
