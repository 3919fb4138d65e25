/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The system calls that are followed, and as what: CALL(name, kind). When such a call sleeps,
 * core.bpf.c takes its files by its kind; when it returns, program on_io or on_rare runs.
 */
#ifndef IPCTRACE_CALLS_H
#define IPCTRACE_CALLS_H

#include <asm/unistd.h>

enum kind {
	KIND_none = 0,
	KIND_read = 1, /* (fd, ...) */
	KIND_write = 2, /* (fd, ...) */
	KIND_splice = 3, /* (in, off, out, off, len, flags) */
	KIND_copyrange = 25, /* (in, off, out, off, len, flags), as splice */
	KIND_tee = 4, /* (in, out, len, flags) */
	KIND_vmsplice = 5, /* (fd, iov, n, flags): reads or writes as fd is open */
	KIND_sendfile = 6, /* (out, in, ...) */
	KIND_open = 7, /* returns an fd */
	KIND_fcntl = 8, /* (fd, cmd, ...) */
	KIND_preadv2 = 9, /* (fd, iov, n, lo, hi, flags) */
	KIND_pwritev2 = 10,
	KIND_sendto = 12, /* (fd, buf, len, flags, name, namelen) */
	KIND_recvfrom = 13,
	KIND_sendmsg = 14, /* (fd, msg, flags) */
	KIND_recvmsg = 15,
	KIND_sendmmsg = 16, /* (fd, msgs, n, flags): returns how many */
	KIND_recvmmsg = 17,
	KIND_connect = 18, /* (fd, ...) */
	KIND_accept = 19, /* returns an fd */
	KIND_rare = 20, /* no calls' kinds, but where on_rare */
	KIND_io = 11, /* and on_io stand */
	KIND_aio = 21, /* (context, n, requests): returns how many */
	KIND_bind = 22, /* (fd, ...) */
	KIND_sigwait = 23, /* (set, info, ...): returns a signal */
	KIND_eventfd = 24, /* (count, flags), or inotify: returns an fd */
	KIND_passed = 30, /* no call's kind, but where on_passed stands */
	KIND_futex_wait = 36, /* (addr, val, mask, flags, timeout, clock) */
	KIND_futex_waitv = 37, /* (words, n, ...): returns which */
	KIND_futex_wake = 38, /* (addr, mask, n, flags) */
	KIND_futex_requeue = 39, /* (two words, flags, wake, move) */
	KIND_semop = 40, /* (id, ops, n) */
	KIND_semtimedop = 41, /* (id, ops, n, timeout) */
	KIND_semctl = 42, /* (id, which, cmd, ...) */
	KIND_semget = 43, /* returns an id */
	KIND_futex = 44, /* (addr, op, val, timeout, addr2, val3) */
	KIND_flock = 45, /* (fd, op) */
	KIND_lock = 46, /* fcntl() that locks: (fd, cmd, lock) */
	KIND_sync = 49, /* no call's kind, but where on_sync stands */
	KIND_msgsnd = 50, /* (id, msg, len, flags) */
	KIND_msgrcv = 51, /* (id, msg, len, type, flags) */
	KIND_mq_send = 52, /* (fd, text, len, priority, time) */
	KIND_mq_receive = 53, /* (fd, text, len, priority *, time) */
	KIND_msgget = 54, /* returns an id */
	KIND_msgctl = 55, /* (id, cmd, ...) */
	KIND_mq_open = 56, /* returns an fd */
	KIND_mq_notify = 57, /* (fd, ...) */
	KIND_queue = 58, /* no call's kind: where on_queue stands */
	KIND_mmap = 60, /* (addr, len, prot, flags, fd, offset) */
	KIND_munmap = 61, /* (addr, len) */
	KIND_mremap = 62, /* returns an address, as mmap and shmat do */
	KIND_shmat = 63, /* (id, addr, flags) */
	KIND_pread = 64, /* (fd, buf, n, pos) */
	KIND_pwrite = 65,
	KIND_madvise = 67, /* (addr, len, advice) */
	KIND_mlock = 68, /* (addr, len) */
	KIND_mlockall = 69, /* (flags) */
	KIND_vm_readv = 70, /* (pid, local iov, n, remote iov, n, flags) */
	KIND_vm_writev = 71,
	KIND_ptrace = 72, /* (request, pid, addr, data) */
	KIND_ioctl = 73, /* (fd, cmd, arg) */
	KIND_vm = 74, /* no call's kind: where on_vm stands */
	KIND_getfd = 76, /* (pidfd, fd, flags): returns an fd */
	KIND_MAX,
};

