/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a file to its channel's row: the slow way, taken once per thread and file. */
#ifndef IPCTRACE_CHAN_BPF_H
#define IPCTRACE_CHAN_BPF_H

#include "file.bpf.h"
#include "mem.bpf.h"
#include "others.bpf.h"
#include "path.bpf.h"
#include "pipe.bpf.h"
#include "queue.bpf.h"
#include "table.bpf.h"
#include "tcp.bpf.h"
#include "udp.bpf.h"
#include "unix.bpf.h"

static __always_inline enum mech inet_key(__u64 sk, __u32 role, struct chan_key *key)
{
	switch (inet_protocol(sk)) {
	case IPPROTO_TCP:
		return tcp_key(sk, key);
	case IPPROTO_UDP:
		return udp_key(sk, role, key);
	default:
		return MECH_NONE;
	}
}

static __always_inline enum mech sock_key(__u64 file, __u32 role, struct chan_key *key)
{
	__u64 sk = sock_of(file);

	switch (sk ? sock_family(sk) : 0) {
	case AF_UNIX:
		return unix_key(sk, role, key);
	case AF_INET:
	case AF_INET6:
		return inet_key(sk, role, key);
	case AF_NETLINK:
	case AF_VSOCK:
		return other_key(file, key);
	default:
		return MECH_NONE;
	}
}

static __always_inline void inode_key(__u64 inode, struct chan_key *key)
{
	struct inode *i = OBJECT(struct inode, inode);

	key->dev = FIELD_OF(i, i_sb, s_dev);
	key->ino = FIELD(i, i_ino);
	key->gen = FIELD(i, i_generation);
}

/* What channel a regular file is whose memory is shared. */
static __always_inline enum mech mem_key_of(__u64 file, __u64 inode, struct chan_key *key)
{
	enum mech mech = MECH_NONE;

	if ((PEEK(struct inode, inode, i_mode) & S_IFMT) == S_IFREG)
		mech = mem_mech(file, inode);
	__builtin_memset(key, 0, sizeof(*key));
	inode_key(inode, key);
	if (mech == MECH_SHM)
		key->dev = shm_ipcns(file);
	key->mech = mech;
	return mech != MECH_NONE && cfg.mechs & 1U << mech ? mech : MECH_NONE;
}

/* What channel a regular file is that is read or written: memory, or a file of a file system. */
static __always_inline enum mech stored_key_of(__u64 file, __u64 inode, struct chan_key *key)
{
	enum mech mech = mem_mech(file, inode);

	inode_key(inode, key);
	if (mech == MECH_MMAP)
		return inode_is_kernels(inode) ? MECH_NONE : MECH_FILE;
	return mech;
}

/* What kind of channel a file is in that role, if it is one that this trace watches. */
static __always_inline enum mech chan_key_of(__u64 file, __u32 role, struct chan_key *key)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);
	enum mech mech = MECH_NONE;

	__builtin_memset(key, 0, sizeof(*key));
	switch (BPF_CORE_READ((struct inode *)inode, i_mode) & S_IFMT) {
	case S_IFIFO:
		mech = pipe_mech(inode);
		inode_key(inode, key);
		break;
	case S_IFSOCK:
		mech = sock_key(file, role, key);
		break;
	case S_IFREG:
		if (inode_is_anon(inode))
			mech = other_key(file, key);
		else
			mech = stored_key_of(file, inode, key);
		break;
	case S_IFCHR:
	case 0:
		mech = other_key(file, key);
		break;
	}
	key->mech = mech;
	return mech != MECH_NONE && cfg.mechs & 1U << mech ? mech : MECH_NONE;
}

/* The same of any file: some are channels only for calls of their own. */
static __always_inline enum mech chan_key_of_any(__u64 file, __u32 role, struct chan_key *key)
{
	if (is_mq(file))
		return cfg.mechs & 1U << MECH_MQ ? mq_key(file, key) : MECH_NONE;
	return chan_key_of(file, role, key);
}

/*
 * Where a file was opened last; rows of files have no messages, and so room for this. Those of memory
 * keep the name only, 0 if there is none that may change.
 */
#define file_inode(c) ((c)->truncated_bytes)
#define file_dentry(c) ((c)->queued_ns)
#define file_mount(c) ((c)->max_queued_ns)

static __always_inline void file_remember(struct chan_row *c, __u64 file)
{
	file_inode(c) = PEEK_ADDR(struct file, file, f_inode);
	file_dentry(c) = PEEK_ADDR(struct file, file, f_path.dentry);
	file_mount(c) = PEEK_ADDR(struct file, file, f_path.mnt);
}

