// SPDX-License-Identifier: BSD-2-Clause
/* What existed before the trace, read through iterators that share the tracing programs' maps. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer_priv.h"
#include "util.h"

int snapshot__load(struct tracer *t)
{
	int err;

	memcpy((void *)&t->snap->rodata->cfg, (const void *)&t->skel->rodata->cfg,
	       sizeof(struct settings));
	if (!(t->opts.mechs & MECHS_MEMORY)) {
		bpf_program__set_autoload(t->snap->progs.snap_map, false);
		bpf_program__set_autoload(t->snap->progs.snap_mapped, false);
	}
	if (!(t->opts.mechs & 1U << MECH_FILE))
		bpf_program__set_autoload(t->snap->progs.snap_names, false);
	if (!t->opts.sample_ns || !(t->opts.mechs & MECHS_MEMORY)) {
		bpf_program__set_autoload(t->snap->progs.snap_base, false);
		bpf_program__set_autoload(t->snap->progs.snap_marks, false);
	}
	err = load__share_maps(t, t->snap->obj);
	err = err ?: snapshot_bpf__load(t->snap);
	if (err) {
		snapshot_bpf__destroy(t->snap);
		t->snap = NULL;
	}
	return err;
}

/* Runs an iterator to its end, handing on what it writes. */
static int run(struct bpf_program *prog, void (*row)(void *ctx, const struct snap_file *f),
	       void *ctx)
{
	struct snap_file files[128];
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	int fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	ssize_t n = -1;
	size_t have = 0;

	while (fd >= 0) {
		n = read(fd, (char *)files + have, sizeof(files) - have);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		have += n;
		for (size_t i = 0; row && i < have / sizeof(files[0]); i++)
			row(ctx, &files[i]);
		memmove(files, (char *)files + have / sizeof(files[0]) * sizeof(files[0]),
			have % sizeof(files[0]));
		have %= sizeof(files[0]);
	}
	if (fd >= 0)
		close(fd);
	bpf_link__destroy(link);
	return n < 0 ? -EIO : 0;
}

void snapshot__tasks(struct tracer *t)
{
	if (t->snap)
		run(t->snap->progs.snap_task, NULL, NULL);
}

void snapshot__chans(struct tracer *t)
{
	if (t->snap)
		run(t->snap->progs.snap_chan, NULL, NULL);
	if (t->snap && t->opts.mechs & MECHS_MEMORY)
		run(t->snap->progs.snap_map, NULL, NULL);
}

void snapshot__seen(struct tracer *t)
{
	if (t->snap)
		run(t->snap->progs.snap_seen, NULL, NULL);
}

void snapshot__names(struct tracer *t)
{
	if (t->snap && t->opts.mechs & 1U << MECH_FILE)
		run(t->snap->progs.snap_names, NULL, NULL);
}

static struct chan_row *chan_of(struct tracer *t, const struct chan_key *key)
{
	uint32_t row;

	if (bpf_map_lookup_elem(bpf_map__fd(t->skel->maps.chan_rows), key, &row) ||
	    row >= t->rows[TABLE_CHANS].max)
		return NULL;
	return &t->chans[row];
}

/* A holder that is not watched needs a row for itself: what /proc says of it. */
static void outside_proc(struct tracer *t, const struct snap_file *f, struct proc_row *p)
{
	char path[64];
	ssize_t n;
	FILE *in;

	p->id = __sync_add_and_fetch(&t->engine->next_id, 1);
	p->pid = f->pid;
	p->start_ns = f->start_ns;
	p->flags = PROC_HOLDER | PROC_INITIAL;
	if (!proc_is_ours())
		return;
	snprintf(path, sizeof(path), "/proc/%u/comm", f->pid);
	in = fopen(path, "re");
	if (in) {
		n = fread(p->comm, 1, COMM_LEN - 1, in);
		p->comm[n > 0 && p->comm[n - 1] == '\n' ? n - 1 : n] = 0;
		fclose(in);
	}
	snprintf(path, sizeof(path), "/proc/%u/exe", f->pid);
	n = readlink(path, p->exe, PATH_LEN);
	p->exe_len = n > 0 ? n : 0;
}

/* The id of a process that is watched; 0: it is not. */
static uint32_t watched_proc(const struct tracer *t, const struct snap_file *f)
{
	for (uint32_t i = 0; i < t->engine->used[TABLE_PROCS] && i < t->rows[TABLE_PROCS].max; i++)
		if (t->procs[i].id && !(t->procs[i].flags & PROC_HOLDER) &&
		    t->procs[i].pid == f->pid && t->procs[i].start_ns == f->start_ns)
			return t->procs[i].id;
	return 0;
}

static void holder(void *ctx, const struct snap_file *f)
{
	struct tracer *t = ctx;
	struct chan_row *c = chan_of(t, &f->key);
	struct outsider *o;
	size_t i = t->nr_outsiders;

	if (!c)
		return;
	o = realloc(t->outsiders, (t->nr_outsiders + 1) * sizeof(*o));
	if (!o)
		return;
	t->outsiders = o;
	o += t->nr_outsiders++;
	memset(o, 0, sizeof(*o));
	/* Mostly the last one; files come first, then what is mapped. */
	while (i-- > 0)
		if (t->outsiders[i].proc.row.pid == f->pid &&
		    t->outsiders[i].proc.row.start_ns == f->start_ns)
			break;
	if (i != (size_t)-1) {
		o->proc.row = t->outsiders[i].proc.row;
		o->watched = t->outsiders[i].watched;
	} else {
		o->proc.row.id = watched_proc(t, f);
		o->watched = o->proc.row.id;
		o->proc.row.pid = f->pid;
		o->proc.row.start_ns = f->start_ns;
		if (!o->watched)
			outside_proc(t, f, &o->proc.row);
	}
	o->holder.chan = c->id;
	o->holder.proc = o->proc.row.id;
	o->holder.modes = f->modes;
	o->holder.end = f->end;
	if (f->modes & 1 << ROLE_WRITE && MECHS_MEMORY >> c->key.mech & 1)
		c->flags |= CHAN_WRITABLE;
}

/* Is there a channel that can be held by being mapped? */
static bool has_memory(const struct tracer *t)
{
	uint32_t used = t->engine->used[TABLE_CHANS];

	for (uint32_t i = 0; i < used && i < t->rows[TABLE_CHANS].max; i++)
		if (t->chans[i].id && MECHS_MEMORY >> t->chans[i].key.mech & 1)
			return true;
	return false;
}

void snapshot__holders(struct tracer *t)
{
	if (t->snap)
		run(t->snap->progs.snap_holder, holder, t);
	if (t->snap && has_memory(t))
		run(t->snap->progs.snap_mapped, holder, t);
}

struct held {
	struct tracer *t;
	uint8_t *held;
	size_t nr;
};

static void mark_held(void *ctx, const struct snap_file *f)
{
	struct held *h = ctx;
	struct chan_row *c = chan_of(h->t, &f->key);

	/* Those that came since the sweep began are none of its business. */
	if (c && (size_t)(c - h->t->chans) < h->nr)
		h->held[c - h->t->chans] = 1;
}

int snapshot__held(struct tracer *t, uint8_t *held, size_t nr)
{
	struct held h = { .t = t, .held = held, .nr = nr };

	int err = t->snap ? run(t->snap->progs.snap_holder, mark_held, &h) : -ENOSYS;

	return err || !has_memory(t) ? err : run(t->snap->progs.snap_mapped, mark_held, &h);
}
