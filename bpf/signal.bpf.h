/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Signals that are taken by a system call. */
#ifndef IPCTRACE_SIGNAL_BPF_H
#define IPCTRACE_SIGNAL_BPF_H

#include "maps.bpf.h"

int signal_taken(__u32 sig, __u32 token, __u32 how);
int signal_waited(__u32 sig, __u64 info, __u64 slept);
int signalfd_was_read(__u64 buf, __u32 n, __u64 slept);

#endif
