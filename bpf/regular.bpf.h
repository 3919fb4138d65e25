/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Regular files, only with -m file: whose bytes are read. Part of stored.bpf.c.
 *
 * As long as one process alone writes a file, all in it is its, but what was there before. From the
 * second writer on it is kept page by page, and of pages that several have written, part by part. A
 * write that leaves nothing else in the file begins its content anew, and so does truncating.
 */
#ifndef IPCTRACE_REGULAR_BPF_H
#define IPCTRACE_REGULAR_BPF_H

#define FILE_PAGES 65536 /* of one call; beyond, all is "shared" */

/* Rows of files have no ring, and so room for this. */
#define file_life(c) ((c)->first_tail) /* how often its content began anew */
#define file_mixed(c) ((c)->edges_over) /* it has had a second writer since */
#define file_known(c) ((c)->highwater) /* up to where it is known who wrote it */
#define file_top(c) ((c)->found_at[0]) /* and where the last write ends that has returned */
#define file_sum(c) ((c)->found_at[1]) /* how long it is by what writes have returned */

/* Pages of another life are other pages; they are never looked for again. */
#define LIFE_SHIFT 28
#define LIFE_MASK 255

/* So much was in it already. */
static __always_inline void file_found(struct chan_row *c, __u64 size)
{
	c->found_bytes = size;
	file_known(c) = file_top(c) = file_sum(c) = size;
}

static __always_inline __u64 file_page(const struct moved *m, __u64 page)
{
	return (page & ((1ULL << LIFE_SHIFT) - 1)) | m->life;
}

static __always_inline __u32 file_owner(const struct moved *m, __u64 page)
{
	__u32 who = page_writer(m->chan, file_page(m, page));

	return who ? who : page << MEM_PAGE_SHIFT >= m->found ? m->first : 0;
}

/* --- parts of a page --- */

static __always_inline __u32 parts_group(const struct moved *m, __u64 page)
{
	return (page & 0xffffff) | m->life >> LIFE_SHIFT << 24;
}

static __always_inline struct page_part *part_of(struct page_parts *p, __u32 i)
{
	__u64 at = i;

	if (at >= PAGE_PARTS)
		return NULL;
	/* In the very register that is added, where the compiler must not drop it. */
	asm volatile("%0 &= %1" : "+r"(at) : "i"(PAGE_PARTS - 1));
	return &p->part[at];
}

/* A look through the parts of a page, from the newest on. */
struct part_look {
	struct page_key key;
	__u32 nr, at;
	__u32 end; /* up to where it is the same one's */
	__u32 who;
};

static long part_step(__u32 i, struct part_look *l)
{
	struct page_parts *p = bpf_map_lookup_elem(&page_parts, &l->key);
	struct page_part *part = p ? part_of(p, l->nr - 1 - i) : NULL;

	if (!part)
		return 1;
	if (part->start > l->at && part->start < l->end)
		l->end = part->start;
	if (part->start > l->at || part->end <= l->at)
		return 0;
	if (part->end < l->end)
		l->end = part->end;
	l->who = part->writer;
	return 1;
}

/* Whose the bytes at that place of the page are, and in the low half up to where. */
static __noinline __u64 part_at(__u32 chan, __u32 group, __u32 at)
{
	struct part_look l = { .key = { .chan = chan, .group = group }, .at = at };
	struct page_parts *p = bpf_map_lookup_elem(&page_parts, &l.key);

	l.end = 1 << MEM_PAGE_SHIFT;
	l.who = PROC_SHARED;
	if (p && p->nr <= PAGE_PARTS) {
		l.who = p->owner;
		l.nr = p->nr;
		bpf_loop(PAGE_PARTS, part_step, &l, 0);
	}
	return (__u64)l.who << 32 | l.end;
}

/* Is there a part of another's in that range? */
static long overlap_step(__u32 i, struct part_look *l)
{
	struct page_parts *p = bpf_map_lookup_elem(&page_parts, &l->key);
	struct page_part *part = p && i < p->nr ? part_of(p, i) : NULL;

	if (!part)
		return 1;
	if (part->writer == l->who || part->start >= l->end || part->end <= l->at)
		return 0;
	p->nr = PAGE_PARTS + 1;
	return 1;
}

/* The bytes from `at` on to `end` are who's. nr: there are no others in the page. */
static __noinline void part_add(struct part_look *l, __u32 loose)
{
	struct page_parts *p = l ? bpf_map_lookup_elem(&page_parts, &l->key) : NULL;
	struct page_part *part;

	if (!p)
		return;
	if (l->nr && p->nr > PAGE_PARTS / 2)
		p->nr = 0;
	if (loose)
		bpf_loop(PAGE_PARTS, overlap_step, l, 0);
	part = part_of(p, p->nr - 1);
	if (part && part->writer == l->who && part->end == l->at) {
		part->end = l->end;
		return;
	}
	if (p->nr > PAGE_PARTS)
		return;
	part = part_of(p, __sync_fetch_and_add(&p->nr, 1));
	if (!part)
		return;
	part->start = l->at;
	part->end = l->end;
	part->writer = l->who;
}

