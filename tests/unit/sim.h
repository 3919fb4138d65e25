/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that write to and read from channels at random, and the records that the kernel side
 * would make of it. Each byte knows who wrote it, so the truth is known as well.
 */
#ifndef IPCTRACE_SIM_H
#define IPCTRACE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "user/graph.h"

#define SIM_PROCS 24
#define SIM_CHANS 6
#define SIM_OUTSIDE SIM_PROCS

struct sim_opts {
	uint32_t seed;
	int procs, chans; /* alive at a time; their ids are 1.. and 1000000.. */
	int steps;
	int writers, readers; /* at most, per channel; 0: any */
	int shared; /* percent of reads whose order the kernel does not give */
	bool found; /* bytes lie in some channels before the trace */
	bool deaths; /* processes die, and others take their places */
	bool drain; /* at the end all is read */
};

struct sim {
	struct sim_opts o;
	uint32_t rng;
	uint32_t next_id;
	uint64_t now;
	uint32_t ids[SIM_PROCS]; /* of who lives there now */
	struct sim_chan {
		struct chan_row row;
		uint32_t fifo[4096];
		int head, tail;
		bool ledger;
		int writer[SIM_PROCS], reader[SIM_PROCS], nr_writers, nr_readers;
	} chans[SIM_CHANS];
	/* Truth, as long as nobody dies. */
	uint64_t given[SIM_CHANS][SIM_PROCS + 1][SIM_PROCS];
	void (*emit)(void *ctx, const struct rec_hdr *rec);
	void *ctx;
};

void sim__run(struct sim *s);

uint32_t sim__random(struct sim *s, uint32_t below);

#endif
