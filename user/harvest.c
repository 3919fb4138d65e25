// SPDX-License-Identifier: BSD-2-Clause
/*
 * From the kernel's tables to records. Rows of threads and processes that have ended are taken out at
 * each tick; channels that nobody holds any more, see sweep.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "mech.h"
#include "tracer_priv.h"
#include "util.h"

#define MANY_EMPTY 4 /* arguments in a row */

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

/* Who is not watched may yet be a child of somebody who is, from before the trace. */
static uint32_t watched_parent(const struct tracer *t, const struct proc_row *p)
{
	const struct proc_row *parent = NULL;

	for (uint32_t i = 0; i < rows__used(t, TABLE_PROCS); i++) {
		const struct proc_row *q = &t->procs[i];

		/* The youngest that is older, if its number was another one's before. */
		if (q->id && !(q->flags & PROC_HOLDER) && q->pid == p->ppid &&
		    q->start_ns <= p->start_ns && (!parent || q->start_ns > parent->start_ns))
			parent = q;
	}
	return parent ? parent->id : 0;
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
	if (p->flags & PROC_HOLDER && p->ppid)
		r.row.parent = watched_parent(t, p);
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
	if (c->key.mech == MECH_TCP) {
		c->gone_pos[0] = c->key.ino >> 32;
		c->gone_pos[1] = (__u32)c->key.ino;
	}
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

void harvest__chan(struct tracer *t, uint32_t row)
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
		harvest__chan(t, row);
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

void harvest__free_edge(struct tracer *t, uint32_t row)
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
	rows__give_back(t, TABLE_EDGES, row);
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
	uint32_t nr_tasks = rows__used(t, TABLE_TASKS), nr_procs = rows__used(t, TABLE_PROCS);
	size_t dead = 0, living = 0;
	uint32_t i;

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
		t->proc_said[i] = 0;
		forget_owner(t, p);
		p->id = 0;
		rows__give_back(t, TABLE_PROCS, i);
	}
	if (!dead)
		return living;
	for (i = 0; i < rows__used(t, TABLE_EDGES); i++)
		if (t->edges[i].proc && t->tasks[t->edges[i].task].dead == DEAD_TAKEN)
			harvest__free_edge(t, i);
	for (i = 0; i < nr_tasks; i++)
		if (t->tasks[i].dead == DEAD_TAKEN) {
			memset(&t->tasks[i], 0, sizeof(t->tasks[i]));
			rows__give_back(t, TABLE_TASKS, i);
		}
	return living;
}

/* What was read while its writer is in its call still: whose it is will not be known. */
void harvest__debts(struct tracer *t, const struct chan_row *c)
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

size_t harvest__tick(struct tracer *t)
{
	size_t living = take_dead(t);

	flows__tick(t);
	sweep__tick(t);
	fds__tick(t);
	return living;
}

void harvest__all(struct tracer *t)
{
	uint32_t i;

	take_dead(t);
	for (i = 0; i < rows__used(t, TABLE_PROCS); i++)
		if (t->procs[i].id)
			emit_proc(t, &t->procs[i]);
	for (i = 0; i < rows__used(t, TABLE_EDGES); i++)
		if (t->edges[i].proc)
			say_edge(t, &t->edges[i]);
	fds__take(t, 0);
	/* Only those that somebody used: what is merely inherited would hide the rest. */
	for (i = 0; i < rows__used(t, TABLE_CHANS); i++)
		if (t->chans[i].id && t->chan_state[i] & CHAN_SAID)
			harvest__chan(t, i);
	flows__take(t, NULL);
	queues__flows(t, NULL);
	for (i = 0; i < rows__used(t, TABLE_CHANS); i++)
		if (t->chans[i].id)
			harvest__debts(t, &t->chans[i]);
	emit_lost(t);
}