static __always_inline void parts_begin(const struct page_key *key, __u32 owner)
{
	__u32 zero = 0;
	struct page_parts *p = bpf_map_lookup_elem(&new_parts, &zero);

	if (!p)
		return;
	p->owner = owner;
	/* Another one may have made it just now, and put in its part. */
	bpf_map_update_elem(&page_parts, key, p, BPF_NOEXIST);
}

/* n bytes of the page are written, which was somebody's. */
static __always_inline void page_write(struct moved *m, __u64 page, __u64 n, __u32 was)
{
	struct part_look l = { .key = { m->chan, parts_group(m, page) }, .who = m->proc };

	l.at = m->pos & ((1 << MEM_PAGE_SHIFT) - 1);
	l.end = l.at + n;
	if (was == m->proc)
		return;
	if (n >> MEM_PAGE_SHIFT) {
		if (was == PROC_SHARED)
			bpf_map_delete_elem(&page_parts, &l.key);
		page_written(m->chan, m->proc, file_page(m, page));
		return;
	}
	/* Another one may do the same to the page at this moment: nothing of it may be lost. */
	if (was != PROC_SHARED)
		parts_begin(&l.key, was);
	l.nr = !l.at && m->pos + n >= m->size;
	part_add(&l, m->loose);
	if (was != PROC_SHARED)
		page_written(m->chan, PROC_SHARED, file_page(m, page));
}

/* One page of the call, or of what is read a part of one. */
static long file_step(__u32 i, void *ctx)
{
	__u32 zero = 0, was;
	struct moved *m = bpf_map_lookup_elem(&moving, &zero);
	__u64 page, n, part;

	if (!m || m->pos >= m->end)
		return 1;
	page = m->pos >> MEM_PAGE_SHIFT;
	n = ((page + 1) << MEM_PAGE_SHIFT) - m->pos;
	if (n > m->end - m->pos)
		n = m->end - m->pos;
	was = file_owner(m, page);
	if (m->role == ROLE_WRITE) {
		page_write(m, page, n, was);
		m->pos += n;
		return 0;
	}
	if (was == PROC_SHARED) {
		part = part_at(m->chan, parts_group(m, page), m->pos & ((1 << MEM_PAGE_SHIFT) - 1));
		was = part >> 32;
		part = (page << MEM_PAGE_SHIFT) + (__u32)part - m->pos;
		if (part && part < n)
			n = part;
	}
	if (was != m->from)
		page_credit(m);
	m->from = was;
	m->bytes += n;
	m->pos += n;
	return 0;
}

/* --- calls --- */

static __always_inline void file_begins(struct chan_row *c, __u32 proc)
{
	if (!c->found_bytes && !file_mixed(c) && c->first_writer == proc)
		return;
	file_life(c)++;
	file_known(c) = file_top(c) = file_sum(c) = 0;
	c->found_bytes = 0;
	file_mixed(c) = 0;
	c->first_writer = proc;
	c->flags &= ~CHAN_NO_LEDGER;
}

#define TOP_TRIES 4

/*
 * Calls need not return in the order in which they wrote. Only if those that have returned leave no
 * gap, is it known who wrote all that.
 */
static __always_inline void file_grows(struct chan_row *c, __u64 pos, __u64 end)
{
	__u64 known = file_known(c), top;

	if (end <= known)
		return;
	if (pos < known)
		pos = known;
	for (int i = 0; i < TOP_TRIES; i++) {
		top = file_top(c);
		if (end <= top || __sync_val_compare_and_swap(&file_top(c), top, end) == top)
			break;
	}
	__sync_fetch_and_add(&file_sum(c), end - pos);
	top = *(volatile __u64 *)&file_top(c);
	if (*(volatile __u64 *)&file_sum(c) == top && top > file_known(c))
		file_known(c) = top;
}

/* Who writes where no place is known may have written anywhere. */
static __always_inline void file_written(struct chan_row *c, __u32 proc, __s64 pos, __u64 n,
					 __u64 size)
{
	__u32 first;

	if (!(c->flags & CHAN_WRITABLE))
		c->flags |= CHAN_WRITABLE;
	if (!pos && n >= size) {
		file_begins(c, proc);
		return;
	}
	first = __sync_val_compare_and_swap(&c->first_writer, 0, proc);
	if (pos < 0)
		c->flags |= CHAN_NO_LEDGER;
	else if (!first && pos + n >= size && c->found_bytes > (__u64)pos)
		file_found(c, pos); /* its opening was not seen */
	if (first && first != proc)
		file_mixed(c) = 1;
}

