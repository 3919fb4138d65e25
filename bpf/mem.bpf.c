// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Who maps shared memory, and who touches which page of it first.
 *
 * A page fault is the only thing that the kernel sees of an access to memory, and there is one for
 * the first access after a page was mapped, at most: neighbours of a page that is read are mapped
 * with it (64 KiB), all of a huge page, and all that MAP_POPULATE asked for. So what is counted here
 * is a lower bound, and every one of it really happened.
 */
#include "call.bpf.h"
#include "chan.bpf.h"
#include "flow.bpf.h"
#include "mem.bpf.h"
#include "vma.bpf.h"

#define MAP_ANONYMOUS 0x20
#define FAULT_WRITE 2 /* of the error code */

__u32 edge_row_of(__u32 chan, __u32 end, __u32 role);

/* --- mappings --- */

int mem_use(__u64 addr, __u32 which)
{
	struct vma_look *l = vma_look_in(which);
	struct chan_key *key = key_in(which);
	__u64 file, inode;

	if (!l || !key)
		return 0;
	file = l->seen.file;
	if (!file || !(l->seen.flags & VM_MAYSHARE))
		return 0;
	inode = PEEK_ADDR(struct file, file, f_inode);
	key->word = 0;
	if (mem_key_of(file, inode, key) == MECH_NONE)
		return 0;
	l->page = l->seen.page + ((addr - l->seen.start) >> MEM_PAGE_SHIFT);
	/* Of a huge page its first one stands for all. */
	l->page &= ~0ULL << (mem_page_shift(file) - MEM_PAGE_SHIFT);
	l->size = mem_size(file);
	l->file = file;
	return 0;
}

static long mem_found(struct task_struct *task, struct vm_area_struct *vma, struct vma_ask *ask)
{
	return vma_locked(vma, ask, mem_use);
}

static long mem_try(__u32 i, struct vma_ask *ask)
{
	return vma_try(ask, mem_found, mem_use);
}

/* What is there is left in vma_look_in(which). False: it cannot be known. */
static __always_inline bool mem_find(__u64 addr, __u32 which, __u32 tries)
{
	struct vma_ask ask = { .addr = addr, .which = which, .err = -EBUSY };

	bpf_loop(tries, mem_try, &ask, 0);
	return ask.err != -EBUSY;
}

/* --- pages --- */

/* Rows are counted, so that the collector looks for old ones in time. */
static __always_inline void touch_new(const struct touch_key *key, const struct touch_val *first)
{
	struct engine *en = the_engine();

	if (!bpf_map_update_elem(&touches, key, first, BPF_NOEXIST) && en)
		__sync_fetch_and_add(&en->touches, 1);
}

/* Attachments of the channel by the process so far: what is touched after one counts anew. */
static __always_inline __u64 attachments(__u32 chan, __u32 proc, bool more)
{
	struct touch_key key = { .chan = chan, .proc = proc, .group = MEM_NO_GROUP };
	struct touch_val *t = bpf_map_lookup_elem(&touches, &key), first = {};

	if (more && !t) {
		first.bits[0] = 1;
		touch_new(&key, &first);
		return 1;
	}
	if (more)
		__sync_fetch_and_add(&t->bits[0], 1);
	return t ? t->bits[0] : 0;
}

static __always_inline bool is_first_touch(__u32 chan, __u32 proc, __u64 page, __u32 role)
{
	struct touch_key key = { .chan = chan, .proc = proc, .group = page >> TOUCH_SHIFT };
	__u64 bit = 1ULL << (page & (TOUCH_PAGES - 1)), old;
	struct touch_val *t = bpf_map_lookup_elem(&touches, &key), first = {};
	__u32 epoch = attachments(chan, proc, false);

	if (!t) {
		first.epoch = epoch;
		touch_new(&key, &first);
		t = bpf_map_lookup_elem(&touches, &key);
		if (!t)
			return true; /* no room to remember it */
	}
	if (t->epoch != epoch) {
		t->epoch = epoch;
		t->bits[ROLE_READ] = t->bits[ROLE_WRITE] = 0;
	}
	if (role == ROLE_READ)
		old = __sync_fetch_and_or(&t->bits[ROLE_READ], bit);
	else
		old = __sync_fetch_and_or(&t->bits[ROLE_WRITE], bit);
	return !(old & bit);
}

