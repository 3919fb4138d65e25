/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files that are channels but rarely: eventfd, terminals, netlink, vsock. Functions of their own, which
 * the verifier looks at once per program and not wherever a channel is looked for.
 */
#ifndef IPCTRACE_OTHERS_BPF_H
#define IPCTRACE_OTHERS_BPF_H

#include "file.bpf.h"
#include "netlink.bpf.h"

/* What kind of channel it is, see chan_key_of(). */
int other_key(__u64 file, struct chan_key *key)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode), sk;

	if (!key)
		return MECH_NONE;
	switch (PEEK(struct inode, inode, i_mode) & S_IFMT) {
	case S_IFSOCK:
		sk = sock_of(file);
		return sock_family(sk) == AF_NETLINK ? netlink_key(sk, key) : vsock_key(sk, key);
	case S_IFCHR:
		return pty_key(file, key);
	case S_IFREG:
	case 0:
		if (inode_is_anon(inode) && anon_name(file) == ANON_EVENTFD)
			return eventfd_key(file, key);
		if (inode_is_anon(inode) && anon_name(file) == ANON_INOTIFY)
			return inotify_key(file, key);
	}
	return MECH_NONE;
}

int other_fill(struct chan_row *c, __u64 file)
{
	if (!c)
		return 0;
	switch (c->key.mech) {
	case MECH_EVENTFD:
		eventfd_fill(c, file);
		break;
	case MECH_PTY:
		pty_fill(c, file);
		break;
	case MECH_NETLINK:
		netlink_fill(c, sock_of(file));
		break;
	case MECH_VSOCK:
		vsock_fill(c, sock_of(file));
		break;
	}
	return 0;
}

/* See chan_end_of(). */
int other_end(struct chan_row *c, __u64 file)
{
	if (!c)
		return 0;
	return c->key.mech == MECH_PTY ? pty_end(c, file) : vsock_end(c, sock_of(file));
}

#endif
