/* SPDX-License-Identifier: BSD-2-Clause */
/* The summary for the terminal: who -> whom, then what carried nothing, then what was lost. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "escape.h"
#include "human.h"
#include "mech.h"
#include "out.h"
#include "quiet.h"
#include "sampled.h"
#include "table.h"
#include "traffic.h"
#include "util.h"
#include "words.h"

/* More processes than this are a list that nobody asked for. */
#define FEW_PROCESSES 24
#define FEW_PASSED 4
/* On a terminal; elsewhere there is room for all. */
#define MANY 80 /* flows and channels: like ones are put together */
#define MOST_FLOWS 100

static const struct column flow_columns[] = {
	{ .title = "FROM", .elastic = true },
	{ .title = "-> TO", .elastic = true },
	{ .title = "MECH" },
	{ .title = "CHANNEL", .elastic = true },
	{ .title = "BYTES", .right = true },
	{ .title = "OPS", .right = true },
	{ .title = "W WAITED", .right = true },
	{ .title = "R WAITED", .right = true },
	{ .title = "CERTAINTY" }, /* the last: left out if all is exact */
};

static const struct column idle_columns[] = {
	{ .title = "MECH" },
	{ .title = "CHANNEL WITHOUT A FLOW", .elastic = true },
	{ .title = "WRITERS", .elastic = true },
	{ .title = "READERS", .elastic = true },
	{ .title = "WHY" },
};

static const struct column error_columns[] = {
	{ .title = "FAILED CALLS", .right = true }, { .title = "ERROR" },
	{ .title = "OF", .elastic = true },         { .title = "" },
	{ .title = "CHANNEL", .elastic = true },
};

static const struct column passed_columns[] = {
	{ .title = "PASSED BY", .elastic = true },      { .title = "-> TO", .elastic = true },
	{ .title = "OVER", .elastic = true },           { .title = "TIMES", .right = true },
	{ .title = "DESCRIPTORS OF", .elastic = true },
};

static const struct column proc_columns[] = {
	{ .title = "PID", .right = true },
	{ .title = "PARENT", .right = true },
	{ .title = "ENDED" },
	{ .title = "COMMAND", .elastic = true },
};

#define NEW_TABLE(columns) table__new(columns, ARRAY_SIZE(columns))

struct priv {
	struct traffic *traffic; /* by channel */
	const struct gedge **edges; /* sorted by process, channel, role */
	struct table *flows, *idle, *errors, *passed, *procs, *sampled;
	size_t nr_flows, nr_idle, nr_errors, nr_passed, nr_sampled, nr_shared, nr_inferred;
	uint64_t bytes, shown_above;
	size_t not_shown;
	uint64_t not_shown_bytes;
	size_t width; /* 0: not a terminal */
	bool colours, uncertain;
};

static bool is_uncertain(const struct gflow *f)
{
	return f->certainty != CERTAIN_EXACT || f->shared_bytes;
}

static int compare_ends(const void *a, const void *b)
{
	const struct gedge *x = *(const struct gedge *const *)a,
			   *y = *(const struct gedge *const *)b;

	if (x->proc->index != y->proc->index)
		return x->proc->index < y->proc->index ? -1 : 1;
	if (x->chan->index != y->chan->index)
		return x->chan->index < y->chan->index ? -1 : 1;
	return 0;
}

static int compare_edges(const void *a, const void *b)
{
	const struct gedge *x = *(const struct gedge *const *)a,
			   *y = *(const struct gedge *const *)b;
	const int order = compare_ends(a, b);

	return order ? order : (int)x->role - (int)y->role;
}

static void sort_edges(struct priv *p, const struct graph *g)
{
	for (size_t i = 0; i < g->nr_edges; i++)
		p->edges[i] = g->edges[i];
	qsort(p->edges, g->nr_edges, sizeof(*p->edges), compare_edges);
}

static int compare_sizes(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x > y ? -1 : x < y;
}

