/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drawings: the DOT, laid out and rendered by libgvc.
 *
 * A layout can take minutes or crash on what nobody foresaw, so it runs in a child, under a deadline,
 * and a faster engine is tried after it. The DOT is written anew for each: its legend tells which
 * engine it was. The child, which parses what was made of hostile names, is nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <graphviz/gvc.h>

#include "cmd.h"
#include "dot.h"
#include "out.h"

#define DEADLINE_MS 20000
#define NOBODY 65534
#define DATE_DIGITS 14

/* From the most beautiful to what copes with anything. */
static const char *const engines[] = { "dot", "fdp", "sfdp" };

#define NR_ENGINES (sizeof(engines) / sizeof(*engines))

/* A file in memory, so that a half-done drawing leaves nothing behind. */
static FILE *memory_file(void)
{
	const int fd = memfd_create("ipctrace-drawing", MFD_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w+");

	if (!f && fd >= 0)
		close(fd);
	return f;
}

/* The PDF of the same graph must be the same, but cairo has put today's date in it. */
static int set_date(FILE *f, const struct graph *g)
{
	static const char key[] = "/CreationDate (D:";
	const time_t started = g->meta.started / 1000000000;
	char date[16] = "", *map, *at, *last = NULL;
	struct stat st;
	struct tm tm;

	if (fstat(fileno(f), &st) || !gmtime_r(&started, &tm))
		return -errno;
	map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
	if (map == MAP_FAILED)
		return -errno;
	for (at = map; (at = memmem(at, map + st.st_size - at, key, strlen(key))); at++)
		last = at + strlen(key);
	if (last && strftime(date, sizeof(date), "%Y%m%d%H%M%S", &tm) == DATE_DIGITS &&
	    map + st.st_size - last >= DATE_DIGITS)
		memcpy(last, date, DATE_DIGITS);
	munmap(map, st.st_size);
	return 0;
}

static void become_nobody(pid_t parent)
{
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGINT, SIG_IGN);
	setenv("TZ", "UTC0", 1); /* how it writes dates, see set_date() */
	/* Graphviz says on stderr what only its author can mend. */
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	if (geteuid())
		return;
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		_exit(1);
	setenv("HOME", "/nonexistent", 1);
}

static int render(const char *dot, const char *engine, const char *format, FILE *to)
{
	GVC_t *gvc = gvContext();
	graph_t *graph = agmemread(dot);

	if (!gvc || !graph)
		return 1;
	return gvLayout(gvc, graph, engine) || gvRender(gvc, graph, format, to) || fflush(to);
}

static int wait_until(pid_t pid, int deadline_ms)
{
	const int fd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timespec now;
	int64_t end, left = deadline_ms;
	int n = 0, status = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec * 1000LL + now.tv_nsec / 1000000 + deadline_ms;
	while (fd >= 0 && left > 0 && (n = poll(&p, 1, left)) < 0 && errno == EINTR) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = end - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
	}
	if (n <= 0)
		kill(pid, SIGKILL);
	if (fd >= 0)
		close(fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (n <= 0)
		return -ETIMEDOUT;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

/* In a child, so that neither a crash nor endless thinking is ours. */
static int draw(const char *dot, const char *engine, const char *format, FILE *to)
{
	const pid_t parent = getpid();
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		become_nobody(parent);
		_exit(render(dot, engine, format, to) ? 1 : 0);
	}
	return wait_until(pid, DEADLINE_MS);
}

static int copy(FILE *from, FILE *to)
{
	char buf[65536];
	size_t n, total = 0;

	rewind(from);
	while ((n = fread(buf, 1, sizeof(buf), from))) {
		total += n;
		if (fwrite(buf, 1, n, to) != n)
			return -errno;
	}
	return total ? 0 : -EIO;
}

static int try_engine(struct out *o, const char *engine, const char *format)
{
	struct out dot = { .g = o->g, .engine = engine, .reduced = o->reduced };
	char *text = NULL;
	size_t size;
	FILE *to = memory_file();
	int err;

	if (!to)
		return -errno;
	dot.f = open_memstream(&text, &size);
	err = dot.f ? out__write(&dot, &out_dot) : -ENOMEM;
	if (dot.f && fclose(dot.f) && !err)
		err = -ENOMEM;
	if (!err)
		err = draw(text, engine, format, to);
	if (!err && !strcmp(format, "pdf"))
		err = set_date(to, o->g);
	if (!err)
		err = copy(to, o->f);
	fclose(to);
	free(text);
	return err;
}

static int put_drawing(struct out *o, const char *format)
{
	const char *first = dot__engine(o->g->nr_procs + o->g->nr_chans);
	size_t i = 0;
	int err = -EIO;

	while (i < NR_ENGINES - 1 && strcmp(engines[i], first))
		i++;
	for (; i < NR_ENGINES; i++) {
		err = try_engine(o, engines[i], format);
		if (err != -ETIMEDOUT && err != -EIO)
			return err;
		warn_line("%s %s; %s", engines[i],
			  err == -ETIMEDOUT ? "took too long to lay out the graph"
					    : "could not draw the graph",
			  i + 1 < NR_ENGINES ? "another layout is tried"
					     : "write it as .dot, and draw that or a part of it");
	}
	return err;
}

static int put_svg(struct out *o)
{
	return put_drawing(o, "svg");
}

static int put_png(struct out *o)
{
	return put_drawing(o, "png");
}

static int put_pdf(struct out *o)
{
	return put_drawing(o, "pdf");
}

const struct out_ops out_svg = {
	.name = "svg",
	.extensions = "svg",
	.help = "drawing, with tooltips",
	.reduce = out__reduce_drawing,
	.lost = put_svg,
};

const struct out_ops out_png = {
	.name = "png",
	.extensions = "png",
	.help = "drawing",
	.reduce = out__reduce_drawing,
	.lost = put_png,
};

const struct out_ops out_pdf = {
	.name = "pdf",
	.extensions = "pdf",
	.help = "drawing",
	.reduce = out__reduce_drawing,
	.lost = put_pdf,
};
