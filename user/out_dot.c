/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The graph as DOT: processes are boxes, channels ellipses, and an arrow points where bytes went.
 *
 * It is for the eye and for `ipctrace check`, which reads it back. What check needs is in attributes
 * that Graphviz does not know: of nodes kind, pid, comm, exe, mechanism, name, capacity, highwater;
 * of edges role, ops, bytes, blocked_ops, blocked_ns, mechanism. Their text is as escape__dot()
 * leaves it. Labels are plain strings, never HTML-like.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dot_plan.h"
#include "escape.h"
#include "human.h"
#include "mech.h"
#include "out.h"
#include "words.h"

#define LABEL_COLUMNS 40
#define GROUP_COLUMNS 60
#define LEGEND_COLUMNS 100
#define TIP_COLUMNS 400
#define MANY_PASSED 8
#define FONT "DejaVu Sans"
#define OUTSIDE_TIP "not traced, or before the trace"
#define THICK 3
#define GREY "#767676"

static void put_attr(FILE *f, const char *name, const char *value)
{
	fprintf(f, " %s=\"", name);
	escape__dot(f, value ? value : "");
	fputc('"', f);
}

static void put_number(FILE *f, const char *name, uint64_t value)
{
	fprintf(f, " %s=%" PRIu64, name, value);
}

/* Cut, for a label. */
static int put_short(FILE *f, const char *s, size_t columns)
{
	char *cut = escape__visible(s, columns);

	if (!cut)
		return -ENOMEM;
	escape__dot_label(f, cut);
	free(cut);
	return 0;
}

/* The mechanisms that are there, each with the look of its lines. */
static void put_key(FILE *f, const struct graph *g)
{
	uint64_t bytes[256] = { 0 };
	bool there[256] = { false };
	char n[HUMAN_LEN];

	for (size_t i = 0; i < g->nr_chans; i++)
		there[g->chans[i]->row.key.mech & 0xff] = true;
	for (size_t i = 0; i < g->nr_flows; i++)
		bytes[g->flows[i]->chan->row.key.mech & 0xff] += g->flows[i]->bytes;
	for (unsigned int i = 0; i < 256; i++) {
		const struct mech_desc *m = mech__get(i);

		if (there[i])
			fprintf(f, "%s: %s, %s line, %s received\\l", m->name, m->color_name,
				m->style, human__bytes(n, bytes[i]));
	}
}

static void put_losses(FILE *f, const char *lines)
{
	for (; *lines; lines++) {
		if (*lines == '\n')
			fputs("\\l", f);
		else
			fputc(*lines, f);
	}
}

static int put_legend(FILE *f, const struct graph *g, const char *engine)
{
	const struct gmeta *m = &g->meta;
	char a[HUMAN_LEN], b[HUMAN_LEN];
	char *command = meta__command(m), *lost = losses__lines(g);
	const char *sep = "only ";
	int err = -ENOMEM;

	if (!command || !lost)
		goto out;
	fputs("\tlabel=\"\\l", f);
	err = put_short(f, command, LEGEND_COLUMNS);
	fputs("\\l", f);
	escape__dot_label(f, m->host ? m->host : "unknown host");
	fputs(", Linux ", f);
	escape__dot_label(f, m->kernel ? m->kernel : "unknown");
	fprintf(f, ", %s, %s\\l", m->started ? human__moment(a, m->started) : "unknown time",
		human__time(b, m->duration_ns));
	for (char *const *s = m->filters; !err && s && *s; s++) {
		if (!filter__narrows(*s))
			continue;
		fputs(sep, f);
		err = put_short(f, *s, LEGEND_COLUMNS);
		sep = ", ";
	}
	fputs(*sep == ',' ? "\\l" : "", f);
	put_key(f, g);
	put_losses(f, lost);
	for (char *const *s = m->notes; !err && s && *s; s++) {
		err = put_short(f, *s, LEGEND_COLUMNS);
		fputs("\\l", f);
	}
	fprintf(f,
		"box: process; ellipse: channel; arrow: where the bytes went, thicker with more "
		"of them; layout: %s\\l\"\n",
		engine);
out:
	free(command);
	free(lost);
	return err;
}

