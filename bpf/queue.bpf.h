/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Message queues, System V's and POSIX's: what they are called, and what lies in them. */
#ifndef IPCTRACE_QUEUE_BPF_H
#define IPCTRACE_QUEUE_BPF_H

#include "file.bpf.h"
#include "path.bpf.h"
#include "sysv.bpf.h"

#define MQUEUE_MAGIC 0x19800202
#define QUEUE_WAITERS 256

/* Addresses: of a struct msg_queue, or of a file that is a POSIX queue. */
static __always_inline __u64 msg_find(__u32 id)
{
	__u64 perm = sysv_object(SYSV_MSG, id);

	return perm ? perm - bpf_core_field_offset(struct msg_queue, q_perm) : 0;
}

static __always_inline bool is_mq(__u64 file)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode), sb;

	if (!file || file_type(file) != S_IFREG >> 12)
		return false;
	sb = PEEK_ADDR(struct inode, inode, i_sb);
	return PEEK(struct super_block, sb, s_magic) == MQUEUE_MAGIC;
}

static __always_inline __u64 mq_info(__u64 file)
{
	return PEEK_ADDR(struct file, file, f_inode) -
	       bpf_core_field_offset(struct mqueue_inode_info, vfs_inode);
}

static __always_inline enum mech mq_key(__u64 file, struct chan_key *key)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);
	__u64 sb = PEEK_ADDR(struct inode, inode, i_sb);

	key->mech = MECH_MQ;
	key->dev = PEEK(struct super_block, sb, s_dev);
	key->ino = PEEK(struct inode, inode, i_ino);
	key->gen = 0;
	key->word = 0;
	return MECH_MQ;
}

static __always_inline void msg_fill(struct chan_row *c, __u64 queue)
{
	/* Of what the numbers of messages are silent about, nobody was the only sender. */
	c->first_writer = PROC_SHARED;
	c->flags |= CHAN_LEDGER;
	if (PEEK(struct msg_queue, queue, q_stime) || PEEK(struct msg_queue, queue, q_rtime))
		c->flags |= CHAN_PREEXISTING;
	c->capacity = PEEK(struct msg_queue, queue, q_qbytes);
	c->sysv_key = PEEK(struct msg_queue, queue, q_perm.key);
	c->highwater = PEEK(struct msg_queue, queue, q_cbytes);
}

static __always_inline void mq_fill(struct chan_row *c, __u64 file)
{
	__u64 info = mq_info(file);
	__u32 n = path_names(file + bpf_core_field_offset(struct file, f_path), c->name);

	c->first_writer = PROC_SHARED;
	c->flags |= CHAN_LEDGER;
	c->name_len = n;
	if (n >> 16)
		c->flags |= CHAN_CUT;
	c->capacity_messages = PEEK(struct mqueue_inode_info, info, attr.mq_maxmsg);
	c->capacity = c->capacity_messages * PEEK(struct mqueue_inode_info, info, attr.mq_msgsize);
	c->highwater = PEEK(struct mqueue_inode_info, info, qsize);
	c->highwater_messages = PEEK(struct mqueue_inode_info, info, attr.mq_curmsgs);
}

/* What is in it at this moment. */
struct queue_view {
	__u64 bytes, messages;
};

static __always_inline void queue_view(__u64 queue, bool posix, struct queue_view *v)
{
	if (posix) {
		v->bytes = PEEK(struct mqueue_inode_info, mq_info(queue), qsize);
		v->messages = PEEK(struct mqueue_inode_info, mq_info(queue), attr.mq_curmsgs);
	} else {
		v->bytes = PEEK(struct msg_queue, queue, q_cbytes);
		v->messages = PEEK(struct msg_queue, queue, q_qnum);
	}
}

struct list_walk {
	__u64 head, at;
	__u32 n;
};

static long list_step(__u32 i, struct list_walk *w)
{
	if (!w->at || w->at == w->head)
		return 1;
	w->n++;
	w->at = PEEK_ADDR(struct list_head, w->at, next);
	return 0;
}

__u32 list_length(__u64 head)
{
	struct list_walk w = { .head = head, .at = PEEK_ADDR(struct list_head, head, next) };

	bpf_loop(QUEUE_WAITERS, list_step, &w, 0);
	return w.n;
}

/* How many sleep in it whom nobody has woken with a message, or with room for theirs. */
static __always_inline __u32 queue_waiters(__u64 queue, bool posix)
{
	__u64 first, second;

	if (posix) {
		first = mq_info(queue) +
			bpf_core_field_offset(struct mqueue_inode_info, e_wait_q[0].list);
		second = mq_info(queue) +
			 bpf_core_field_offset(struct mqueue_inode_info, e_wait_q[1].list);
	} else {
		first = queue + bpf_core_field_offset(struct msg_queue, q_receivers);
		second = queue + bpf_core_field_offset(struct msg_queue, q_senders);
	}
	return list_length(first) + list_length(second);
}

#endif
