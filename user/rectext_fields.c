/* SPDX-License-Identifier: BSD-2-Clause */
#include <stddef.h>

#include "rectext_priv.h"

const char *const rectext_roles[] = {
	"write", "read", "send-signal", "receive-signal", "pass-fd", "take-fd",
	"wake",  "wait", "attach",      "lock",           NULL,
};
static const char *const life_words[] = { "none", "fork", "exec", "exit", "chan", NULL };
static const char *const proc_words[] = {
	"dead", "initial", "root", "compat", "cut", "holder", NULL
};
static const char *const chan_words[] = { "preexisting", "cut",       "ledger",  "no-ledger",
					  "gone",        "two-ends",  "removed", "messages",
					  "writable",    "populated", "huge",    "touched-before",
					  NULL };

static const char *const mode_words[] = { "write", "read", NULL };
static const char *const passed_words[] = {
	"anonymous", "pipe", "device", "3",           "directory", "5",      "block",
	"7",         "file", "9",      "10",          "11",        "socket", "13",
	"14",        "15",   "closed", "credentials", NULL,
};

#define SIZE(s, f) sizeof(((struct s *)0)->f)
#define AT(s, f) .at = offsetof(struct s, f), .size = SIZE(s, f)
#define NUM(n, s, f)                                \
	{                                           \
		.name = n, .kind = NUMBER, AT(s, f) \
	}
#define WORD(n, k, s, f, w)                                \
	{                                                  \
		.name = n, .kind = k, AT(s, f), .names = w \
	}
#define TEXT(n, s, f, l)                                                             \
	{                                                                            \
		.name = n, .kind = BYTES, AT(s, f), .len_at = offsetof(struct s, l), \
		.len_size = SIZE(s, l)                                               \
	}

static const struct field meta_fields[] = {
	NUM("schema", rec_meta, schema),
	NUM("started", rec_meta, started),
	TEXT("text", rec_meta, text, text_len),
	{ 0 },
};

static const struct field proc_fields[] = {
	NUM("id", rec_proc, row.id),
	NUM("parent", rec_proc, row.parent),
	NUM("pid", rec_proc, row.pid),
	NUM("ppid", rec_proc, row.ppid),
	NUM("start", rec_proc, row.start_ns),
	NUM("exit", rec_proc, row.exit_ns),
	NUM("cgroup", rec_proc, row.cgroup),
	NUM("uid", rec_proc, row.uid),
	NUM("pidns", rec_proc, row.pidns),
	NUM("threads", rec_proc, row.threads),
	NUM("status", rec_proc, row.wait_status),
	WORD("flags", FLAGS, rec_proc, row.flags, proc_words),
	{ .name = "comm", .kind = STRING, AT(rec_proc, row.comm) },
	TEXT("exe", rec_proc, row.exe, row.exe_len),
	TEXT("args", rec_proc, row.args, row.args_len),
	{ .name = "title", .kind = STRING, AT(rec_proc, row.title) },
	{ 0 },
};

static const struct field chan_fields[] = {
	NUM("id", rec_chan, row.id),
	WORD("flags", FLAGS, rec_chan, row.flags, chan_words),
	WORD("mech", MECH, rec_chan, row.key.mech, NULL),
	NUM("dev", rec_chan, row.key.dev),
	NUM("ino", rec_chan, row.key.ino),
	NUM("gen", rec_chan, row.key.gen),
	NUM("first", rec_chan, row.first_ns),
	NUM("capacity", rec_chan, row.capacity),
	NUM("highwater", rec_chan, row.highwater),
	NUM("found", rec_chan, row.found_bytes),
	WORD("first-writer", PROCESS, rec_chan, row.first_writer, NULL),
	NUM("ledger", rec_chan, row.ledger),
	TEXT("name", rec_chan, row.name, row.name_len),
	NUM("ino0", rec_chan, row.ends[0].ino),
	NUM("ino1", rec_chan, row.ends[1].ino),
	NUM("key", rec_chan, row.sysv_key),
	NUM("word", rec_chan, row.key.word),
	NUM("capacity-messages", rec_chan, row.capacity_messages),
	NUM("highwater-messages", rec_chan, row.highwater_messages),
	NUM("truncated", rec_chan, row.truncated_bytes),
	NUM("found-at-0", rec_chan, row.found_at[0]),
	NUM("found-at-1", rec_chan, row.found_at[1]),
	NUM("seq-0", rec_chan, row.gone_pos[0]),
	NUM("seq-1", rec_chan, row.gone_pos[1]),
	NUM("queued-ns", rec_chan, row.queued_ns),
	NUM("max-queued-ns", rec_chan, row.max_queued_ns),
	{ 0 },
};

