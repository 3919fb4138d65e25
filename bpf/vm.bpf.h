/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From what names a process to that process, and counting what one does to another. */
#ifndef IPCTRACE_VM_BPF_H
#define IPCTRACE_VM_BPF_H

#include "file.bpf.h"
#include "mem.bpf.h"

#define PROC_SUPER_MAGIC 0x9fa0
#define HEAD_MEM 0x006d656d /* "mem\0" */
#define UFFDIO 0xaa /* what such ioctls have in their number */

/* In vm.bpf.c. */
int vm_done(__u64 task, __u32 role, __s64 ret, __u64 bytes);

/* Address of the thread that a struct pid stands for; 0: it is gone. */
static __always_inline __u64 task_of_pid(__u64 pid)
{
	__u64 node = pid ? addr_at(pid + bpf_core_field_offset(struct pid, tasks)) : 0;

	return node ? node - bpf_core_field_offset(struct task_struct, pid_links) : 0;
}

#define PID_FS_MAGIC 0x50494446

/*
 * The struct pid behind a pidfd; 0: it is none. Linux 6.9 (cb12fd8e0dab, "pidfd: add pidfs") gave each
 * process an inode.
 */
static __always_inline __u64 pid_of_pidfd(__u64 file)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);

	if (inode_magic(inode) == PID_FS_MAGIC)
		return PEEK_ADDR(struct inode, inode, i_private);
	return inode_is_anon(inode) && anon_name(file) == ANON_PIDFD
		       ? PEEK_ADDR(struct file, file, private_data)
		       : 0;
}

/* /proc/PID/mem, or that of a thread. */
static __always_inline bool is_proc_mem(__u64 file)
{
	return inode_magic(PEEK_ADDR(struct file, file, f_inode)) == PROC_SUPER_MAGIC &&
	       name_head(name_of_dentry(dentry_of(file)), 4) == HEAD_MEM;
}

static __always_inline bool is_userfaultfd(__u64 file)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);

	return inode_is_anon(inode) && anon_name(file) == ANON_USERFAULTFD;
}

/* Is what is read or written there another process's memory, or its page faults? */
static __always_inline bool is_of_process(__u64 file)
{
	return is_userfaultfd(file) || is_proc_mem(file);
}

#endif
