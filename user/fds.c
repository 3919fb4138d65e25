// SPDX-License-Identifier: BSD-2-Clause
/* From the kernel's table of what was passed beside bytes to records. */
#include "tracer_priv.h"

/* Is it still that channel's? */
static bool is_row_of(const struct tracer *t, uint32_t row, uint32_t chan)
{
	return chan && row < t->rows[TABLE_CHANS].max && t->chans[row].id == chan;
}

static bool is_in(const struct tracer *t, uint32_t row, uint32_t chan, uint8_t state)
{
	return is_row_of(t, row, chan) && t->chan_state[row] & state;
}

/* What is counted between these two calls is missed here: an edge has more than is told of it then. */
static void take(struct tracer *t, const struct pass_key *key)
{
	int fd = bpf_map__fd(t->skel->maps.passes);
	struct rec_pass r = { .key = *key };

	if (bpf_map_lookup_elem(fd, key, &r.val) || bpf_map_delete_elem(fd, key))
		return;
	if (is_row_of(t, r.val.what_row, key->what))
		harvest__say_chan(t, r.val.what_row);
	tracer__emit(t, &r.h, REC_PASS, sizeof(r));
}

void fds__take(struct tracer *t, uint8_t state)
{
	int fd = bpf_map__fd(t->skel->maps.passes);
	struct pass_key key, next;
	struct pass_val val;
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	while (more) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		if (!state)
			take(t, &key);
		else if (!bpf_map_lookup_elem(fd, &key, &val) &&
			 (is_in(t, val.over_row, key.over, state) ||
			  is_in(t, val.what_row, key.what, state)))
			take(t, &key);
		key = next;
	}
}

void fds__tick(struct tracer *t)
{
	if (t->engine->passes < PASSES / 8)
		return;
	t->engine->passes = 0;
	fds__take(t, 0);
}
