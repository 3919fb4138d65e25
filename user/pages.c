// SPDX-License-Identifier: BSD-2-Clause
/* What the kernel side remembers of pages of shared memory: thrown away with what it is of. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "graph_priv.h" /* names_path() */
#include "tracer_priv.h"

static int live_chans(const struct tracer *t, struct ids *ids)
{
	uint32_t nr = rows__used(t, TABLE_CHANS);

	if (ids__init(ids, nr))
		return -ENOMEM;
	for (uint32_t i = 0; i < nr; i++)
		if (t->chans[i].id)
			ids__put(ids, t->chans[i].id);
	ids__sort(ids);
	return 0;
}

static int live_procs(const struct tracer *t, struct ids *ids)
{
	uint32_t nr = rows__used(t, TABLE_PROCS);

	if (ids__init(ids, nr))
		return -ENOMEM;
	for (uint32_t i = 0; i < nr; i++)
		if (t->procs[i].id)
			ids__put(ids, t->procs[i].id);
	ids__sort(ids);
	return 0;
}

static void clean_touches(struct tracer *t, const struct ids *chans, const struct ids *procs)
{
	int fd = bpf_map__fd(t->skel->maps.touches);
	struct touch_key key, next;
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	while (more) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		if ((!ids__have(chans, key.chan) || !ids__have(procs, key.proc)) &&
		    !bpf_map_delete_elem(fd, &key))
			__atomic_sub_fetch(&t->engine->touches, 1, __ATOMIC_RELAXED);
		key = next;
	}
}

static void clean_groups(struct tracer *t, const struct ids *chans)
{
	int fd = bpf_map__fd(t->skel->maps.page_writers);
	struct page_key key, next;
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	while (more) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		if (!ids__have(chans, key.chan) && !bpf_map_delete_elem(fd, &key))
			__atomic_sub_fetch(&t->engine->page_groups, 1, __ATOMIC_RELAXED);
		key = next;
	}
}

void pages__clean(struct tracer *t)
{
	struct ids chans = { 0 }, procs = { 0 };

	if (!live_chans(t, &chans) && !live_procs(t, &procs)) {
		clean_touches(t, &chans, &procs);
		clean_groups(t, &chans);
	}
	ids__free(&chans);
	ids__free(&procs);
}

bool pages__are_many(const struct tracer *t)
{
	return t->engine->touches > TOUCHES / 2 || t->engine->page_groups > PAGE_GROUPS / 2;
}

/* Who wrote it, is to be known to whoever reads it, as long as there is room to remember. */
static bool file_persists(const struct tracer *t, const struct chan_row *c)
{
	struct stat st;
	bool there;
	char *path;

	if (!c->first_writer || t->crowded)
		return false;
	path = names_path(c->name, c->name_len, PATH_LEN, c->flags & CHAN_CUT);
	there = path && !stat(path, &st) && st.st_ino == c->key.ino;
	free(path);
	return there;
}

/* System V and POSIX shared memory wait for the next to come, and so do files. */
bool pages__persist(const struct tracer *t, const struct chan_row *c)
{
	struct shmid_ds segment;
	struct stat st;
	char path[PATH_LEN + 16];

	switch (c->key.mech) {
	case MECH_FILE:
		return file_persists(t, c);
	case MECH_SHM:
		return !stat("/proc/self/ns/ipc", &st) && st.st_ino == c->key.dev &&
		       !shmctl(c->key.ino, IPC_STAT, &segment);
	case MECH_POSIXSHM:
		/* The name's first part is its last one. */
		snprintf(path, sizeof(path), "/dev/shm/%.*s", (int)strnlen(c->name, c->name_len),
			 c->name);
		return !stat(path, &st) && st.st_ino == c->key.ino;
	default:
		return false;
	}
}
