/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a file to its channel's row: the slow way, taken once per thread and file. */
#ifndef IPCTRACE_CHAN_BPF_H
#define IPCTRACE_CHAN_BPF_H

#include "file.bpf.h"
#include "path.bpf.h"
#include "pipe.bpf.h"
#include "table.bpf.h"

/* What kind of channel a file is, if it is one that this trace watches. */
static __always_inline enum mech chan_key_of(__u64 file, struct chan_key *key)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);
	enum mech mech = MECH_NONE;

	if ((BPF_CORE_READ((struct inode *)inode, i_mode) & S_IFMT) == S_IFIFO)
		mech = pipe_mech(inode);
	if (mech == MECH_NONE || !(cfg.mechs & 1U << mech))
		return MECH_NONE;
	key->mech = mech;
	key->dev = BPF_CORE_READ((struct inode *)inode, i_sb, s_dev);
	key->ino = BPF_CORE_READ((struct inode *)inode, i_ino);
	key->gen = BPF_CORE_READ((struct inode *)inode, i_generation);
	key->_pad = 0;
	return mech;
}

static __always_inline void chan_fill_row(struct chan_row *c, struct chan_key *key, __u64 file,
					  __u32 flags)
{
	__u32 n;

	__builtin_memset(c, 0, offsetof(struct chan_row, name));
	__builtin_memset(c->edges, 0, sizeof(*c) - offsetof(struct chan_row, edges));
	c->first_tail = PEEK(struct pipe_inode_info, pipe_of(file), tail);
	c->key = *key;
	c->first_ns = bpf_ktime_get_ns();
	c->capacity = pipe_capacity(file);
	c->flags = flags;
	if (key->mech == MECH_FIFO) {
		n = path_names(file + bpf_core_field_offset(struct file, f_path), c->name);
		c->name_len = n;
		if (n >> 16)
			c->flags |= CHAN_CUT;
	}
}

#define NO_ROOM (NO_ROW - 1)

/* The row of the file's channel, made if it is new; NO_ROW: not a channel. NO_ROOM: no row left. */
static __noinline __u32 chan_row_of(__u64 file, __u32 flags)
{
	struct engine *en = the_engine();
	struct chan_key key = {};
	struct chan_row *c;
	__u32 *known, row;

	if (!en || chan_key_of(file, &key) == MECH_NONE)
		return NO_ROW;
	known = bpf_map_lookup_elem(&chan_rows, &key);
	if (known)
		return *known;
	row = new_row(en, &free_chans, TABLE_CHANS, cfg.nr_chans);
	c = chan_at(row);
	if (row == NO_ROW || !c)
		return NO_ROOM;
	chan_fill_row(c, &key, file, flags);
	c->id = new_id(en);
	if (bpf_map_update_elem(&chan_rows, &key, &row, BPF_NOEXIST)) {
		/* Another thread was first. */
		c->id = 0;
		bpf_map_push_elem(&free_chans, &row, 0);
		known = bpf_map_lookup_elem(&chan_rows, &key);
		return known ? *known : NO_ROOM;
	}
	record_life(LIFE_CHAN, 0, c->id, 0, NULL);
	return row;
}

#endif
