// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What is written to a file stays, and is read by its place: whose are the bytes that a read got? */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"
#include "mem.bpf.h"

#define MOVED_PAGES 4096 /* of one call; of what lies beyond it is not known whose it is */

struct moved {
	__u32 chan, proc, role;
	__u32 from; /* whose the bytes are that are not yet in a flow */
	__u64 pos, end, bytes;
	/* Of files, see regular.bpf.h. */
	__u64 size, found, life;
	__u32 first;
	__u32 loose; /* others may have moved on the same descriptor meanwhile */
};

/* Not on the stack, where the verifier would follow each value through each round of the loop. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moved);
} moving SEC(".maps");

static __always_inline void page_credit(struct moved *m)
{
	if (m->bytes && m->from && m->from != m->proc)
		flow_add(m->chan, m->from, m->proc, m->bytes);
	m->bytes = 0;
}

/* One page of the call. */
static long moved_step(__u32 i, void *ctx)
{
	__u32 zero = 0, was;
	struct moved *m = bpf_map_lookup_elem(&moving, &zero);
	__u64 page, next, n;

	if (!m || m->pos >= m->end)
		return 1;
	page = m->pos >> MEM_PAGE_SHIFT;
	next = (page + 1) << MEM_PAGE_SHIFT;
	n = (next < m->end ? next : m->end) - m->pos;
	was = page_writer(m->chan, page);
	if (m->role == ROLE_WRITE) {
		/* Which part of a page is whose is not kept. */
		bool all = n >> MEM_PAGE_SHIFT || !was || was == m->proc;

		page_written(m->chan, all ? m->proc : PROC_SHARED, page);
	} else {
		if (was != m->from)
			page_credit(m);
		m->from = was;
		m->bytes += n;
	}
	m->pos += n;
	return 0;
}

/* The same of a call between two files: told by pointers, unless it is where the file stood. */
static __always_inline __s64 moved_between(struct pt_regs *regs, __u32 kind, __u32 role, __u64 n,
					   __u64 file)
{
	__u64 at, pos = 0;

	if (kind == KIND_sendfile)
		at = role == ROLE_READ ? call_arg(regs, 2) : 0;
	else
		at = role == ROLE_READ ? call_arg(regs, 1) : call_arg(regs, 3);
	if (!at)
		return PEEK(struct file, file, f_pos) - n;
	/* It has been moved on. */
	return bpf_probe_read_user(&pos, sizeof(pos), (void *)at) ? -1 : (__s64)(pos - n);
}

#define O_APPEND 02000

/* Where the call began in the file; -1: not known. */
static __noinline __s64 moved_from(__u32 role, __u64 n, __u64 file)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u32 kind = kind_of(regs);
	__s64 pos;

	if (ts && ts->moved_end)
		return ts->moved_end - n;
	switch (kind) {
	case KIND_splice:
	case KIND_copyrange:
	case KIND_sendfile:
		return moved_between(regs, kind, role, n, file);
	case KIND_pwrite:
		/* Linux appends, whatever the offset says. */
		if (PEEK(struct file, file, f_flags) & O_APPEND)
			return mem_size(file) - n;
		/* fallthrough */
	case KIND_pread:
		return call_arg(regs, 3);
	case KIND_preadv2:
	case KIND_pwritev2:
		pos = call_arg(regs, 3);
		if (pos != -1)
			return pos;
		/* fallthrough */
	case KIND_read:
	case KIND_write:
		return PEEK(struct file, file, f_pos) - n;
	default:
		return -1;
	}
}

/* A call has moved n bytes out of the file or into it. */
int mem_moved(__u32 chan, __u32 role, __u64 n, __u64 file)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_row *c = chan_at(chan);
	struct moved *m;
	__u32 zero = 0;
	__s64 pos;

	m = bpf_map_lookup_elem(&moving, &zero);
	if (!ts || !c || !m)
		return 0;
	pos = moved_from(role, n, file);
	if (pos < 0)
		return 0;
	m->chan = c->id;
	m->proc = ts->proc_id;
	m->role = role;
	m->pos = pos;
	m->end = pos + n;
	m->from = 0;
	m->bytes = 0;
	bpf_loop(MOVED_PAGES, moved_step, NULL, 0);
	page_credit(m);
	return 0;
}

#include "inotify.bpf.h"
#include "regular.bpf.h"
