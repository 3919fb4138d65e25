/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Pseudoterminals: two struct tty, of the master and of the slave, that know each other. The master's
 * address is the identity; the slave is found as /dev/pts/N and as /dev/tty.
 */
#ifndef IPCTRACE_TTY_BPF_H
#define IPCTRACE_TTY_BPF_H

#include "compat.bpf.h"

#define MINORBITS 20
#define TTYAUX_MAJOR 5
/* Masters are from 128 on, though they are opened as another device; slaves from 136 on. */
#define PTY_MASTER_MAJOR 128
#define PTY_SLAVE_MAJOR 136
#define PTY_MAJORS 8
#define PTMX (TTYAUX_MAJOR << MINORBITS | 2)

/* Of the many devices, most of which are /dev/null. */
static __always_inline bool rdev_may_be_pty(__u32 rdev)
{
	__u32 major = rdev >> MINORBITS;

	return major == TTYAUX_MAJOR ||
	       (major >= PTY_SLAVE_MAJOR && major < PTY_SLAVE_MAJOR + PTY_MAJORS);
}

static __always_inline __u32 file_rdev(__u64 file)
{
	return PEEK(struct inode, PEEK_ADDR(struct file, file, f_inode), i_rdev);
}

static __always_inline __u64 tty_of(__u64 file)
{
	__u64 priv = PEEK_ADDR(struct file, file, private_data);

	return priv ? PEEK_ADDR(struct tty_file_private, priv, tty) : 0;
}

static __always_inline __u32 tty_major(__u64 tty)
{
	return PEEK(struct tty_driver, PEEK_ADDR(struct tty_struct, tty, driver), major);
}

static __always_inline bool tty_is_slave(__u64 tty)
{
	return tty_major(tty) >= PTY_SLAVE_MAJOR;
}

static __always_inline enum mech pty_key(__u64 file, struct chan_key *key)
{
	__u64 tty;
	__u32 major;

	if (!rdev_may_be_pty(file_rdev(file)))
		return MECH_NONE;
	tty = tty_of(file);
	if (!tty)
		return MECH_NONE;
	major = tty_major(tty);
	if (major < PTY_MASTER_MAJOR || major >= PTY_SLAVE_MAJOR + PTY_MAJORS)
		return MECH_NONE;
	key->dev = key->gen = 0;
	key->ino = tty_is_slave(tty) ? PEEK_ADDR(struct tty_struct, tty, link) : tty;
	return key->ino ? MECH_PTY : MECH_NONE;
}

/* End 0 is the master. */
static __always_inline void pty_fill(struct chan_row *c, __u64 file)
{
	c->flags |= CHAN_TWO_ENDS;
	c->low_end = PEEK(struct tty_struct, tty_of(file), index);
}

/* 2: another one is there by now. */
static __always_inline __u32 pty_end(struct chan_row *c, __u64 file)
{
	__u64 tty = tty_of(file);

	if ((__u32)PEEK(struct tty_struct, tty, index) != c->low_end)
		return 2;
	return tty_is_slave(tty);
}

#endif
