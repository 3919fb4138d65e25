/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ops.h"
#include "words.h"

/* ---- memory ---- */

static int open_memory(struct region *r)
{
	char path[PATH_MAX + 16];
	int fd;

	if (arg_is("memory", "zero"))
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	if (arg_is("memory", "memfd"))
		return memfd_create("words", MFD_CLOEXEC);
	if (arg_is("memory", "posixshm")) {
		snprintf(r->path, sizeof(r->path), "/workload-%d", getpid());
		return shm_open(r->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	}
	snprintf(path, sizeof(path), "%s/words", tmpdir());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	unlink(path);
	return fd;
}

static void *map_region(const struct region *r)
{
	if (r->shmid >= 0)
		return shmat(r->shmid, NULL, 0);
	return mmap(NULL, r->size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | (r->fd < 0 ? MAP_ANONYMOUS : 0), r->fd, 0);
}

void region__make(struct region *r, size_t size)
{
	*r = (struct region){ .size = size, .fd = -1, .shmid = -1 };
	if (arg_is("memory", "shm")) {
		r->shmid = shmget(IPC_PRIVATE, size, 0600);
		die_if(r->shmid < 0, "shmget: %s", strerror(errno));
	} else if (!arg_is("memory", "anon")) {
		r->fd = open_memory(r);
		die_if(r->fd < 0, "%s: %s", arg_str("memory"), strerror(errno));
		die_if(!arg_is("memory", "zero") && ftruncate(r->fd, size), "ftruncate: %s",
		       strerror(errno));
	}
	r->addr = map_region(r);
	die_if(r->addr == MAP_FAILED, "mapping: %s", strerror(errno));
	die_if(mapped_file(r->addr, &r->dev, &r->ino), "it is not in /proc/self/maps");
	/* A System V segment can still be attached then, on Linux. */
	if (r->shmid >= 0)
		shmctl(r->shmid, IPC_RMID, NULL);
	if (r->path[0])
		shm_unlink(r->path);
}

void region__move(struct region *r)
{
	char *old = r->addr;

	/* Each open of /dev/zero is memory of its own; the old size 0 says: the same pages twice. */
	if (r->shmid < 0 && (r->fd < 0 || arg_is("memory", "zero")))
		r->addr = mremap(old, 0, r->size, MREMAP_MAYMOVE);
	else
		r->addr = map_region(r);
	die_if(r->addr == MAP_FAILED, "mapping again: %s", strerror(errno));
	die_if(r->addr == old, "it is still there");
	if (r->shmid >= 0)
		shmdt(old);
	else
		munmap(old, r->size);
}

struct word word__new(const struct region *r, size_t offset, const char *name)
{
	struct word w = { .region = r, .offset = offset };

	w.chan = chan__add(name, "futex", r->dev, r->ino);
	arena->chans[w.chan].offset = offset;
	return w;
}

uint32_t *word__at(const struct word *w)
{
	return (uint32_t *)(w->region->addr + w->offset);
}

/* ---- calls ---- */

static long count(int chan, enum role role, bool nonblock, long ret)
{
	int err = errno;

	edge__count(edge__mine(chan, role), nonblock, ret < 0 ? ret : 0, err);
	errno = err;
	return ret;
}

void futex__made(int proc, int chan, enum role role, uint64_t ops)
{
	__atomic_fetch_add(&edge__get(proc, chan, role)->ops, ops, __ATOMIC_RELAXED);
}

static bool is_wake(int op)
{
	op &= FUTEX_CMD_MASK;
	return op == FUTEX_WAKE || op == FUTEX_WAKE_BITSET || op == FUTEX_UNLOCK_PI;
}

long x_futex(const struct word *w, int op, uint32_t val, const struct timespec *t, uint32_t bits)
{
	bool nonblock = (op & FUTEX_CMD_MASK) == FUTEX_TRYLOCK_PI ||
			((op & FUTEX_CMD_MASK) == FUTEX_WAIT && t && !t->tv_sec && !t->tv_nsec);
	long ret = syscall(SYS_futex, word__at(w), op, val, t, NULL, bits);

	return count(w->chan, is_wake(op) ? ROLE_WAKE : ROLE_WAIT, nonblock, ret);
}

long x_requeue(const struct word *from, const struct word *to, int op, int wake, int move,
	       uint32_t val)
{
	return count(from->chan, ROLE_WAKE, false,
		     syscall(SYS_futex, word__at(from), op, wake, (long)move, word__at(to), val));
}

/* It wakes on both. */
long x_wake_op(const struct word *a, const struct word *b, int wake_a, int wake_b, uint32_t op)
{
	long ret = syscall(SYS_futex, word__at(a), FUTEX_WAKE_OP, wake_a, (long)wake_b, word__at(b),
			   op);

	count(a->chan, ROLE_WAKE, false, ret);
	return count(b->chan, ROLE_WAKE, false, ret);
}

static bool read_proc(int slot, const char *file, char *line, size_t size)
{
	char path[64];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", proc__pid(slot), file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, line, size - 1);
	close(fd);
	line[len > 0 ? len : 0] = '\0';
	return len > 0;
}

/* In this order, for the reason that is given at proc__await_sleep(). */
static bool sleeps_in_futex(int slot, uintptr_t *addr)
{
	char line[512], *state;
	long nr;

	if (!read_proc(slot, "stat", line, sizeof(line)))
		return false;
	state = strrchr(line, ')');
	return state && !strncmp(state, ") S", 3) &&
	       read_proc(slot, "syscall", line, sizeof(line)) &&
	       sscanf(line, "%ld %lx", &nr, addr) == 2 && nr == SYS_futex;
}

/* It has the memory where the caller has it. */
size_t proc__await_futex(int slot, const struct region *r, size_t offset, size_t len)
{
	const volatile uint32_t *done = &arena->procs[slot].done;
	uintptr_t addr, lo = (uintptr_t)r->addr + offset;

	while (!sleeps_in_futex(slot, &addr) || addr < lo || addr >= lo + len) {
		die_if(*done, "%s is done and did not sleep", arena->procs[slot].name);
		sched_yield();
	}
	return addr - (uintptr_t)r->addr;
}
