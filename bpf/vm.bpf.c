// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What one process does to another directly: process_vm_readv() and process_vm_writev(), ptrace(),
 * /proc/PID/mem, pidfd_getfd(), and page faults that another process handles (userfaultfd). A channel
 * is the process that it is done to: others are at its end 0, the process itself at end 1, where the
 * same is counted as done by those. Bytes go from the one to the other in the call itself, so that
 * flows are exact. What a process does to itself is no communication.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "ends.bpf.h"
#include "flow.bpf.h"
#include "sysv.bpf.h"
#include "vm.bpf.h"

/* --- whose --- */

struct thread_search {
	__u32 proc; /* id */
	__u32 task, task_id;
};

static long thread_step(__u32 i, struct thread_search *s)
{
	struct task_row *t = bpf_map_lookup_elem(&tasks, &i);

	if (!t || !t->id || t->proc != s->proc || t->dead)
		return 0;
	s->task = i;
	s->task_id = t->id;
	return 1;
}

/* The process of that thread, if it is watched. task: its address. */
static __noinline int watched_task(struct edge_owner *o, __u64 task)
{
	struct proc_ident key = { .start_ns = process_start(task), .pid = process_pid(task) };
	struct edge_owner *known = bpf_map_lookup_elem(&proc_owners, &key);
	struct thread_search s = {};
	struct engine *en = the_engine();
	struct task_row *t;

	if (!known || !en)
		return 0;
	*o = *known;
	t = bpf_map_lookup_elem(&tasks, &o->task);
	if (t && t->id == o->task_id)
		return 1;
	/* Its first thread has ended before the others. */
	s.proc = o->proc_id;
	bpf_loop(en->used[TABLE_TASKS], thread_step, &s, 0);
	if (!s.task_id)
		return 0;
	o->task = known->task = s.task;
	o->task_id = known->task_id = s.task_id;
	return 1;
}

/* Address of the thread of that number, as the current one counts them; 0: there is none. */
static __noinline __u64 task_of_number(__u32 nr)
{
	struct task_struct *me = UNTRUSTED(struct task_struct, bpf_get_current_task_btf());
	__u64 mine = number_of(me->thread_pid), ns, at;
	__u32 level = PEEK(struct pid, mine, level);

	at = mine + bpf_core_field_offset(struct pid, numbers) +
	     (__u64)level * bpf_core_type_size(struct upid);
	ns = addr_at(at + bpf_core_field_offset(struct upid, ns));
	return ns ? task_of_pid(idr_at(ns + bpf_core_field_offset(struct pid_namespace, idr), nr))
		  : 0;
}

/* --- counting --- */

struct vm_ends {
	struct edge_owner self, other;
};

/* False: neither is watched, or both are one process. */
static __always_inline bool vm_ends(struct vm_ends *v, __u64 task)
{
	struct task_struct *current = bpf_get_current_task_btf();
	bool other;

	if (task && PEEK(struct task_struct, task, tgid) == current->tgid)
		return false;
	watched(&v->self, state_of(current));
	other = task && watched_task(&v->other, task);
	/*
	 * By the id, and not by what watched() has returned: that 6.1's verifier, after the call between,
	 * takes for true, and it takes out what is done if it is not.
	 */
	if (!v->self.task_id && !other)
		return false;
	if (!v->self.task_id && !stranger_task(&v->self, bpf_get_current_task()))
		return false;
	return other || !task || stranger_task(&v->other, task);
}

static __noinline int vm_count(const struct edge_owner *who, __u64 place, __s64 ret, __u64 bytes)
{
	__u32 chan = place, end = place >> 32 & 1, role = place >> 40;
	__u32 row = who ? edge_of(who, chan, end, role) : NO_ROW;
	struct edge_row *e = edge_at(row);
	struct engine *en = the_engine();

	if (!e || !en) {
		lose_call(LOSS_NO_EDGE);
		return 0;
	}
	if (ret < 0) {
		__sync_fetch_and_add(&en->seen, 1);
		edge_failed(row, ret, 0);
		return 0;
	}
	count_one(e);
	__sync_fetch_and_add(&e->bytes, bytes);
	return 0;
}

static __always_inline __u64 place_of(__u32 chan, __u32 end, __u32 role)
{
	return chan | (__u64)end << 32 | (__u64)role << 40;
}

/*
 * The current thread has done something to the process of that task, or (end 1) as that one's own has
 * asked the other to do so. role: of the current one, even if it gives. task: address, 0: there was none.
 */
