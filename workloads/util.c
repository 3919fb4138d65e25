/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "facts.h"
#include "sync.h"

int self;
const struct factory *factory;

/* ---- parameters ---- */

static int param_index(const struct factory *f, const char *name, size_t len)
{
	for (int i = 0; i < MAX_PARAMS && f->params[i].name; i++)
		if (strlen(f->params[i].name) == len && !strncmp(f->params[i].name, name, len))
			return i;
	return -1;
}

static bool parse_num(const char *s, uint64_t *num)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*num = strtoull(s, &end, 10);
	if (errno)
		return false;
	if (*end == 'K' || *end == 'M') {
		unsigned int shift = *end++ == 'K' ? 10 : 20;

		if (*num > UINT64_MAX >> shift)
			return false;
		*num <<= shift;
	}
	return !*end;
}

static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (const char *c = choices; c && len; c = strchr(c, '|')) {
		c += *c == '|';
		if (!strncmp(c, value, len) && (!c[len] || c[len] == '|'))
			return true;
	}
	return false;
}

static const char *params_put(const struct param *p, char *slot, const char *value)
{
	static char msg[256];
	uint64_t num;

	if (strlen(value) >= MAX_VALUE) {
		snprintf(msg, sizeof(msg), "%s: value too long", p->name);
		return msg;
	}
	if (p->choices && !is_choice(p->choices, value)) {
		snprintf(msg, sizeof(msg), "%s=%s: must be one of %s", p->name, value, p->choices);
		return msg;
	}
	if (!p->choices && p->max && (!parse_num(value, &num) || num < p->min || num > p->max)) {
		snprintf(msg, sizeof(msg), "%s=%s: must be a number from %llu to %llu", p->name,
			 value, (unsigned long long)p->min, (unsigned long long)p->max);
		return msg;
	}
	if (!p->choices && p->max)
		snprintf(slot, MAX_VALUE, "%llu", (unsigned long long)num);
	else
		strcpy(slot, value);
	return NULL;
}

