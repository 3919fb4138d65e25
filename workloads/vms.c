/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vms.h"

#define NOBODY 0x400000 /* PID_MAX_LIMIT: no pid is that high */
int vm__chan(int owner)
{
	char name[16];
	int chan;

	for (uint32_t i = 0; i < arena->nr_chans; i++)
		if (arena->chans[i].receiver == owner + 1 &&
		    !strcmp(arena->chans[i].mechanism, "vm"))
			return i;
	snprintf(name, sizeof(name), "of-%.12s", owner < 0 ? "none" : arena->procs[owner].name);
	chan = chan__add(name, "vm", 0, 0);
	arena->chans[chan].receiver = owner + 1;
	arena->chans[chan].two_ends = 1;
	return chan;
}

void vm__count(int chan, enum role role, long ret, int err, uint64_t bytes)
{
	struct edge *e = edge__get(self, chan, role);

	edge__count(e, false, ret < 0 ? ret : 0, err);
	if (ret >= 0)
		e->bytes += bytes;
}

/* What others did to the owner is counted at its end in turn. */
static void finish_edge(const struct edge *e, int owner)
{
	const bool takes = e->role == ROLE_READ || e->role == ROLE_TAKE_FD;
	const enum role other = e->role == ROLE_TAKE_FD ? ROLE_PASS_FD
				: takes                 ? ROLE_WRITE
							: ROLE_READ;
	struct edge *mine = edge__at(owner, e->chan, other, 1);
	const int from = takes ? owner : e->proc;
	const int to = takes ? e->proc : owner;

	mine->ops += e->ops;
	mine->bytes += e->bytes;
	if (!e->ops)
		return;
	if (e->bytes)
		flow__add(from, to, e->chan, e->bytes, false);
	/* The same flow, told in two parts. */
	flow__add_ops(from, to, e->chan, e->ops);
}

void vm__finish(void)
{
	const uint32_t n = arena->nr_edges;

	for (uint32_t i = 0; i < n; i++) {
		const struct edge *e = &arena->edges[i];
		const struct chan *c = &arena->chans[e->chan];

		if (!strcmp(c->mechanism, "vm") && !e->end && c->receiver)
			finish_edge(e, c->receiver - 1);
	}
}

/* Those of nobody go to a pid that nobody has. */
static pid_t pid_of(int chan)
{
	const int owner = arena->chans[chan].receiver - 1;

	return owner < 0 ? NOBODY : vm__pid(owner);
}

ssize_t x_vm_readv(int chan, const struct iovec *mine, int n, const struct iovec *theirs, int m)
{
	ssize_t ret = process_vm_readv(pid_of(chan), mine, n, theirs, m, 0);
	int err = errno;

	vm__count(chan, ROLE_READ, ret, err, ret);
	errno = err;
	return ret;
}

ssize_t x_vm_writev(int chan, const struct iovec *mine, int n, const struct iovec *theirs, int m)
{
	ssize_t ret = process_vm_writev(pid_of(chan), mine, n, theirs, m, 0);
	int err = errno;

	vm__count(chan, ROLE_WRITE, ret, err, ret);
	errno = err;
	return ret;
}

long x_ptrace(int chan, pid_t tid, long request, void *addr, void *data, enum role role,
	      uint64_t bytes)
{
	/* The C library's makes of a peek something else. */
	long ret = syscall(SYS_ptrace, request, tid ? tid : pid_of(chan), addr, data);
	int err = errno;

	vm__count(chan, role, ret, err, bytes);
	errno = err;
	return ret;
}

char *vm__memory(size_t size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	die_if(at == MAP_FAILED, "mmap: %s", strerror(errno));
	return at;
}

pid_t vm__pid(int slot)
{
	pid_t pid;

	while (!(pid = proc__pid(slot)))
		usleep(100);
	return pid;
}
