/* SPDX-License-Identifier: BSD-2-Clause */
/* What tracer.c and those it is made of share. */
#ifndef IPCTRACE_TRACER_PRIV_H
#define IPCTRACE_TRACER_PRIV_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../bpf/calls.h"
#include "ids.h"
#include "tracer.h"

/* They need the types of the above. */
#include "ipctrace.skel.h"
#include "snapshot.skel.h"

/* A table of rows in shared memory with the kernel. */
struct rows {
	void *at;
	size_t size, max;
	int free_fd; /* queue of rows to be used again */
};

struct outsider {
	struct rec_proc proc;
	struct rec_holder holder;
	bool said, watched;
};

/* Sorted. */
struct flow_keys {
	struct flow_key *at;
	size_t nr;
};

#define HALVES 2

/*
 * A channel that nobody holds at one sweep is suspect: its new holder may have been passed by when it did
 * not hold it yet. At the next one it is doomed: off the index, and at the one after that its row is used
 * again; whoever was just about to use it has found it held by then.
 */
enum chan_state { CHAN_SAID = 1, CHAN_SUSPECT = 2, CHAN_DOOMED = 4 };

struct tracer {
	struct tracer_opts opts;
	struct ipctrace_bpf *skel; /* half[0]: all the maps are there */
	struct ipctrace_bpf *half[HALVES]; /* some of the programs each */
	struct snapshot_bpf *snap; /* NULL: this kernel has no iterators */
	struct ring_buffer *ring;
	struct engine *engine;
	struct proc_row *procs;
	struct task_row *tasks;
	struct chan_row *chans;
	struct edge_row *edges;
	struct rows rows[TABLE_MAX];
	uint64_t tick_ns; /* length of a jiffy */
	uint64_t delivered; /* calls in edges that were emitted */
	uint64_t ignored; /* calls in edges that are none of IPC after all */
	/* By row: enum chan_state. */
	uint8_t *chan_state;
	uint8_t *proc_said; /* by row: the living process was emitted once */
	/* Who else held channels when the trace began; emitted when one turns out to be used. */
	struct outsider *outsiders;
	size_t nr_outsiders;
	uint64_t last_sweep, last_clean;
	bool crowded; /* half of the rows of channels are in use */
	uint64_t *cgroups; /* ids whose paths were emitted */
	size_t nr_cgroups;
	bool watches_messages; /* all messages, by their addresses */
	struct flow_keys
		ended; /* flows to which nothing can have been added any more at the last look */
	uint64_t last_flows;
	struct sampler *sampler; /* NULL: not asked for */
	bool detached;
};

void tracer__emit(struct tracer *t, struct rec_hdr *h, uint16_t type, size_t len);
uint64_t tracer__now(void);

static inline uint32_t rows__used(const struct tracer *t, enum table which)
{
	uint32_t n = __atomic_load_n(&t->engine->used[which], __ATOMIC_ACQUIRE);

	return n < t->rows[which].max ? n : t->rows[which].max;
}

static inline void rows__give_back(struct tracer *t, enum table which, uint32_t row)
{
	bpf_map_update_elem(t->rows[which].free_fd, NULL, &row, 0);
}

/* load.c */
extern const char *const handlers[KIND_MAX]; /* names of programs that are only jumped to */
int load__tracing(struct tracer *t);
int load__share_maps(const struct tracer *t, const struct bpf_object *obj);

/* snapshot.c */
int snapshot__load(struct tracer *t);
void snapshot__tasks(struct tracer *t);
void snapshot__chans(struct tracer *t);
void snapshot__holders(struct tracer *t); /* fills t->outsiders */
int snapshot__held(struct tracer *t, uint8_t *held,
		   size_t nr); /* by row of chans; -errno: cannot tell */
void snapshot__seen(struct tracer *t);
void snapshot__names(struct tracer *t); /* of files, which may have been renamed */

/* queues.c */
bool queues__exists(const struct chan_row *c);
void queues__flows(struct tracer *t, const struct ids *chans); /* NULL: of all */
void queues__forget(struct tracer *t,
		    const struct ids *chans); /* what is known of messages in them */

#define FLOWS 16384
#define TOUCHES 32768 /* rows of 64 pages, of each process */
#define PAGE_GROUPS 32768 /* rows of 16 pages */

/* pages.c */
bool pages__are_many(const struct tracer *t);
void pages__clean(struct tracer *t);
/* Memory and files that are there though nobody has them. */
bool pages__persist(const struct tracer *t, const struct chan_row *c);

/* fds.c */
void fds__take(struct tracer *t, uint8_t state); /* of channels in one of these states; 0: of all */
void fds__tick(struct tracer *t);

/* sample.c */
int sample__start(struct tracer *t); /* 0 also if it was not asked for */
void sample__tick(struct tracer *t); /* a round if it is time */
void sample__round(struct tracer *t);
int sample__wait_ms(const struct tracer *t, int at_most); /* to the next round */
void sample__free(struct tracer *t);

/* flows.c */
void flows__take(struct tracer *t, const struct ids *chans); /* of these channels; NULL: of all */
void flows__tick(struct tracer *t);

/* sweep.c */
void sweep__tick(struct tracer *t);

/* harvest.c */
void harvest__chan(struct tracer *t, uint32_t row);
void harvest__say_chan(struct tracer *t, uint32_t row); /* if it was not yet */
void harvest__free_edge(struct tracer *t, uint32_t row);
void harvest__debts(struct tracer *t, const struct chan_row *c);
size_t harvest__tick(struct tracer *t);
void harvest__all(struct tracer *t);

#endif
