// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "launch.h"

/* Shared with the child. */
struct gate {
	int error; /* of exec */
};

struct launch {
	pid_t pid;
	struct gate *gate;
	int go; /* end of a pipe: closed, it lets the child go */
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

/*
 * It is watched already when it is let go, and what it waits with must not be in the trace: nothing
 * is ever read from the pipe, nor would a futex do.
 */
static void __attribute__((noreturn))
child(struct gate *gate, const int go[2], char **argv, pid_t parent)
{
	struct pollfd closed = { .fd = go[0] };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(go[1]);
	while (!(closed.revents & POLLHUP) && getppid() == parent)
		poll(&closed, 1, -1);
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
	int err = look_up(*argv), go[2];

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
	if (pipe2(go, O_CLOEXEC))
		goto unmap;
	fflush(NULL);
	l->pid = fork();
	if (l->pid < 0)
		goto close;
	if (!l->pid)
		child(l->gate, go, argv, parent);
	close(go[0]);
	l->go = go[1];
	*out = l;
	return 0;
close:
	err = -errno;
	close(go[0]);
	close(go[1]);
	errno = -err;
unmap:
	err = -errno;
	munmap(l->gate, sizeof(*l->gate));
	free(l);
	return err;
}

pid_t launch__pid(const struct launch *l)
{
	return l->pid;
}

void launch__go(struct launch *l)
{
	l->gone = true;
	close(l->go);
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
	if (!l->gone)
		close(l->go);
	munmap(l->gate, sizeof(*l->gate));
	free(l);
}