/* How many bytes a flow must have to be among the greatest ones. */
static int find_threshold(struct priv *p, const struct graph *g)
{
	uint64_t *sizes;

	if (!p->width || g->nr_flows <= MOST_FLOWS)
		return 0;
	sizes = calloc(g->nr_flows, sizeof(*sizes));
	if (!sizes)
		return -ENOMEM;
	for (size_t i = 0; i < g->nr_flows; i++)
		sizes[i] = g->flows[i]->bytes + g->flows[i]->shared_bytes;
	qsort(sizes, g->nr_flows, sizeof(*sizes), compare_sizes);
	p->shown_above = sizes[MOST_FLOWS];
	free(sizes);
	return 0;
}

static void find_terminal(struct priv *p, FILE *f)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize ws;

	if (!isatty(fileno(f)))
		return;
	p->width = ioctl(fileno(f), TIOCGWINSZ, &ws) || !ws.ws_col ? 80 : ws.ws_col;
	p->colours = !(no_color && *no_color) && term && strcmp(term, "dumb");
}

static const struct reduce_opts *reduce(const struct out *o)
{
	static const struct reduce_opts few = { .max_nodes = SIZE_MAX };
	static const struct reduce_opts all = { .merge_above = SIZE_MAX, .max_nodes = SIZE_MAX };

	return isatty(fileno(o->f)) && o->g->nr_flows + o->g->nr_chans > MANY ? &few : &all;
}

static void put_count(struct out *o, uint64_t n, const char *one, const char *many)
{
	char text[HUMAN_LEN];

	fprintf(o->f, "%s %s, ", human__count(text, n), n == 1 ? one : many);
}

/* All that there is, but for what is not shown at all. */
static void put_counts(struct out *o, const struct graph *g)
{
	const struct priv *p = o->priv;
	struct quiet q;
	char n[HUMAN_LEN];

	if (!quiet__find(&q, g)) {
		put_count(o, g->nr_procs - q.nr_procs, "process", "processes");
		put_count(o, g->nr_chans - q.nr_chans, "channel", "channels");
		put_count(o, g->nr_flows - q.nr_flows, "flow", "flows");
	}
	fprintf(o->f, "%s\n", human__exact(n, p->bytes));
	quiet__free(&q);
}

static void put_header(struct out *o)
{
	const struct graph *g = o->whole ? o->whole : o->g;
	const struct gmeta *m = &g->meta;
	struct priv *p = o->priv;
	char a[HUMAN_LEN], b[HUMAN_LEN];
	char *command = meta__command(m);
	char *cut = escape__visible(command ? command : "", p->width);
	const char *sep = "only ";

	fprintf(o->f, "%s%s%s\n", p->colours ? "\033[1m" : "", cut ? cut : "",
		p->colours ? "\033[0m" : "");
	free(command);
	free(cut);
	escape__text(o->f, m->host ? m->host : "unknown host");
	fputs(", Linux ", o->f);
	escape__text(o->f, m->kernel ? m->kernel : "unknown");
	fprintf(o->f, ", %s, %s\n", m->started ? human__moment(a, m->started) : "unknown time",
		human__time(b, m->duration_ns));
	for (char *const *filter = m->filters; filter && *filter; filter++) {
		if (!filter__narrows(*filter))
			continue;
		fputs(sep, o->f);
		escape__text(o->f, *filter);
		sep = ", ";
	}
	fputs(*sep == ',' ? "\n" : "", o->f);
	put_counts(o, g);
}

