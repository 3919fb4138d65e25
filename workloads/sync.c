/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ops.h"
#include "sync.h"

static int count(int chan, enum role role, bool nonblock, long ret)
{
	int err = errno;

	edge__count(edge__mine(chan, role), nonblock, ret < 0 ? ret : 0, err);
	errno = err;
	return ret;
}

void sync__made(int proc, int chan, enum role role, uint64_t ops)
{
	__atomic_fetch_add(&edge__get(proc, chan, role)->ops, ops, __ATOMIC_RELAXED);
}

/* ---- System V semaphores ---- */

key_t sem__key(int n)
{
	/* Nobody else's, and none of a workload that runs beside this one. */
	return 0x57000000 + (getpid() & 0xffff) * 16 + n;
}

struct semset sem__make_inside(const char *name, key_t key, int nr)
{
	struct semset s = { .id = semget(key, nr, IPC_CREAT | IPC_EXCL | 0600) };
	struct stat st;
	struct chan *c;

	die_if(s.id < 0, "semget: %s", strerror(errno));
	die_if(stat("/proc/self/ns/ipc", &st), "ipc namespace: %s", strerror(errno));
	s.chan = chan__add(name, "sem", 0, s.id);
	c = &arena->chans[s.chan];
	c->ns = st.st_ino;
	c->key = key;
	return s;
}

struct semset sem__make(const char *name, key_t key, int nr)
{
	struct semset s = sem__make_inside(name, key, nr);

	arena->chans[s.chan].remove = 1;
	return s;
}

void sem__remove(const struct semset *s)
{
	die_if(semctl(s->id, 0, IPC_RMID), "IPC_RMID: %s", strerror(errno));
	arena->chans[s->chan].remove = 0;
}

void sync__cleanup(void)
{
	for (uint32_t i = 0; i < arena->nr_chans; i++) {
		const struct chan *c = &arena->chans[i];

		if (c->remove && !strcmp(c->mechanism, "sem"))
			semctl(c->ino, 0, IPC_RMID);
	}
}

/* Down and wait for zero are waits, up is a wake; a call may be both. */
static int count_semop(const struct semset *s, const struct sembuf *ops, size_t n, bool nonblock,
		       int ret)
{
	bool wait = false, wake = false;

	for (size_t i = 0; i < n; i++) {
		wait |= ops[i].sem_op <= 0;
		wake |= ops[i].sem_op > 0;
		nonblock |= ops[i].sem_flg & IPC_NOWAIT;
	}
	if (wait)
		count(s->chan, ROLE_WAIT, nonblock, ret);
	if (wake)
		count(s->chan, ROLE_WAKE, nonblock, ret);
	return ret;
}

/* Not through the C library, whose semop() makes the other call. */
int x_semop(const struct semset *s, struct sembuf *ops, size_t n)
{
#ifdef SYS_semop
	return count_semop(s, ops, n, false, syscall(SYS_semop, s->id, ops, n));
#else
	return x_semtimedop(s, ops, n, NULL);
#endif
}

int x_semtimedop(const struct semset *s, struct sembuf *ops, size_t n, const struct timespec *t)
{
	bool nonblock = t && !t->tv_sec && !t->tv_nsec;

	return count_semop(s, ops, n, nonblock, syscall(SYS_semtimedop, s->id, ops, n, t));
}

/* Setting a value wakes whom it lets go on. */
int x_setval(const struct semset *s, int which, int value)
{
	union semun arg = { .val = value };

	return count(s->chan, ROLE_WAKE, false, semctl(s->id, which, SETVAL, arg));
}

int x_setall(const struct semset *s, unsigned short *values)
{
	union semun arg = { .array = values };

	return count(s->chan, ROLE_WAKE, false, semctl(s->id, 0, SETALL, arg));
}

void sem__op(const struct semset *s, int which, int op, int flags)
{
	struct sembuf buf = { .sem_num = which, .sem_op = op, .sem_flg = flags };

	die_if(x_semop(s, &buf, 1), "semop: %s", strerror(errno));
}

void proc__await_semop(int slot, const struct semset *s)
{
#ifdef SYS_semop
	proc__await_sleep(slot, SYS_semop, s->id, &arena->procs[slot].done);
#else
	proc__await_sleep(slot, SYS_semtimedop, s->id, &arena->procs[slot].done);
#endif
	die_if(arena->procs[slot].done, "%s is done and did not sleep", arena->procs[slot].name);
}

/* ---- locks on files ---- */

int lockfile__make(const char *name, const char *file)
{
	char path[PATH_MAX + 64];
	int fd, chan;

	snprintf(path, sizeof(path), "%s/%s", tmpdir(), file);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	die_if(fd < 0, "open %s: %s", path, strerror(errno));
	chan = chan__new(name, "file", fd, path);
	arena->chans[chan].capacity = UNKNOWN;
	close(fd);
	return chan;
}

void lockfile__open(struct lockfile *l, int chan)
{
	l->chan = chan;
	l->fd = open(arena->chans[chan].path, O_RDWR | O_CLOEXEC);
	die_if(l->fd < 0, "open %s: %s", arena->chans[chan].path, strerror(errno));
}

/* Only what asks for a lock counts, not what gives it back. */
int x_flock(const struct lockfile *l, int op)
{
	int ret = flock(l->fd, op);

	return op & LOCK_UN ? ret : count(l->chan, ROLE_LOCK, op & LOCK_NB, ret);
}

int x_lock(const struct lockfile *l, int cmd, int type, off_t start, off_t len)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len
	};
	int ret = fcntl(l->fd, cmd, &lock);

	if (type == F_UNLCK)
		return ret;
	return count(l->chan, ROLE_LOCK, cmd != F_SETLKW && cmd != F_OFD_SETLKW, ret);
}
