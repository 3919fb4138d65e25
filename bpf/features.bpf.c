/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One tiny program for each thing that a kernel may refuse. user/features.c loads and attaches them
 * one at a time; `hits` shows that the program really ran.
 */
#define BPF_NO_KFUNC_PROTOTYPES
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

static int hit(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&hits, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

SEC("tp_btf/sys_exit")
int on_exit(void *ctx)
{
	return hit();
}

SEC("tp_btf/sys_exit")
int tail_caller(void *ctx)
{
	bpf_tail_call(ctx, &calls, 0);
	return 0;
}

SEC("tp_btf/sched_switch")
int on_switch(void *ctx)
{
	return hit();
}

SEC("tp_btf/sched_waking")
int on_waking(void *ctx)
{
	return hit();
}

SEC("tp_btf/task_newtask")
int on_fork(void *ctx)
{
	return hit();
}

SEC("tp_btf/sched_process_exec")
int on_exec(void *ctx)
{
	return hit();
}

SEC("tp_btf/sched_process_exit")
int on_dead(void *ctx)
{
	return hit();
}

SEC("tp_btf/task_rename")
int on_rename(void *ctx)
{
	return hit();
}

SEC("tp_btf/cgroup_attach_task")
int on_move(void *ctx)
{
	return hit();
}

static long loop_step(__u32 i, void *ctx)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int loops(void *ctx)
{
	return bpf_loop(2, loop_step, NULL, 0) == 2 ? hit() : 0;
}

SEC("tp_btf/sys_exit")
int task_storage(void *ctx)
{
	__u64 *mine = bpf_task_storage_get(&storage, bpf_get_current_task_btf(), NULL,
					   BPF_LOCAL_STORAGE_GET_F_CREATE);

	return mine ? hit() : 0;
}

SEC("tp_btf/sys_exit")
int ring_buffer(void *ctx)
{
	__u64 *rec = bpf_ringbuf_reserve(&ring, sizeof(*rec), 0);

	if (!rec)
		return 0;
	*rec = 0;
	bpf_ringbuf_submit(rec, BPF_RB_NO_WAKEUP);
	return hit();
}

SEC("tp_btf/sys_exit")
int read_kernel(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int tgid = 0;

	if (!bpf_probe_read_kernel(&tgid, sizeof(tgid), &task->tgid) && tgid)
		hit();
	return 0;
}

extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym __weak;

SEC("tp_btf/sys_exit")
int rdonly_cast(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *same = bpf_rdonly_cast(task, bpf_core_type_id_kernel(*task));

	return same->tgid ? hit() : 0;
}

SEC("iter/task_file")
int iter_files(struct bpf_iter__task_file *ctx)
{
	return ctx->file ? hit() : 0;
}

/* The kernel's own test function: there with every kernel that has BPF, and nobody calls it. */
SEC("fentry/bpf_fentry_test1")
int on_function(void *ctx)
{
	return hit();
}

SEC("kprobe/bpf_fentry_test1")
int on_kprobe(void *ctx)
{
	return hit();
}
