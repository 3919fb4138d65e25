/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Programs that do nothing: what being called costs. No tracer on these hooks is cheaper. */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sys_enter")
int empty_enter(void *ctx)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int empty_exit(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int empty_switch(void *ctx)
{
	return 0;
}

SEC("tp_btf/page_fault_user")
int empty_fault(void *ctx)
{
	return 0;
}
