/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tracing costs. A load is something that a program does; a variant is a way of tracing it.
 * Every variant runs every load many times, and its figure is the fastest: on a busy machine the
 * minimum repeats, the mean does not.
 */
#ifndef IPCTRACE_BENCH_H
#define IPCTRACE_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum load_id {
	LOAD_PIPE,
	LOAD_PINGPONG1,
	LOAD_PINGPONG2,
	LOAD_GETPPID,
	LOAD_UNIX,
	LOAD_TCP,
	LOAD_ZERO,
	LOAD_FILE,
	LOAD_FORK,
	LOAD_FAULT,
	LOAD_FUTEX,
	LOAD_FUTEX_PINGPONG,
	LOAD_PERF_PIPE,
	LOAD_PERF_MSG,
	LOAD_MAX,
};

struct load {
	const char *name, *help;
	unsigned int ops; /* in a round */
	unsigned int calls; /* system calls in an operation; 0: not known */
	unsigned int rw; /* of them, reads and writes of one byte by the worker itself */
	bool seldom; /* too slow to start for every round */
	double (*run)(unsigned int ops); /* ns per operation; in the worker. Negative: cannot */
};

extern const struct load loads[LOAD_MAX];

/*
 * The process that is measured, and the ones it talks with. They live as long as the benchmark, so
 * that all variants measure the same memory; main() only tells them what to run.
 */
enum helper {
	HELPER_ECHO1, /* on the same core */
	HELPER_ECHO2, /* on another one */
	HELPER_FUTEX,
	HELPER_FAULT,
	HELPERS
};

struct worker {
	pid_t pid;
	pid_t others[HELPERS];
	int ask, answer;
	/* Reads and writes that it has made so far, at least; those on pipes; their bytes. */
	long long calls, piped, bytes;
};

int worker__start(struct worker *w);
void worker__stop(struct worker *w);
/* ns per operation; negative: this load cannot run here */
double worker__run(struct worker *w, enum load_id load, unsigned int ops);

enum variant_id {
	VAR_NONE,
	VAR_EXIT, /* the floor */
	VAR_BOTH,
	VAR_SWITCH,
	VAR_FAULT,
	VAR_IPCTRACE,
	VAR_OPS,
	VAR_BPFTRACE,
	VAR_PERF,
	VAR_STRACE,
	VAR_MAX,
};

#define VAR_PROBES VAR_IPCTRACE /* those before it are switched on and off in every round */

extern const char *const variant_names[VAR_MAX];

/* Empty probes, loaded once. */
struct probes;
int probes__load(struct probes **p);
void probes__free(struct probes *p);
int probes__attach(struct probes *p, enum variant_id v);
void probes__detach(struct probes *p);

/* Links to tracing programs, of whomever, that exist now. */
unsigned int links__count(void);

/* Another program that traces, started for a block of rounds. */
struct peer {
	enum variant_id variant;
	pid_t pid;
	char out[64]; /* a file with what it printed */
	char data[64]; /* a file with what it traced */
	int status; /* after peer__stop() */
	long long calls, piped, bytes; /* of the worker when the peer began to trace it */
};

const char *peer__missing(enum variant_id v); /* why it cannot run, NULL: it can */
int peer__start(struct peer *p, enum variant_id v, const struct worker *w);
/* Wait until it really traces the worker: its system calls got slower than untraced ns. */
int peer__wait_ready(struct peer *p, struct worker *w, double untraced);
void peer__stop(struct peer *p);
/* False: it did not count all that the worker did since peer__wait_ready(). */
bool peer__counted_all(const struct peer *p, const struct worker *w);
void peer__clean(struct peer *p);

/* The kernel's own measure of one program. */
#define STATS_LOADS 6
#define STATS_PROGS 64

struct prog_stats {
	uint32_t id;
	char name[16];
	struct {
		uint64_t runs, ns;
	} load[STATS_LOADS];
};

struct stats {
	unsigned int nr;
	struct prog_stats prog[STATS_PROGS];
	unsigned int ops[STATS_LOADS];
};

extern const enum load_id stats_loads[STATS_LOADS];
int stats__measure(struct stats *s, const struct peer *p, struct worker *w);

struct cell {
	double min; /* 0: not measured */
	double half[2]; /* of the first and the second half of the rounds */
	unsigned int rounds;
};

struct results {
	struct cell cell[VAR_MAX][LOAD_MAX];
	const char *missing[VAR_MAX];
	unsigned int rounds, dirty;
	double seconds;
	struct stats stats;
};

/* The empty program on the hook that the load hits. */
enum variant_id load__floor(enum load_id l);

double results__added(const struct results *r, enum variant_id v, enum load_id l);
void results__print(const struct results *r, FILE *f);
int results__json(const struct results *r, FILE *f); /* closes it */
/* Number of checks that failed. */
int results__check(const struct results *r, FILE *f);

double now_ns(void);

#endif
