/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * inotify, only with -m file: a channel from who writes to watched files to who reads the events. Part
 * of stored.bpf.c.
 *
 * The kernel does not say of an event whose it is. Of a write the marks on the file and on its
 * directory tell who is watching; what is read next from there of modifications is of that writer, or
 * of several. Events of other kinds are counted as they are read, and are nobody's.
 */
#ifndef IPCTRACE_INOTIFY_BPF_H
#define IPCTRACE_INOTIFY_BPF_H

#define FS_MODIFY 2
#define FS_EVENT_ON_CHILD 0x08000000
#define INOTIFY_MARKS 8
#define INOTIFY_EVENTS 1024 /* of one read */

/* Rows of inotify have no contents, and so room for this: read, and its writer not known yet. */
#define inotify_reader(c) ((c)->first_tail) /* process id; 0: nothing */
#define inotify_open(c) ((c)->highwater) /* bytes */

/* The current process has made an event there. */
static __always_inline int inotify_event(__u64 group)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_key *key = key_in(KEY_CALL);
	struct chan_row *c;
	struct edge_row *e;
	__u32 *row;

	if (!ts || !key)
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	key->mech = MECH_FILE;
	key->ino = group;
	key->word = WORD_INOTIFY;
	row = bpf_map_lookup_elem(&chan_rows, key);
	c = row ? chan_at(*row) : NULL;
	if (!c)
		return 0;
	e = edge_at(edge_row_of(*row, 0, ROLE_WRITE));
	ts->seen++;
	if (!e) {
		lose(LOSS_NO_EDGE, 1);
		return 0;
	}
	e->ops++;
	e->last_ns = bpf_jiffies64();
	if (inotify_reader(c)) {
		flow_add(c->id, ts->proc_id, inotify_reader(c), inotify_open(c));
		inotify_reader(c) = 0;
		return 0;
	}
	if (!c->first_writer)
		c->first_writer = ts->proc_id;
	else if (c->first_writer != ts->proc_id)
		c->first_writer = PROC_SHARED;
	return 0;
}

struct mark_walk {
	__u64 at; /* address */
	__u32 mask;
};

/* One that watches. */
static long mark_step(__u32 i, struct mark_walk *w)
{
	__u64 mark = w->at - bpf_core_field_offset(struct fsnotify_mark, obj_list);

	if (!w->at)
		return 1;
	w->at = PEEK_ADDR(struct hlist_node, w->at, next);
	if ((PEEK(struct fsnotify_mark, mark, mask) & w->mask) == w->mask)
		inotify_event(PEEK_ADDR(struct fsnotify_mark, mark, group));
	return 0;
}

static __always_inline void inotify_marks(__u64 inode, __u32 mask)
{
	struct mark_walk w = { .mask = mask };
	__u64 connector;

	if ((PEEK(struct inode, inode, i_fsnotify_mask) & mask) != mask)
		return;
	connector = PEEK_ADDR(struct inode, inode, i_fsnotify_marks);
	if (!connector)
		return;
	w.at = PEEK_ADDR(struct fsnotify_mark_connector, connector, list.first);
	bpf_loop(INOTIFY_MARKS, mark_step, &w, 0);
}

/* The file was written to. */
__noinline int inotify_written(__u64 file)
{
	__u64 up = PEEK_ADDR(struct dentry, dentry_of(file), d_parent);
	__u64 dir = up ? PEEK_ADDR(struct dentry, up, d_inode) : 0;
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);

	inotify_marks(inode, FS_MODIFY);
	if (dir && dir != inode)
		inotify_marks(dir, FS_MODIFY | FS_EVENT_ON_CHILD);
	return 0;
}

/* One event of those that were read: from m->pos to m->end in user memory. */
static long inotify_step(__u32 i, void *ctx)
{
	__u32 zero = 0;
	struct moved *m = bpf_map_lookup_elem(&moving, &zero);
	struct {
		__s32 wd;
		__u32 mask, cookie, len;
	} event;

	if (!m || m->pos >= m->end || bpf_probe_read_user(&event, sizeof(event), (void *)m->pos))
		return 1;
	if (event.mask & FS_MODIFY)
		m->bytes += sizeof(event) + event.len;
	m->pos += sizeof(event) + event.len;
	return 0;
}

__noinline int inotify_read(__u32 chan, __u64 n)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_row *c = chan_at(chan);
	struct moved *m;
	__u32 zero = 0;

	m = bpf_map_lookup_elem(&moving, &zero);
	if (!m || !ts || !c || kind_of(regs) != KIND_read)
		return 0;
	m->bytes = 0;
	m->pos = call_arg(regs, 1);
	m->end = m->pos + n;
	bpf_loop(INOTIFY_EVENTS, inotify_step, NULL, 0);
	if (!m->bytes)
		return 0;
	if (!c->first_writer) {
		inotify_reader(c) = ts->proc_id;
		inotify_open(c) = m->bytes;
		return 0;
	}
	flow_add(c->id, c->first_writer, ts->proc_id, m->bytes);
	c->first_writer = 0;
	return 0;
}

#endif