static __always_inline struct page_writers *writers_of(__u32 chan, __u64 page, bool make)
{
	struct page_key key = { .chan = chan, .group = page >> PAGE_GROUP_SHIFT };
	struct page_writers *w = bpf_map_lookup_elem(&page_writers, &key);
	struct engine *en = the_engine();
	__u32 zero = 0;

	if (w || !make)
		return w;
	w = bpf_map_lookup_elem(&no_writers, &zero);
	if (!w || !en)
		return NULL;
	if (!bpf_map_update_elem(&page_writers, &key, w, BPF_NOEXIST))
		__sync_fetch_and_add(&en->page_groups, 1);
	return bpf_map_lookup_elem(&page_writers, &key);
}

static __always_inline __u32 *writer_at(struct page_writers *w, __u64 page)
{
	page &= PAGE_GROUP - 1;
	/* The very register that is added must be seen to be bounded. */
	asm volatile("" : "+r"(page));
	return page < PAGE_GROUP ? &w->writer[page] : NULL;
}

static __noinline void page_seen(__u32 chan, __u32 from, __u32 to)
{
	struct flow_key key = { .chan = chan, .from = from, .to = to };
	struct flow_val *v = flow_at(&key, 1);

	if (v)
		__sync_fetch_and_add(&v->pages, 1);
}

/* The process has written to the page. */
static __always_inline void page_written(__u32 chan, __u32 proc, __u64 page)
{
	struct page_writers *w = writers_of(chan, page, true);
	__u32 *writer = w ? writer_at(w, page) : NULL;

	if (writer)
		*writer = proc;
	else
		lose(LOSS_PAGE, 1);
}

static __always_inline __u32 page_writer(__u32 chan, __u64 page)
{
	struct page_writers *w = writers_of(chan, page, false);
	__u32 *writer = w ? writer_at(w, page) : NULL;

	return writer ? *writer : 0;
}

/* sem_open() maps a file, gives it another name then, and takes away the first one. */
static __noinline int mem_called(__u32 chan, __u64 file)
{
	struct chan_row *c = chan_at(chan);

	if (!c || !file_dentry(c) || !dentry_is_gone(file_dentry(c)))
		return 0;
	chan_is_called(c, path_names(file + bpf_core_field_offset(struct file, f_path), c->name));
	file_dentry(c) = dentry_still_there(dentry_of(file));
	if (dentry_is_gone(file_dentry(c)))
		file_dentry(c) = 0; /* it has none any more: that was the last one */
	return 0;
}

/* --- faults --- */

int mem_touched(__u64 addr, __u32 role)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	/* A program that reads user memory may be what faults, so this has a scratch of its own. */
	struct vma_look *l = vma_look_in(KEY_FAULT);
	struct edge_row *e;
	__u32 chan, from;

	if (!ts || !l)
		return 0;
	if (!mem_find(addr, KEY_FAULT, VMA_FEW)) {
		lose(LOSS_PAGE, 1);
		return 0;
	}
	/* What ends in a signal is no access. */
	if (!l->file ||
	    !(l->seen.flags & (role == ROLE_WRITE ? VM_WRITE : VM_READ | VM_WRITE | VM_EXEC)) ||
	    l->page << MEM_PAGE_SHIFT >= l->size)
		return 0;
	chan = chan_of_scratch(KEY_FAULT, l->file, role, 0);
	if (chan >= NO_ROOM) {
		lose(LOSS_PAGE, 1);
		return 0;
	}
	e = edge_at(edge_row_of(chan, 0, role));
	if (!e) {
		lose(LOSS_PAGE, 1);
		return 0;
	}
	if (is_first_touch(e->chan, ts->proc_id, l->page, role)) {
		mem_called(chan, l->file);
		e->pages++;
		e->last_ns = bpf_jiffies64();
		from = page_writer(e->chan, l->page);
		if (role == ROLE_READ && from && from != ts->proc_id)
			page_seen(e->chan, from, ts->proc_id);
	}
	if (role == ROLE_WRITE)
		page_written(e->chan, ts->proc_id, l->page);
	return 0;
}