#define HANDLERS(HANDLER) \
	HANDLER(rare) HANDLER(io) HANDLER(sync) HANDLER(queue) HANDLER(vm) HANDLER(passed)

#ifdef __NR_open
#define CALL_OPEN(CALL)  \
	CALL(open, open) \
	CALL(creat, open)
#else
#define CALL_OPEN(CALL)
#endif

/* Of Linux 5.16 and 6.7; the same numbers everywhere. */
#ifndef __NR_futex_waitv
#define __NR_futex_waitv 449
#endif
#ifndef __NR_futex_wake
#define __NR_futex_wake 454
#define __NR_futex_wait 455
#define __NR_futex_requeue 456
#endif

#define FUTEX2_CALLS(CALL)             \
	CALL(futex_wait, futex_wait)   \
	CALL(futex_waitv, futex_waitv) \
	CALL(futex_wake, futex_wake)   \
	CALL(futex_requeue, futex_requeue)

#define QUEUE_CALLS(CALL)                 \
	CALL(msgsnd, msgsnd)              \
	CALL(msgrcv, msgrcv)              \
	CALL(msgget, msgget)              \
	CALL(msgctl, msgctl)              \
	CALL(mq_timedsend, mq_send)       \
	CALL(mq_timedreceive, mq_receive) \
	CALL(mq_open, mq_open)            \
	CALL(mq_notify, mq_notify)

#ifdef __NR_eventfd
#define CALL_EVENTFD(CALL)     \
	CALL(eventfd, eventfd) \
	CALL(inotify_init, eventfd)
#else
#define CALL_EVENTFD(CALL)
#endif

#define CALLS_MORE(CALL)               \
	CALL(pidfd_getfd, getfd)       \
	CALL(mlockall, mlockall)       \
	CALL(eventfd2, eventfd)        \
	CALL(rt_sigtimedwait, sigwait) \
	CALL_EVENTFD(CALL)

#define VM_CALLS(CALL)                     \
	CALL(process_vm_readv, vm_readv)   \
	CALL(process_vm_writev, vm_writev) \
	CALL(ptrace, ptrace)               \
	CALL(ioctl, ioctl)

#define CALL_COPY(CALL)                  \
	CALL(copy_file_range, copyrange) \
	CALL(inotify_init1, eventfd)

#define CALLS(CALL)                  \
	CALL(read, read)             \
	CALL(readv, read)            \
	CALL(preadv2, preadv2)       \
	CALL(write, write)           \
	CALL(writev, write)          \
	CALL(pwritev2, pwritev2)     \
	CALL(splice, splice)         \
	CALL(tee, tee)               \
	CALL(vmsplice, vmsplice)     \
	CALL(sendfile, sendfile)     \
	CALL_COPY(CALL)              \
	CALL(openat, open)           \
	CALL(openat2, open)          \
	CALL(fcntl, fcntl)           \
	CALL(sendto, sendto)         \
	CALL(recvfrom, recvfrom)     \
	CALL(sendmsg, sendmsg)       \
	CALL(recvmsg, recvmsg)       \
	CALL(sendmmsg, sendmmsg)     \
	CALL(recvmmsg, recvmmsg)     \
	CALL(connect, connect)       \
	CALL(bind, bind)             \
	CALL(accept, accept)         \
	CALL(accept4, accept)        \
	CALL(io_submit, aio)         \
	CALL(semop, semop)           \
	CALL(semtimedop, semtimedop) \
	CALL(semctl, semctl)         \
	CALL(semget, semget)         \
	CALL(futex, futex)           \
	CALL(flock, flock)           \
	QUEUE_CALLS(CALL)            \
	FUTEX2_CALLS(CALL)           \
	CALL(pread64, pread)         \
	CALL(pwrite64, pwrite)       \
	CALL(preadv, pread)          \
	CALL(pwritev, pwrite)        \
	CALL(mmap, mmap)             \
	CALL(munmap, munmap)         \
	CALL(mremap, mremap)         \
	CALL(madvise, madvise)       \
	CALL(mlock, mlock)           \
	CALL(mlock2, mlock)          \
	CALL(shmat, shmat)           \
	VM_CALLS(CALL)               \
	CALL_OPEN(CALL)              \
	CALLS_MORE(CALL)

#endif
