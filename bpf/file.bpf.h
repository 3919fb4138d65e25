/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a descriptor to a file, and what tells one file from another. */
#ifndef IPCTRACE_FILE_BPF_H
#define IPCTRACE_FILE_BPF_H

#include "anon.bpf.h"
#include "sock.bpf.h"
#include "tty.bpf.h"

/* Address of the file behind a descriptor of the task; 0: none. */
static __always_inline __u64 file_of(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = UNTRUSTED(struct task_struct, task)->files;
	struct fdtable *fdt;

	if (!files)
		return 0;
	fdt = files->fdt;
	if (!fdt || fd >= fdt->max_fds)
		return 0;
	return addr_at((__u64)fdt->fd + (__u64)fd * sizeof(void *));
}

/* S_IFMT of it, shifted down to 0..15. */
static __always_inline __u32 file_type(__u64 file)
{
	return (PEEK(struct inode, PEEK_ADDR(struct file, file, f_inode), i_mode) & S_IFMT) >> 12;
}

/* The same of files of which many share an inode. */
__u64 other_ident(__u64 file)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);
	__u32 type = PEEK(struct inode, inode, i_mode) & S_IFMT;

	if (type == S_IFCHR) /* of terminals */
		return PEEK_ADDR(struct file, file, private_data) ^ times_made() * SPREAD;
	/* With a type only on kernels that have casts, too. */
	if ((type == S_IFREG && !CASTS) || !inode_is_anon(inode))
		return 0;
	return anon_ident(file);
}

static __always_inline __u64 inode_ident(struct inode *inode)
{
	__u64 gen = FIELD(inode, i_generation);

	return FIELD(inode, i_ino) ^ gen << 32;
}

/*
 * The address of a struct file is used again soon after close(); its inode's number is not. A socket
 * may be connected to another one since.
 */
static __always_inline __u64 file_ident_of(__u64 file, struct inode *inode, __u32 type)
{
	/* Sockets that follow each other differ in as few bits as their peers' ports do. */
	__u64 ident = inode_ident(inode) * SPREAD;

	switch (type) {
	case S_IFSOCK >> 12:
		return ident ^ sock_peer_ident(sock_of(file));
	case S_IFCHR >> 12:
	case S_IFREG >> 12:
	case 0:
		return ident ^ other_ident(file);
	}
	return ident;
}

__u64 file_ident(__u64 file)
{
	struct inode *inode = FIELD(OBJECT(struct file, file), f_inode);

	return file_ident_of(file, inode, FIELD(inode, i_mode) >> 12);
}

#endif
