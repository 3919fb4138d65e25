/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals that one process sends to another: every call that sends, every way to take. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "signals.h"

#define TAKEN 0 /* turn: passed for each that was taken */
#define READY 1
#define DONE 2
#define NEXT 3

static int number(void)
{
	return arg_is("sig", "rt") ? SIGRTMIN + 1 : arg_is("sig", "urg") ? SIGURG : SIGUSR1;
}

/* ---- sending ---- */

static void send_one(pid_t pid, int sig, int value)
{
	union sigval v = { .sival_int = value };
	siginfo_t info = { .si_code = SI_QUEUE, .si_pid = getpid(), .si_value = v };
	int ret, fd;

	info.si_signo = sig;
	if (arg_is("how", "tkill")) {
		ret = syscall(SYS_tkill, pid, sig);
	} else if (arg_is("how", "tgkill")) {
		ret = sys_tgkill(pid, pid, sig);
	} else if (arg_is("how", "queue")) {
		ret = sigqueue(pid, sig, v);
	} else if (arg_is("how", "tgqueue")) {
		ret = syscall(SYS_rt_tgsigqueueinfo, pid, pid, sig, &info);
	} else if (arg_is("how", "pidfd")) {
		fd = syscall(SYS_pidfd_open, pid, 0);
		die_if(fd < 0, "pidfd_open: %s", strerror(errno));
		ret = syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
		close(fd);
	} else {
		ret = kill(pid, sig);
	}
	die_if(ret, "%s: %s", arg_str("how"), strerror(errno));
}

static bool has_value(void)
{
	return arg_is("how", "queue") || arg_is("how", "tgqueue");
}

struct pair {
	int chan, to, base;
};

/* Each is taken before the next one is sent: none is merged with another. */
static void sender(void *arg)
{
	const struct pair *p = arg;
	int count = arg_num("count");

	turn__await(READY, 1);
	for (int i = 0; i < count; i++) {
		send_one(signal__pid(p->to), number(), i - 1);
		turn__await(TAKEN, i + 1);
	}
	signal__sent(self, p->chan, SENT, count);
	if (has_value() && count)
		signal__value(self, p->chan, count - 2);
	turn__pass(DONE);
}

/* ---- taking ---- */

static void take_by_wait(int sig, int count)
{
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, sig);
	turn__pass(READY);
	for (int i = 0; i < count; i++) {
		while (sigwaitinfo(&set, i % 2 ? NULL : &info) < 0)
			die_if(errno != EINTR, "sigwaitinfo: %s", strerror(errno));
		turn__pass(TAKEN);
	}
}

static void take_by_fd(int sig, int count)
{
	struct signalfd_siginfo info[4];
	sigset_t set;
	ssize_t n;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, sig);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	die_if(fd < 0, "signalfd: %s", strerror(errno));
	turn__pass(READY);
	while (count > 0) {
		n = read(fd, info, sizeof(info));
		die_if(n <= 0, "read from a signalfd: %s", strerror(errno));
		count -= n / sizeof(*info);
		for (; n; n -= sizeof(*info))
			turn__pass(TAKEN);
	}
	close(fd);
}

static void take_all(int sig, int count)
{
	if (arg_is("take", "handler")) {
		signal__handle(sig, TAKEN);
		signal__set(SIG_UNBLOCK, sig);
		turn__pass(READY);
	} else if (arg_is("take", "wait")) {
		take_by_wait(sig, count);
	} else {
		take_by_fd(sig, count);
	}
}

static void receiver(void *arg)
{
	(void)arg;
	if (!arg_is("take", "handler"))
		signal__set(SIG_BLOCK, number());
	take_all(number(), arg_num("count"));
	turn__await(DONE, 1);
}

static void run_kill(void)
{
	struct pair p = { .to = proc__spawn("receiver", receiver, NULL) };
	int from;

	p.chan = signal__chan(p.to, number());
	from = proc__spawn("sender", sender, &p);
	procs__join();
	signal__taken_by(p.to, p.chan, from, arg_num("count"));
	signal__children_ended();
}

