/* SPDX-License-Identifier: BSD-2-Clause */
/* Pseudoterminals: a master, and a slave that others use as their terminal. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define SEED 11
#define READY 0 /* turn */

struct pty {
	struct end master;
	char slave[64];
	int chan;
};

static void pty__open(struct pty *p, const char *name, bool raw)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;
	unsigned int n;

	die_if(fd < 0 || grantpt(fd) || unlockpt(fd), "openpt: %s", strerror(errno));
	die_if(ioctl(fd, TIOCGPTN, &n) || tcgetattr(fd, &t), "ioctl: %s", strerror(errno));
	snprintf(p->slave, sizeof(p->slave), "/dev/pts/%u", n);
	if (raw) {
		cfmakeraw(&t);
		die_if(tcsetattr(fd, TCSANOW, &t), "tcsetattr: %s", strerror(errno));
	}
	p->chan = chan__add(name, "pty", 0, n);
	arena->chans[p->chan].two_ends = 1;
	end__init(&p->master, fd, p->chan);
}

/* Its own terminal, by its name or as /dev/tty. */
static void slave__open(struct end *e, const struct pty *p)
{
	int fd = open(p->slave, O_RDWR | O_NOCTTY | O_CLOEXEC);

	die_if(fd < 0, "open %s: %s", p->slave, strerror(errno));
	if (arg_is("open", "tty")) {
		die_if(setsid() < 0 || ioctl(fd, TIOCSCTTY, 0), "TIOCSCTTY: %s", strerror(errno));
		close(fd);
		fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
		die_if(fd < 0, "open /dev/tty: %s", strerror(errno));
	}
	end__init(e, fd, p->chan);
	e->side = 1;
	turn__pass(READY);
}

/* ---- both ways, byte for byte ---- */

static void raw_slave(void *arg)
{
	uint64_t request = arg_num("request"), reply = arg_num("reply");
	char *buf = xmalloc(request + reply);
	struct end e;

	slave__open(&e, arg);
	for (uint64_t i = 0; i < arg_num("rounds"); i++) {
		exact__read(&e, buf, request);
		die_if(!pattern__check(buf, request, SEED, i), "payload differs");
		pattern__fill(buf, reply, SEED, i);
		exact__write(&e, buf, reply);
	}
	/* What is not read yet would be lost with the last slave. */
	turn__await(READY, 2);
	free(buf);
}

static void run_raw(void)
{
	uint64_t request = arg_num("request"), reply = arg_num("reply"), rounds = arg_num("rounds");
	char *buf = xmalloc(request + reply);
	struct pty p;
	int child;

	pty__open(&p, "t0", true);
	child = proc__spawn("slave", raw_slave, &p);
	turn__await(READY, 1);
	for (uint64_t i = 0; i < rounds; i++) {
		pattern__fill(buf, request, SEED, i);
		exact__write(&p.master, buf, request);
		exact__read(&p.master, buf, reply);
		die_if(!pattern__check(buf, reply, SEED, i), "payload differs");
	}
	turn__pass(READY);
	procs__join();
	flow__add(0, child, p.chan, request * rounds, true);
	flow__add(child, 0, p.chan, reply * rounds, true);
	free(buf);
}

/* ---- lines, echoed ---- */

static void line_slave(void *arg)
{
	struct end e;
	char buf[64];

	slave__open(&e, arg);
	for (uint64_t i = 0; i < arg_num("lines"); i++)
		die_if(x_read(&e, buf, sizeof(buf)) != 6, "not a line");
	turn__await(READY, 2);
}

static void run_echo(void)
{
	uint64_t lines = arg_num("lines");
	struct pty p;
	char buf[64];
	int child;

	pty__open(&p, "t0", false);
	child = proc__spawn("slave", line_slave, &p);
	turn__await(READY, 1);
	for (uint64_t i = 0; i < lines; i++) {
		exact__write(&p.master, "Hello\n", 6);
		exact__read(&p.master, buf, 7);
		die_if(memcmp(buf, "Hello\r\n", 7), "not the echo");
	}
	turn__pass(READY);
	procs__join();
	flow__add(0, child, p.chan, 6 * lines, true);
}

/* ---- output, translated ---- */

static void print_slave(void *arg)
{
	struct end e;

	slave__open(&e, arg);
	for (uint64_t i = 0; i < arg_num("lines"); i++)
		exact__write(&e, "World\n", 6);
	turn__await(READY, 2);
}

static void run_print(void)
{
	uint64_t lines = arg_num("lines");
	struct pty p;
	char buf[64];
	int child;

	pty__open(&p, "t0", false);
	child = proc__spawn("slave", print_slave, &p);
	for (uint64_t i = 0; i < lines; i++) {
		exact__read(&p.master, buf, 7);
		die_if(memcmp(buf, "World\r\n", 7), "not what was printed");
	}
	turn__pass(READY);
	procs__join();
	flow__add(child, 0, p.chan, 6 * lines, true);
}

#define OPEN_PARAM                                                             \
	{                                                                      \
		"open", "name", "name|tty", 0, 0, "by its name or as /dev/tty" \
	}

const struct factory pty_factories[] = {
	{
		.name = "pty-raw",
		.help = "requests to a terminal and replies from it, nothing translated",
		.params = {
			COMMON_PARAMS, OPEN_PARAM,
			NUM_PARAM("rounds", "10", 1, 100000, "requests"),
			NUM_PARAM("request", "100", 1, 2048, "bytes"),
			NUM_PARAM("reply", "300", 1, 2048, "bytes"),
		},
		.selftest = "rounds=3;open=tty request=1 reply=2000",
		.run = run_raw,
	}, {
		.name = "pty-echo",
		.help = "lines typed, which the terminal echoes",
		.params = { COMMON_PARAMS, OPEN_PARAM, NUM_PARAM("lines", "5", 1, 10000, "lines") },
		.selftest = "lines=2;open=tty",
		.run = run_echo,
	}, {
		.name = "pty-print",
		.help = "lines printed: the master reads CR LF for LF",
		.params = { COMMON_PARAMS, OPEN_PARAM, NUM_PARAM("lines", "5", 1, 10000, "lines") },
		.selftest = "lines=2",
		.run = run_print,
	},
	{ .name = NULL }
};