static const struct field edge_fields[] = {
	WORD("proc", PROCESS, rec_edge, row.proc, NULL),
	NUM("chan", rec_edge, row.chan),
	WORD("role", ENUM, rec_edge, row.role, rectext_roles),
	NUM("end", rec_edge, row.end),
	NUM("ops", rec_edge, row.ops),
	NUM("bytes", rec_edge, row.bytes),
	NUM("nonblocking", rec_edge, row.nonblocking_ops),
	NUM("peeked", rec_edge, row.peeked_bytes),
	NUM("pos", rec_edge, row.pos),
	NUM("pages", rec_edge, row.pages),
	NUM("sampled-pages", rec_edge, row.sampled_pages),
	NUM("samples", rec_edge, row.samples),
	NUM("woken", rec_edge, row.woken),
	NUM("tag0", rec_edge, row.tags[0].tag),
	NUM("tag0-ops", rec_edge, row.tags[0].ops),
	NUM("tag1", rec_edge, row.tags[1].tag),
	NUM("tag1-ops", rec_edge, row.tags[1].ops),
	NUM("tag2", rec_edge, row.tags[2].tag),
	NUM("tag2-ops", rec_edge, row.tags[2].ops),
	NUM("other-tags", rec_edge, row.other_tags),
	NUM("ignored", rec_edge, row.ignored_ops),
	NUM("merged", rec_edge, row.merged_ops),
	NUM("value", rec_edge, row.value),
	NUM("has-value", rec_edge, row.has_value),
	NUM("first", rec_edge, row.first_ns),
	NUM("last", rec_edge, row.last_ns),
	NUM("blocked", rec_edge, row.blocked_ops),
	NUM("blocked-ns", rec_edge, row.blocked_ns),
	NUM("max-blocked-ns", rec_edge, row.max_blocked_ns),
	NUM("blocked-since", rec_edge, row.blocked_since),
	{ .name = "errors", .kind = ERRORS },
	NUM("other-errors", rec_edge, row.err_other),
	NUM("task", rec_edge, row.task),
	NUM("chan-row", rec_edge, row.chan_row),
	{ 0 },
};

static const struct field flow_fields[] = {
	NUM("chan", rec_flow, key.chan),
	WORD("from", PROCESS, rec_flow, key.from, NULL),
	WORD("to", PROCESS, rec_flow, key.to, NULL),
	NUM("ops", rec_flow, val.ops),
	NUM("bytes", rec_flow, val.bytes),
	NUM("pages", rec_flow, val.pages),
	NUM("blocked-ns", rec_flow, val.blocked_ns),
	NUM("end", rec_flow, key.end),
	{ 0 },
};

static const struct field lost_fields[] = {
	NUM("seen", rec_lost, seen),
	NUM("delivered", rec_lost, delivered),
	NUM("unfinished", rec_lost, unfinished),
	NUM("no-edge", rec_lost, causes[LOSS_NO_EDGE]),
	NUM("no-chan", rec_lost, causes[LOSS_NO_CHAN]),
	NUM("no-proc", rec_lost, causes[LOSS_NO_PROC]),
	NUM("no-ledger", rec_lost, causes[LOSS_NO_LEDGER]),
	NUM("no-flow", rec_lost, causes[LOSS_NO_FLOW]),
	NUM("compat", rec_lost, causes[LOSS_COMPAT]),
	NUM("ring-proc", rec_lost, causes[LOSS_RING_PROC]),
	NUM("ring-op", rec_lost, causes[LOSS_RING_OP]),
	NUM("stray", rec_lost, causes[LOSS_STRAY]),
	NUM("uring", rec_lost, causes[LOSS_URING]),
	NUM("aio", rec_lost, causes[LOSS_AIO]),
	NUM("page", rec_lost, causes[LOSS_PAGE]),
	NUM("futex", rec_lost, causes[LOSS_FUTEX]),
	NUM("passed", rec_lost, causes[LOSS_PASSED]),
	{ 0 },
};

