/* SPDX-License-Identifier: BSD-2-Clause */
/* The facts as JSON, for tests to compare a graph with. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "facts.h"
#include "json.h"

static void write_params(struct json *j)
{
	json__open(j, "params", '{');
	for (int i = 0; i < MAX_PARAMS && factory->params[i].name; i++) {
		const struct param *p = &factory->params[i];

		if (!p->choices && p->max)
			json__num(j, p->name, arg_num(p->name));
		else
			json__str(j, p->name, arena->values[i]);
	}
	json__close(j, '}');
}

static void write_procs(struct json *j)
{
	json__open(j, "processes", '[');
	for (uint32_t i = 0; i < arena->nr_procs && !arena->totals_only; i++) {
		const struct proc *p = &arena->procs[i];

		json__open(j, NULL, '{');
		json__str(j, "name", p->name);
		json__str(j, "comm", p->comm);
		json__num(j, "pid", p->pid);
		json__str(j, "parent", p->parent < 0 ? NULL : arena->procs[p->parent].name);
		json__close(j, '}');
	}
	json__close(j, ']');
}

static void write_ends(struct json *j, const struct chan *c)
{
	json__open(j, "ends", '[');
	for (int i = 0; i < 2; i++) {
		json__open(j, NULL, '{');
		json__num(j, "ino", c->ends[i]);
		json__close(j, '}');
	}
	json__close(j, ']');
}

static void write_signal(struct json *j, const struct chan *c)
{
	char name[32];

	if (sigabbrev_np(c->tag))
		snprintf(name, sizeof(name), "SIG%s", sigabbrev_np(c->tag));
	else if ((int)c->tag == SIGRTMIN)
		snprintf(name, sizeof(name), "SIGRTMIN");
	else
		snprintf(name, sizeof(name), "SIGRTMIN+%d", (int)c->tag - SIGRTMIN);
	json__str(j, "signal", name);
	json__str(j, "receiver", arena->procs[c->receiver - 1].name);
}

static void write_chans(struct json *j)
{
	json__open(j, "channels", '[');
	for (uint32_t i = 0; i < arena->nr_chans && !arena->totals_only; i++) {
		const struct chan *c = &arena->chans[i];

		json__open(j, NULL, '{');
		json__str(j, "name", c->name);
		json__str(j, "mechanism", c->mechanism);
		json__num(j, "dev", c->dev);
		json__num(j, "ino", c->ino);
		json__str(j, "path", c->path[0] ? c->path : NULL);
		json__num_or_null(j, "capacity", c->capacity);
		json__num_or_null(j, "highwater", c->highwater);
		if (c->label[0])
			json__str(j, "label", c->label);
		if (c->key != UNKNOWN)
			json__num(j, "key", c->key);
		if (c->ns)
			json__num(j, "ns", c->ns);
		if (c->offset)
			json__num(j, "offset", c->offset);
		if (c->unordered)
			json__true(j, "unordered");
		json__num(j, "leftover", c->leftover);
		if (c->any_ino)
			json__true(j, "any_ino");
		if (c->found)
			json__num(j, "found", c->found);
		if (c->two_ends)
			write_ends(j, c);
		if (!strcmp(c->mechanism, "vm"))
			json__str(j, "owner",
				  c->receiver ? arena->procs[c->receiver - 1].name : "");
		else if (c->receiver)
			write_signal(j, c);
		if (c->capacity_messages != UNKNOWN)
			json__num(j, "capacity_messages", c->capacity_messages);
		if (c->highwater_messages != UNKNOWN)
			json__num(j, "highwater_messages", c->highwater_messages);
		if (c->unseen[0])
			json__str(j, "unseen_pages", c->unseen);
		if (c->page_size)
			json__num(j, "page_size", c->page_size);
		if (c->truncated)
			json__num(j, "truncated_bytes", c->truncated);
		json__close(j, '}');
	}
	json__close(j, ']');
}

static void write_counts(struct json *j, const struct edge *e)
{
	json__num(j, "ops", e->ops);
	json__num(j, "bytes", e->bytes);
	json__open(j, "errors", '{');
	for (int i = 0; i < MAX_ERRNOS && e->errors[i].err; i++)
		json__num(j, strerrorname_np(e->errors[i].err), e->errors[i].n);
	json__close(j, '}');
	json__num(j, "nonblocking_ops", e->nonblocking);
	json__num_or_null(j, "blocked_ops", e->blocked);
	json__num_or_null(j, "blocked_ns_min", e->blocked_ns_min);
	if (e->peeked)
		json__num(j, "peeked_bytes", e->peeked);
	if (e->pages)
		json__num(j, "pages", e->pages);
	if (e->ignored)
		json__num(j, "ignored_ops", e->ignored);
	if (e->merged)
		json__num(j, "merged_ops", e->merged);
	if (e->has_value && arena->chans[e->chan].receiver)
		json__int(j, "value", e->value);
	else if (e->has_value)
		json__num(j, "value", e->value);
}

static void write_tags(struct json *j, const struct edge *e)
{
	char tag[24];

	if (!e->nr_tags)
		return;
	json__open(j, strcmp(arena->chans[e->chan].mechanism, "mq") ? "types" : "priorities", '{');
	for (uint32_t i = 0; i < e->nr_tags; i++) {
		snprintf(tag, sizeof(tag), "%lld", (long long)e->tags[i].tag);
		json__num(j, tag, e->tags[i].n);
	}
	json__close(j, '}');
}

static const char *role_name(enum role role)
{
	static const char *const roles[] = {
		[ROLE_READ] = "read",
		[ROLE_WRITE] = "write",
		[ROLE_ATTACH] = "attach",
		[ROLE_WAIT] = "wait",
		[ROLE_WAKE] = "wake",
		[ROLE_LOCK] = "lock",
		[ROLE_SEND_SIGNAL] = "send-signal",
		[ROLE_RECEIVE_SIGNAL] = "receive-signal",
		[ROLE_PASS_FD] = "pass-fd",
		[ROLE_TAKE_FD] = "take-fd",
	};

	return roles[role];
}

static void write_credentials(struct json *j, const struct edge *e)
{
	if (!e->credentials)
		return;
	json__open(j, "credentials", '{');
	json__num(j, "ops", e->credentials);
	json__num(j, "pid", e->ucred[0]);
	json__num(j, "uid", e->ucred[1]);
	json__num(j, "gid", e->ucred[2]);
	json__close(j, '}');
}

static void write_edges(struct json *j)
{
	json__open(j, "edges", '[');
	for (uint32_t i = 0; i < arena->nr_edges && !arena->totals_only; i++) {
		const struct edge *e = &arena->edges[i];

		json__open(j, NULL, '{');
		json__str(j, "process", arena->procs[e->proc].name);
		json__str(j, "channel", arena->chans[e->chan].name);
		json__str(j, "role", role_name(e->role));
		if (arena->chans[e->chan].two_ends)
			json__num(j, "end", e->end);
		write_counts(j, e);
		write_tags(j, e);
		write_credentials(j, e);
		json__close(j, '}');
	}
	json__close(j, ']');
}

static void write_flows(struct json *j)
{
	json__open(j, "flows", '[');
	for (uint32_t i = 0; i < arena->nr_flows; i++) {
		const struct flow *f = &arena->flows[i];

		json__open(j, NULL, '{');
		json__str(j, "from", arena->procs[f->from].name);
		json__str(j, "to", arena->procs[f->to].name);
		json__str(j, "channel", arena->chans[f->chan].name);
		json__num(j, "bytes", f->bytes);
		if (f->ops)
			json__num(j, "ops", f->ops);
		if (f->pages)
			json__num(j, "pages", f->pages);
		json__str(j, "certainty", f->shared ? "shared" : "exact");
		json__close(j, '}');
	}
	json__close(j, ']');
}

static void write_passes(struct json *j)
{
	json__open(j, "passes", '[');
	for (uint32_t i = 0; i < arena->nr_passes; i++) {
		const struct pass *p = &arena->passes[i];

		json__open(j, NULL, '{');
		json__str(j, "process", arena->procs[p->proc].name);
		json__str(j, "over", arena->chans[p->over].name);
		json__str(j, "role", role_name(p->role));
		if (arena->chans[p->over].two_ends)
			json__num(j, "end", p->end);
		json__str(j, "from", p->from < 0 ? NULL : arena->procs[p->from].name);
		json__str(j, "channel", p->what < 0 ? NULL : arena->chans[p->what].name);
		json__str(j, "kind", p->kind);
		json__str(j, "mode", p->mode);
		json__str(j, "name", p->name);
		json__close(j, '}');
	}
	json__close(j, ']');
}

static void write_totals(struct json *j)
{
	json__open(j, "totals", '{');
	json__num(j, "processes", arena->total_procs);
	json__num(j, "channels", arena->total_chans);
	json__open(j, "write", '{');
	write_counts(j, &arena->totals[ROLE_WRITE]);
	json__close(j, '}');
	json__open(j, "read", '{');
	write_counts(j, &arena->totals[ROLE_READ]);
	json__close(j, '}');
	json__close(j, '}');
}

void facts__write(FILE *out)
{
	struct json j = { .out = out };

	json__open(&j, NULL, '{');
	json__str(&j, "workload", factory->name);
	write_params(&j);
	json__true(&j, "complete");
	json__open(&j, "arena", '{');
	json__num(&j, "dev", arena->dev);
	json__num(&j, "ino", arena->ino);
	json__close(&j, '}');
	if (arena->totals_only)
		write_totals(&j);
	write_procs(&j);
	write_chans(&j);
	write_edges(&j);
	write_flows(&j);
	write_passes(&j);
	json__close(&j, '}');
	fputc('\n', out);
}