/* ---- several senders, before anything is taken ---- */

static void queue_sender(void *arg)
{
	const struct pair *p = arg;
	uint32_t senders = arg_num("senders");

	turn__await(READY, 1);
	for (uint32_t i = 0; i < arg_num("count"); i++) {
		turn__await(NEXT, i * senders + p->base);
		send_one(signal__pid(p->to), SIGRTMIN + 1, i);
		turn__pass(NEXT);
	}
	signal__sent(self, p->chan, SENT, arg_num("count"));
	if (has_value())
		signal__value(self, p->chan, arg_num("count") - 1);
}

static void queue_receiver(void *arg)
{
	int all = arg_num("senders") * arg_num("count");

	(void)arg;
	signal__set(SIG_BLOCK, SIGRTMIN + 1);
	turn__pass(READY);
	turn__await(NEXT, all);
	take_all(SIGRTMIN + 1, all);
	turn__await(TAKEN, all);
}

static void run_queue(void)
{
	struct pair p = { .to = proc__spawn("receiver", queue_receiver, NULL) };
	int first = arena->nr_procs;

	p.chan = signal__chan(p.to, SIGRTMIN + 1);
	for (p.base = 0; p.base < (int)arg_num("senders"); p.base++)
		proc__spawnf(queue_sender, &p, "s%d", p.base);
	procs__join();
	for (int i = 0; i < p.base; i++)
		signal__taken_by(p.to, p.chan, first + i, arg_num("count"));
	signal__children_ended();
}

/* ---- to a group, and to oneself ---- */

static void member(void *arg)
{
	const int *leader = arg;

	signal__handle(SIGUSR1, TAKEN);
	die_if(setpgid(0, *leader ? signal__pid(*leader) : 0), "setpgid: %s", strerror(errno));
	turn__pass(READY);
	turn__await(DONE, 1);
}

static void run_group(void)
{
	int n = arg_num("members"), count = arg_num("count"), leader = 0;

	for (int i = 0; i < n; i++) {
		int slot = proc__spawnf(member, &leader, "m%d", i);

		turn__await(READY, i + 1);
		if (!i)
			leader = slot;
	}
	for (int i = 0; i < count; i++) {
		die_if(kill(-proc__pid(leader), SIGUSR1), "kill: %s", strerror(errno));
		turn__await(TAKEN, (i + 1) * n);
	}
	turn__pass(DONE);
	for (int i = 0; i < n; i++) {
		int chan = signal__chan(leader + i, SIGUSR1);

		signal__sent(0, chan, SENT, count);
		signal__taken_by(leader + i, chan, 0, count);
	}
	signal__children_ended();
}

static void run_self(void)
{
	int chan = signal__chan(0, SIGUSR2), count = arg_num("count");

	signal__handle(SIGUSR2, TAKEN);
	for (int i = 0; i < count; i++) {
		if (arg_is("how", "raise"))
			raise(SIGUSR2);
		else
			send_one(getpid(), SIGUSR2, i);
		turn__await(TAKEN, i + 1);
	}
	signal__sent(0, chan, SENT, count);
	if (has_value() && count)
		signal__value(0, chan, count - 1);
	signal__taken(chan, 0, count);
	signal__children_ended();
}

/* ---- ignored and blocked ---- */

static void deaf(void *arg)
{
	(void)arg;
	if (arg_is("by", "ignore"))
		signal(number(), SIG_IGN);
	turn__pass(READY);
	turn__await(DONE, 1);
}

static void run_ignored(void)
{
	int count = arg_num("count"), to, chan;

	die_if(arg_is("by", "default") != arg_is("sig", "urg"), "by=default is for sig=urg");
	to = proc__spawn("receiver", deaf, NULL);
	chan = signal__chan(to, number());
	turn__await(READY, 1);
	for (int i = 0; i < count; i++)
		die_if(kill(proc__pid(to), number()), "kill: %s", strerror(errno));
	turn__pass(DONE);
	signal__sent(0, chan, IGNORED, count);
	edge__get(to, chan, ROLE_RECEIVE_SIGNAL);
	signal__children_ended();
}