static __always_inline bool is_in_span(const struct mem_spans *m, __u64 addr)
{
	for (int i = 0; i < MEM_SPANS; i++)
		if (addr >= m->span[i].start && addr < m->span[i].end)
			return true;
	return false;
}

/* Most programs share nothing about there: they leave at the first look-up, before any helper is called. */
static __always_inline bool may_be_shared(__u64 addr)
{
	__u32 *spans = spans_about(addr);
	struct task_state *ts;
	struct mem_spans *m;

	if (!spans || !*spans)
		return false;
	ts = state_of(bpf_get_current_task_btf());
	m = ts ? spans_of(ts) : NULL;
	return m && is_in_span(m, addr);
}

/* Where both of these go on: the verifier needs its time for this once. */
SEC("tp_btf/page_fault_user")
int BPF_PROG(on_touch, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	return mem_touched(addr, error & FAULT_WRITE ? ROLE_WRITE : ROLE_READ);
}

SEC("tp_btf/page_fault_user")
int BPF_PROG(on_fault_user, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	if (may_be_shared(addr))
		bpf_tail_call_static(ctx, &on_fault, 0);
	return 0;
}

/* The kernel on behalf of the process: read() into shared memory, write() out of it. */
SEC("tp_btf/page_fault_kernel")
int BPF_PROG(on_fault_kernel, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	if (may_be_shared(addr))
		bpf_tail_call_static(ctx, &on_fault, 0);
	return 0;
}

/* --- calls --- */

/* One more call on the channel, which has returned. */
static __always_inline void attached(struct task_state *ts, __u32 chan, __u64 file, long ret)
{
	struct chan_row *c = chan_at(chan);
	struct edge_row *e;
	__u32 row;

	ts->seen++;
	if (chan >= NO_ROOM || !c) {
		lose(LOSS_NO_CHAN, 1);
		return;
	}
	row = edge_row_of(chan, 0, ROLE_ATTACH);
	e = edge_at(row);
	if (!e) {
		lose(LOSS_NO_EDGE, 1);
		return;
	}
	c->capacity = mem_size(file);
	e->last_ns = bpf_jiffies64();
	if (ret < 0) {
		edge_failed(row, ret, 0);
		return;
	}
	e->ops++;
	attachments(c->id, ts->proc_id, true);
}

/* There is a new mapping at that address, perhaps a shared one. origin: if that is known of it, or 0. */
static __noinline int mem_mapped(__u64 addr, __u32 counts, __u32 flags, __u64 origin)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct vma_look *l = vma_look_in(KEY_CALL);
	__u32 chan;
	bool found;

	if (!ts || !l)
		return 0;
	l->origin = origin;
	found = mem_find(addr, KEY_CALL, VMA_MANY);
	l->origin = 0;
	if (!found) {
		/* It may be that long. */
		span_add(ts->proc, ts->proc_id, addr, SPAN_OPEN, 0);
		lose(LOSS_PAGE, 1);
		return 0;
	}
	if (!l->file)
		return 0;
	span_add(ts->proc, ts->proc_id, l->seen.start, l->seen.end,
		 MEM_ORIGIN(l->seen.page, l->seen.start));
	chan = chan_of_scratch(KEY_CALL, l->file, ROLE_ATTACH, 0);
	chan_mapped(chan, l->seen.flags, flags);
	if (!counts)
		return 0;
	attached(ts, chan, l->file, 0);
	mem_called(chan, l->file);
	return 0;
}

/* What there is to be seen of memory that was mapped before: of channels that are known. */
static long span_look_step(__u32 i, void *ctx)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct mem_spans *m = ts ? spans_of(ts) : NULL;
	struct vma_look *l = vma_look_in(KEY_CALL);
	struct chan_key *key = key_in(KEY_CALL);
	struct mem_span *at;
	__u64 n = i;
	__u32 *row;

	if (!m || !l || !key)
		return 1;
	/* In the very register that is added, where the compiler must not drop it. */
	asm volatile("%0 &= %1" : "+r"(n) : "i"(MEM_SPANS - 1));
	at = &m->span[n];
	if (at->end <= at->start)
		return 0;
	if (!mem_find(at->start, KEY_CALL, VMA_MANY) || !l->file)
		return 0;
	row = bpf_map_lookup_elem(&chan_rows, key);
	if (row)
		chan_mapped(*row, l->seen.flags, 0);
	return 0;
}

