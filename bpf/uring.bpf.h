/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Datagrams that requests of io_uring send to an address of their own. */
#ifndef IPCTRACE_URING_BPF_H
#define IPCTRACE_URING_BPF_H

#include "compat.bpf.h"

#define URING_NAME_LEN 128 /* power of two */

/*
 * What such a request was told, and where a unix datagram went: when it completes, the program may
 * have used the memory of the address for something else.
 */
struct uring_to {
	__u32 chan; /* row + 1; 0: not known */
	__u32 id;
	__u32 len;
	__u32 _pad;
	char name[URING_NAME_LEN];
};

/* By the request's address; each begins with an entry, or without one. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct uring_to);
} uring_tos SEC(".maps");

/* What a new one is made from. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct uring_to);
} uring_to_nobody SEC(".maps");

/* In uring.bpf.c. */
__u64 uring_sending(void);

/* What the current thread sends for that request has come to that mailbox. */
static __always_inline void uring_went_to(__u64 req, __u32 chan, __u32 id)
{
	struct uring_to *to = bpf_map_lookup_elem(&uring_tos, &req);

	if (!to || to->chan)
		return;
	to->id = id;
	to->chan = chan + 1;
}

#endif