static const struct field life_fields[] = {
	WORD("what", ENUM, rec_life, what, life_words),
	WORD("proc", PROCESS, rec_life, proc, NULL),
	NUM("other", rec_life, other),
	NUM("pid", rec_life, pid),
	{ .name = "comm", .kind = STRING, AT(rec_life, comm) },
	{ 0 },
};

static const struct field op_fields[] = {
	WORD("proc", PROCESS, rec_op, proc, NULL),
	NUM("tid", rec_op, tid),
	NUM("chan", rec_op, chan),
	WORD("role", ENUM, rec_op, role, rectext_roles),
	{ .name = "ret", .kind = SIGNED, AT(rec_op, ret) },
	NUM("blocked-ns", rec_op, blocked_ns),
	{ 0 },
};

static const struct field holder_fields[] = {
	NUM("chan", rec_holder, chan),
	WORD("proc", PROCESS, rec_holder, proc, NULL),
	WORD("modes", FLAGS, rec_holder, modes, rectext_roles),
	NUM("end", rec_holder, end),
	{ 0 },
};

static const struct field cgroup_fields[] = {
	NUM("id", rec_cgroup, id),
	{ .name = "path", .kind = STRING, AT(rec_cgroup, path) },
	{ 0 },
};

static const struct field pass_fields[] = {
	NUM("over", rec_pass, key.over),
	WORD("proc", PROCESS, rec_pass, key.proc, NULL),
	WORD("role", ENUM, rec_pass, key.role, rectext_roles),
	NUM("end", rec_pass, key.end),
	WORD("kind", ENUM, rec_pass, key.kind, passed_words),
	WORD("modes", FLAGS, rec_pass, key.modes, mode_words),
	NUM("what", rec_pass, key.what),
	NUM("what-end", rec_pass, key.what_end),
	NUM("dev", rec_pass, key.dev),
	NUM("ino", rec_pass, key.ino),
	NUM("ops", rec_pass, val.ops),
	NUM("pid", rec_pass, val.pid),
	NUM("uid", rec_pass, val.uid),
	NUM("gid", rec_pass, val.gid),
	NUM("cut", rec_pass, val.name_cut),
	TEXT("name", rec_pass, val.name, val.name_len),
	NUM("over-row", rec_pass, val.over_row),
	NUM("what-row", rec_pass, val.what_row),
	{ 0 },
};

static const struct field end_fields[] = {
	NUM("duration", rec_end, duration_ns),
	{ 0 },
};

const struct type rectext_types[NR_TYPES] = {
	[REC_META] = { "meta", meta_fields },       [REC_PROC] = { "proc", proc_fields },
	[REC_CHAN] = { "chan", chan_fields },       [REC_EDGE] = { "edge", edge_fields },
	[REC_FLOW] = { "flow", flow_fields },       [REC_LOST] = { "lost", lost_fields },
	[REC_LIFE] = { "life", life_fields },       [REC_OP] = { "op", op_fields },
	[REC_HOLDER] = { "holder", holder_fields }, [REC_END] = { "end", end_fields },
	[REC_CGROUP] = { "cgroup", cgroup_fields }, [REC_PASS] = { "pass", pass_fields },
};

const struct field rectext_hdr_fields[] = {
	NUM("time", rec_hdr, time),
	NUM("cpu", rec_hdr, cpu),
	{ 0 },
};
