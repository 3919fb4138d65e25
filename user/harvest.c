// SPDX-License-Identifier: BSD-2-Clause
/*
 * From the kernel's tables to records. Rows of threads and processes that have ended are taken out at
 * each tick; channels when looks at all open files find again and again that nobody holds them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "mech.h"
#include "tracer_priv.h"
#include "util.h"

#define MANY_EMPTY 4 /* arguments in a row */

#define SWEEP_NS 500000000ULL /* at most this often */
#define SWEEP_SOON_NS \
	20000000ULL /* when rows run short; whoever is slow to use a row must be done */

/*
 * chan_state[]. A channel that nobody holds at one sweep is suspect: its new holder may have been
 * passed by when it did not hold it yet. At the next one it is doomed: off the index, and at the one
 * after that its row is used again; whoever was just about to use it has found it held by then.
 */
enum { CHAN_SAID = 1, CHAN_SUSPECT = 2, CHAN_DOOMED = 4 };

static uint32_t used(const struct tracer *t, enum table which)
{
	uint32_t n = __atomic_load_n(&t->engine->used[which], __ATOMIC_ACQUIRE);

	return n < t->rows[which].max ? n : t->rows[which].max;
}

static void give_back(struct tracer *t, enum table which, uint32_t row)
{
	bpf_map_update_elem(t->rows[which].free_fd, NULL, &row, 0);
}

/* --- records --- */

/* The kernel side has its id only. Asked for while a process of it is still there, if possible. */
static void say_cgroup(struct tracer *t, uint64_t id)
{
	struct rec_cgroup r = { .id = id };
	uint64_t *more;

	for (size_t i = t->nr_cgroups; i-- > 0;)
		if (t->cgroups[i] == id)
			return;
	more = realloc(t->cgroups, (t->nr_cgroups + 1) * sizeof(*more));
	if (!more)
		return;
	t->cgroups = more;
	t->cgroups[t->nr_cgroups++] = id;
	if (!cgroup__path(id, r.path, sizeof(r.path)))
		tracer__emit(t, &r.h, REC_CGROUP, sizeof(r));
}

/* Who has written a title over its arguments has left nothing of them: the rest is empty. */
static void find_title(struct proc_row *p)
{
	size_t n = strnlen(p->args, p->args_len), i = n;

	while (i < p->args_len && !p->args[i])
		i++;
	if (!n || i < p->args_len || i - n < MANY_EMPTY)
		return;
	if (p->exe_len < PATH_LEN)
		p->flags &= ~PROC_CUT;
	p->args_len = 0;
	if (!p->title[0])
		snprintf(p->title, TITLE_LEN, "%.*s", (int)n, p->args);
}

static void emit_proc(struct tracer *t, const struct proc_row *p)
{
	struct rec_proc r = { .row = *p };
	char path[64];
	ssize_t n;
	FILE *in;

	r.row.flags &= ~(PROC_GONE | PROC_KILLED);
	say_cgroup(t, p->cgroup);
	/* Of those that were there before, the kernel side cannot read the arguments. */
	if (p->flags & PROC_INITIAL && !p->args_len && !(p->flags & PROC_DEAD) && proc_is_ours()) {
		snprintf(path, sizeof(path), "/proc/%u/cmdline", p->pid);
		in = fopen(path, "re");
		if (in) {
			r.row.args_len = fread(r.row.args, 1, ARGS_LEN, in);
			if (!feof(in) && getc(in) != EOF)
				r.row.flags |= PROC_CUT;
			fclose(in);
			find_title(&r.row);
		}
	}
	if (p->flags & PROC_HOLDER && p->pid && proc_is_ours()) {
		snprintf(path, sizeof(path), "/proc/%u/exe", p->pid);
		n = readlink(path, r.row.exe, PATH_LEN);
		r.row.exe_len = n > 0 ? n : 0;
	}
	tracer__emit(t, &r.h, REC_PROC, sizeof(r));
}

/* Kernel addresses are nobody's business, nor what the kernel side keeps of files. */
static void set_public_key(struct chan_row *c)
{
	memset(c->gone_bytes, 0, sizeof(c->gone_bytes));
	memset(c->gone_pos, 0, sizeof(c->gone_pos));
	if (MECHS_MEMORY >> c->key.mech & 1)
		c->queued_ns = 0;
	if (c->key.mech == MECH_FILE)
		c->highwater = c->found_at[0] = c->found_at[1] = c->truncated_bytes = c->queued_ns =
			c->max_queued_ns = 0;
	if (mech__get(c->key.mech)->in_ipcns)
		c->key.gen = 0;
	if (c->key.mech == MECH_FILE && c->key.word == WORD_INOTIFY)
		c->key.ino = c->id;
	if (mech__get(c->key.mech)->of_process)
		return;
	if (c->key.mech == MECH_NETLINK || (!(c->flags & CHAN_TWO_ENDS) && !c->ends[0].family))
		return;
	c->key.ino = c->key.mech == MECH_PTY ? c->low_end : c->ends[0].ino;
	c->key.dev = c->key.gen = 0;
}