static __always_inline int mmap_failed(struct task_state *ts, struct pt_regs *regs, long ret)
{
	__u64 file = file_of(bpf_get_current_task_btf(), call_arg(regs, 4)), inode;
	struct chan_key key = {};

	if (call_arg(regs, 3) & MAP_ANONYMOUS || !file || file_type(file) != S_IFREG >> 12)
		return 0;
	inode = PEEK_ADDR(struct file, file, f_inode);
	if (mem_key_of(file, inode, &key) != MECH_NONE)
		attached(ts, chan_get(&key, file, ROLE_ATTACH, 0), file, ret);
	return 0;
}

static __always_inline bool is_error(long ret)
{
	return ret < 0 && ret > -4096;
}

/* Of memory that has just been mapped; what has no file is mapped from its beginning. */
static __always_inline __u64 mmap_origin(struct pt_regs *regs, __u64 addr)
{
	__u64 offset = call_arg(regs, 3) & MAP_ANONYMOUS ? 0 : call_arg(regs, 5);

	return MEM_ORIGIN(offset >> MEM_PAGE_SHIFT, addr);
}

/*
 * Another thread may have mapped something there by now, before it is seen here that the memory was
 * unmapped, and have found that there is a span for it. If it comes only now, it finds one in doubt, and
 * makes one of its own.
 */
static long span_drop_step(__u32 i, struct span_step *s)
{
	struct mem_spans *m = bpf_map_lookup_elem(&mem_spans, &s->proc);
	struct mem_span *at = m ? span_at(m, i) : NULL;
	__u64 start, end, doubt;
	bool shared;

	if (!at)
		return 1;
	end = *(volatile __u64 *)&at->end;
	doubt = end | SPAN_IN_DOUBT;
	if (end == doubt || at->start < s->start || end > s->end || !end ||
	    __sync_val_compare_and_swap(&at->end, end, doubt) != end)
		return 0;
	start = at->start;
	shared = vma_any_shared(start, end, KEY_CALL);
	if (__sync_val_compare_and_swap(&at->end, doubt, shared ? end : 0) == doubt && !shared)
		span_counts(start, end, -1);
	return 0;
}

/* What lay in that range is shared no more. */
static __always_inline void span_drop(__u32 proc, __u64 start, __u64 end)
{
	struct span_step s = { .proc = proc, .start = start, .end = end };

	bpf_loop(MEM_SPANS, span_drop_step, &s, 0);
}

/* A call that maps or unmaps memory has returned. */
int mem_call(__u32 kind, __s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct task_state *ts = cfg.mechs & MECHS_MEMORY ? state_of(task) : NULL;
	struct mem_spans *m;

	if (!ts || call_is_compat(task))
		return 0;
	switch (kind) {
	case KIND_mmap:
		if (!mmap_is_shared(regs))
			return 0;
		if (is_error(ret))
			return mmap_failed(ts, regs, ret);
		return mem_mapped(ret, 1, call_arg(regs, 3) & MAP_POPULATE ? CHAN_POPULATED : 0,
				  mmap_origin(regs, ret));
	case KIND_shmat:
		return is_error(ret) ? 0 : mem_mapped(ret, 1, 0, MEM_ORIGIN(0, (__u64)ret));
	}
	m = spans_of(ts);
	if (!m || is_error(ret))
		return 0;
	switch (kind) {
	case KIND_mremap:
		return mem_mapped(ret, 0, 0, 0);
	case KIND_mlock:
		return mem_mapped(call_arg(regs, 0), 0, 0, 0);
	case KIND_mlockall:
		bpf_loop(MEM_SPANS, span_look_step, NULL, 0);
		break;
	case KIND_madvise:
		if (!madvise_tells(regs))
			return 0;
		return mem_mapped(call_arg(regs, 0), 0,
				  call_arg(regs, 2) == MADV_HUGEPAGE ? 0 : CHAN_POPULATED, 0);
	case KIND_munmap:
		span_drop(ts->proc, call_arg(regs, 0), call_arg(regs, 0) + call_arg(regs, 1));
		break;
	}
	return 0;
}