const char *params_default(const struct factory *f)
{
	const char *wrong;

	for (int i = 0; i < MAX_PARAMS && f->params[i].name; i++) {
		wrong = params_put(&f->params[i], arena->values[i], f->params[i].value);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *params_set(const struct factory *f, const char *key_value)
{
	static char msg[256];
	const char *eq = strchr(key_value, '=');
	int i;

	if (!eq) {
		snprintf(msg, sizeof(msg), "%s: not a key=value", key_value);
		return msg;
	}
	i = param_index(f, key_value, eq - key_value);
	if (i < 0) {
		snprintf(msg, sizeof(msg), "%s has no parameter %.*s", f->name,
			 (int)(eq - key_value), key_value);
		return msg;
	}
	return params_put(&f->params[i], arena->values[i], eq + 1);
}

const char *arg_str(const char *name)
{
	int i = param_index(factory, name, strlen(name));

	die_if(i < 0, "factory asks for parameter %s which it does not have", name);
	return arena->values[i];
}

uint64_t arg_num(const char *name)
{
	uint64_t num = 0;

	die_if(!parse_num(arg_str(name), &num), "parameter %s is not a number", name);
	return num;
}

bool arg_is(const char *name, const char *value)
{
	return !strcmp(arg_str(name), value);
}

/* ---- the end of a run ---- */

static void __attribute__((noreturn)) give_up(uint32_t how, const char *fmt, va_list ap)
{
	uint32_t none = 0;

	if (__atomic_compare_exchange_n(&arena->failed, &none, how, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		vsnprintf(arena->error, sizeof(arena->error), fmt, ap);
	/* The main process does the rest in its handler; nobody else is left behind to hang. */
	kill(arena->procs[0].pid, SIGUSR1);
	_exit(1);
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	give_up(1, fmt, ap);
}

void skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	give_up(2, fmt, ap);
}

static void say(const char *s)
{
	if (write(STDERR_FILENO, s, strlen(s)) < 0)
		_exit(1);
}

/* Runs in the main process only: a failure anywhere, the deadline, or the user. */
static void on_end(int sig)
{
	procs__kill();
	run_cleanup();
	say("workload: ");
	say(factory->name);
	say(arena->failed == 2 ? ": skipped: " : ": ");
	say(arena->error[0] ? arena->error : sig == SIGALRM ? "deadline passed" : "interrupted");
	say("\n");
	_exit(arena->failed == 2 ? EXIT_SKIP : 1);
}

void run_setup(unsigned int deadline)
{
	static const int sigs[] = { SIGALRM, SIGUSR1, SIGINT, SIGTERM };
	struct sigaction sa = { .sa_handler = on_end };

	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(*sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGQUIT, SIG_DFL); /* which the shell lets jobs in the background ignore */
	sigemptyset(&sa.sa_mask);
	sigprocmask(SIG_SETMASK, &sa.sa_mask, NULL);
	alarm(deadline);
}

/* What outlives its processes must not outlive the run. */
static void chan_cleanup(const struct chan *c)
{
	struct stat ns;

	if (!strcmp(c->mechanism, "msg")) {
		/* In another ipc namespace, that id is somebody else's. */
		if (c->remove && !stat("/proc/self/ns/ipc", &ns) && ns.st_ino == c->ns)
			msgctl(c->ino, IPC_RMID, NULL);
	} else if (!strcmp(c->mechanism, "mq")) {
		mq_unlink(c->path);
	} else if (c->path[0]) {
		unlink(c->path);
	}
}

void run_cleanup(void)
{
	for (uint32_t i = 0; i < arena->nr_chans; i++)
		chan_cleanup(&arena->chans[i]);
	memory_cleanup();
	sync__cleanup();
	if (arena->tmpdir[0])
		rmdir(arena->tmpdir);
}

/* ---- processes ---- */

static void make_comm(char comm[16], const char *name)
{
	snprintf(comm, 16, "%.*s%s", (int)(15 - strlen(name)), arg_str("comm"), name);
}

int proc__slot(const char *name, int parent)
{
	int slot = __atomic_fetch_add(&arena->nr_procs, 1, __ATOMIC_SEQ_CST);
	struct proc *p = &arena->procs[slot];
	char comm[16];

	die_if(slot >= MAX_PROCS, "more than %d processes", MAX_PROCS);
	snprintf(p->name, sizeof(p->name), "%s", name);
	make_comm(comm, name);
	memcpy(p->comm, comm, sizeof(comm));
	p->parent = parent;
	return slot;
}

/* Children have none of the main process's handlers, nor its alarm, which is not inherited. */
static void child_signals(void)
{
	signal(SIGALRM, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	alarm(arg_num("deadline") + 1);
}

/* The calling process becomes the one of this slot (after a fork, or after an exec). */
void proc__enter(int slot)
{
	self = slot;
	__atomic_store_n(&arena->procs[slot].pid, getpid(), __ATOMIC_SEQ_CST);
	prctl(PR_SET_NAME, arena->procs[slot].comm);
	if (slot)
		child_signals();
}

void proc__enter_unlisted(const char *name)
{
	char comm[16];

	make_comm(comm, name);
	prctl(PR_SET_NAME, comm);
	child_signals();
}

void proc__finish(void)
{
	__atomic_store_n(&arena->procs[self].done, 1, __ATOMIC_SEQ_CST);
	_exit(0);
}

int proc__spawn(const char *name, proc_fn fn, void *arg)
{
	int slot = proc__slot(name, self);
	pid_t pid = fork();

	die_if(pid < 0, "fork: %s", strerror(errno));
	if (!pid) {
		proc__enter(slot);
		fn(arg);
		proc__finish();
	}
	__atomic_store_n(&arena->procs[slot].pid, pid, __ATOMIC_SEQ_CST);
	return slot;
}

int proc__spawnf(proc_fn fn, void *arg, const char *fmt, ...)
{
	char name[16];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	return proc__spawn(name, fn, arg);
}

struct orphan {
	const char *name;
	proc_fn fn;
	void *arg;
};

static void leave_orphan(void *arg)
{
	struct orphan *o = arg;

	die_if(setsid() < 0, "setsid: %s", strerror(errno));
	proc__spawn(o->name, o->fn, o->arg);
}

void proc__orphan(const char *name, proc_fn fn, void *arg)
{
	struct orphan o = { name, fn, arg };

	proc__wait(proc__spawnf(leave_orphan, &o, "launch-%s", name));
}

/* Run the factory's stage in a fresh image of this program, in the same process and slot. */
void proc__exec_self(const char *arg)
{
	char fd[16], slot[16];

	snprintf(fd, sizeof(fd), "%d", arena->fd);
	snprintf(slot, sizeof(slot), "%d", self);
	fcntl(arena->fd, F_SETFD, 0);
	execl("/proc/self/exe", "workload", "--stage", fd, slot, factory->name, arg, NULL);
	die("exec of myself: %s", strerror(errno));
}

pid_t proc__pid(int slot)
{
	return __atomic_load_n(&arena->procs[slot].pid, __ATOMIC_SEQ_CST);
}

void proc__expect_signal(int slot, int sig)
{
	arena->procs[slot].expect_signal = sig;
}

/* Not a child of the caller: its end is seen on a pidfd, and what it said of itself counts. */
static void wait_stranger(struct proc *p)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = syscall(SYS_pidfd_open, p->pid, 0);
	if (pfd.fd >= 0) {
		while (poll(&pfd, 1, -1) < 0)
			die_if(errno != EINTR, "poll: %s", strerror(errno));
		close(pfd.fd);
	}
	die_if(!p->done, "process %s died", p->name);
}

void proc__wait(int slot)
{
	struct proc *p = &arena->procs[slot];
	int status;

	if (p->reaped)
		return;
	if (p->parent != self) {
		wait_stranger(p);
	} else {
		die_if(waitpid(p->pid, &status, 0) != p->pid, "waitpid: %s", strerror(errno));
		if (p->expect_signal)
			die_if(!WIFSIGNALED(status) || WTERMSIG(status) != p->expect_signal,
			       "process %s: did not die of signal %d (status %#x)", p->name,
			       p->expect_signal, status);
		else
			die_if(status, "process %s: wait status %#x", p->name, status);
	}
	p->done = 1;
	p->reaped = 1;
}

void procs__join(void)
{
	for (uint32_t i = 1; i < arena->nr_procs; i++)
		proc__wait(i);
}

void procs__kill(void)
{
	for (uint32_t i = 1; i < arena->nr_procs && i < MAX_PROCS; i++)
		if (!arena->procs[i].reaped && arena->procs[i].pid > 0)
			kill(arena->procs[i].pid, SIGKILL);
}

/* ---- handshakes ---- */

static void futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

uint32_t *turn__word(int which)
{
	return &arena->turns[which];
}

uint32_t turn__take(int which)
{
	return __atomic_fetch_add(&arena->turns[which], 1, __ATOMIC_SEQ_CST);
}

void hold(void)
{
	char c = 0;

	while (c != '\n' && read(STDIN_FILENO, &c, 1) == 1)
		;
}

void turn__pass(int which)
{
	turn__take(which);
	syscall(SYS_futex, &arena->turns[which], FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void turn__await(int which, uint32_t value)
{
	uint32_t seen;

	while ((seen = __atomic_load_n(&arena->turns[which], __ATOMIC_SEQ_CST)) < value)
		futex_wait(&arena->turns[which], seen);
}

/*
 * Only what nobody but the caller can end is a sleep to wait for, and it takes two looks. The state
 * in stat leaves S within the very call that wakes the task, while /proc/PID/syscall still shows a
 * task that is woken but does not run yet (TASK_WAKING) as if it slept. And syscall tells a sleep
 * in the call in question from one in a handshake. In this order both together are stable.
 */
static bool sleeps_in(int stat_fd, int syscall_fd, long nr, int fd)
{
	char line[512], *state;
	ssize_t len = pread(stat_fd, line, sizeof(line) - 1, 0);
	unsigned long arg0;
	long seen;

	if (len <= 0)
		return false;
	line[len] = '\0';
	state = strrchr(line, ')');
	if (!state || strncmp(state, ") S", 3))
		return false;
	len = pread(syscall_fd, line, sizeof(line) - 1, 0);
	if (len <= 0)
		return false;
	line[len] = '\0';
	return sscanf(line, "%ld %lx", &seen, &arg0) == 2 && seen == nr && (int)arg0 == fd;
}

static int open_proc(int slot, const char *file, const uint32_t *done)
{
	char path[64];
	int fd, err;

	snprintf(path, sizeof(path), "/proc/%d/%s", proc__pid(slot), file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	err = errno;
	/* A process on its way out may be gone, or closed to all but root: then it is done. */
	if (fd < 0 && !__atomic_load_n(done, __ATOMIC_SEQ_CST))
		skip("%s: %s", path, strerror(err));
	return fd;
}

uint64_t proc__await_sleep(int slot, long nr, int fd, const uint32_t *done)
{
	int stat_fd = open_proc(slot, "stat", done);
	int syscall_fd = open_proc(slot, "syscall", done);
	uint64_t when = 0;

	while (!when && !__atomic_load_n(done, __ATOMIC_SEQ_CST)) {
		if (sleeps_in(stat_fd, syscall_fd, nr, fd))
			when = now_ns();
		else
			sched_yield();
	}
	if (stat_fd >= 0)
		close(stat_fd);
	if (syscall_fd >= 0)
		close(syscall_fd);
	return when;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void *xmalloc(size_t size)
{
	void *p = calloc(1, size);

	die_if(!p, "out of memory");
	return p;
}