static void emit_chan(struct tracer *t, uint32_t row)
{
	struct rec_chan r = { .row = t->chans[row] };

	t->chan_state[row] |= CHAN_SAID;
	set_public_key(&r.row);
	tracer__emit(t, &r.h, REC_CHAN, sizeof(r));
	for (size_t i = 0; i < t->nr_outsiders; i++) {
		struct outsider *o = &t->outsiders[i];

		if (o->said || o->holder.chan != r.row.id)
			continue;
		o->said = true;
		if (!o->watched) /* or it is told with the others */
			tracer__emit(t, &o->proc.h, REC_PROC, sizeof(o->proc));
		tracer__emit(t, &o->holder.h, REC_HOLDER, sizeof(o->holder));
	}
}

void harvest__say_chan(struct tracer *t, uint32_t row)
{
	if (!(t->chan_state[row] & CHAN_SAID))
		emit_chan(t, row);
}

static uint64_t calls_of(const struct edge_row *e)
{
	uint64_t n = e->ops + e->err_other;

	for (int i = 0; i < EDGE_ERRS; i++)
		n += e->errs[i];
	return n;
}

static void emit_edge(struct tracer *t, const struct edge_row *e)
{
	struct rec_edge r = { .row = *e };
	uint64_t now = tracer__now(), ago;

	if (e->last_ns) {
		ago = (e->last_ns - t->engine->jiffies) * t->tick_ns;
		r.row.last_ns = t->engine->ktime + ago;
		if (r.row.last_ns < e->first_ns)
			r.row.last_ns = e->first_ns;
		if (r.row.last_ns > now)
			r.row.last_ns = now;
	}
	if (e->blocked_since) {
		ago = now > e->blocked_since ? now - e->blocked_since : 0;
		r.row.blocked_ns += ago;
		if (ago > r.row.max_blocked_ns)
			r.row.max_blocked_ns = ago;
	}
	t->delivered += calls_of(e);
	tracer__emit(t, &r.h, REC_EDGE, sizeof(r));
}

static void emit_lost(struct tracer *t)
{
	struct rec_lost r = { .seen = t->engine->seen - t->ignored,
			      .delivered = t->delivered,
			      .unfinished = t->engine->unfinished };

	memcpy(r.causes, t->engine->loss, sizeof(r.causes));
	tracer__emit(t, &r.h, REC_LOST, sizeof(r));
}

/* --- rows --- */

/* Files that everybody only reads, as the C library is, carry nothing between processes. */
static bool is_only_read(const struct tracer *t, const struct edge_row *e)
{
	const struct chan_row *c = &t->chans[e->chan_row];

	if (c->id != e->chan || c->flags & CHAN_WRITABLE)
		return false;
	return c->key.mech == MECH_MMAP || (c->key.mech == MECH_FILE && e->role == ROLE_READ);
}

static void say_edge(struct tracer *t, const struct edge_row *e)
{
	const uint32_t mech = t->chans[e->chan_row].key.mech;

	/* What a datagram socket gets may come over another channel than it was seen to wait for. */
	if (mech == MECH_UDP && !calls_of(e) && !e->blocked_ops)
		return;
	if (is_only_read(t, e)) {
		t->ignored += calls_of(e);
		return;
	}
	if (t->chans[e->chan_row].id == e->chan)
		harvest__say_chan(t, e->chan_row);
	emit_edge(t, e);
}

/* The channel keeps what it was, for order_is_known(). First add, then take off: never too little. */
static void unlist_edge(struct tracer *t, uint32_t row)
{
	struct edge_row *e = &t->edges[row];
	struct chan_row *c = &t->chans[e->chan_row];

	if (c->id != e->chan)
		return;
	if (e->role >= ROLES_IO || c->key.mech > MECH_FIFO)
		return;
	if (e->bytes)
		c->gone_pos[e->role] = e->pos;
	__atomic_add_fetch(&c->gone_bytes[e->role], e->bytes, __ATOMIC_RELEASE);
	for (int i = 0; i < CHAN_EDGES; i++)
		if (c->edges[i] == row + 1)
			__atomic_store_n(&c->edges[i], 0, __ATOMIC_RELEASE);
}

static void free_edge(struct tracer *t, uint32_t row)
{
	struct edge_row *e = &t->edges[row];
	struct edge_key key = {
		.task = t->tasks[e->task].id,
		.chan = e->chan,
		.role = e->role,
		.end = e->end,
	};

	say_edge(t, e);
	unlist_edge(t, row);
	bpf_map_delete_elem(bpf_map__fd(t->skel->maps.edge_rows), &key);
	memset(e, 0, sizeof(*e));
	give_back(t, TABLE_EDGES, row);
}

