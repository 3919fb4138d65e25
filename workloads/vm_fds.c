/* SPDX-License-Identifier: BSD-2-Clause */
/* One process takes descriptors out of another one: pidfd_getfd. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "pass.h"
#include "vms.h"

#define READY 0 /* turn: the owner has them */
#define TAKEN 1 /* by each that takes */
#define WRITER 2

#define SEED 3

/* In arena->scratch: the owner's. */
enum { OWN_PIPE, OWN_FILE, OWN_CHAN };

static int x_getfd(int chan, int owner, int pidfd, int fd, int what)
{
	int ret = syscall(SYS_pidfd_getfd, pidfd, fd, 0), err = errno;

	vm__count(chan, ROLE_TAKE_FD, ret, err, 0);
	if (ret >= 0)
		take__count(chan, owner, ret, what);
	errno = err;
	return ret;
}

static int open_pidfd(int owner)
{
	int fd = syscall(SYS_pidfd_open, vm__pid(owner), 0);

	die_if(fd < 0, "pidfd_open: %s", strerror(errno));
	return fd;
}

/* ---- the write end of a pipe, and a file ---- */

struct getfd_job {
	int owner, chan, pipe;
};

static void robbed(void *arg)
{
	struct end p[2];

	(void)arg;
	pipe__open("pipe", p, O_CLOEXEC);
	arena->scratch[OWN_PIPE] = p[1].fd;
	arena->scratch[OWN_FILE] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	arena->scratch[OWN_CHAN] = p[1].chan;
	turn__pass(READY);
	turn__await(TAKEN, arg_num("takers"));
	end__close(&p[1]);
	die_if(stream__read(&p[0], SEED, 700) != arg_num("bytes"), "not all of it came");
}

static void taker(void *arg)
{
	const struct getfd_job *job = arg;
	int pidfd, fd, pipe;
	struct end e;

	turn__await(READY, 1);
	pipe = arena->scratch[OWN_CHAN];
	pidfd = open_pidfd(job->owner);
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		fd = x_getfd(job->chan, job->owner, pidfd, arena->scratch[OWN_FILE], -1);
		die_if(fd < 0, "pidfd_getfd: %s", strerror(errno));
		close(fd);
	}
	fd = x_getfd(job->chan, job->owner, pidfd, arena->scratch[OWN_PIPE], pipe);
	die_if(fd < 0, "pidfd_getfd: %s", strerror(errno));
	die_if(x_getfd(job->chan, job->owner, pidfd, 999, -1) >= 0 || errno != EBADF,
	       "pidfd_getfd: %s", strerror(errno));
	end__init(&e, fd, pipe);
	turn__pass(TAKEN);
	/* One writes; all others just have it. */
	if (turn__take(WRITER) == 0)
		stream__write(&e, SEED, arg_num("bytes"), 1000);
	end__close(&e);
	close(pidfd);
}

static void run_getfd(void)
{
	struct getfd_job job = { 0 };

	job.owner = proc__spawn("owner", robbed, NULL);
	job.chan = vm__chan(job.owner);
	for (uint64_t i = 0; i < arg_num("takers"); i++)
		proc__spawnf(taker, &job, "taker%u", (unsigned int)i);
	procs__join();
	vm__finish();
}

const struct factory vm_fds_factories[] = {
	{
		.name = "vm-getfd",
		.help = "processes take descriptors from another one, which then reads what they write",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("takers", "1", 1, 50, "processes"),
			NUM_PARAM("count", "3", 0, 1000, "times that each takes a file, beside the pipe"),
			NUM_PARAM("bytes", "5000", 0, 1 << 20, "through the pipe"),
		},
		.selftest = "takers=3;count=0 bytes=0",
		.run = run_getfd,
	},
	{ .name = NULL }
};
