/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the graph share: graph.c, names.c, flow.c, classify.c, fold.c, finish.c. */
#ifndef IPCTRACE_GRAPH_PRIV_H
#define IPCTRACE_GRAPH_PRIV_H

#include "graph.h"
#include "list.h"
#include "map.h"

/* Records have smaller ids than this; group nodes get the ones above. */
#define KEY_GROUP 0x80000000u

struct proc {
	struct gproc p;
	uint32_t ppid;
	bool has_row;
	bool needed;
	size_t children; /* that are still in the graph */
	bool is_child; /* and counts there */
	struct list edges; /* edge.by_proc */
	struct list given, taken; /* ledger_row.by_from, by_to */
	struct list all; /* in graph_priv.procs */
	struct list aged; /* in graph_priv.resting or .ended */
	uint64_t died; /* time of the record that said so */
	bool ended; /* and it is the latter */
	struct proc *next; /* group node: of the same hash */
};

struct chan {
	struct gchan c;
	bool has_row;
	bool two_way;
	uint32_t relations; /* bit per enum relation, from what was folded */
	size_t nr_edges, nr_folded; /* edges; these of group nodes */
	struct list edges[ROLE_MAX][2]; /* edge.by_chan; by role, and by end if it has two */
	struct list ledger; /* ledger_row.by_chan */
	struct list flows; /* flow.by_chan: resolved */
	struct list all;
	struct list gone; /* waits to be folded */
	bool is_gone; /* is in that list */
	uint64_t *signature; /* group node */
	size_t signature_len;
	struct chan *next;
};

struct edge {
	struct gedge e;
	uint64_t *errors; /* NULL: none */
	bool held;
	uint64_t left; /* bytes not yet accounted for by a flow; in flow.c only */
	uint64_t unordered; /* of these, from one of several writers */
	struct list by_proc, by_chan;
};

/* What the kernel's ledger says: exact, or from PROC_SHARED. */
struct ledger_row {
	uint32_t from_key;
	uint32_t end; /* at which it was given */
	struct proc *from; /* NULL: a special one */
	struct proc *to;
	struct chan *chan;
	uint64_t ops, bytes, pages, blocked_ns;
	struct list by_chan, by_from, by_to;
};

struct flow {
	struct gflow f;
	struct list by_chan;
};

/*
 * A few bytes for each id that is no more, so that its late records find their way. Ids count up; of
 * those that are very far back nothing is kept.
 */
struct memo {
	struct map pages;
	uint32_t newest; /* page */
};

struct graph_priv {
	struct map proc_map, chan_map, edge_map, ledger_map, flow_map;
	struct list procs, chans;
	struct list resting, ended; /* dead processes: just died; with edges, to be folded */
	size_t nr_resting, nr_ended, fold_limit;
	struct list gone_chans; /* whose ends still live */
	size_t nr_gone;
	struct memo parents; /* of processes that left */
	struct memo proc_groups, chan_groups; /* index + 1 in the arrays below */
	struct proc **groups;
	struct chan **group_chans;
	size_t nr_groups, nr_group_chans;
	struct map group_map, group_chan_map; /* by hash; chained */
	struct map cgroups; /* paths by id */
	struct map files; /* that were passed */
	struct proc outside;
	bool outside_used;
	uint32_t nr_hosts;
	bool finished;
};