static void blocked(void *arg)
{
	(void)arg;
	signal__set(SIG_BLOCK, number());
	signal__handle(number(), TAKEN);
	turn__pass(READY);
	turn__await(DONE, 1);
	if (arg_is("then", "ignore"))
		signal(number(), SIG_IGN);
	if (!arg_is("then", "exit"))
		signal__set(SIG_UNBLOCK, number());
}

/* The first one waits, more of an old kind are the same one. */
static void run_blocked(void)
{
	uint64_t count = arg_num("count"), waiting = count;
	int to = proc__spawn("receiver", blocked, NULL), chan = signal__chan(to, number());

	turn__await(READY, 1);
	for (uint64_t i = 0; i < count; i++)
		die_if(kill(proc__pid(to), number()), "kill: %s", strerror(errno));
	turn__pass(DONE);
	if (count && !arg_is("sig", "rt"))
		waiting = 1;
	signal__sent(0, chan, SENT, waiting);
	signal__sent(0, chan, MERGED, count - waiting);
	signal__taken_by(to, chan, 0, arg_is("then", "take") ? waiting : 0);
	signal__children_ended();
}

#define COUNT_PARAM(value) NUM_PARAM("count", value, 1, 10000, "signals of each sender")
#define HOW_PARAM(value)                                                                          \
	{                                                                                         \
		"how", value, "kill|tkill|tgkill|queue|tgqueue|pidfd|raise", 0, 0, "by that call" \
	}
#define TAKE_PARAM                                                                     \
	{                                                                              \
		"take", "handler", "handler|wait|fd", 0, 0, "or sigwaitinfo, signalfd" \
	}
#define SIG_PARAM                                                                 \
	{                                                                         \
		"sig", "usr1", "usr1|rt|urg", 0, 0, "SIGUSR1, SIGRTMIN+1, SIGURG" \
	}

const struct factory signal_factories[] = {
	{
		.name = "signal-kill",
		.help = "one process sends signals to another, each taken before the next",
		.params = { COMMON_PARAMS, COUNT_PARAM("5"), HOW_PARAM("kill"), TAKE_PARAM, SIG_PARAM },
		.selftest = "count=3;how=queue take=wait sig=rt;how=tgkill take=fd;how=pidfd",
		.run = run_kill,
	}, {
		.name = "signal-queue",
		.help = "several processes send before anything is taken",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("4"), HOW_PARAM("queue"), TAKE_PARAM,
			NUM_PARAM("senders", "3", 1, 100, "processes that send, in turns"),
		},
		.selftest = "count=3;take=wait senders=2;take=fd",
		.run = run_queue,
	}, {
		.name = "signal-group",
		.help = "to all processes of a group",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("3"),
			NUM_PARAM("members", "3", 1, 100, "processes of the group"),
		},
		.selftest = "count=2",
		.run = run_group,
	}, {
		.name = "signal-self",
		.help = "a process to itself",
		.params = { COMMON_PARAMS, COUNT_PARAM("5"), HOW_PARAM("raise") },
		.selftest = "count=2;how=queue",
		.run = run_self,
	}, {
		.name = "signal-ignored",
		.help = "to a process that ignores it, or does so by default",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("5"), SIG_PARAM,
			{ "by", "ignore", "ignore|default", 0, 0, "SIG_IGN or SIG_DFL" },
		},
		.selftest = "count=2;by=default sig=urg",
		.run = run_ignored,
	}, {
		.name = "signal-blocked",
		.help = "to a process that blocks it, and takes it later or never",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("5"), SIG_PARAM,
			{ "then", "take", "take|exit|ignore", 0, 0, "what ends that" },
		},
		.selftest = "count=3;sig=rt;then=exit;then=ignore",
		.run = run_blocked,
	},
	{ .name = NULL }
};
