/* SPDX-License-Identifier: BSD-2-Clause */
/* The graph as JSON, schema 1. Tools are written against it: keys are only ever added. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "human.h"
#include "json.h"
#include "mech.h"
#include "out.h"
#include "words.h"

#define SCHEMA 1

enum section { S_PROCESSES, S_CHANNELS, S_EDGES, S_FLOWS, S_DONE };

struct priv {
	struct json j;
	enum section section; /* whose array is open */
	uint64_t *in, *out; /* bytes by channel */
};

/* {"mechanism": ["pipe"]}: a filter may be given several times. */
static void put_filters(struct json *j, char *const *filters)
{
	json__put_object(j, "filters");
	for (char *const *f = filters; f && *f; f++) {
		const size_t len = strcspn(*f, "=");
		bool again = false;

		for (char *const *g = filters; g < f; g++)
			again |= strcspn(*g, "=") == len && !memcmp(*g, *f, len);
		if (again)
			continue;
		json__key_n(j, *f, len);
		json__array(j);
		for (char *const *g = f; *g; g++)
			if (strcspn(*g, "=") == len && !memcmp(*g, *f, len))
				json__string(j, (*g)[len] ? *g + len + 1 : "");
		json__close(j);
	}
	json__close(j);
}

static void put_strings(struct json *j, const char *key, char *const *strings)
{
	json__put_array(j, key);
	for (; strings && *strings; strings++)
		json__string(j, *strings);
	json__close(j);
}

static void put_meta(struct json *j, const struct gmeta *m)
{
	char date[HUMAN_LEN];

	json__put_object(j, "ipctrace");
	json__put_string(j, "version", m->version);
	json__put_u64(j, "schema", SCHEMA);
	json__put_string(j, "host", m->host);
	json__put_string(j, "kernel", m->kernel);
	json__put_string(j, "started", m->started ? human__date(date, m->started) : NULL);
	json__put_u64(j, "duration_ns", m->duration_ns);
	if (m->args)
		put_strings(j, "command", m->args);
	else
		json__put_null(j, "command");
	put_filters(j, m->filters);
	put_strings(j, "notes", m->notes);
	json__close(j);
}

static int begin(struct out *o)
{
	const struct graph *g = o->g;
	struct priv *p = calloc(1, sizeof(*p));

	o->priv = p;
	if (!p)
		return -ENOMEM;
	p->in = calloc(g->nr_chans + 1, sizeof(*p->in));
	p->out = calloc(g->nr_chans + 1, sizeof(*p->out));
	if (!p->in || !p->out)
		return -ENOMEM;
	for (size_t i = 0; i < g->nr_edges; i++) {
		const struct gedge *e = g->edges[i];

		(e->role == ROLE_WRITE ? p->in : p->out)[e->chan->index] += e->bytes;
	}
	json__init(&p->j, o->f, 2);
	json__object(&p->j);
	put_meta(&p->j, &g->meta);
	json__put_array(&p->j, "processes");
	return 0;
}

static void put_exit(struct json *j, const struct gproc *proc)
{
	const int status = proc->wait_status;

	if (!(proc->flags & PROC_DEAD)) {
		json__put_null(j, "exit");
		return;
	}
	json__put_object(j, "exit");
	if (WIFEXITED(status))
		json__put_u64(j, "code", WEXITSTATUS(status));
	else
		json__put_null(j, "code");
	if (WIFSIGNALED(status))
		json__put_u64(j, "signal", WTERMSIG(status));
	else
		json__put_null(j, "signal");
	json__close(j);
}

static int put_proc(struct out *o, const struct gproc *proc)
{
	struct json *j = &((struct priv *)o->priv)->j;
	const char *end = proc->args + proc->args_len;

	json__object(j);
	json__put_string(j, "id", proc->id);
	json__put_u64(j, "pid", proc->pid);
	json__put_u64(j, "start_ns", proc->start_ns);
	json__put_string(j, "parent", proc->parent ? proc->parent->id : NULL);
	json__put_string(j, "comm", proc->comm ? proc->comm : "");
	json__put_string(j, "exe", proc->exe ? proc->exe : "");
	json__put_array(j, "cmdline");
	for (const char *arg = proc->args; arg && arg < end;) {
		const size_t len = strnlen(arg, end - arg);

		json__string_n(j, arg, len);
		arg += len + 1;
	}
	json__close(j);
	json__put_string(j, "title", proc->title);
	json__put_u64(j, "uid", proc->uid);
	json__put_string(j, "cgroup", proc->cgroup_path);
	json__put_string(j, "container", proc->container);
	json__put_u64(j, "pidns", proc->pidns);
	put_exit(j, proc);
	json__put_u64(j, "exit_ns", proc->exit_ns);
	json__put_u64(j, "count", proc == o->g->outside ? 0 : proc->count);
	json__put_bool(j, "watched", proc != o->g->outside && !(proc->flags & PROC_HOLDER));
	json__put_bool(j, "cut", proc->flags & PROC_CUT);
	json__close(j);
	return 0;
}