static __always_inline void chan_is_called(struct chan_row *c, __u32 n)
{
	c->name_len = n;
	if (n >> 16)
		c->flags |= CHAN_CUT;
	else
		c->flags &= ~CHAN_CUT;
}

static __always_inline void chan_fill_row(struct chan_row *c, struct chan_key *key, __u64 file,
					  __u32 role, __u32 flags)
{
	bool named = false;
	__u32 n;

	__builtin_memset(c, 0, offsetof(struct chan_row, name));
	__builtin_memset(c->edges, 0, sizeof(*c) - offsetof(struct chan_row, edges));
	c->key = *key;
	c->first_ns = bpf_ktime_get_ns();
	c->flags = flags;
	switch (key->mech) {
	case MECH_FILE:
		if (key->word == WORD_INOTIFY) {
			c->flags |= CHAN_WRITABLE;
			break;
		}
		/* See regular.bpf.h. */
		c->found_bytes = c->highwater = c->found_at[0] = c->found_at[1] = mem_size(file);
		/* fallthrough */
	case MECH_FUTEX:
	case MECH_FIFO:
		named = true;
		if (key->mech != MECH_FIFO)
			break;
		/* fallthrough */
	case MECH_PIPE:
		pipe_fill(c, file);
		break;
	case MECH_UNIX:
		unix_fill(c, sock_of(file), role);
		break;
	case MECH_SHM:
	case MECH_POSIXSHM:
	case MECH_MEMFD:
	case MECH_MMAP:
		named = mem_fill(c, file);
		if (named)
			file_dentry(c) = dentry_of(file);
		break;
	case MECH_TCP:
		tcp_fill(c, sock_of(file));
		break;
	case MECH_SEM: /* no file, but the kernel's object */
		c->sysv_key = PEEK(struct kern_ipc_perm, file, key);
		/* Made, or last set to a value, then. */
		if (PEEK(struct sem_array, file, sem_ctime) < (__s64)cfg.started)
			c->flags |= CHAN_PREEXISTING;
		break;
	case MECH_MSG:
		msg_fill(c, file);
		break;
	case MECH_MQ:
		mq_fill(c, file);
		break;
	case MECH_UDP:
	case MECH_MULTICAST:
		udp_fill(c);
		break;
	case MECH_EVENTFD:
	case MECH_PTY:
	case MECH_NETLINK:
	case MECH_VSOCK:
		other_fill(c, file);
		break;
	}
	if (!named)
		return;
	n = path_names(file + bpf_core_field_offset(struct file, f_path), c->name);
	c->name_len = n;
	if (n >> 16)
		c->flags |= CHAN_CUT;
}

/* Which end of the channel the file is. 2: it is another channel, of the same key. */
static __always_inline __u32 chan_end_of(struct chan_row *c, __u64 file)
{
	if (!(c->flags & CHAN_TWO_ENDS))
		return 0;
	switch (c->key.mech) {
	case MECH_UNIX:
		return unix_end(c, sock_of(file));
	case MECH_TCP:
		return tcp_end(c, sock_of(file));
	case MECH_PTY:
	case MECH_VSOCK:
		return other_end(c, file);
	}
	return 0;
}

#define NO_ROOM (NO_ROW - 1)

/* The row at that place of the index, and which end of it the file is. NO_ROW: not its channel. */
static __always_inline __u64 chan_there(const __u32 *place, __u64 file)
{
	__u32 row = place ? *(volatile __u32 *)place : NO_ROW, end;
	struct chan_row *c = chan_at(row);

	if (!c)
		return NO_ROW;
	end = chan_end_of(c, file);
	return end < 2 ? row | (__u64)end << 32 : NO_ROW;
}

static __always_inline __u64 chan_known(const struct chan_key *key, __u64 file)
{
	return chan_there(bpf_map_lookup_elem(&chan_rows, key), file);
}

/* Puts a new row into the index. False: another thread was first. */
static __always_inline bool chan_list(const struct chan_key *key, __u32 *place, __u32 was,
				      __u32 row)
{
	/* Of a channel that is gone; not taken out first, as somebody may just have replaced it. */
	if (place && was != NO_ROW)
		return __sync_val_compare_and_swap(place, was, row) == was;
	return !bpf_map_update_elem(&chan_rows, key, &row, BPF_NOEXIST);
}

/*
 * The row of the key in key_scratch, made if it is new; above 32 bits which end of it the file is. role:
 * the file's, if it is one that fills in a new row. NO_ROOM: no row left.
 */