static int put_graph_attrs(struct out *o, const struct dot_plan *p)
{
	const struct gmeta *m = &o->g->meta;
	char date[HUMAN_LEN];
	char *command = meta__command(m);
	FILE *f = o->f;

	if (!command)
		return -ENOMEM;
	fprintf(f, "\tlayout=%s rankdir=LR nodesep=0.25 ranksep=0.4 pad=0.2 bgcolor=white\n",
		p->engine);
	if (strcmp(p->engine, "dot"))
		fputs("\toverlap=prism K=0.9 splines=line outputorder=edgesfirst\n", f);
	fputs("\tlabelloc=b labeljust=l fontsize=9 fontcolor=\"#333333\" fontname=\"" FONT "\"\n",
	      f);
	fputs("\tid=ipctrace class=ipctrace tooltip=\"ipctrace\"\n\t", f);
	put_attr(f, "version", m->version);
	put_attr(f, "host", m->host);
	put_attr(f, "kernel", m->kernel);
	put_attr(f, "started", m->started ? human__date(date, m->started) : "");
	put_number(f, "duration_ns", m->duration_ns);
	put_attr(f, "command", m->args ? command : "");
	fputs(" filters=\"", f);
	for (char *const *s = m->filters; s && *s; s++) {
		escape__dot(f, *s);
		fputs(s[1] ? " " : "", f);
	}
	fprintf(f, "\" complete=%s\n", graph__complete(o->g) ? "true" : "false");
	fputs("\tnode [fontname=\"" FONT "\" fontsize=10 height=0.3 margin=\"0.1,0.05\"]\n"
	      "\tedge [fontname=\"" FONT "\" fontsize=8 arrowsize=0.7]\n",
	      f);
	free(command);
	return 0;
}

static int begin(struct out *o)
{
	struct dot_plan *p = calloc(1, sizeof(*p));
	int err;

	o->priv = p;
	if (!p)
		return -ENOMEM;
	err = dot_plan__make(p, o->g, o->engine);
	if (err)
		return err;
	fputs("digraph ipctrace {\n", o->f);
	err = put_graph_attrs(o, p);
	return err ? err : put_legend(o->f, o->g, p->engine);
}

/* A cluster may be opened as often as it has something to hold. */
static int open_group(struct out *o, size_t group)
{
	const struct dot_plan *p = o->priv;
	FILE *f = o->f;
	int err;

	fputc('\t', f);
	if (group == NO_GROUP)
		return 0;
	fprintf(f, "subgraph \"cluster_%zu\" { label=\"", group);
	err = put_short(f, p->groups[group], GROUP_COLUMNS);
	fprintf(f, "\" style=rounded color=\"%s\" fontcolor=\"%s\" fontsize=9", GREY, GREY);
	fprintf(f, " labelloc=t id=\"g%zu\" class=\"group\" tooltip=\"", group);
	escape__dot_label(f, p->groups[group]);
	fputs("\"; ", f);
	return err;
}

static void close_group(struct out *o, size_t group)
{
	fputs(group == NO_GROUP ? "\n" : " }\n", o->f);
}

static int put_proc_node(FILE *f, const struct gproc *proc)
{
	char *label = proc__label(proc), *command;
	int err;

	command = proc->args_len ? escape__args(proc->args, proc->args_len)
				 : strdup(proc->exe ? proc->exe : "");
	if (!label || !command) {
		err = -ENOMEM;
		goto out;
	}
	fprintf(f, "\"%s\" [label=\"", proc->id);
	err = put_short(f, label, LABEL_COLUMNS);
	fputs("\" tooltip=\"", f);
	err = err ? err : put_short(f, command, 200);
	fprintf(f, "\" shape=box style=\"rounded,filled\" fillcolor=\"%s\" color=\"#333333\"",
		proc->flags & PROC_HOLDER ? "white" : "#f2f2f2");
	fprintf(f, " id=\"%s\" class=\"process\" kind=process", proc->id);
	put_number(f, "pid", proc->pid);
	put_attr(f, "comm", proc->comm);
	put_attr(f, "exe", proc->exe);
	if (proc->title)
		put_attr(f, "title", proc->title);
	if (proc->count > 1)
		put_number(f, "count", proc->count);
	fputs("]", f);
out:
	free(label);
	free(command);
	return err;
}