/* Arrays are there also when nothing is in them. */
static void enter(struct out *o, enum section to)
{
	static const char *const keys[] = {
		[S_PROCESSES] = "processes",
		[S_CHANNELS] = "channels",
		[S_EDGES] = "edges",
		[S_FLOWS] = "flows",
	};
	struct priv *p = o->priv;

	while (p->section < to) {
		/* Flows name it, so it must be among them. */
		if (p->section == S_PROCESSES && o->g->outside)
			put_proc(o, o->g->outside);
		json__close(&p->j);
		if (++p->section < S_DONE)
			json__put_array(&p->j, keys[p->section]);
	}
}

static void put_number_or_null(struct json *j, const char *key, bool known, uint64_t v)
{
	if (known)
		json__put_u64(j, key, v);
	else
		json__put_null(j, key);
}

/* The two sockets of a connection. */
static void put_ends(struct json *j, const struct gchan *c)
{
	json__put_array(j, "ends");
	for (int i = 0; c->row.flags & CHAN_TWO_ENDS && i < 2; i++) {
		char *address = graph__address(&c->row.ends[i]);

		json__object(j);
		put_number_or_null(j, "ino", c->row.ends[i].ino, c->row.ends[i].ino);
		if (address)
			json__put_string(j, "address", address);
		else
			json__put_null(j, "address");
		put_number_or_null(j, "netns", c->row.ends[i].netns, c->row.ends[i].netns);
		json__close(j);
		free(address);
	}
	json__close(j);
}

/* What only queues of messages have. */
static void put_queue(struct json *j, const struct chan_row *row)
{
	put_number_or_null(j, "capacity_messages", row->capacity_messages, row->capacity_messages);
	json__put_u64(j, "highwater_messages", row->highwater_messages);
	json__put_u64(j, "truncated_bytes", row->truncated_bytes);
	json__put_u64(j, "queued_ns", row->queued_ns);
	json__put_u64(j, "max_queued_ns", row->max_queued_ns);
}

/* The kernel counts what they take in memory, which is more than their bytes. */
static void put_memory(struct json *j, const struct chan_row *row)
{
	json__put_bool(j, "capacity_is_memory", true);
	put_number_or_null(j, "highwater_messages", row->capacity, row->highwater_messages);
}

static void put_signal(struct json *j, const struct gchan *c)
{
	char *sig = graph__signal(c);

	if (sig)
		json__put_string(j, "signal", sig);
	free(sig);
}

/* Reading memory takes nothing away, and of some what is read is not what was written. */
static bool can_be_left(const struct mech_desc *m)
{
	return m->measured != IN_PAGES && m->measured != IN_BOTH && m->flows != FLOWS_EVENTS &&
	       m->flows != FLOWS_LOOSE && m->flows != FLOWS_NONE;
}

/* Of memory: how big its pages are, and why touches of them may not have been seen. */
static void put_pages(struct json *j, const struct chan_row *row)
{
	if (row->page_shift && row->page_shift < 64)
		json__put_u64(j, "page_size", 1ULL << row->page_shift);
	json__put_array(j, "unseen_pages");
	for (int i = 0; i < UNSEEN_PAGES; i++)
		if (row->flags & unseen_pages[i].flag)
			json__string(j, unseen_pages[i].key);
	json__close(j);
}