static int begin(struct out *o)
{
	const struct graph *g = o->g;
	struct priv *p = calloc(1, sizeof(*p));
	int err;

	o->priv = p;
	if (!p)
		return -ENOMEM;
	p->traffic = calloc(g->nr_chans + 1, sizeof(*p->traffic));
	p->edges = calloc(g->nr_edges + 1, sizeof(*p->edges));
	for (size_t i = 0; i < g->nr_flows; i++)
		p->uncertain |= is_uncertain(g->flows[i]);
	p->flows = table__new(flow_columns, ARRAY_SIZE(flow_columns) - !p->uncertain);
	p->idle = NEW_TABLE(idle_columns);
	p->errors = NEW_TABLE(error_columns);
	p->passed = NEW_TABLE(passed_columns);
	p->procs = NEW_TABLE(proc_columns);
	p->sampled = sampled__table(g, &p->nr_sampled);
	if (!p->traffic || !p->edges || !p->flows || !p->idle || !p->errors || !p->passed ||
	    !p->procs || !p->sampled)
		return -ENOMEM;
	find_terminal(p, o->f);
	traffic__count(p->traffic, g);
	sort_edges(p, g);
	for (size_t i = 0; i < g->nr_flows; i++)
		p->bytes += g->flows[i]->bytes;
	err = find_threshold(p, g);
	if (!err)
		put_header(o);
	return err;
}

static void add_ended(struct table *t, const struct gproc *proc)
{
	const int status = proc->wait_status;

	if (!(proc->flags & PROC_DEAD))
		table__add(t, "-");
	else if (WIFSIGNALED(status))
		table__addf(t, "SIG%s", sigabbrev_np(WTERMSIG(status)) ?: "?");
	else
		table__addf(t, "%d", WEXITSTATUS(status));
}

static int put_proc(struct out *o, const struct gproc *proc)
{
	struct priv *p = o->priv;
	char *command;

	if (o->g->nr_procs > FEW_PROCESSES)
		return 0;
	/* As ps has it. */
	if (proc->title && proc->count == 1)
		command = strdup(proc->title);
	else if (proc->args_len)
		command = escape__args(proc->args, proc->args_len);
	else
		command = strdup(proc->exe && *proc->exe ? proc->exe : proc->comm ?: "?");
	if (!command)
		return -ENOMEM;
	if (proc->pid)
		table__addf(p->procs, "%u", proc->pid);
	else
		table__add(p->procs, "-");
	if (proc->parent)
		table__addf(p->procs, "%u", proc->parent->pid);
	else
		table__add(p->procs, "-");
	add_ended(p->procs, proc);
	if (proc->count > 1)
		table__addf(p->procs, "%s (x%" PRIu64 ")", command, proc->count);
	else
		table__add(p->procs, command);
	free(command);
	return 0;
}

static void add_chan(struct table *t, const struct gchan *c)
{
	const char *name = c->name ? c->name : "";

	if (c->count > 1)
		table__addf(t, "%s x%" PRIu64, name, c->count);
	else
		table__add(t, name);
}

static int put_chan(struct out *o, const struct gchan *c)
{
	struct priv *p = o->priv;
	const struct traffic *t = &p->traffic[c->index];
	int err;

	if (t->nr_flows)
		return 0;
	p->nr_idle++;
	table__add(p->idle, mech__get(c->row.key.mech)->name);
	add_chan(p->idle, c);
	err = traffic__users(p->idle, t, GIVES);
	if (!err)
		err = traffic__users(p->idle, t, TAKES);
	traffic__why(p->idle, c, t);
	return err;
}

static int put_edge(struct out *o, const struct gedge *e)
{
	struct priv *p = o->priv;
	char number[16], n[HUMAN_LEN];
	int err = 0;

	for (int i = 0; !err && i < 256; i++) {
		if (!e->errors[i])
			continue;
		p->nr_errors++;
		table__add(p->errors, human__count(n, e->errors[i]));
		table__add(p->errors, error__name(i, number));
		err = proc__add_label(p->errors, "", e->proc);
		table__add(p->errors, role__doing(e->role));
		add_chan(p->errors, e->chan);
	}
	return err;
}

struct waited {
	uint64_t ops, ns, now;
};

