// SPDX-License-Identifier: BSD-2-Clause
/* A live trace: from the command line to the outputs. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "features.h"
#include "graph.h"
#include "launch.h"
#include "out.h"
#include "trace_opts.h"
#include "tracer.h"
#include "util.h"

#define TICK_MS 50

struct trace {
	struct trace_opts opts;
	struct graph *graph;
	struct out_file *outs[MAX_OUTPUTS];
	size_t nr_outs;
	struct tracer *tracer;
	struct launch *launch;
	int signals; /* signalfd */
	sigset_t old_mask;
	uint64_t started; /* CLOCK_MONOTONIC */
	bool out_of_memory;
};

static uint64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* --- records: to the graph, and to the outputs that take them as they come --- */

static void on_record(void *ctx, const struct rec_hdr *rec)
{
	struct trace *t = ctx;

	if (graph__handle(t->graph, rec) == -ENOMEM)
		t->out_of_memory = true;
	for (size_t i = 0; i < t->nr_outs; i++)
		out_file__event(t->outs[i], rec);
}

static void on_warning(void *ctx, const char *line)
{
	(void)ctx;
	warn_line("%s", line);
}

static void add_text(struct rec_meta *m, const char *key, const char *value)
{
	size_t k = strlen(key) + 1, v = strlen(value) + 1, room = sizeof(m->text) - m->text_len;

	if (k + 1 >= room)
		return;
	if (k + v > room)
		v = room - k; /* cut; the terminating NUL is written below */
	memcpy(m->text + m->text_len, key, k);
	memcpy(m->text + m->text_len + k, value, v);
	m->text_len += k + v;
	m->text[m->text_len - 1] = 0;
}

static void emit_meta(struct trace *t)
{
	struct rec_meta m = { .h = { .type = REC_META, .len = sizeof(m) }, .schema = 1 };
	struct utsname u;

	uname(&u);
	m.h.time = t->started;
	m.started = now(CLOCK_REALTIME);
	add_text(&m, "version", IPCTRACE_VERSION);
	add_text(&m, "host", u.nodename);
	add_text(&m, "kernel", u.release);
	for (size_t i = 0; i < t->opts.nr_filters; i++)
		add_text(&m, "filter", t->opts.filters[i]);
	for (char **a = t->opts.command; a && *a; a++)
		add_text(&m, "arg", *a);
	on_record(t, &m.h);
}

static void emit_end(struct trace *t)
{
	struct rec_end e = { .h = { .type = REC_END, .len = sizeof(e) } };

	e.h.time = now(CLOCK_MONOTONIC);
	e.duration_ns = e.h.time - t->started;
	on_record(t, &e.h);
}

/* --- set-up --- */

static int open_outputs(struct trace *t)
{
	struct trace_opts *o = &t->opts;

	for (size_t i = 0; i < o->nr_outputs; i++) {
		const char *colon = strchr(o->outputs[i], ':');
		const struct out_ops *ops = colon ? NULL : out__by_filename(o->outputs[i]);
		int err = out_file__open(&t->outs[i], o->outputs[i]);

		if (err)
			return err == -EINVAL ? EXIT_USAGE : EXIT_CHECK;
		t->nr_outs++;
		if ((ops && ops->event) || !strncmp(o->outputs[i], "jsonl:", 6) ||
		    !strncmp(o->outputs[i], "ipct:", 5))
			o->tracer.life = true;
	}
	return 0;
}

static void take_signals(struct trace *t)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &t->old_mask);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int prepare_command(struct trace *t)
{
	char **argv = t->opts.command;
	int err = launch__prepare(&t->launch, argv);

	if (err == -ENOENT) {
		warn_line("command '%s' was not found; check its name and PATH", *argv);
		return EXIT_NOT_FOUND;
	}
	if (err == -EACCES) {
		warn_line("command '%s' is not executable; try chmod +x, or give its interpreter",
			  *argv);
		return EXIT_NOT_EXECUTABLE;
	}
	if (err) {
		warn_line("cannot start '%s': %s", *argv, strerror(-err));
		return EXIT_CANNOT;
	}
	t->opts.pids[0] = launch__pid(t->launch);
	t->opts.tracer.nr_pids = 1;
	return 0;
}