static int put_proc(struct out *o, const struct gproc *proc)
{
	const size_t group = dot_plan__group(o->priv, proc);
	int err = open_group(o, group);

	if (!err)
		err = put_proc_node(o->f, proc);
	close_group(o, group);
	return err;
}

static int put_chan_node(FILE *f, const struct gchan *c)
{
	const struct mech_desc *m = mech__get(c->row.key.mech);
	char n[HUMAN_LEN];
	int err;

	fprintf(f, "\"%s\" [label=\"", c->id);
	/* "pipe:[4711]" says what it is; a path does not. */
	if (c->path)
		fprintf(f, "%s\\n", m->name);
	err = put_short(f, c->name, LABEL_COLUMNS);
	if (c->count > 1)
		fprintf(f, "\\nx%" PRIu64, c->count);
	fputs("\" tooltip=\"", f);
	escape__dot_label(f, c->name ? c->name : "");
	if (c->row.capacity)
		fprintf(f, "\\nholds %s%s", human__exact(n, c->row.capacity),
			m->fill_is_memory ? " of memory" : "");
	if (c->row.capacity && m->measured != IN_PAGES)
		fprintf(f, ", at most %s were in it", human__exact(n, c->row.highwater));
	if (c->row.capacity && m->fill_is_memory)
		fprintf(f, "\\nat most %llu messages", c->row.highwater_messages);
	if (c->row.capacity_messages)
		fprintf(f, "\\n%llu messages, at most %llu", c->row.capacity_messages,
			c->row.highwater_messages);
	if (m->in_ipcns && c->row.sysv_key)
		fprintf(f, "\\nkey 0x%08x", (uint32_t)c->row.sysv_key);
	fprintf(f, "\" shape=ellipse style=\"filled,%s\" fillcolor=white color=\"%s\"", m->style,
		m->color);
	fprintf(f, " fontsize=8 id=\"%s\" class=\"channel %s\" kind=channel", c->id, m->name);
	put_attr(f, "mechanism", m->name);
	put_attr(f, "name", c->name);
	put_number(f, "capacity", c->row.capacity);
	put_number(f, "highwater", c->row.highwater);
	fputs("]", f);
	return err;
}

static int put_chan(struct out *o, const struct gchan *c)
{
	const struct dot_plan *p = o->priv;
	const size_t group = p->chan_group[c->index];
	int err = open_group(o, group);

	if (!err)
		err = put_chan_node(o->f, c);
	close_group(o, group);
	return err;
}

/* Straight between the powers of two: close enough for a line's width, and without libm. */
static double log_2(uint64_t n)
{
	const int whole = n ? 63 - __builtin_clzll(n) : 0;

	return n ? whole + (double)n / (double)(1ULL << whole) - 1 : 0;
}

/* 1 for nothing, 6 for the most; but ten bytes are no thick line where nothing has more. */
static double pen_width(const struct dot_plan *p, uint64_t bytes)
{
	const double most = log_2(p->max_bytes);

	return 1 + 5 * log_2(bytes) / (most > 24 ? most : 24);
}

static void put_errors(FILE *f, const uint64_t *errors)
{
	char number[16], n[HUMAN_LEN];

	for (int i = 0; i < 256; i++)
		if (errors[i])
			fprintf(f, "\\n%s ×%s", error__name(i, number), human__count(n, errors[i]));
}

/* Counted in bytes, not only in calls. */
static bool is_io(const struct gedge *e)
{
	return e->role < ROLES_IO;
}