/* How long the process waited in that channel, giving (side 0) or taking (1). */
static struct waited find_waited(const struct priv *p, const struct graph *g,
				 const struct gproc *proc, const struct gchan *c, unsigned int side)
{
	const struct gedge key = { .proc = (struct gproc *)proc, .chan = (struct gchan *)c };
	const struct gedge *const at = &key;
	const struct gedge **end = p->edges + g->nr_edges;
	const struct gedge **found =
		bsearch(&at, p->edges, g->nr_edges, sizeof(*p->edges), compare_ends);
	struct waited w = {};

	while (found && found > p->edges && !compare_ends(&at, found - 1))
		found--;
	for (; found && found < end && !compare_ends(&at, found); found++) {
		if ((*found)->role % 2 != side)
			continue;
		w.ops += (*found)->blocked_ops;
		w.ns += (*found)->blocked_ns;
		w.now += (*found)->blocked_now;
	}
	return w;
}

/* for_this: of the whole time, what is known to be for the one at the other end; 0: not known. */
static void add_waited(struct table *t, const struct waited *w, uint64_t for_this)
{
	char time[HUMAN_LEN], n[HUMAN_LEN];
	const char *still = w->now ? ", still" : "";

	if (for_this)
		table__addf(t, "%s%s", human__time(time, for_this), still);
	else if (w->ops || w->now)
		table__addf(t, "%s in %s%s", human__time(time, w->ns), human__count(n, w->ops),
			    still);
	else
		table__add(t, "-");
}

/* Who got which descriptors from whom. */
static int add_passed(struct priv *p, const struct gflow *f)
{
	const uint64_t times = passes__total(&f->passes);
	char n[HUMAN_LEN], *what;
	int err;

	if (!times && !f->shared_fds)
		return 0;
	what = passes__text(&f->passes, FEW_PASSED);
	if (!what)
		return -ENOMEM;
	p->nr_passed++;
	err = proc__add_label(p->passed, "", f->from);
	if (!err)
		err = proc__add_label(p->passed, "-> ", f->to);
	add_chan(p->passed, f->chan);
	table__add(p->passed, human__count(n, times));
	if (f->shared_fds)
		table__addf(p->passed, "%s%sup to %s that others passed, too", what,
			    *what ? ", and " : "", human__count(n, f->shared_fds));
	else
		table__add(p->passed, what);
	free(what);
	return err;
}

static int put_flow(struct out *o, const struct gflow *f)
{
	struct priv *p = o->priv;
	char n[HUMAN_LEN], amount[AMOUNT_LEN];
	struct waited waited;
	int err = add_passed(p, f);

	if (err)
		return err;
	if (p->shown_above && f->bytes + f->shared_bytes <= p->shown_above) {
		p->not_shown++;
		p->not_shown_bytes += f->bytes;
		return 0;
	}
	p->nr_flows++;
	err = proc__add_label(p->flows, "", f->from);
	if (!err)
		err = proc__add_label(p->flows, "-> ", f->to);
	table__add(p->flows, mech__get(f->chan->row.key.mech)->name);
	add_chan(p->flows, f->chan);
	table__add(p->flows, amount__text(amount, f->chan, f->bytes, f->pages));
	/* What is only touched takes no calls. */
	table__add(p->flows, f->ops || !f->pages ? human__count(n, f->ops) : "-");
	waited = find_waited(p, o->g, f->from, f->chan, 0);
	add_waited(p->flows, &waited, 0);
	waited = find_waited(p, o->g, f->to, f->chan, 1);
	add_waited(p->flows, &waited, f->blocked_ns);
	if (p->uncertain && f->shared_bytes)
		table__addf(p->flows, "%s, up to %s more", certainty__name(f->certainty),
			    human__exact(n, f->shared_bytes));
	else if (p->uncertain)
		table__add(p->flows, certainty__name(f->certainty));
	p->nr_shared += f->certainty == CERTAIN_SHARED || f->shared_bytes;
	p->nr_inferred += f->certainty == CERTAIN_INFERRED;
	return err;
}