__noinline int vm_between(__u64 task, __u32 role, __s64 ret, __u64 bytes, __u32 end)
{
	struct vm_ends v = {};
	struct chan_row *c;
	__u32 chan;

	if (role > ROLE_TAKE_FD || end > 1 || !vm_ends(&v, task))
		return 0;
	chan = process_chan(end ? &v.self : &v.other, MECH_VM, 0, CHAN_TWO_ENDS);
	c = chan_at(chan);
	if (!c) {
		lose_call(LOSS_NO_CHAN);
		return 0;
	}
	vm_count(&v.self, place_of(chan, end, role), ret, bytes);
	if (cfg.ops && state_of(bpf_get_current_task_btf()))
		op_record((__u64)c->id << 32 | role, ret < 0 ? ret : bytes, 0);
	if (!task)
		return 0;
	if (ret < 0) {
		/* So that it is seen whom it was meant for. */
		edge_of(&v.other, chan, !end, role ^ 1);
		return 0;
	}
	vm_count(&v.other, place_of(chan, !end, role ^ 1), 0, bytes);
	if (role & 1)
		flow_add(c->id, v.other.proc_id, v.self.proc_id, bytes);
	else
		flow_add(c->id, v.self.proc_id, v.other.proc_id, bytes);
	return 0;
}

__noinline int vm_done(__u64 task, __u32 role, __s64 ret, __u64 bytes)
{
	return vm_between(task, role, ret, bytes, 0);
}

/* --- ptrace --- */

enum {
	PTRACE_TRACEME = 0,
	PTRACE_PEEKTEXT = 1,
	PTRACE_PEEKDATA = 2,
	PTRACE_PEEKUSR = 3,
	PTRACE_POKETEXT = 4,
	PTRACE_POKEDATA = 5,
	PTRACE_POKEUSR = 6,
	PTRACE_GETREGS = 12,
	PTRACE_SETREGS = 13,
	PTRACE_GETFPREGS = 14,
	PTRACE_SETFPREGS = 15,
	PTRACE_GETEVENTMSG = 0x4201,
	PTRACE_GETSIGINFO = 0x4202,
	PTRACE_SETSIGINFO = 0x4203,
	PTRACE_GETREGSET = 0x4204,
	PTRACE_SETREGSET = 0x4205,
	PTRACE_PEEKSIGINFO = 0x4209,
	PTRACE_GETSIGMASK = 0x420a,
	PTRACE_SETSIGMASK = 0x420b,
	PTRACE_GET_SYSCALL_INFO = 0x420e,
};

/* What they carry, in bytes. */
#define PTRACE_WORD 8
#define PTRACE_REGS 216
#define PTRACE_FPREGS 512
#define PTRACE_SIGINFO 128
#define PTRACE_SIGMASK 8

/* How many bytes a request has read from the other process; -1: it is none that reads. */
static __always_inline __s64 ptrace_reads(struct pt_regs *regs, __u32 request, __s64 ret)
{
	__u64 addr = call_arg(regs, 2), len = 0;

	switch (request) {
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
	case PTRACE_PEEKUSR:
	case PTRACE_GETEVENTMSG:
		return PTRACE_WORD;
	case PTRACE_GETREGS:
		return PTRACE_REGS;
	case PTRACE_GETFPREGS:
		return PTRACE_FPREGS;
	case PTRACE_GETSIGINFO:
		return PTRACE_SIGINFO;
	case PTRACE_PEEKSIGINFO:
		return ret * PTRACE_SIGINFO;
	case PTRACE_GETSIGMASK:
		return PTRACE_SIGMASK;
	case PTRACE_GETREGSET: /* iov_len says how much it was */
		bpf_probe_read_user(&len, sizeof(len), (void *)(call_arg(regs, 3) + sizeof(len)));
		return len;
	case PTRACE_GET_SYSCALL_INFO: /* ret: how much there was */
		return (__u64)ret < addr ? (__u64)ret : addr;
	}
	return -1;
}

/* The same of writing, where all that only control are counted, too. */
static __always_inline __u64 ptrace_writes(struct pt_regs *regs, __u32 request)
{
	__u64 len = 0;

	switch (request) {
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
	case PTRACE_POKEUSR:
		return PTRACE_WORD;
	case PTRACE_SETREGS:
		return PTRACE_REGS;
	case PTRACE_SETFPREGS:
		return PTRACE_FPREGS;
	case PTRACE_SETSIGINFO:
		return PTRACE_SIGINFO;
	case PTRACE_SETSIGMASK:
		return PTRACE_SIGMASK;
	case PTRACE_SETREGSET:
		bpf_probe_read_user(&len, sizeof(len), (void *)(call_arg(regs, 3) + sizeof(len)));
		return len;
	}
	return 0;
}