/* What descriptors that were passed are of. */
static int put_passes(FILE *f, const char *before, const struct gpasses *p, size_t most,
		      size_t columns)
{
	char *text;
	int err;

	if (!p->nr)
		return 0;
	text = passes__text(p, most);
	if (!text)
		return -ENOMEM;
	fputs(before, f);
	err = put_short(f, text, columns);
	free(text);
	return err;
}

static void put_edge_label(FILE *f, const struct gedge *e, bool brief, double width)
{
	char n[HUMAN_LEN], calls[HUMAN_LEN], amount[AMOUNT_LEN];

	if (e->holder) {
		fputs(brief ? "" : "open", f);
		return;
	}
	if (e->pages)
		fputs(amount__text(amount, e->chan, e->bytes, e->pages), f);
	else if (is_io(e))
		fputs(human__bytes(n, e->bytes), f);
	else
		fprintf(f, "%s ×%s", role__name(e->role), human__count(n, e->ops));
	/* Where lines go anywhere, labels are in each other's way. */
	if (brief)
		return;
	if (is_io(e) && (e->ops || !e->pages))
		fprintf(f, "\\n%s call%s", human__count(calls, e->ops), e->ops == 1 ? "" : "s");
	if (e->peeked_bytes)
		fprintf(f, "\\n%s peeked", human__bytes(n, e->peeked_bytes));
	if (e->blocked_ns)
		fprintf(f, "\\nwaited %s", human__time(n, e->blocked_ns));
	if (e->blocked_now)
		fputs("\\nstill waiting", f);
	put_errors(f, e->errors);
	/* Graphviz puts labels as close to a thick line as to a thin one. */
	if (width > THICK)
		fputs("\\n ", f);
}

static int put_edge_tooltip(FILE *f, const struct gedge *e)
{
	char *label = proc__label(e->proc);
	char a[HUMAN_LEN], b[HUMAN_LEN], amount[AMOUNT_LEN];

	if (!label)
		return -ENOMEM;
	escape__dot_label(f, label);
	if (e->pages)
		fprintf(f, " %ss %s", role__name(e->role),
			amount__text(amount, e->chan, e->bytes, e->pages));
	else if (is_io(e))
		fprintf(f, " %ss %s in %s calls", role__name(e->role), human__exact(a, e->bytes),
			human__count(b, e->ops));
	else
		fprintf(f, " %s: %s times", role__name(e->role), human__count(b, e->ops));
	if (e->credentials)
		fprintf(f, "; in %s messages, who sent them", human__count(a, e->credentials));
	if (e->blocked_ops)
		fprintf(f, ", slept in %s of them for %s", human__count(a, e->blocked_ops),
			human__time(b, e->blocked_ns));
	free(label);
	return put_passes(f, ": ", &e->passes, MANY_PASSED, TIP_COLUMNS);
}

static int put_edge(struct out *o, const struct gedge *e)
{
	const struct mech_desc *m = mech__get(e->chan->row.key.mech);
	const struct dot_plan *p = o->priv;
	const bool writes = e->role % 2 == 0;
	const bool two_ends = e->chan->row.flags & CHAN_TWO_ENDS;
	const double width = pen_width(p, e->bytes + (e->pages << 12));
	FILE *f = o->f;
	int err;

	fprintf(f, "\t\"%s\" -> \"%s\" [label=\"", writes ? e->proc->id : e->chan->id,
		writes ? e->chan->id : e->proc->id);
	put_edge_label(f, e, strcmp(p->engine, "dot"), width);
	err = strcmp(p->engine, "dot") ? 0 : put_passes(f, "\\n", &e->passes, 1, LABEL_COLUMNS);
	fputs("\" edgetooltip=\"", f);
	err = err ? err : put_edge_tooltip(f, e);
	fputs("\" labeltooltip=\"", f);
	err = err ? err : put_edge_tooltip(f, e);
	fprintf(f, "\" color=\"%s\" style=\"%s\" penwidth=%.2f", e->holder ? GREY : m->color,
		e->holder ? "dotted" : m->style, width);
	if (!dot_plan__same_row(p, o->g, e))
		fputs(" constraint=false", f);
	/* Nothing went there. */
	if (is_io(e) ? !e->bytes && !e->pages : !e->ops)
		fputs(" arrowhead=empty", f);
	if (e->role >= ROLE_ATTACH)
		fputs(" dir=none", f);
	fprintf(f, " id=\"%s-%s-%s%s\"", e->proc->id, e->chan->id, role__name(e->role),
		!two_ends ? ""
		: e->end  ? "-1"
			  : "-0");
	fprintf(f, " class=\"%s %s\" role=\"%s\"", role__name(e->role), m->name,
		role__name(e->role));
	put_attr(f, "mechanism", m->name);
	if (two_ends)
		put_number(f, "end", e->end);
	put_number(f, "ops", e->ops);
	put_number(f, "bytes", e->bytes);
	if (m->measured == IN_PAGES)
		put_number(f, "pages", e->pages);
	if (e->samples)
		put_number(f, "sampled_pages", e->sampled_pages);
	put_number(f, "blocked_ops", e->blocked_ops);
	put_number(f, "blocked_ns", e->blocked_ns);
	fputs(e->holder ? " holder=true]\n" : "]\n", f);
	return err;
}