/* Ids, sorted. */
struct ids {
	uint32_t *at;
	size_t nr;
};

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool ids_have(const struct ids *ids, uint32_t id)
{
	return bsearch(&id, ids->at, ids->nr, sizeof(id), compare_ids);
}

/* Flows of these channels, and of them from or to these processes only; NULL: of all. */
static void take_flows(struct tracer *t, const struct ids *chans, const struct ids *of)
{
	int fd = bpf_map__fd(t->skel->maps.flows);
	struct flow_key key, next;
	struct rec_flow r = {};
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	while (more) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		if ((!chans || ids_have(chans, key.chan)) &&
		    (!of || ids_have(of, key.from) || ids_have(of, key.to)) &&
		    !bpf_map_lookup_elem(fd, &key, &r.val)) {
			r.key = key;
			bpf_map_delete_elem(fd, &key);
			tracer__emit(t, &r.h, REC_FLOW, sizeof(r));
		}
		key = next;
	}
}

/*
 * Each process that ends sends a signal, and its parent may live long: their flows must go. Of those
 * that had ended by the last tick, so that what they sent last is not just being taken.
 */
static void take_last_flows(struct tracer *t)
{
	uint32_t nr = used(t, TABLE_CHANS);
	struct ids chans = { .at = calloc(nr + 1, sizeof(*chans.at)) };
	struct ids of = { .at = t->dead, .nr = t->nr_dead };

	if (chans.at && of.nr) {
		for (uint32_t i = 0; i < nr; i++)
			if (t->chans[i].id && mech__get(t->chans[i].key.mech)->of_process)
				chans.at[chans.nr++] = t->chans[i].id;
		qsort(chans.at, chans.nr, sizeof(*chans.at), compare_ids);
		qsort(of.at, of.nr, sizeof(*of.at), compare_ids);
		if (chans.nr)
			take_flows(t, &chans, &of);
	}
	free(chans.at);
	t->nr_dead = 0;
}

/* Nobody finds it any more. It may have come back as another row since. */
static void forget_owner(struct tracer *t, const struct proc_row *p)
{
	const struct proc_ident key = { .start_ns = p->start_ns, .pid = p->pid };
	int fd = bpf_map__fd(t->skel->maps.proc_owners);
	struct edge_owner owner;

	if (t->opts.mechs & 1U << MECH_VM && !bpf_map_lookup_elem(fd, &key, &owner) &&
	    owner.proc_id == p->id)
		bpf_map_delete_elem(fd, &key);
}

/* Everything of the threads that have ended: their edges, themselves, and their processes. */
static size_t take_dead(struct tracer *t)
{
	uint32_t nr_tasks = used(t, TABLE_TASKS), nr_procs = used(t, TABLE_PROCS);
	size_t dead = 0, living = 0;
	uint32_t i;

	take_last_flows(t);
	/* Taken before the edges are looked through, so that none of its edges is missed. */
	for (i = 0; i < nr_tasks; i++)
		if (t->tasks[i].dead == DEAD_GONE && t->tasks[i].id) {
			t->tasks[i].dead = DEAD_TAKEN;
			dead++;
		}
	for (i = 0; i < nr_procs; i++) {
		struct proc_row *p = &t->procs[i];

		if (!p->id)
			continue;
		if (!(p->flags & PROC_DEAD)) {
			living += !(p->flags & PROC_HOLDER);
			/* So that the graph knows whom it has not heard of yet from whom it forgot. */
			if (!t->proc_said[i])
				emit_proc(t, p);
			t->proc_said[i] = 1;
			continue;
		}
		if (!(p->flags & PROC_GONE))
			continue;
		emit_proc(t, p);
		t->dead[t->nr_dead++] = p->id;
		t->proc_said[i] = 0;
		forget_owner(t, p);
		p->id = 0;
		give_back(t, TABLE_PROCS, i);
	}
	if (!dead)
		return living;
	for (i = 0; i < used(t, TABLE_EDGES); i++)
		if (t->edges[i].proc && t->tasks[t->edges[i].task].dead == DEAD_TAKEN)
			free_edge(t, i);
	for (i = 0; i < nr_tasks; i++)
		if (t->tasks[i].dead == DEAD_TAKEN) {
			memset(&t->tasks[i], 0, sizeof(t->tasks[i]));
			give_back(t, TABLE_TASKS, i);
		}
	return living;
}

/* --- channels --- */

