// SPDX-License-Identifier: BSD-2-Clause
/*
 * Rows of channels are used again when looks at all open files find again and again that nobody holds
 * them.
 */
#include <errno.h>
#include <stdlib.h>

#include "ids.h"
#include "mech.h"
#include "tracer_priv.h"

#define SWEEP_NS 500000000ULL /* at most this often */
#define SWEEP_SOON_NS \
	20000000ULL /* when rows run short; whoever is slow to use a row must be done */

/* What belongs to a process is there as long as it is. */
static int mark_of_processes(const struct tracer *t, uint8_t *busy, uint32_t nr)
{
	uint32_t max = rows__used(t, TABLE_PROCS), i;
	struct ids ids;

	if (ids__init(&ids, max))
		return -ENOMEM;
	for (i = 0; i < max; i++)
		if (t->procs[i].id && !(t->procs[i].flags & PROC_DEAD))
			ids__put(&ids, t->procs[i].id);
	ids__sort(&ids);
	for (i = 0; i < nr; i++)
		if (mech__get(t->chans[i].key.mech)->of_process &&
		    (!t->chans[i].key.ino || ids__have(&ids, t->chans[i].key.ino)))
			busy[i] = 1;
	ids__free(&ids);
	return 0;
}

/* One that has a row. */
static bool has_ledger(const struct chan_row *c)
{
	return c->ledger && c->ledger != LEDGER_CROWD;
}

static void free_chan(struct tracer *t, uint32_t row)
{
	struct chan_row *c = &t->chans[row];
	uint32_t ledger = has_ledger(c) ? c->ledger & ~LEDGER_RESTS : 0;

	harvest__debts(t, c);
	/* Said last, after its edges and flows: the graph may now put it away. */
	c->flags |= CHAN_GONE;
	if (t->chan_state[row] & CHAN_SAID)
		harvest__chan(t, row);
	c->id = 0;
	t->chan_state[row] = 0;
	if (ledger)
		rows__give_back(t, TABLE_LEDGERS, ledger - 1);
	rows__give_back(t, TABLE_CHANS, row);
}

static bool is_queue(const struct chan_row *c)
{
	return c->key.mech == MECH_MSG || c->key.mech == MECH_MQ;
}

/* Does the kernel side say whose bytes they were? */
static bool has_flows(const struct chan_row *c)
{
	return c->ledger || is_queue(c) || mech__get(c->key.mech)->flows == FLOWS_ROWS ||
	       (c->key.mech == MECH_UNIX && !(c->flags & CHAN_TWO_ENDS));
}

/* busy[]: channels that must stay, because somebody holds them or sleeps in them. */
static void doom(struct tracer *t, const uint8_t *busy, uint32_t nr)
{
	struct ids ids;
	bool queues = false;
	uint32_t i;

	if (ids__init(&ids, nr))
		return;
	for (i = 0; i < nr; i++) {
		if (!t->chans[i].id || busy[i])
			t->chan_state[i] &= ~CHAN_DOOMED;
		if (t->chan_state[i] & CHAN_DOOMED && has_flows(&t->chans[i])) {
			ids__put(&ids, t->chans[i].id);
			queues |= is_queue(&t->chans[i]);
		}
	}
	for (i = 0; i < rows__used(t, TABLE_EDGES); i++) {
		struct edge_row *e = &t->edges[i];

		if (e->proc && e->chan_row < nr && t->chan_state[e->chan_row] & CHAN_DOOMED &&
		    t->chans[e->chan_row].id == e->chan)
			harvest__free_edge(t, i);
	}
	ids__sort(&ids);
	if (ids.nr)
		flows__take(t, &ids);
	if (queues) {
		queues__flows(t, &ids);
		queues__forget(t, &ids);
	}
	ids__free(&ids);
	fds__take(t, CHAN_DOOMED);
	for (i = 0; i < nr; i++)
		if (t->chan_state[i] & CHAN_DOOMED)
			free_chan(t, i);
}

/* Its key may mean another channel by now. */
static void take_off_index(struct tracer *t, uint32_t row)
{
	int fd = bpf_map__fd(t->skel->maps.chan_rows);
	uint32_t known;

	if (!bpf_map_lookup_elem(fd, &t->chans[row].key, &known) && known == row)
		bpf_map_delete_elem(fd, &t->chans[row].key);
	/* Who is connected to what was closed there looks again before it uses the row. */
	__atomic_add_fetch(&t->engine->places, 1, __ATOMIC_RELEASE);
}

/* No table of open files tells who has it: it stays as long as somebody lives who has used it. */
static bool lives_by_use(const struct chan_row *c)
{
	const struct mech_desc *m = mech__get(c->key.mech);

	return m->flows == FLOWS_ROWS && m->measured == IN_OPS;
}

static void sweep(struct tracer *t)
{
	uint32_t nr = rows__used(t, TABLE_CHANS), i;
	uint8_t *busy = calloc(nr + 1, 1);

	snapshot__names(t);
	if (!busy || snapshot__held(t, busy, nr) || mark_of_processes(t, busy, nr)) {
		free(busy);
		return;
	}
	for (i = 0; i < rows__used(t, TABLE_EDGES); i++) {
		const struct edge_row *e = &t->edges[i];

		if (e->proc && e->chan_row < nr &&
		    (e->blocked_since || lives_by_use(&t->chans[e->chan_row])))
			busy[e->chan_row] = 1;
	}
	for (i = 0; i < nr; i++)
		if (t->chans[i].id && !busy[i])
			busy[i] = is_queue(&t->chans[i]) ? queues__exists(&t->chans[i])
							 : pages__persist(t, &t->chans[i]);
	doom(t, busy, nr);
	for (i = 0; i < nr; i++) {
		if (!t->chans[i].id || busy[i]) {
			t->chan_state[i] &= ~CHAN_SUSPECT;
		} else if (t->chan_state[i] & CHAN_SUSPECT) {
			take_off_index(t, i);
			t->chan_state[i] |= CHAN_DOOMED;
		} else {
			t->chan_state[i] |= CHAN_SUSPECT;
		}
	}
	free(busy);
}

static bool is_over(const struct tracer *t, uint32_t chans, uint32_t ledgers, uint32_t part)
{
	return chans > t->rows[TABLE_CHANS].max / part ||
	       ledgers > t->rows[TABLE_LEDGERS].max / part;
}

void sweep__tick(struct tracer *t)
{
	uint64_t now = tracer__now();
	uint32_t chans = 0, ledgers = 0;

	for (uint32_t i = 0; i < rows__used(t, TABLE_CHANS); i++) {
		chans += t->chans[i].id != 0;
		ledgers += t->chans[i].id && has_ledger(&t->chans[i]);
	}
	t->crowded = chans > t->rows[TABLE_CHANS].max / 2;
	/* Looking through all open files has its price: only when a good part of the rows is in use. */
	if (is_over(t, chans, ledgers, 16) &&
	    now - t->last_sweep >= (is_over(t, chans, ledgers, 4) ? SWEEP_SOON_NS : SWEEP_NS)) {
		t->last_sweep = now;
		sweep(t);
	}
	if (pages__are_many(t) && now - t->last_clean >= SWEEP_NS) {
		t->last_clean = now;
		pages__clean(t);
	}
}
