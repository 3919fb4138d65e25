/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The records as they come, a JSON object a line. "process" and "channel" are the numbers of this
 * trace, not the ids of the finished graph, which nobody knows yet. The counters of an edge or a
 * flow are to be added to earlier ones; of processes, channels and losses the last line counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mech.h"
#include "out.h"
#include "recfile.h"
#include "util.h"
#include "words.h"

static int begin(struct out *o)
{
	o->priv = malloc(sizeof(struct json));
	if (!o->priv)
		return -ENOMEM;
	json__init(o->priv, o->f, 0);
	return 0;
}

static size_t at_most(size_t len, size_t size)
{
	return len < size ? len : size;
}

/* "key\0value\0" pairs; a key may come again, so they are a list. */
static void put_meta(struct json *j, const struct rec_meta *m)
{
	const char *s = m->text, *end = s + at_most(m->text_len, META_TEXT);

	json__put_u64(j, "schema", m->schema);
	json__put_u64(j, "started_ns", m->started);
	json__put_array(j, "about");
	while (s < end) {
		const char *key = s;
		const size_t key_len = strnlen(key, end - key);
		const char *value = key + at_most(key_len + 1, end - key);
		const size_t value_len = strnlen(value, end - value);

		json__array(j);
		json__string_n(j, key, key_len);
		json__string_n(j, value, value_len);
		json__close(j);
		s = value + at_most(value_len + 1, end - value);
	}
	json__close(j);
}

static void put_proc(struct json *j, const struct proc_row *r)
{
	const char *s = r->args, *end = s + at_most(r->args_len, ARGS_LEN);

	json__put_u64(j, "process", r->id);
	json__put_u64(j, "parent", r->parent);
	json__put_u64(j, "pid", r->pid);
	json__put_u64(j, "ppid", r->ppid);
	json__put_u64(j, "start_ns", r->start_ns);
	json__put_u64(j, "exit_ns", r->exit_ns);
	json__put_u64(j, "uid", r->uid);
	json__put_u64(j, "cgroup", r->cgroup);
	json__put_u64(j, "threads", r->threads);
	json__put_u64(j, "wait_status", r->wait_status);
	json__put_u64(j, "flags", r->flags);
	json__put_string_n(j, "comm", r->comm, strnlen(r->comm, COMM_LEN));
	json__put_string_n(j, "exe", r->exe, strnlen(r->exe, at_most(r->exe_len, PATH_LEN)));
	json__put_array(j, "cmdline");
	while (s < end) {
		const size_t len = strnlen(s, end - s);

		json__string_n(j, s, len);
		s += len + 1;
	}
	json__close(j);
	json__put_string_n(j, "title", r->title, strnlen(r->title, TITLE_LEN));
}

/* A name is as the kernel side keeps it: parts, with a NUL after each. */
static void put_parts(struct json *j, const char *s, size_t len)
{
	const char *end = s + at_most(len, PATH_LEN);

	json__put_array(j, "name_parts");
	while (s < end) {
		const size_t part = strnlen(s, end - s);

		json__string_n(j, s, part);
		s += part + 1;
	}
	json__close(j);
}

static void put_chan(struct json *j, const struct chan_row *r)
{
	json__put_u64(j, "channel", r->id);
	json__put_string(j, "mechanism", mech__get(r->key.mech)->name);
	json__put_u64(j, "dev", r->key.dev);
	json__put_u64(j, "ino", r->key.ino);
	json__put_u64(j, "first_ns", r->first_ns);
	json__put_u64(j, "capacity", r->capacity);
	json__put_u64(j, "highwater", r->highwater);
	json__put_u64(j, "found_bytes", r->found_bytes);
	json__put_u64(j, "flags", r->flags);
	put_parts(j, r->name, r->name_len);
}

static void put_edge(struct json *j, const struct edge_row *r)
{
	char number[16];

	json__put_u64(j, "process", r->proc);
	json__put_u64(j, "channel", r->chan);
	json__put_string(j, "role", role__name(r->role));
	json__put_u64(j, "ops", r->ops);
	json__put_u64(j, "bytes", r->bytes);
	json__put_object(j, "errors");
	for (int i = 0; i < EDGE_ERRS; i++)
		if (r->errs[i] && r->err_no[i])
			json__put_u64(j, error__name(r->err_no[i], number), r->errs[i]);
	if (r->err_other)
		json__put_u64(j, error__name(0, number), r->err_other);
	json__close(j);
	json__put_u64(j, "nonblocking_ops", r->nonblocking_ops);
	json__put_u64(j, "blocked_ops", r->blocked_ops);
	json__put_u64(j, "blocked_ns", r->blocked_ns);
	json__put_u64(j, "max_blocked_ns", r->max_blocked_ns);
	json__put_u64(j, "first_ns", r->first_ns);
	json__put_u64(j, "last_ns", r->last_ns);
	json__put_u64(j, "peeked_bytes", r->peeked_bytes);
	if (r->samples)
		json__put_u64(j, "sampled_pages", r->sampled_pages);
}

/* Where a process id can also stand for nobody in particular. */
static void put_party(struct json *j, const char *key, uint32_t proc)
{
	if (proc == PROC_OUTSIDE || proc == PROC_SHARED)
		json__put_string(j, key, proc == PROC_SHARED ? "shared" : "outside");
	else
		json__put_u64(j, key, proc);
}

static void put_flow(struct json *j, const struct rec_flow *r)
{
	json__put_u64(j, "channel", r->key.chan);
	put_party(j, "from", r->key.from);
	put_party(j, "to", r->key.to);
	json__put_u64(j, "ops", r->val.ops);
	json__put_u64(j, "bytes", r->val.bytes);
	if (r->val.blocked_ns)
		json__put_u64(j, "blocked_ns", r->val.blocked_ns);
}

