/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "sim.h"

#define FIFO_SIZE 4096

uint32_t sim__random(struct sim *s, uint32_t below)
{
	s->rng = s->rng * 1664525 + 1013904223;
	return (uint64_t)(s->rng >> 8) * below >> 24;
}

static void emit(struct sim *s, void *rec, enum rec_type type, size_t len)
{
	struct rec_hdr *h = rec;

	h->type = type;
	h->len = len;
	h->time = s->now++;
	s->emit(s->ctx, h);
}

static void emit_proc(struct sim *s, int slot, uint32_t flags)
{
	struct rec_proc rec = { .row = {
					.id = s->ids[slot], .pid = s->ids[slot], .flags = flags } };

	rec.row.start_ns = rec.row.id;
	rec.row.exit_ns = flags & PROC_DEAD ? s->now : 0;
	snprintf(rec.row.comm, COMM_LEN, "prog%d", slot % 3);
	rec.row.exe_len = snprintf(rec.row.exe, PATH_LEN, "/bin/prog%d", slot % 3);
	emit(s, &rec, REC_PROC, sizeof(rec));
}

static void emit_chan(struct sim *s, struct sim_chan *c)
{
	struct rec_chan rec = { .row = c->row };

	emit(s, &rec, REC_CHAN, sizeof(rec));
}

static void emit_edge(struct sim *s, struct sim_chan *c, int slot, enum role role, int bytes)
{
	struct rec_edge rec = { .row = { .proc = s->ids[slot],
					 .chan = c->row.id,
					 .role = role,
					 .ops = 1,
					 .bytes = bytes } };

	emit(s, &rec, REC_EDGE, sizeof(rec));
}

static void emit_flow(struct sim *s, struct sim_chan *c, uint32_t from, int to, int bytes)
{
	struct rec_flow rec = { .key = { .chan = c->row.id, .from = from, .to = s->ids[to] },
				.val = { .ops = 1, .bytes = bytes } };

	if (bytes)
		emit(s, &rec, REC_FLOW, sizeof(rec));
}

static int fill(const struct sim_chan *c)
{
	return c->tail - c->head;
}

static void put(struct sim *s, struct sim_chan *c, int slot, int bytes)
{
	if (fill(c) + bytes > FIFO_SIZE)
		return;
	if (!c->row.first_writer)
		c->row.first_writer = s->ids[slot];
	if (c->row.first_writer != s->ids[slot] && !c->ledger) {
		c->ledger = true;
		c->row.flags |= CHAN_LEDGER;
		emit_chan(s, c);
	}
	for (int i = 0; i < bytes; i++)
		c->fifo[c->tail++ % FIFO_SIZE] = slot == SIM_OUTSIDE ? PROC_OUTSIDE : s->ids[slot];
	emit_edge(s, c, slot, ROLE_WRITE, bytes);
}

static int slot_of(const struct sim *s, uint32_t id)
{
	for (int i = 0; i < SIM_PROCS; i++)
		if (s->ids[i] == id)
			return i;
	return SIM_OUTSIDE;
}

static void take(struct sim *s, struct sim_chan *c, int slot, int bytes)
{
	bool shared = (int)sim__random(s, 100) < s->o.shared;
	int done = 0;

	if (bytes > fill(c))
		bytes = fill(c);
	if (shared && c->ledger)
		emit_flow(s, c, PROC_SHARED, slot, bytes);
	while (done < bytes) {
		uint32_t from = c->fifo[c->head % FIFO_SIZE];
		int n = 0;

		while (done < bytes && c->fifo[c->head % FIFO_SIZE] == from) {
			c->head++;
			done++;
			n++;
		}
		s->given[c - s->chans][slot_of(s, from)][slot] += n;
		if (c->ledger && !shared)
			emit_flow(s, c, from, slot, n);
	}
	emit_edge(s, c, slot, ROLE_READ, bytes);
}

static void choose_users(struct sim *s, struct sim_chan *c)
{
	c->nr_writers = s->o.writers ? 1 + (int)sim__random(s, s->o.writers) : s->o.procs;
	c->nr_readers = s->o.readers ? 1 + (int)sim__random(s, s->o.readers) : s->o.procs;
	for (int i = 0; i < c->nr_writers; i++)
		c->writer[i] = sim__random(s, s->o.procs);
	for (int i = 0; i < c->nr_readers; i++)
		c->reader[i] = sim__random(s, s->o.procs);
}

static void new_chan(struct sim *s, struct sim_chan *c)
{
	memset(c, 0, sizeof(*c));
	c->row.id = 1000000 + s->next_id++;
	c->row.key.mech = MECH_PIPE;
	c->row.key.ino = c->row.id;
	c->row.first_ns = c->row.id;
	choose_users(s, c);
	if (s->o.found && sim__random(s, 2)) {
		c->row.found_bytes = sim__random(s, 30);
		for (uint64_t i = 0; i < c->row.found_bytes; i++)
			c->fifo[c->tail++] = PROC_OUTSIDE;
	}
	emit_chan(s, c);
}

static void die_chan(struct sim *s, struct sim_chan *c)
{
	c->row.flags |= CHAN_GONE;
	emit_chan(s, c);
	new_chan(s, c);
}

/* Who leaves is replaced; and channels are, now and then. */
static void die(struct sim *s)
{
	int slot = sim__random(s, s->o.procs);

	emit_proc(s, slot, PROC_DEAD);
	s->ids[slot] = s->next_id++;
	emit_proc(s, slot, 0);
	if (!sim__random(s, 4))
		die_chan(s, &s->chans[sim__random(s, s->o.chans)]);
}

static void step(struct sim *s)
{
	struct sim_chan *c = &s->chans[sim__random(s, s->o.chans)];

	if (s->o.deaths && !sim__random(s, 6))
		die(s);
	else if (sim__random(s, 2))
		put(s, c, c->writer[sim__random(s, c->nr_writers)], 1 + sim__random(s, 20));
	else
		take(s, c, c->reader[sim__random(s, c->nr_readers)], 1 + sim__random(s, 30));
}

void sim__run(struct sim *s)
{
	s->rng = s->o.seed * 2654435761u + 1;
	s->next_id = 1;
	for (int i = 0; i < s->o.procs; i++) {
		s->ids[i] = s->next_id++;
		emit_proc(s, i, 0);
	}
	for (int i = 0; i < s->o.chans; i++)
		new_chan(s, &s->chans[i]);
	for (int i = 0; i < s->o.steps; i++)
		step(s);
	for (int i = 0; s->o.drain && i < s->o.chans; i++) {
		struct sim_chan *c = &s->chans[i];

		while (fill(c))
			take(s, c, c->reader[sim__random(s, c->nr_readers)], 100);
	}
	for (int i = 0; i < s->o.chans; i++)
		emit_chan(s, &s->chans[i]);
}