static __always_inline int ptrace(struct pt_regs *regs, __s64 ret)
{
	__u32 request = call_arg(regs, 0);
	__s64 bytes = ptrace_reads(regs, request, ret);

	/* It offers itself to its parent. */
	if (request == PTRACE_TRACEME)
		return vm_between(number_of(bpf_get_current_task_btf()->real_parent), ROLE_WRITE,
				  ret, 0, 1);
	if (bytes >= 0)
		return vm_done(task_of_number(call_arg(regs, 1)), ROLE_READ, ret, bytes);
	return vm_done(task_of_number(call_arg(regs, 1)), ROLE_WRITE, ret,
		       ptrace_writes(regs, request));
}

/* --- files that lead to a process --- */

#define UFFDIO_COPY_NR 3

struct uffdio_copy_arg {
	__u64 dst, src, len, mode;
	__s64 copied;
};

/* Address of a thread of the process whose faults it tells of. */
static __always_inline __u64 userfaultfd_task(__u64 file)
{
	__u64 ctx = PEEK_ADDR(struct file, file, private_data);

	return PEEK_ADDR(struct mm_struct, PEEK_ADDR(struct userfaultfd_ctx, ctx, mm), owner);
}

/* A fault of another process is answered. Only copies carry bytes: also one that fails on its way. */
static __always_inline int userfaultfd_ioctl(struct pt_regs *regs, __s64 ret)
{
	__u64 file = file_of(bpf_get_current_task_btf(), call_arg(regs, 0));
	struct uffdio_copy_arg copy = {};

	if (!file || !is_userfaultfd(file))
		return 0;
	if ((call_arg(regs, 1) & 0xff) == UFFDIO_COPY_NR)
		bpf_probe_read_user(&copy, sizeof(copy), (void *)call_arg(regs, 2));
	if (copy.copied > 0)
		ret = 0;
	else
		copy.copied = 0;
	return vm_done(userfaultfd_task(file), ROLE_WRITE, ret, copy.copied);
}

static __always_inline __u64 proc_mem_task(__u64 file)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);

	inode -= bpf_core_field_offset(struct proc_inode, vfs_inode);
	return task_of_pid(PEEK_ADDR(struct proc_inode, inode, pid));
}

static __always_inline int file_moved(struct pt_regs *regs, __u32 role, __s64 ret)
{
	__u64 file = file_of(bpf_get_current_task_btf(), call_arg(regs, 0)), task = 0;

	if (!file)
		return 0;
	if (is_userfaultfd(file))
		task = userfaultfd_task(file);
	else if (is_proc_mem(file))
		task = proc_mem_task(file);
	return task ? vm_done(task, role, ret, ret) : 0;
}

/* The current thread has taken a descriptor, which it has as fd, from the process of that task. */
__noinline int vm_took(__u64 task, __u32 fd)
{
	struct vm_ends v = {};
	__u32 chan;

	if (!vm_ends(&v, task))
		return 0;
	chan = process_chan(&v.other, MECH_VM, 0, CHAN_TWO_ENDS);
	if (!chan_at(chan))
		return 0;
	fd_noted(edge_of(&v.self, chan, 0, ROLE_TAKE_FD), fd);
	fd_noted(edge_of(&v.other, chan, 1, ROLE_PASS_FD), fd);
	return 0;
}

/* As if the other process had passed it. */
static __always_inline void pidfd_getfd(struct pt_regs *regs, __s64 ret)
{
	__u64 file = file_of(bpf_get_current_task_btf(), call_arg(regs, 0));
	__u64 pid = file ? pid_of_pidfd(file) : 0, task = pid ? task_of_pid(pid) : 0;

	vm_done(task, ROLE_TAKE_FD, ret, 0);
	if (ret >= 0 && task)
		vm_took(task, ret);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_vm, struct pt_regs *regs, long ret)
{
	if (call_is_compat(bpf_get_current_task_btf()))
		return 0;
	switch (kind_of(regs)) {
	case KIND_vm_readv:
		return vm_done(task_of_number(call_arg(regs, 0)), ROLE_READ, ret, ret);
	case KIND_vm_writev:
		return vm_done(task_of_number(call_arg(regs, 0)), ROLE_WRITE, ret, ret);
	case KIND_ptrace:
		return ptrace(regs, ret);
	case KIND_ioctl:
		return userfaultfd_ioctl(regs, ret);
	case KIND_getfd:
		pidfd_getfd(regs, ret);
		bpf_tail_call_static(ctx, &on_exit, KIND_passed);
		return 0;
	case KIND_read:
	case KIND_preadv2:
	case KIND_pread:
		return file_moved(regs, ROLE_READ, ret);
	case KIND_write:
	case KIND_pwritev2:
	case KIND_pwrite:
		return file_moved(regs, ROLE_WRITE, ret);
	}
	return 0;
}
