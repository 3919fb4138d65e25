/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Message queues stay when nobody has them open: whether they are still there must be asked for. In
 * other ipc namespaces than the tracer's own that cannot be done: there a System V queue is taken to
 * be there until somebody watched removes it, and a POSIX one while it is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph_priv.h"
#include "tracer_priv.h"

static bool msg_exists(const struct chan_row *c)
{
	struct msqid_ds ds;
	struct stat ns;

	if (c->flags & CHAN_REMOVED)
		return false;
	if (stat("/proc/self/ns/ipc", &ns) || (uint32_t)ns.st_ino != c->key.dev)
		return true;
	return !msgctl(c->key.ino, IPC_STAT, &ds) || errno == EACCES;
}

static bool mq_exists(const struct chan_row *c)
{
	char *path = names_path(c->name, c->name_len, PATH_LEN, c->flags & CHAN_CUT);
	mqd_t fd = path ? mq_open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	bool same = false;
	struct stat st;

	if (fd >= 0) {
		same = !fstat(fd, &st) && st.st_ino == c->key.ino;
		mq_close(fd);
	}
	free(path);
	return same;
}

bool queues__exists(const struct chan_row *c)
{
	switch (c->key.mech) {
	case MECH_MSG:
		return msg_exists(c);
	case MECH_MQ:
		return mq_exists(c);
	}
	return false;
}

/* Every key of both maps begins with the id of a channel. */
static void forget_in(int fd, size_t key_size, const struct ids *chans)
{
	_Alignas(uint32_t) char key[64], next[64];
	bool more = !bpf_map_get_next_key(fd, NULL, key);

	if (key_size > sizeof(key))
		return;
	while (more) {
		more = !bpf_map_get_next_key(fd, key, next);
		if (ids__have(chans, *(uint32_t *)key))
			bpf_map_delete_elem(fd, key);
		memcpy(key, next, key_size);
	}
}

/* Guesses that were right after all, and those that nobody knows. */
void queues__flows(struct tracer *t, const struct ids *chans)
{
	int fd = bpf_map__fd(t->skel->maps.queue_flows);
	int tags = bpf_map__fd(t->skel->maps.queue_tags);
	struct tag_flow key, next;
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	for (; more; key = next) {
		struct rec_flow r = { .key = { .chan = key.tag.chan, .to = key.to } };
		struct tag_val tag;

		more = !bpf_map_get_next_key(fd, &key, &next);
		if (chans && !ids__have(chans, key.tag.chan))
			continue;
		if (bpf_map_lookup_elem(fd, &key, &r.val))
			continue;
		bpf_map_delete_elem(fd, &key);
		r.key.from = key.from;
		if (bpf_map_lookup_elem(tags, &key.tag, &tag) ||
		    (tag.sender == PROC_SHARED && tag.receiver == PROC_SHARED))
			r.key.from = PROC_SHARED;
		tracer__emit(t, &r.h, REC_FLOW, sizeof(r));
	}
}

void queues__forget(struct tracer *t, const struct ids *chans)
{
	const struct bpf_map *maps[] = { t->skel->maps.queue_tags, t->skel->maps.queue_entries };

	for (size_t i = 0; i < chans->nr; i++)
		bpf_map_delete_elem(bpf_map__fd(t->skel->maps.queue_states), &chans->at[i]);
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		forget_in(bpf_map__fd(maps[i]), bpf_map__key_size(maps[i]), chans);
}
