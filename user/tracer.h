/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel side as the rest of ipctrace sees it: load, attach, collect, detach. Everything that it
 * finds out comes as records through emit(); the caller need not keep them.
 */
#ifndef IPCTRACE_TRACER_H
#define IPCTRACE_TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../bpf/shared.h"

struct tracer_opts {
	uint32_t scope; /* enum scope */
	const pid_t *pids;
	size_t nr_pids;
	uint64_t cgroup; /* id */
	const char *globs[MAX_GLOBS]; /* of --comm */
	size_t nr_globs;
	uint32_t mechs; /* bit per enum mech */
	bool ops, life; /* records per operation, of lives */
	size_t ring_bytes; /* 0: default */
	uint64_t sample_ns; /* how often to look which shared pages were touched again; 0: never */
	size_t rows; /* of the edge table, the others follow; 0: default */
	/* Both are called from tracer__start(), __poll() and __stop() only. */
	void (*emit)(void *ctx, const struct rec_hdr *rec);
	void (*warn)(void *ctx, const char *line); /* something will be missing, and why */
	void *ctx;
};

struct tracer;

/* Load and check by the verifier; nothing runs yet. why: one line if it fails. */
int tracer__new(struct tracer **t, const struct tracer_opts *opts, char *why, size_t size);

/* Attach, and take in what is there already. */
int tracer__start(struct tracer *t, char *why, size_t size);

/* Only the hooks, without the snapshot: for the benchmark, which switches them on and off. */
int tracer__attach(struct tracer *t);

/* Another process comes into scope. */
int tracer__add_pid(struct tracer *t, pid_t pid);

/* A descriptor that polls readable when records wait, and how to take them. */
int tracer__fd(const struct tracer *t);
void tracer__consume(struct tracer *t);

/* From time to time: gather what has ended and make room. Returns the number of living processes. */
size_t tracer__tick(struct tracer *t);

/* How long to wait at most before the next of these, in ms. */
int tracer__wait_ms(const struct tracer *t, int at_most);

/* Detach, and gather the rest. */
void tracer__stop(struct tracer *t);
void tracer__free(struct tracer *t);

/* For statistics and tests: the programs' descriptors by name, -1 if there is none. */
int tracer__prog_fd(const struct tracer *t, const char *name);

#endif