static int put_chan(struct out *o, const struct gchan *c)
{
	struct priv *p = o->priv;
	struct json *j = &p->j;
	const struct mech_desc *m = mech__get(c->row.key.mech);
	const uint64_t in = p->in[c->index] + c->row.found_bytes;
	const uint64_t out = p->out[c->index] + c->row.truncated_bytes;

	enter(o, S_CHANNELS);
	json__object(j);
	json__put_string(j, "id", c->id);
	json__put_string(j, "mechanism", m->name);
	json__put_string(j, "name", c->name ? c->name : "");
	json__put_string(j, "path", c->path);
	put_number_or_null(j, "key", m->in_ipcns && c->row.sysv_key, (uint32_t)c->row.sysv_key);
	if (m->in_ipcns)
		json__put_u64(j, "namespace", c->row.key.dev);
	if (m->naming_by == NAME_WORD)
		json__put_u64(j, "offset", word__offset(&c->row));
	put_number_or_null(j, "capacity", c->row.capacity, c->row.capacity);
	put_number_or_null(j, "highwater", c->row.capacity, c->row.highwater);
	put_ends(j, c);
	put_signal(j, c);
	json__put_string(j, "medium", c->medium);
	json__put_string(j, "unit", c->unit);
	json__put_string(j, "direction", c->direction);
	json__put_string(j, "naming", c->naming);
	json__put_string(j, "buffering", c->buffering);
	json__put_string(j, "scope", c->scope);
	json__put_string(j, "relation", c->relation);
	json__put_bool(j, "preexisting", c->row.flags & CHAN_PREEXISTING);
	json__put_null(j, "rpc");
	json__put_u64(j, "dev", c->row.key.dev);
	json__put_u64(j, "ino", c->row.key.ino);
	json__put_u64(j, "found_bytes", c->row.found_bytes);
	json__put_u64(j, "left_bytes", in > out && can_be_left(m) ? in - out : 0);
	if (c->row.dropped)
		json__put_u64(j, "dropped", c->row.dropped);
	if (m->tags || c->row.capacity_messages)
		put_queue(j, &c->row);
	else if (m->fill_is_memory)
		put_memory(j, &c->row);
	if (m->measured == IN_PAGES)
		put_pages(j, &c->row);
	json__put_u64(j, "count", c->count);
	json__put_bool(j, "cut", c->row.flags & CHAN_CUT);
	json__close(j);
	return 0;
}

static void put_errors(struct json *j, const uint64_t *errors)
{
	char number[16];

	json__put_object(j, "errors");
	for (int i = 1; i < 256; i++)
		if (errors[i])
			json__put_u64(j, error__name(i, number), errors[i]);
	if (errors[0])
		json__put_u64(j, error__name(0, number), errors[0]);
	json__close(j);
}

/* {"types": {"1": 20}}: messages by their type or priority. */
static void put_tags(struct json *j, const char *key, const struct gtags *t)
{
	char tag[16];

	json__put_object(j, key);
	for (int i = 0; i < TAGS_MAX && t->of[i].ops; i++) {
		snprintf(tag, sizeof(tag), "%d", t->of[i].tag);
		json__put_u64(j, tag, t->of[i].ops);
	}
	if (t->others)
		json__put_u64(j, "others", t->others);
	json__close(j);
}

static void put_event(struct json *j, const struct gedge *e)
{
	const struct mech_desc *m = mech__get(e->chan->row.key.mech);

	if (m->counts)
		json__put_u64(j, "value", e->value_sum);
	if (!m->is_signal)
		return;
	json__put_u64(j, "ignored_ops", e->ignored_ops);
	json__put_u64(j, "merged_ops", e->merged_ops);
	json__key(j, "value");
	if (e->has_value)
		json__i64(j, (int32_t)e->value_last);
	else
		json__null(j);
}

/* Descriptors: the channel, if it is one, else what it is called. */
static void put_passed(struct json *j, const struct gpassed *p)
{
	const struct gfile *f = p->file;
	const bool listed = f->chan && *f->chan->id;

	json__object(j);
	json__put_string(j, "channel", listed ? f->chan->id : NULL);
	put_number_or_null(j, "end", f->chan && f->chan->row.flags & CHAN_TWO_ENDS, f->end);
	json__put_string(j, "kind", passed__kind(f));
	json__put_string(j, "name", f->name);
	json__put_string(j, "mode", passed__mode(p));
	put_number_or_null(j, "ino", f->ino, f->ino);
	json__put_u64(j, "ops", p->ops);
	json__close(j);
}

static void put_passes(struct json *j, const struct gpasses *p, uint64_t others)
{
	json__put_array(j, "passed");
	for (size_t i = 0; i < p->nr; i++)
		put_passed(j, &p->at[i]);
	json__close(j);
	json__put_u64(j, "passed_others", others);
}

static void put_credentials(struct json *j, const struct gedge *e)
{
	json__put_object(j, "credentials");
	json__put_u64(j, "ops", e->credentials);
	json__put_u64(j, "pid", e->cred_pid);
	json__put_u64(j, "uid", e->cred_uid);
	json__put_u64(j, "gid", e->cred_gid);
	json__close(j);
}