static int put_table(struct out *o, const struct table *t, size_t nr)
{
	const struct priv *p = o->priv;

	if (!nr)
		return 0;
	fputc('\n', o->f);
	return table__print(t, o->f, p->width, p->colours ? "\033[1m" : "",
			    p->colours ? "\033[0m" : "");
}

static bool is_unseen(const struct gchan *c, const struct unseen *u)
{
	return mech__get(c->row.key.mech)->measured == IN_PAGES && c->row.flags & u->flag;
}

#define FEW_UNSEEN 5 /* of which the names are told */

/* Pages are "at least": of which memory, by why. */
static void put_unseen(struct out *o)
{
	for (int r = 0; r < UNSEEN_PAGES; r++) {
		size_t nr = 0;

		for (size_t i = 0; i < o->g->nr_chans; i++) {
			const struct gchan *c = o->g->chans[i];

			if (!is_unseen(c, &unseen_pages[r]) || nr++ >= FEW_UNSEEN)
				continue;
			fputs(nr > 1 ? ", " : "Pages at least, of ", o->f);
			escape__text(o->f, c->name ? c->name : "memory");
		}
		if (nr > FEW_UNSEEN)
			fprintf(o->f, " and %zu more", nr - FEW_UNSEEN);
		if (nr)
			fprintf(o->f, ": %s\n", unseen_pages[r].text);
	}
}

static void put_notes(struct out *o, const char *lines)
{
	const struct priv *p = o->priv;
	const bool alarm = p->colours && !graph__complete(o->g);

	fputc('\n', o->f);
	if (p->nr_shared)
		fputs("shared: of several writers, whose order the kernel does not give\n", o->f);
	if (p->nr_inferred)
		fputs("inferred: not seen itself, but nothing else fits\n", o->f);
	put_unseen(o);
	sampled__explain(o->f, o->g);
	fprintf(o->f, "%s%s%s", alarm ? "\033[31m" : "", lines, alarm ? "\033[0m" : "");
	for (char *const *note = o->g->meta.notes; note && *note; note++) {
		escape__text(o->f, *note);
		fputc('\n', o->f);
	}
}

static int put_lost(struct out *o)
{
	struct priv *p = o->priv;
	char n[HUMAN_LEN];
	char *lines;
	int err;

	err = put_table(o, p->flows, p->nr_flows);
	if (p->not_shown)
		fprintf(o->f, "and %zu smaller flows, together %s\n", p->not_shown,
			human__exact(n, p->not_shown_bytes));
	if (!err)
		err = put_table(o, p->idle, p->nr_idle);
	if (!err)
		err = put_table(o, p->passed, p->nr_passed);
	if (!err)
		err = put_table(o, p->sampled, p->nr_sampled);
	if (!err)
		err = put_table(o, p->errors, p->nr_errors);
	if (!err)
		err = put_table(o, p->procs, o->g->nr_procs > FEW_PROCESSES ? 0 : o->g->nr_procs);
	if (err)
		return err;
	lines = losses__lines(o->g);
	if (!lines)
		return -ENOMEM;
	put_notes(o, lines);
	free(lines);
	return 0;
}

static int end(struct out *o)
{
	struct priv *p = o->priv;

	if (!p)
		return 0;
	table__free(p->flows);
	table__free(p->idle);
	table__free(p->errors);
	table__free(p->passed);
	table__free(p->procs);
	table__free(p->sampled);
	free(p->traffic);
	free(p->edges);
	free(p);
	return 0;
}

const struct out_ops out_text = {
	.name = "text",
	.extensions = "txt text",
	.help = "summary for people",
	.reduce = reduce,
	.begin = begin,
	.proc = put_proc,
	.chan = put_chan,
	.edge = put_edge,
	.flow = put_flow,
	.lost = put_lost,
	.end = end,
};