static void put_lost(struct json *j, const struct rec_lost *r)
{
	json__put_u64(j, "seen", r->seen);
	json__put_u64(j, "delivered", r->delivered);
	json__put_u64(j, "unfinished", r->unfinished);
	json__put_object(j, "by_cause");
	for (int i = 0; i < LOSS_MAX; i++)
		json__put_u64(j, losses[i].key, r->causes[i]);
	json__close(j);
}

static void put_life(struct json *j, const struct rec_life *r)
{
	static const char *const whats[] = {
		[LIFE_FORK] = "fork",
		[LIFE_EXEC] = "exec",
		[LIFE_EXIT] = "exit",
		[LIFE_CHAN] = "channel",
	};
	static const char *const others[] = {
		[LIFE_FORK] = "parent",
		[LIFE_EXEC] = "other",
		[LIFE_EXIT] = "wait_status",
		[LIFE_CHAN] = "channel",
	};
	const bool known = r->what >= LIFE_FORK && r->what <= LIFE_CHAN;

	json__put_string(j, "what", known ? whats[r->what] : "unknown");
	json__put_u64(j, "process", r->proc);
	json__put_u64(j, known ? others[r->what] : "other", r->other);
	json__put_u64(j, "pid", r->pid);
	json__put_string_n(j, "comm", r->comm, strnlen(r->comm, COMM_LEN));
}

static void put_op(struct json *j, const struct rec_op *r)
{
	json__put_u64(j, "process", r->proc);
	json__put_u64(j, "tid", r->tid);
	json__put_u64(j, "channel", r->chan);
	json__put_string(j, "role", role__name(r->role));
	json__key(j, "result");
	json__i64(j, r->ret);
	json__put_u64(j, "blocked_ns", r->blocked_ns);
}

static void put_holder(struct json *j, const struct rec_holder *r)
{
	json__put_u64(j, "process", r->proc);
	json__put_u64(j, "channel", r->chan);
	json__put_bool(j, "can_write", r->modes & 1U << ROLE_WRITE);
	json__put_bool(j, "can_read", r->modes & 1U << ROLE_READ);
}

static void put_cgroup(struct json *j, const struct rec_cgroup *r)
{
	json__put_u64(j, "id", r->id);
	json__key(j, "path");
	json__string_n(j, r->path, strnlen(r->path, sizeof(r->path)));
}

static void put_pass(struct json *j, const struct rec_pass *r)
{
	json__put_u64(j, "process", r->key.proc);
	json__put_u64(j, "over", r->key.over);
	json__put_string(j, "role", role__name(r->key.role));
	json__put_u64(j, "kind", r->key.kind);
	json__put_u64(j, "channel", r->key.what);
	json__put_bool(j, "can_write", r->key.modes & 1U << ROLE_WRITE);
	json__put_bool(j, "can_read", r->key.modes & 1U << ROLE_READ);
	json__put_u64(j, "dev", r->key.dev);
	json__put_u64(j, "ino", r->key.ino);
	json__put_u64(j, "ops", r->val.ops);
	json__put_u64(j, "pid", r->val.pid);
	json__put_u64(j, "uid", r->val.uid);
	json__put_u64(j, "gid", r->val.gid);
	put_parts(j, r->val.name, r->val.name_len);
}

static const char *const kinds[] = {
	[REC_META] = "trace", [REC_PROC] = "process",  [REC_CHAN] = "channel",
	[REC_EDGE] = "edge",  [REC_FLOW] = "flow",     [REC_LOST] = "lost",
	[REC_LIFE] = "life",  [REC_OP] = "operation",  [REC_HOLDER] = "holder",
	[REC_END] = "end",    [REC_CGROUP] = "cgroup", [REC_PASS] = "passed",
};

static void put_body(struct json *j, const struct rec_hdr *rec)
{
	switch ((enum rec_type)rec->type) {
	case REC_META:
		return put_meta(j, (const void *)rec);
	case REC_PROC:
		return put_proc(j, &((const struct rec_proc *)rec)->row);
	case REC_CHAN:
		return put_chan(j, &((const struct rec_chan *)rec)->row);
	case REC_EDGE:
		return put_edge(j, &((const struct rec_edge *)rec)->row);
	case REC_FLOW:
		return put_flow(j, (const void *)rec);
	case REC_LOST:
		return put_lost(j, (const void *)rec);
	case REC_LIFE:
		return put_life(j, (const void *)rec);
	case REC_OP:
		return put_op(j, (const void *)rec);
	case REC_HOLDER:
		return put_holder(j, (const void *)rec);
	case REC_CGROUP:
		return put_cgroup(j, (const void *)rec);
	case REC_PASS:
		return put_pass(j, (const void *)rec);
	case REC_END:
		json__put_u64(j, "duration_ns", ((const struct rec_end *)rec)->duration_ns);
	}
}

static int put_event(struct out *o, const struct rec_hdr *rec)
{
	struct json *j = o->priv;
	/* Of a newer version, or damaged: not for us. */
	if (!rec->type || rec->type >= ARRAY_SIZE(kinds) || rec->len < record_min_len(rec->type))
		return 0;
	json__object(j);
	json__put_string(j, "type", kinds[rec->type]);
	json__put_u64(j, "time", rec->time);
	put_body(j, rec);
	json__close(j);
	return 0;
}

static int end(struct out *o)
{
	free(o->priv);
	o->priv = NULL;
	return 0;
}

const struct out_ops out_jsonl = {
	.name = "jsonl",
	.extensions = "jsonl",
	.help = "each record as it comes, a JSON object a line",
	.begin = begin,
	.event = put_event,
	.end = end,
};
