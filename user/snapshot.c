// SPDX-License-Identifier: BSD-2-Clause
/* What existed before the trace, read through iterators that share the tracing programs' maps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tracer_priv.h"

/* Every map of the snapshot is the tracer's of the same name. */
static int share_maps(struct tracer *t)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, t->snap->obj) {
		struct bpf_map *ours =
			bpf_object__find_map_by_name(t->skel->obj, bpf_map__name(map));
		int err;

		if (!ours || bpf_map__is_internal(map))
			continue;
		err = bpf_map__reuse_fd(map, bpf_map__fd(ours));
		if (err)
			return err;
	}
	return 0;
}

int snapshot__load(struct tracer *t)
{
	int err;

	t->snap = snapshot_bpf__open();
	if (!t->snap)
		return -errno;
	memcpy((void *)&t->snap->rodata->cfg, (const void *)&t->skel->rodata->cfg,
	       sizeof(struct settings));
	err = share_maps(t);
	err = err ?: snapshot_bpf__load(t->snap);
	if (err) {
		snapshot_bpf__destroy(t->snap);
		t->snap = NULL;
	}
	return err;
}

/* Runs an iterator to its end, handing on what it writes. */
static int run(struct bpf_program *prog, void (*row)(void *ctx, const struct snap_file *f), void *ctx)
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
}

void snapshot__seen(struct tracer *t)
{
	if (t->snap)
		run(t->snap->progs.snap_seen, NULL, NULL);
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
static uint32_t outside_proc(struct tracer *t, const struct snap_file *f)
{
	struct rec_proc r = {};
	char path[64];
	FILE *in;
	ssize_t n;

	r.row.id = __sync_add_and_fetch(&t->engine->next_id, 1);
	r.row.pid = f->pid;
	r.row.start_ns = f->start_ns;
	r.row.flags = PROC_HOLDER | PROC_INITIAL;
	snprintf(path, sizeof(path), "/proc/%u/comm", f->pid);
	in = fopen(path, "re");
	if (in) {
		n = fread(r.row.comm, 1, COMM_LEN - 1, in);
		r.row.comm[n > 0 && r.row.comm[n - 1] == '\n' ? n - 1 : n] = 0;
		fclose(in);
	}
	snprintf(path, sizeof(path), "/proc/%u/exe", f->pid);
	n = readlink(path, r.row.exe, PATH_LEN);
	r.row.exe_len = n > 0 ? n : 0;
	tracer__emit(t, &r.h, REC_PROC, sizeof(r));
	return r.row.id;
}

struct holders {
	struct tracer *t;
	uint32_t pid, id; /* of the last one */
};

static uint32_t watched_proc(const struct tracer *t, const struct snap_file *f)
{
	for (uint32_t i = 0; i < t->engine->used[TABLE_PROCS] && i < t->rows[TABLE_PROCS].max; i++)
		if (t->procs[i].id && t->procs[i].pid == f->pid &&
		    t->procs[i].start_ns == f->start_ns)
			return t->procs[i].id;
	return 0;
}

static void holder(void *ctx, const struct snap_file *f)
{
	struct holders *h = ctx;
	struct chan_row *c = chan_of(h->t, &f->key);
	struct rec_holder r = {};

	if (!c)
		return;
	if (h->pid != f->pid) {
		h->pid = f->pid;
		h->id = watched_proc(h->t, f) ? 0 : outside_proc(h->t, f);
	}
	if (!h->id)
		return; /* its edges will tell */
	r.chan = c->id;
	r.proc = h->id;
	r.modes = f->modes;
	tracer__emit(h->t, &r.h, REC_HOLDER, sizeof(r));
}

void snapshot__holders(struct tracer *t)
{
	struct holders h = {.t = t};

	if (t->snap)
		run(t->snap->progs.snap_holder, holder, &h);
}

struct held {
	struct tracer *t;
	uint8_t *held;
};

static void mark_held(void *ctx, const struct snap_file *f)
{
	struct held *h = ctx;
	struct chan_row *c = chan_of(h->t, &f->key);

	if (c)
		h->held[c - h->t->chans] = 1;
}

int snapshot__held(struct tracer *t, uint8_t *held)
{
	struct held h = {.t = t, .held = held};

	return t->snap ? run(t->snap->progs.snap_holder, mark_held, &h) : -ENOSYS;
}