/* Somebody who was not watched has no edges, only flows. */
static int put_flow(struct out *o, const struct gflow *flow)
{
	struct dot_plan *p = o->priv;
	const struct gproc *outside = o->g->outside;

	if (flow->from == outside)
		p->outside[ROLE_WRITE][flow->chan->index] += flow->bytes + flow->shared_bytes;
	if (flow->to == outside)
		p->outside[ROLE_READ][flow->chan->index] += flow->bytes + flow->shared_bytes;
	return 0;
}

static void put_outside_edge(struct out *o, const struct gchan *c, enum role role)
{
	const struct dot_plan *p = o->priv;
	const struct mech_desc *m = mech__get(c->row.key.mech);
	const uint64_t bytes = p->outside[role][c->index];
	const char *id = o->g->outside->id;
	char n[HUMAN_LEN];
	FILE *f = o->f;

	if (!bytes)
		return;
	fprintf(f, "\t\"%s\" -> \"%s\" [", role == ROLE_WRITE ? id : c->id,
		role == ROLE_WRITE ? c->id : id);
	fprintf(f, "label=\"%s\" color=\"%s\"", human__bytes(n, bytes), m->color);
	fprintf(f, " style=dotted penwidth=%.2f class=\"outside\"", pen_width(p, bytes));
	fprintf(f, " edgetooltip=\"%s\" role=\"%s\"", OUTSIDE_TIP, role__name(role));
	put_attr(f, "mechanism", m->name);
	put_number(f, "bytes", bytes);
	fputs(" outside=true]\n", f);
}

static int put_last(struct out *o)
{
	const struct graph *g = o->g;
	FILE *f = o->f;

	if (g->outside) {
		fprintf(f, "\t\"%s\" [label=\"outside\" tooltip=\"%s\" shape=box", g->outside->id,
			OUTSIDE_TIP);
		fprintf(f, " style=\"rounded,dashed\" color=\"%s\" fontcolor=\"%s\"", GREY, GREY);
		fprintf(f, " id=\"%s\" class=\"process outside\" kind=outside]\n", g->outside->id);
		for (size_t i = 0; i < g->nr_chans; i++)
			for (int role = 0; role < ROLES_IO; role++)
				put_outside_edge(o, g->chans[i], role);
	}
	fputs("}\n", f);
	return 0;
}

static int end(struct out *o)
{
	struct dot_plan *p = o->priv;

	if (p)
		dot_plan__done(p);
	free(p);
	o->priv = NULL;
	return 0;
}

const struct out_ops out_dot = {
	.name = "dot",
	.extensions = "dot gv",
	.help = "for Graphviz, and for ipctrace check",
	.reduce = out__reduce_drawing,
	.begin = begin,
	.proc = put_proc,
	.chan = put_chan,
	.edge = put_edge,
	.flow = put_flow,
	.lost = put_last,
	.end = end,
};