static int put_edge(struct out *o, const struct gedge *e)
{
	const uint64_t passed = passes__total(&e->passes) - e->passes.others;
	struct priv *p = o->priv;
	struct json *j = &p->j;

	enter(o, S_EDGES);
	json__object(j);
	json__put_string(j, "process", e->proc->id);
	json__put_string(j, "channel", e->chan->id);
	json__put_string(j, "role", role__name(e->role));
	put_number_or_null(j, "end", e->chan->row.flags & CHAN_TWO_ENDS, e->end);
	json__put_u64(j, "ops", e->ops);
	json__put_u64(j, "bytes", e->bytes);
	put_errors(j, e->errors);
	json__put_u64(j, "nonblocking_ops", e->nonblocking_ops);
	json__put_u64(j, "blocked_ops", e->blocked_ops);
	json__put_u64(j, "blocked_ns", e->blocked_ns);
	json__put_u64(j, "max_blocked_ns", e->max_blocked_ns);
	json__put_u64(j, "first_ns", e->first_ns);
	json__put_u64(j, "last_ns", e->last_ns);
	json__put_u64(j, "blocked_now", e->blocked_now);
	json__put_u64(j, "peeked_bytes", e->peeked_bytes);
	if (mech__get(e->chan->row.key.mech)->measured == IN_PAGES)
		json__put_u64(j, "pages", e->pages);
	if (mech__get(e->chan->row.key.mech)->measured == IN_PAGES && meta__sample(&o->g->meta)) {
		json__put_u64(j, "sampled_pages", e->sampled_pages);
		json__put_u64(j, "samples", e->samples);
	}
	if (e->role == ROLE_WAIT)
		json__put_u64(j, "woken_by_unknown", e->woken);
	if (mech__get(e->chan->row.key.mech)->tags && e->role < ROLES_IO)
		put_tags(j, mech__get(e->chan->row.key.mech)->tags, &e->tags);
	put_event(j, e);
	if (e->role == ROLE_PASS_FD || e->role == ROLE_TAKE_FD)
		put_passes(j, &e->passes, e->ops > passed ? e->ops - passed : 0);
	if (e->credentials)
		put_credentials(j, e);
	json__put_bool(j, "holder", e->holder);
	json__close(j);
	return 0;
}

static int put_flow(struct out *o, const struct gflow *f)
{
	struct priv *p = o->priv;
	struct json *j = &p->j;

	enter(o, S_FLOWS);
	json__object(j);
	json__put_string(j, "from", f->from->id);
	json__put_string(j, "to", f->to->id);
	json__put_string(j, "channel", f->chan->id);
	json__put_u64(j, "ops", f->ops);
	json__put_u64(j, "bytes", f->bytes);
	if (mech__get(f->chan->row.key.mech)->measured == IN_PAGES)
		json__put_u64(j, "pages", f->pages);
	if (f->blocked_ns)
		json__put_u64(j, "blocked_ns", f->blocked_ns);
	json__put_string(j, "certainty", certainty__name(f->certainty));
	json__put_u64(j, "shared_bytes", f->shared_bytes);
	if (f->passes.nr || f->passes.others || f->shared_fds) {
		json__put_u64(j, "fds", passes__total(&f->passes));
		json__put_u64(j, "shared_fds", f->shared_fds);
		put_passes(j, &f->passes, f->passes.others);
	}
	json__close(j);
	return 0;
}

static int put_lost(struct out *o)
{
	const struct rec_lost *lost = &o->g->lost;
	struct priv *p = o->priv;
	struct json *j = &p->j;
	uint64_t events = 0, calls = 0;

	enter(o, S_DONE);
	for (int i = 0; i < LOSS_MAX; i++) {
		events += losses[i].of_events ? lost->causes[i] : 0;
		calls += losses[i].of_calls ? lost->causes[i] : 0;
	}
	json__put_object(j, "lost");
	json__put_u64(j, "events", events);
	json__put_u64(j, "edges", calls);
	json__put_object(j, "by_cause");
	for (int i = 0; i < LOSS_MAX; i++)
		json__put_u64(j, losses[i].key, lost->causes[i]);
	json__close(j);
	json__put_bool(j, "complete", graph__complete(o->g));
	json__put_u64(j, "seen", lost->seen);
	json__put_u64(j, "delivered", lost->delivered);
	json__put_u64(j, "unfinished", lost->unfinished);
	json__close(j);
	json__close(j);
	return 0;
}

static int end(struct out *o)
{
	struct priv *p = o->priv;

	if (p) {
		free(p->in);
		free(p->out);
	}
	free(p);
	return 0;
}

const struct out_ops out_json = {
	.name = "json",
	.extensions = "json",
	.help = "the graph for programs, schema 1",
	.begin = begin,
	.proc = put_proc,
	.chan = put_chan,
	.edge = put_edge,
	.flow = put_flow,
	.lost = put_lost,
	.end = end,
};