/* Somebody writes to it through memory, at any time. */
static __always_inline bool file_is_mapped(__u64 inode)
{
	__u64 mapping = PEEK_ADDR(struct inode, inode, i_mapping);

	return PEEK(struct address_space, mapping, i_mmap_writable.counter) > 0;
}

/* So many bytes of somebody, who has not been told from others. */
static __always_inline int file_shared(struct moved *m, __u64 n)
{
	m->from = PROC_SHARED;
	m->bytes = n;
	page_credit(m);
	m->from = 0;
	return 0;
}

/* Page by page, as far as they are kept: of a single writer those that were not empty when it came. */
static __always_inline void file_steps(struct chan_row *c, struct moved *m, __u64 end)
{
	__u64 kept = (m->found + (1 << MEM_PAGE_SHIFT) - 1) >> MEM_PAGE_SHIFT << MEM_PAGE_SHIFT;

	m->end = file_mixed(c) || end < kept ? end : kept;
	if (m->pos < m->end)
		bpf_loop(FILE_PAGES, file_step, NULL, 0);
	page_credit(m);
}

static __always_inline void file_given(struct chan_row *c, struct moved *m, __u64 end)
{
	__u64 start = m->pos;

	file_steps(c, m, end);
	if (m->pos < end && file_mixed(c))
		c->flags |= CHAN_NO_LEDGER;
	file_grows(c, start, end);
}

static __always_inline void file_taken(struct chan_row *c, struct moved *m, __u64 end, __u64 inode)
{
	__u64 known = file_known(c);

	if (c->flags & CHAN_NO_LEDGER || file_is_mapped(inode)) {
		file_shared(m, end - m->pos);
		return;
	}
	/* What lies beyond was written by a call that has not returned yet. */
	if (known < end) {
		if (known < m->pos)
			known = m->pos;
		file_shared(m, end - known);
		end = known;
	}
	file_steps(c, m, end);
	if (m->pos >= end)
		return;
	/* The rest at once. */
	m->from = file_mixed(c) ? PROC_SHARED : m->first;
	m->bytes = end - m->pos;
	page_credit(m);
}

/* A call has moved n bytes out of the file or into it. */
int regular_moved(__u32 chan, __u32 role, __u64 n, __u64 file)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct chan_row *c = chan_at(chan);
	__u64 inode = PEEK_ADDR(struct file, file, f_inode);
	struct moved *m;
	__u32 zero = 0;
	__s64 pos; /* -1: nobody knows where */

	m = bpf_map_lookup_elem(&moving, &zero);
	if (!(cfg.mechs & 1U << MECH_FILE) || !ts || !c || !m)
		return 0;
	if (c->key.word == WORD_INOTIFY)
		return role == ROLE_READ ? inotify_read(chan, n) : 0;
	pos = moved_from(role, n, file);
	m->size = PEEK(struct inode, inode, i_size);
	if (role == ROLE_WRITE) {
		file_written(c, ts->proc_id, pos, n, m->size);
		inotify_written(file);
	}
	if (!c->first_writer)
		return 0;
	m->chan = c->id;
	m->proc = ts->proc_id;
	m->role = role;
	m->first = c->first_writer;
	m->found = c->found_bytes;
	m->life = (__u64)(file_life(c) & LIFE_MASK) << LIFE_SHIFT;
	m->from = 0;
	m->bytes = 0;
	m->pos = pos;
	m->loose = file_is_shared(file);
	if (pos < 0)
		return role == ROLE_READ ? file_shared(m, n) : 0;
	if (role == ROLE_READ)
		file_taken(c, m, pos + n, inode);
	else
		file_given(c, m, pos + n);
	return 0;
}

/* Somebody uses it from now on: what it is called is what it was found by last. */
int file_attached(__u32 chan, __u64 file)
{
	struct chan_row *c = chan_at(chan);
	__u32 n;

	if (!(cfg.mechs & 1U << MECH_FILE) || !c || c->key.word)
		return 0;
	file_remember(c, file);
	if (!c->first_writer)
		return 0;
	n = path_names(file + bpf_core_field_offset(struct file, f_path), c->name);
	chan_is_called(c, n);
	return 0;
}

/* It was opened for writing: how much is in it is known from before the first write. */
int file_opened(__u64 file)
{
	struct chan_row *c;
	__u32 chan;

	if (!(cfg.mechs & 1U << MECH_FILE) || !state_of(bpf_get_current_task_btf()))
		return 0;
	chan = chan_row_of(file, ROLE_WRITE, 0);
	c = chan_at(chan);
	if (chan < NO_ROOM && c && !mem_size(file))
		file_begins(c, 0);
	return 0;
}

#endif
