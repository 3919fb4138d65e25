/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The communication graph: process - channel - process, and the flows derived from it.
 *
 * Records go in (graph__handle), in any order that a trace can give; graph__finish() then derives
 * flows, relations and classes, and sorts everything so that the same records give the same ids.
 * The graph owns all nodes and strings; they live until graph__free().
 */
#ifndef IPCTRACE_GRAPH_H
#define IPCTRACE_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bpf/record.h"
#include "passed.h"
#include "tags.h"

struct gproc {
	char id[16]; /* "p1"; given by graph__finish() */
	uint32_t key; /* record id */
	uint32_t pid, uid, pidns, flags;
	uint32_t wait_status; /* meaningful if PROC_DEAD */
	uint64_t start_ns, cgroup, exit_ns;
	struct gproc *parent; /* NULL: not in the graph */
	uint32_t parent_key;
	char *comm, *exe;
	char *args; /* argv, each with its NUL */
	size_t args_len;
	char *title; /* what it made of the first of them; NULL: nothing */
	char *cgroup_path, *container; /* NULL: unknown, none */
	uint64_t count; /* how many like processes this node stands for, usually 1 */
	bool folded; /* stands for processes that ended long ago, see fold.c */
	size_t index;
};

struct gchan {
	char id[16]; /* "c1" */
	uint32_t key; /* record id */
	struct chan_row row;
	char *name; /* what a user calls it: a path, or "pipe:[123]" */
	char *path; /* NULL: has none */
	uint64_t count; /* how many like channels this node stands for */
	bool folded;
	/* What the textbooks call it; string constants. */
	const char *medium, *unit, *direction, *naming, *buffering, *scope, *relation;
	size_t index;
};

struct gedge {
	struct gproc *proc;
	struct gchan *chan;
	enum role role;
	unsigned int end; /* of the channel, if it has two */
	uint32_t upto; /* of TCP, if bytes: see TCP_UPTO() */
	uint64_t ops, bytes, nonblocking_ops, peeked_bytes;
	uint64_t pages; /* of memory: at least so many were touched */
	uint64_t sampled_pages, samples; /* of memory: touched later, see sample.c */
	uint64_t woken; /* how many it woke, at most; of who waited: by nobody known */
	struct gtags tags; /* of message queues */
	/* Of events: without effect, one with another that waited; sum and last of what they carried. */
	uint64_t ignored_ops, merged_ops, value_sum, value_last;
	bool has_value;
	struct gpasses passes; /* of pass-fd and take-fd; its sum is at most ops */
	uint64_t credentials; /* messages that said who sent them, and the last such */
	uint32_t cred_pid, cred_uid, cred_gid;
	uint64_t blocked_ops, blocked_ns, max_blocked_ns;
	uint64_t blocked_now; /* threads that still slept when the trace ended */
	uint64_t first_ns, last_ns;
	/* [256] by errno; [ERR_RESTART]: ERESTARTSYS; [0]: others. Never NULL: all zero if none failed. */
	const uint64_t *errors;
	bool holder; /* only open, never used in the trace */
};

enum certainty { CERTAIN_EXACT, CERTAIN_SHARED, CERTAIN_INFERRED };

/*
 * bytes are known to have gone from one to the other. shared_bytes: at most that many more, of
 * which it is not known which of several writers they came from.
 */
struct gflow {
	struct gproc *from, *to; /* never NULL: somebody unknown is the node graph->outside */
	struct gchan *chan;
	uint64_t ops, bytes, shared_bytes;
	uint64_t pages; /* of memory: at least so many, that from wrote to before to read them */
	uint64_t blocked_ns; /* of events: how long to slept, until from let it go on */
	struct gpasses passes; /* descriptors that went with it */
	uint64_t shared_fds; /* at most that many more, which several had passed */
	enum certainty certainty;
};

struct gmeta {
	char *version, *host, *kernel;
	uint64_t started, duration_ns;
	char **args; /* the traced command, NULL-terminated; NULL: none */
	char **filters, **notes; /* "name=value"; lines for the legend */
};

struct graph {
	struct gmeta meta;
	struct gproc **procs;
	size_t nr_procs;
	struct gchan **chans;
	size_t nr_chans;
	struct gedge **edges;
	size_t nr_edges;
	struct gflow **flows;
	size_t nr_flows;
	/*
	 * NULL if nothing came from or went to somebody unknown. Not in procs[]; its index is nr_procs
	 * and its id "outside".
	 */
	struct gproc *outside;
	struct rec_lost lost;
	bool has_lost;
	struct graph_priv *priv;
};

struct graph *graph__new(void);
void graph__free(struct graph *g);

/* One record. Unknown types are ignored. -EINVAL: not a record; -ENOMEM. */
int graph__handle(struct graph *g, const struct rec_hdr *rec);

/* Derive and sort; the arrays above are valid from here on. Call once. */
int graph__finish(struct graph *g);

/* What of one edge is of events, to another; before last_ns is. */
void graph__add_events(struct gedge *to, const struct gedge *from);
/* The same of credentials. */
void graph__add_credentials(struct gedge *to, const struct gedge *from);

/* The same of how far it has moved the stream, with that many bytes; before bytes are. */
void graph__add_upto(struct gedge *to, uint64_t bytes, uint32_t upto);

/* "SIGUSR1", for the caller to free. NULL: it is no channel of signals, or there is no memory. */
char *graph__signal(const struct gchan *c);

/* "127.0.0.1:80", for the caller to free. NULL: it has no address, or there is no memory. */
char *graph__address(const struct chan_end *end);

/* True if no event, edge or flow was lost. */
bool graph__complete(const struct graph *g);

/* What commands use. */
#define FOLD_LIMIT 4000

/* Memory stays bounded: what ended longest ago is folded once there are more than this many. */
void graph__set_fold_limit(struct graph *g, size_t processes);

#endif
