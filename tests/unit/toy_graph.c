/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "toy_graph.h"
#include "user/out.h"
#include "user/util.h"

static const uint64_t no_errors[256];

/* One more element, zeroed, at the end of an array of pointers. */
static void *append(void *array, size_t *nr, size_t size)
{
	void ***a = array;

	*a = xrealloc(*a, *nr + 1, sizeof(**a));
	return (*a)[(*nr)++] = xcalloc(1, size);
}

struct graph *toy__new(void)
{
	struct graph *g = xcalloc(1, sizeof(*g));

	g->meta.version = xstrdup("0.0");
	g->meta.host = xstrdup("toybox");
	g->meta.kernel = xstrdup("6.18.0-toy");
	g->meta.started = 1763686080123456789ULL;
	g->meta.duration_ns = 520000000;
	g->has_lost = true;
	g->lost.seen = g->lost.delivered = 1234;
	return g;
}

static void free_strings(char **strings)
{
	for (char **s = strings; s && *s; s++)
		free(*s);
	free(strings);
}

static void free_proc(struct gproc *p)
{
	if (!p)
		return;
	free(p->comm);
	free(p->exe);
	free(p->args);
	free(p->cgroup_path);
	free(p->container);
	free(p);
}

void toy__free(struct graph *g)
{
	for (size_t i = 0; i < g->nr_procs; i++)
		free_proc(g->procs[i]);
	free_proc(g->outside);
	for (size_t i = 0; i < g->nr_chans; i++) {
		free(g->chans[i]->name);
		free(g->chans[i]->path);
		free(g->chans[i]);
	}
	for (size_t i = 0; i < g->nr_edges; i++)
		free(g->edges[i]);
	for (size_t i = 0; i < g->nr_flows; i++)
		free(g->flows[i]);
	free(g->procs);
	free(g->chans);
	free(g->edges);
	free(g->flows);
	free(g->meta.version);
	free(g->meta.host);
	free(g->meta.kernel);
	free_strings(g->meta.args);
	free_strings(g->meta.filters);
	free_strings(g->meta.notes);
	free(g);
}

struct gproc *toy__proc(struct graph *g, const char *comm)
{
	struct gproc *p = append(&g->procs, &g->nr_procs, sizeof(*p));

	p->index = g->nr_procs - 1;
	p->key = g->nr_procs;
	p->pid = 1000 + g->nr_procs;
	snprintf(p->id, sizeof(p->id), "p%zu", g->nr_procs);
	p->comm = xstrdup(comm);
	p->exe = xasprintf("/usr/bin/%s", comm);
	p->args_len = strlen(comm) + sizeof("-x");
	p->args_len++;
	p->args = xcalloc(1, p->args_len);
	strcpy(p->args, comm);
	strcpy(p->args + strlen(comm) + 1, "-x");
	p->start_ns = 1000000 * g->nr_procs;
	p->parent = g->nr_procs > 1 ? g->procs[0] : NULL;
	p->count = 1;
	return p;
}

struct gchan *toy__chan(struct graph *g, enum mech mech, const char *name)
{
	struct gchan *c = append(&g->chans, &g->nr_chans, sizeof(*c));

	c->index = g->nr_chans - 1;
	c->key = g->nr_chans;
	snprintf(c->id, sizeof(c->id), "c%zu", g->nr_chans);
	c->row.key.mech = mech;
	c->row.key.ino = 4710 + g->nr_chans;
	c->row.capacity = 65536;
	c->row.highwater = 4096;
	c->name = name ? xstrdup(name) : xasprintf("pipe:[%zu]", 4710 + g->nr_chans);
	c->path = name ? xstrdup(name) : NULL;
	c->count = 1;
	c->medium = "memory";
	c->unit = "byte stream";
	c->direction = "one-way";
	c->naming = name ? "indirect" : "direct";
	c->buffering = "bounded";
	c->scope = "same-host";
	c->relation = "siblings";
	return c;
}

struct gedge *toy__edge(struct graph *g, struct gproc *p, struct gchan *c, enum role role,
			uint64_t bytes, uint64_t ops)
{
	struct gedge *e = append(&g->edges, &g->nr_edges, sizeof(*e));

	e->proc = p;
	e->chan = c;
	e->role = role;
	e->bytes = bytes;
	e->ops = ops;
	e->errors = no_errors;
	return e;
}

struct gflow *toy__flow(struct graph *g, struct gproc *from, struct gproc *to, struct gchan *c,
			uint64_t bytes)
{
	struct gflow *f = append(&g->flows, &g->nr_flows, sizeof(*f));

	f->from = from;
	f->to = to;
	f->chan = c;
	f->bytes = bytes;
	f->ops = 1;
	f->certainty = CERTAIN_EXACT;
	return f;
}

struct graph *toy__chain(size_t n, uint64_t bytes)
{
	static const char *const comms[] = { "ls", "grep", "sort", "uniq", "cut", "cat", "wc" };
	struct graph *g = toy__new();

	for (size_t i = 0; i < n; i++) {
		struct gproc *p = toy__proc(g, comms[i % 7]);
		struct gchan *c;

		if (!i)
			continue;
		c = toy__chan(g, MECH_PIPE, NULL);
		toy__edge(g, g->procs[i - 1], c, ROLE_WRITE, bytes, 37);
		toy__edge(g, p, c, ROLE_READ, bytes, 20)->blocked_ns = 1234567;
		g->edges[g->nr_edges - 1]->blocked_ops = 2;
		toy__flow(g, g->procs[i - 1], p, c, bytes);
	}
	return g;
}

static char **one_string(const char *s)
{
	char **strings = xcalloc(2, sizeof(*strings));

	strings[0] = xstrdup(s);
	return strings;
}

struct graph *toy__hostile(void)
{
	static const char *const names[] = {
		HOSTILE,
		"\\",
		"\\\"",
		"a\\\\\"",
		"\\N\\G\\E\\l",
		"<b>&lt;&#60;</b>",
		"\xff\xc0\x80\xed\xa0\x80",
		"\xe2\x80\xae"
		"gpj.exe",
		"{a|b}%s%n",
		"]]>-->*/",
		"\r\n\t\v",
		"",
		"\xef\xbf\xbe\xe2\x80\xa8",
		"a\\\nb",
	};
	struct graph *g = toy__new();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct gproc *p = toy__proc(g, names[i]);
		struct gchan *c = toy__chan(g, i % 2 ? MECH_FIFO : MECH_PIPE, names[i]);

		p->cgroup_path = xstrdup(names[(i + 1) % ARRAY_SIZE(names)]);
		toy__edge(g, p, c, ROLE_WRITE, 1, 1);
		toy__flow(g, p, g->procs[0], c, 1);
	}
	g->meta.args = one_string(HOSTILE);
	g->meta.filters = one_string("comm=" HOSTILE);
	g->meta.notes = one_string(HOSTILE);
	free(g->meta.host);
	g->meta.host = xstrdup(HOSTILE);
	return g;
}

char *toy__write(const struct graph *g, const struct out_ops *ops)
{
	struct out o = { .g = g };
	char *text = NULL;
	size_t size;

	o.f = open_memstream(&text, &size);
	if (!o.f || out__write(&o, ops) || fclose(o.f)) {
		fputs("toy__write failed\n", stderr);
		abort();
	}
	return text;
}