/* What belongs to a process is there as long as it is. */
static int mark_of_processes(const struct tracer *t, uint8_t *busy, uint32_t nr)
{
	uint32_t max = used(t, TABLE_PROCS), i;
	struct ids ids = { .at = calloc(max + 1, sizeof(*ids.at)) };

	if (!ids.at)
		return -ENOMEM;
	for (i = 0; i < max; i++)
		if (t->procs[i].id && !(t->procs[i].flags & PROC_DEAD))
			ids.at[ids.nr++] = t->procs[i].id;
	qsort(ids.at, ids.nr, sizeof(*ids.at), compare_ids);
	for (i = 0; i < nr; i++)
		if (mech__get(t->chans[i].key.mech)->of_process &&
		    (!t->chans[i].key.ino || ids_have(&ids, t->chans[i].key.ino)))
			busy[i] = 1;
	free(ids.at);
	return 0;
}

/* What was read while its writer is in its call still: whose it is will not be known. */
static void take_debts(struct tracer *t, const struct chan_row *c)
{
	uint32_t row = (c->ledger & ~LEDGER_RESTS) - 1;
	struct ledger l;

	if (!c->ledger || bpf_map_lookup_elem(bpf_map__fd(t->skel->maps.ledgers), &row, &l) ||
	    l.chan != c->id)
		return;
	for (uint32_t i = 0; i < l.nr_debts && i < LEDGER_DEBTS; i++) {
		struct rec_flow r = {
			.key = { .chan = c->id, .from = PROC_SHARED, .to = l.debts[i].reader },
			.val = { .ops = 1, .bytes = l.debts[i].end - l.debts[i].start },
		};

		tracer__emit(t, &r.h, REC_FLOW, sizeof(r));
	}
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

	take_debts(t, c);
	/* Said last, after its edges and flows: the graph may now put it away. */
	c->flags |= CHAN_GONE;
	if (t->chan_state[row] & CHAN_SAID)
		emit_chan(t, row);
	c->id = 0;
	t->chan_state[row] = 0;
	if (ledger)
		give_back(t, TABLE_LEDGERS, ledger - 1);
	give_back(t, TABLE_CHANS, row);
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
	uint32_t *ids = calloc(nr + 1, sizeof(*ids)), i;
	bool queues = false;
	size_t nr_ids = 0;

	if (!ids)
		return;
	for (i = 0; i < nr; i++) {
		if (!t->chans[i].id || busy[i])
			t->chan_state[i] &= ~CHAN_DOOMED;
		if (t->chan_state[i] & CHAN_DOOMED && has_flows(&t->chans[i])) {
			ids[nr_ids++] = t->chans[i].id;
			queues |= is_queue(&t->chans[i]);
		}
	}
	for (i = 0; i < used(t, TABLE_EDGES); i++) {
		struct edge_row *e = &t->edges[i];

		if (e->proc && e->chan_row < nr && t->chan_state[e->chan_row] & CHAN_DOOMED &&
		    t->chans[e->chan_row].id == e->chan)
			free_edge(t, i);
	}
	qsort(ids, nr_ids, sizeof(*ids), compare_ids);
	if (nr_ids)
		take_flows(t, &(struct ids){ ids, nr_ids }, NULL);
	if (queues) {
		queues__flows(t, ids, nr_ids);
		queues__forget(t, ids, nr_ids);
	}
	free(ids);
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
	uint32_t nr = used(t, TABLE_CHANS), i;
	uint8_t *busy = calloc(nr + 1, 1);

	snapshot__names(t);
	if (!busy || snapshot__held(t, busy, nr) || mark_of_processes(t, busy, nr)) {
		free(busy);
		return;
	}
	for (i = 0; i < used(t, TABLE_EDGES); i++) {
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

size_t harvest__tick(struct tracer *t)
{
	size_t living = take_dead(t);
	uint64_t now = tracer__now();
	uint32_t chans = 0, ledgers = 0;

	for (uint32_t i = 0; i < used(t, TABLE_CHANS); i++) {
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
	fds__tick(t);
	if (pages__are_many(t) && now - t->last_clean >= SWEEP_NS) {
		t->last_clean = now;
		pages__clean(t);
	}
	return living;
}

void harvest__all(struct tracer *t)
{
	uint32_t i;

	take_dead(t);
	for (i = 0; i < used(t, TABLE_PROCS); i++)
		if (t->procs[i].id)
			emit_proc(t, &t->procs[i]);
	for (i = 0; i < used(t, TABLE_EDGES); i++)
		if (t->edges[i].proc)
			say_edge(t, &t->edges[i]);
	fds__take(t, 0);
	/* Only those that somebody used: what is merely inherited would hide the rest. */
	for (i = 0; i < used(t, TABLE_CHANS); i++)
		if (t->chans[i].id && t->chan_state[i] & CHAN_SAID)
			emit_chan(t, i);
	take_flows(t, NULL, NULL);
	queues__flows(t, NULL, 0);
	for (i = 0; i < used(t, TABLE_CHANS); i++)
		if (t->chans[i].id)
			take_debts(t, &t->chans[i]);
	emit_lost(t);
}