__noinline __u64 chan_of_scratch(__u32 which, __u64 file, __u32 role, __u32 flags)
{
	struct chan_key *key = bpf_map_lookup_elem(&key_scratch, &which);
	struct engine *en = the_engine();
	__u32 *place, was = NO_ROW, row;
	struct chan_row *c;
	__u64 known;

	if (!en || !key)
		return NO_ROW;
	place = bpf_map_lookup_elem(&chan_rows, key);
	if (place)
		was = *(volatile __u32 *)place;
	known = chan_there(place, file);
	if (known != NO_ROW)
		return known;
	row = new_row(en, &free_chans, TABLE_CHANS, cfg.nr_chans);
	c = chan_at(row);
	if (row == NO_ROW || !c)
		return NO_ROOM;
	chan_fill_row(c, key, file, role, flags);
	c->id = new_id(en);
	if (!chan_list(key, place, was, row)) {
		c->id = 0;
		bpf_map_push_elem(&free_chans, &row, 0);
		known = chan_known(key, file);
		return known == NO_ROW ? NO_ROOM : known;
	}
	record_life(LIFE_CHAN, 0, c->id, 0, NULL);
	return row | (__u64)chan_end_of(c, file) << 32;
}

static __always_inline struct chan_key *key_in(__u32 which)
{
	return bpf_map_lookup_elem(&key_scratch, &which);
}

static __always_inline __u64 chan_get_in(__u32 which, const struct chan_key *key, __u64 file,
					 __u32 role, __u32 flags)
{
	struct chan_key *scratch = key_in(which);

	if (!scratch)
		return NO_ROW;
	*scratch = *key;
	return chan_of_scratch(which, file, role, flags);
}

static __always_inline __u64 chan_get(const struct chan_key *key, __u64 file, __u32 role,
				      __u32 flags)
{
	return chan_get_in(KEY_CALL, key, file, role, flags);
}

static __always_inline bool is_mailbox(__u32 row)
{
	struct chan_row *c = chan_at(row);

	return c && !(c->flags & CHAN_TWO_ENDS) &&
	       (c->key.mech == MECH_UNIX || c->key.mech == MECH_UDP);
}

/* Bit per role that who holds the channel by a file of that f_mode can have. */
static __always_inline __u32 chan_modes(__u32 row, __u32 mode)
{
	__u32 modes = 0;

	/* Who has the socket of a mailbox gets what is sent there; it sends to others. */
	if (mode & FMODE_WRITE && !is_mailbox(row))
		modes |= 1 << ROLE_WRITE;
	if (mode & FMODE_READ)
		modes |= 1 << ROLE_READ;
	return modes;
}

/* Somebody has mapped it in that way; flags: what else follows from it. */
static __always_inline void chan_mapped(__u32 row, __u64 vm_flags, __u32 flags)
{
	struct chan_row *c = chan_at(row);

	if (vm_flags & VM_SHARED)
		flags |= CHAN_WRITABLE;
	if (vm_flags & VM_LOCKED)
		flags |= CHAN_POPULATED;
	if (vm_flags & (VM_HUGETLB | VM_HUGEPAGE))
		flags |= CHAN_HUGE;
	if (c && flags & ~c->flags)
		c->flags |= flags;
}

/* The same of the file's channel in that role. NO_ROW: it has none. */
static __always_inline __u64 chan_row_of(__u64 file, __u32 role, __u32 flags)
{
	struct chan_key *key = key_in(KEY_CALL);

	if (!key || chan_key_of(file, role, key) == MECH_NONE)
		return NO_ROW;
	return chan_of_scratch(KEY_CALL, file, role, flags);
}

/* In unix.bpf.c. */
__u64 unix_row_to(__u64 file, __u64 name, __u32 len);
__u32 unix_row_known(__u64 file, __u64 name, __u32 len, bool kernel);
__u64 unix_row_of_request(__u64 file, __u64 req, __u32 failed);
__u64 udp_row_to(__u64 file, __u64 name, bool kernel); /* in udp.bpf.c */

/*
 * A datagram is sent through the socket to an address of its own: the row of the mailbox that it goes
 * to. name: in user memory. NO_ROW: not known.
 */
static __always_inline __u64 chan_row_to(__u64 file, __u64 name, __u32 len)
{
	switch (sock_family(sock_of(file))) {
	case AF_UNIX:
		return unix_row_to(file, name, len);
	case AF_INET:
	case AF_INET6:
		return len < sizeof(struct sockaddr_in) ? NO_ROW : udp_row_to(file, name, false);
	}
	return NO_ROW;
}

#endif