/* Each list of a channel's edges. */
#define for_each_edges(list, c)                                                                \
	for (struct list *list = (struct list *)(c)->edges, *list##_end = list + 2 * ROLE_MAX; \
	     list < list##_end; list++)

static inline bool chan_has_two_ends(const struct chan *c)
{
	return c->c.row.flags & CHAN_TWO_ENDS;
}

static inline bool chan_is_inotify(const struct chan_row *row)
{
	return row->key.mech == MECH_FILE && row->key.word == WORD_INOTIFY;
}

/* Where what is written at that end of the channel can be read, and the other way round. */
static inline unsigned int chan_other_end(const struct chan *c, unsigned int end)
{
	return chan_has_two_ends(c) ? !end : 0;
}

#define to_proc(g) list_entry(g, struct proc, p)
#define to_chan(g) list_entry(g, struct chan, c)
#define to_edge(g) list_entry(g, struct edge, e)

/* graph.c: NULL is -ENOMEM */
struct proc *graph_get_proc(struct graph *g, uint32_t key);
struct chan *graph_get_chan(struct graph *g, uint32_t key);
struct edge *graph_get_edge(struct graph *g, struct proc *p, struct chan *c, enum role role,
			    unsigned int end);
struct edge *graph_find_edge(struct graph *g, const struct proc *p, const struct chan *c,
			     enum role role, unsigned int end);
bool graph_has_edge(struct graph *g, const struct proc *p, const struct chan *c);
struct proc *graph_new_proc(struct graph *g, uint32_t key);
struct chan *graph_new_chan(struct graph *g, uint32_t key);
void graph_free_proc(struct graph *g, struct proc *p);
void graph_free_chan(struct graph *g, struct chan *c);
void graph_free_edge(struct graph *g, struct edge *e);
int edge_add_error(struct edge *e, uint8_t no, uint64_t n);

/* ledger.c */
int ledger_add(struct graph *g, const struct flow_key *key, const struct flow_val *val);
/* NULL: there is none. */
struct ledger_row *ledger_find(struct graph *g, const struct chan *c, uint32_t end, uint32_t from,
			       uint32_t to);
void ledger_free_row(struct graph *g, struct ledger_row *r);
int ledger_rename_from(struct graph *g, struct ledger_row *r, struct proc *to);
int ledger_rename_to(struct graph *g, struct ledger_row *r, struct proc *to);

/* names.c: allocated, NULL is -ENOMEM */
char *names_path(const char *buf, size_t len, size_t size, bool cut);
char *names_args(const char *buf, size_t len, bool cut, size_t *out_len);
int names_chan(struct gchan *c);

/* meta.c */
int meta_set(struct gmeta *m, const struct rec_meta *rec);
void meta_free(struct gmeta *m);

/* passed.c */
int passed_handle(struct graph *g, const struct rec_pass *rec);
int passed_resolve(struct graph *g, struct chan *c);
int passed_finish(struct graph *g); /* names of channels are known */
void passed_free(struct graph *g);
int passes_merge(struct gpasses *into, const struct gpasses *from);
void passes_free(struct gpasses *p);

/* wakers.c */
int wakers_resolve(struct graph *g, struct chan *c);

/* flow.c */
int flow_resolve(struct graph *g, struct chan *c);
int flow_add(struct graph *g, struct chan *c, const struct gflow *f);
struct flow *flow_find(struct graph *g, const struct chan *c, const struct gproc *from,
		       const struct gproc *to);
void flow_free(struct graph *g, struct flow *f);

/* Do flows go both ways over it? */
void flow_find_two_way(struct graph *g, struct chan *c);

/* files.c: leaves out what no two processes use. */
void files_drop_private(struct graph *g);

/* flow_rows.c */
int flow_resolve_rows(struct graph *g, struct chan *c);

/* flow_loose.c */
int flow_resolve_loose(struct graph *g, struct chan *c);

/* flow_turns.c: of one direction, what those had from each other who came one after the other. */
int flow_take_turns(struct graph *g, struct chan *c, unsigned int end);

/* classify.c */
void classify_pairs(struct graph *g, struct chan *c, const struct edge *e, size_t budget);
void classify_chan(struct graph *g, struct chan *c);

/* fold.c */
int fold_died(struct graph *g, struct proc *p, uint64_t now);
void fold_forget(struct graph *g, struct proc *p);
void fold_child(struct graph *g, struct proc *p);
struct proc *fold_find_proc(struct graph *g, uint32_t key);
struct chan *fold_find_chan(const struct graph *g, uint32_t key);
int fold_chan_if_done(struct graph *g, struct chan *c);
int fold_rest(struct graph *g);
void fold_free(struct graph *g);
int strangers_merge(struct graph *g);

int memo_set(struct memo *m, uint32_t key, uint32_t value);
uint32_t memo_get(const struct memo *m, uint32_t key); /* 0: never set, or forgotten */
bool memo_forgot(const struct memo *m, uint32_t key);
void memo_free(struct memo *m);

/* The parent's id of a process that may have left. */
uint32_t graph_parent_key(const struct graph *g, uint32_t key);

/* host.c: flows of a channel whose other side is another host; *is_host: it is such a one. */
int host_resolve(struct graph *g, struct chan *c, bool *is_host);

#endif
