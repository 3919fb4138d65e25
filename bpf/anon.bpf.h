/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files without a place of their own in any file system: eventfd, signalfd, userfaultfd, inotify. They
 * share one inode, and what they are is in their name.
 */
#ifndef IPCTRACE_ANON_BPF_H
#define IPCTRACE_ANON_BPF_H

#include "table.bpf.h"

#define ANON_INODE_FS_MAGIC 0x09041934

/* The first 8 characters of "[eventfd]", "[signalfd]", "[userfaultfd]", "inotify". */
#define ANON_EVENTFD 0x6466746e6576655bULL
#define ANON_SIGNALFD 0x666c616e6769735bULL
#define ANON_PIDFD 0x005d64666469705bULL /* all of "[pidfd]" */
#define ANON_USERFAULTFD 0x756166726573755bULL
#define ANON_INOTIFY 0x00796669746f6e69ULL

/* What kind of file system it is of. */
static __always_inline __u64 inode_magic(__u64 inode)
{
	return PEEK(struct super_block, PEEK_ADDR(struct inode, inode, i_sb), s_magic);
}

static __always_inline bool inode_is_anon(__u64 inode)
{
	return inode_magic(inode) == ANON_INODE_FS_MAGIC;
}

static __always_inline __u64 anon_name(__u64 file)
{
	__u64 dentry = addr_at(file + bpf_core_field_offset(struct file, f_path.dentry));

	return addr_at(PEEK_ADDR(struct dentry, dentry, d_name.name));
}

static __always_inline __u32 eventfd_id(__u64 file)
{
	return PEEK(struct eventfd_ctx, PEEK_ADDR(struct file, file, private_data), id);
}

static __always_inline enum mech eventfd_key(__u64 file, struct chan_key *key)
{
	key->ino = eventfd_id(file);
	key->dev = key->gen = 0;
	return MECH_EVENTFD;
}

static __always_inline enum mech inotify_key(__u64 file, struct chan_key *key)
{
	key->ino = PEEK_ADDR(struct file, file, private_data);
	key->dev = key->gen = 0;
	key->word = WORD_INOTIFY;
	return MECH_FILE;
}

/* What those begin with that do not begin with 0, by number. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} eventfd_starts SEC(".maps");

static __always_inline void eventfd_fill(struct chan_row *c, __u64 file)
{
	__u32 id = c->key.ino, *start;

	if (c->flags & CHAN_PREEXISTING) {
		c->found_bytes =
			PEEK(struct eventfd_ctx, PEEK_ADDR(struct file, file, private_data), count);
		return;
	}
	start = bpf_map_lookup_elem(&eventfd_starts, &id);
	if (start)
		c->found_bytes = *start;
}

/* Addresses and ids are used again: how many have been made tells them apart. */
static __always_inline __u64 times_made(void)
{
	struct engine *en = the_engine();

	return en ? en->eventfds : 0;
}

static __always_inline __u64 anon_ident(__u64 file)
{
	__u64 name = anon_name(file);

	if (name == ANON_INOTIFY)
		return name ^ times_made();
	if (name != ANON_EVENTFD)
		return name;
	return name ^ (__u64)eventfd_id(file) << 32 ^ times_made();
}

#endif
