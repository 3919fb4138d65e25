/* SPDX-License-Identifier: BSD-2-Clause */
/* What roles, certainties and losses are called, for every writer alike. */
#ifndef IPCTRACE_WORDS_H
#define IPCTRACE_WORDS_H

#include <stdbool.h>

#include "../bpf/record.h"
#include "graph.h"
#include "human.h"
#include "table.h"

struct loss_desc {
	const char *key; /* in JSON */
	const char *text; /* after a number */
	bool of_calls; /* counts calls that are in no edge */
	bool of_events; /* counts records */
};

extern const struct loss_desc losses[LOSS_MAX];

/* "writing" */
const char *role__doing(unsigned int role);

/* As much as that went through the channel: bytes, pages, or "-" where only calls count. */
#define AMOUNT_LEN (2 * HUMAN_LEN)
const char *amount__text(char buf[AMOUNT_LEN], const struct gchan *c, uint64_t bytes,
			 uint64_t pages);

const char *role__name(unsigned int role);
const char *certainty__name(enum certainty certainty);

/* "EAGAIN"; "other" for 0, what the table of errors has no room for. A number if it has no name. */
const char *error__name(int err, char buf[16]);

/*
 * What servers call their processes, "postgres: checkpointer": the beginning of *title, without what
 * is of one process only. 0: it has no such title.
 */
size_t proc__calling(const struct gproc *p, const char **title);

/* "sh[12]"; the caller frees it, NULL: no memory. Not yet made visible. */
char *proc__label(const struct gproc *p);

/* The same as the next cell of a table, after that text. 0 or -ENOMEM. */
int proc__add_label(struct table *t, const char *before, const struct gproc *p);

/* The command, or what was traced instead of one; the caller frees it. */
char *meta__command(const struct gmeta *m);

/* False: an option of the trace that leaves nothing out. */
bool filter__narrows(const char *filter);

/* How often shared memory was sampled, as it was asked for; NULL: not. */
const char *meta__sample(const struct gmeta *m);

/*
 * What is missing in the graph and why, or that nothing is: a line each, in plain ASCII. The caller
 * frees it; NULL: no memory.
 */
char *losses__lines(const struct graph *g);

/* Why pages of shared memory may have been touched unseen: a bit of enum chan_flags each. */
struct unseen {
	uint32_t flag;
	const char *key, *text;
};

#define UNSEEN_PAGES 3
extern const struct unseen unseen_pages[UNSEEN_PAGES];

#endif
