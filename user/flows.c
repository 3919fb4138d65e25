// SPDX-License-Identifier: BSD-2-Clause
/*
 * From the kernel's table of flows to records.
 *
 * Each process that ends sends a signal, and its parent may live long: flows of those that have ended must
 * make room. But what is added to one between reading and deleting it is lost, and signals may be
 * taken long after their sender's end. So a flow is taken when two looks, some time apart, found its sender
 * gone and nothing of that sender's waiting.
 */
#include <stdlib.h>
#include <string.h>

#include "ids.h"
#include "mech.h"
#include "tracer_priv.h"

#define LOOK_NS 50000000ULL

static void take(struct tracer *t, const struct flow_key *key)
{
	int fd = bpf_map__fd(t->skel->maps.flows);
	struct rec_flow r = { .key = *key };

	if (bpf_map_lookup_elem(fd, key, &r.val) || bpf_map_delete_elem(fd, key))
		return;
	__atomic_sub_fetch(&t->engine->flows, 1, __ATOMIC_RELAXED);
	tracer__emit(t, &r.h, REC_FLOW, sizeof(r));
}

void flows__take(struct tracer *t, const struct ids *chans)
{
	int fd = bpf_map__fd(t->skel->maps.flows);
	struct flow_key key, next;
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	while (more) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		if (!chans || ids__have(chans, key.chan))
			take(t, &key);
		key = next;
	}
}

/* Who may still be told to have sent something: all that live, and whose signals wait. */
static int find_senders(const struct tracer *t, struct ids *ids)
{
	int fd = bpf_map__fd(t->skel->maps.signal_queues);
	uint32_t nr = rows__used(t, TABLE_PROCS);
	size_t queues = bpf_map__max_entries(t->skel->maps.signal_queues);
	struct queue_key key, *at = NULL;
	struct signal_queue q;
	uint32_t i;

	if (ids__init(ids, nr + queues * SIGNAL_QUEUE))
		return -1;
	for (i = 0; i < nr; i++)
		if (t->procs[i].id)
			ids__put(ids, t->procs[i].id);
	for (; queues-- && !bpf_map_get_next_key(fd, at, &key); at = &key)
		if (!bpf_map_lookup_elem(fd, &key, &q))
			for (i = q.head; i != q.tail && i - q.head < SIGNAL_QUEUE; i++)
				ids__put(ids, q.at[i % SIGNAL_QUEUE].from);
	ids__sort(ids);
	return 0;
}

/* The channels that belong to processes: those of signals, and of what is done to their memory. */
static int find_chans(const struct tracer *t, struct ids *ids)
{
	uint32_t nr = rows__used(t, TABLE_CHANS);

	if (ids__init(ids, nr))
		return -1;
	for (uint32_t i = 0; i < nr; i++)
		if (t->chans[i].id && mech__get(t->chans[i].key.mech)->of_process)
			ids__put(ids, t->chans[i].id);
	ids__sort(ids);
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct flow_key));
}

/* Takes those that had ended at the last look, too, and notes those that have by now. */
static void look(struct tracer *t, const struct ids *chans, const struct ids *senders)
{
	int fd = bpf_map__fd(t->skel->maps.flows);
	struct flow_keys *was = &t->ended, now = { .at = calloc(FLOWS, sizeof(*now.at)) };
	struct flow_key key, next;
	bool more = now.at && !bpf_map_get_next_key(fd, NULL, &key);

	while (more) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		if (key.from < PROC_OUTSIDE && ids__have(chans, key.chan) &&
		    !ids__have(senders, key.from)) {
			if (was->nr && bsearch(&key, was->at, was->nr, sizeof(key), compare_keys))
				take(t, &key);
			else if (now.nr < FLOWS)
				now.at[now.nr++] = key;
		}
		key = next;
	}
	qsort(now.at, now.nr, sizeof(*now.at), compare_keys);
	free(was->at);
	*was = now;
}

void flows__tick(struct tracer *t)
{
	uint64_t now = tracer__now();
	struct ids chans, senders;

	if (t->engine->flows < FLOWS / 8 || now - t->last_flows < LOOK_NS)
		return;
	t->last_flows = now;
	if (find_chans(t, &chans))
		return;
	if (!find_senders(t, &senders)) {
		look(t, &chans, &senders);
		ids__free(&senders);
	}
	ids__free(&chans);
}