static int set_up(struct trace *t)
{
	char why[512];
	int err;

	if (!features__can_trace(why, sizeof(why))) {
		warn_line("%s", why);
		return EXIT_CANNOT;
	}
	t->graph = graph__new();
	if (!t->graph)
		return EXIT_CANNOT;
	graph__set_fold_limit(t->graph, FOLD_LIMIT);
	err = open_outputs(t);
	if (err)
		return err;
	if (t->opts.command) {
		err = prepare_command(t);
		if (err)
			return err;
	}
	take_signals(t);
	t->opts.tracer.emit = on_record;
	t->opts.tracer.warn = on_warning;
	t->opts.tracer.ctx = t;
	err = tracer__new(&t->tracer, &t->opts.tracer, why, sizeof(why));
	if (!err) {
		t->started = now(CLOCK_MONOTONIC);
		emit_meta(t);
		err = tracer__start(t->tracer, why, sizeof(why));
	}
	if (err) {
		warn_line("%s", why);
		return EXIT_CANNOT;
	}
	return 0;
}

/* --- running --- */

/*
 * A signal from the terminal reaches the command by itself; one that was sent to us alone is handed
 * on. Returns whether to end the trace.
 */
static bool on_signal(struct trace *t, const struct signalfd_siginfo *si, bool ended)
{
	int sig = si->ssi_signo;

	if (sig == SIGCHLD)
		return false;
	if (!t->launch || ended)
		return sig != SIGUSR1 && sig != SIGUSR2;
	if (si->ssi_code <= 0)
		kill(launch__pid(t->launch), sig);
	return false;
}

static bool signals_say_end(struct trace *t, bool ended)
{
	struct signalfd_siginfo si;
	bool end = false;

	while (read(t->signals, &si, sizeof(si)) == sizeof(si))
		end |= on_signal(t, &si, ended);
	return end;
}

/* Until the command and its descendants have ended, the time is over, or somebody says stop. */
static int run(struct trace *t)
{
	uint64_t deadline = t->opts.seconds ? t->started + t->opts.seconds * 1e9 : UINT64_MAX;
	bool ended = false, told = false, stop = false;
	int status = EXIT_OK, err;

	if (t->launch)
		launch__go(t->launch);
	else if (!t->opts.quiet)
		warn_line("tracing; Ctrl-C ends it");
	while (!stop) {
		struct pollfd fds[2] = { { .fd = t->signals, .events = POLLIN },
					 { .fd = tracer__fd(t->tracer), .events = POLLIN } };
		size_t living;

		poll(fds, 2, tracer__wait_ms(t->tracer, TICK_MS));
		if (t->launch && !ended)
			ended = launch__ended(t->launch, &status);
		stop = signals_say_end(t, ended);
		living = tracer__tick(t->tracer);
		if (t->launch)
			stop |= ended && !living;
		else if (!(t->opts.tracer.scope & ~SCOPE_PIDS))
			stop |= !living;
		stop |= now(CLOCK_MONOTONIC) >= deadline;
		if (ended && !stop && !told) {
			told = true;
			if (!t->opts.quiet && isatty(STDERR_FILENO))
				warn_line("%s has ended, %zu descendant%s not; Ctrl-C ends the "
					  "trace",
					  *t->opts.command, living,
					  living == 1 ? " has" : "s have");
		}
	}
	tracer__stop(t->tracer);
	err = t->launch ? launch__errno(t->launch) : 0;
	if (err)
		warn_line("cannot execute '%s': %s", *t->opts.command, strerror(err));
	return status;
}

/* --- the end --- */

static int summary(struct trace *t)
{
	struct out o = { .f = t->launch ? stderr : stdout, .g = t->graph };

	return out__write(&o, &out_text);
}

static int finish(struct trace *t, int status)
{
	int failed = 0;

	emit_end(t);
	if (graph__finish(t->graph) || t->out_of_memory) {
		warn_line("out of memory: the graph is not whole; trace fewer processes");
		failed = 1;
	}
	for (size_t i = 0; i < t->nr_outs; i++)
		failed |= out_file__finish(t->outs[i], t->graph) != 0;
	if (!t->nr_outs && !t->opts.quiet)
		failed |= summary(t) != 0;
	if (status != EXIT_OK)
		return status;
	if (failed)
		return EXIT_CHECK;
	return t->opts.strict && !graph__complete(t->graph) ? EXIT_LOST : EXIT_OK;
}

int cmd_trace(int argc, char **argv)
{
	struct trace t = { .signals = -1 };
	int status = trace_opts__parse(&t.opts, argc, argv);

	if (!status)
		status = set_up(&t);
	if (!status) {
		status = run(&t);
		status = finish(&t, status);
	}
	for (size_t i = 0; i < t.nr_outs; i++)
		out_file__free(t.outs[i]);
	launch__free(t.launch);
	tracer__free(t.tracer);
	graph__free(t.graph);
	trace_opts__free(&t.opts);
	return status & 0xff;
}
