// SPDX-License-Identifier: BSD-2-Clause
/*
 * --shm-sample: which pages of shared memory are touched after the first time, when nothing faults any
 * more. At each look the kernel side tells what the processor has marked in the page tables of a
 * process (bpf/sample.bpf.h), and then the marks are cleared through /proc/PID/clear_refs: those of
 * files, which all shared memory is, and the soft-dirty ones with the cached translations.
 *
 * A page counts only if it was there at the look before, and mapped as it is now: when a page is read
 * first, the kernel maps its neighbours as if they were touched, too. What is touched between a look
 * and the clearing is missed: whatever is counted happened, but not all that happened is counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "map.h"
#include "tracer_priv.h"
#include "util.h"

/* One table of pages, as it was at the last look. */
struct block {
	uint64_t present[MARKED_WORDS], dirty[MARKED_WORDS];
	uint64_t attached;
	uint32_t shift;
};

/* What a process did to a channel since. */
struct tally {
	uint32_t chan, chan_row;
	uint64_t pages[ROLE_ATTACH + 1]; /* ROLE_ATTACH: written or read, that is not known */
};

struct sampler {
	struct map known, now; /* blocks by process and channel, and address */
	struct marked_pages *looks; /* of one process */
	size_t nr_looks, max_looks;
	struct tally *tallies;
	size_t nr_tallies, max_tallies;
	uint64_t due, since; /* the last look */
	bool soft_dirty; /* this kernel has it */
	bool told;
};

static struct sampling *sampling_of(const struct tracer *t, struct sampling *s)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(bpf_map__fd(t->snap->maps.sampling), &zero, s) ? NULL : s;
}

static int set_sampling(const struct tracer *t, const struct sampling *s)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(bpf_map__fd(t->snap->maps.sampling), &zero, s, 0);
}

static void forget(struct map *m)
{
	for (size_t i = 0; i < m->size; i++)
		free(m->slots[i].value);
	map__free(m);
	memset(m, 0, sizeof(*m));
}

/* A page that was just written says so, where the kernel knows such a thing. */
static bool has_soft_dirty(void)
{
	long size = sysconf(_SC_PAGESIZE);
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile char *page =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd >= 0 && page != MAP_FAILED) {
		*page = 1;
		if (pread(fd, &entry, sizeof(entry), (uintptr_t)page / size * sizeof(entry)) < 0)
			entry = 0;
	}
	if (page != MAP_FAILED)
		munmap((void *)page, size);
	if (fd >= 0)
		close(fd);
	return entry >> 55 & 1;
}

/* --- looking --- */

static int open_look(struct bpf_program *prog, uint32_t pid, struct bpf_link **link)
{
	union bpf_iter_link_info info = { .task = { .tid = pid } };
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));

	*link = bpf_program__attach_iter(prog, &opts);
	return *link ? bpf_iter_create(bpf_link__fd(*link)) : -errno;
}

static int room_for_looks(struct sampler *s)
{
	struct marked_pages *more;

	if (s->max_looks - s->nr_looks >= 128)
		return 0;
	more = realloc(s->looks, (2 * s->max_looks + 256) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	s->looks = more;
	s->max_looks = 2 * s->max_looks + 256;
	return 0;
}

/* Runs one of the iterators for one process, to its end. */
static int look(struct sampler *s, struct bpf_program *prog, uint32_t pid)
{
	struct bpf_link *link;
	int fd = open_look(prog, pid, &link), err = fd < 0 ? fd : 0;
	size_t have = 0;
	ssize_t n = 1;

	while (!err && n) {
		err = room_for_looks(s);
		if (err)
			break;
		n = read(fd, (char *)&s->looks[s->nr_looks] + have,
			 (s->max_looks - s->nr_looks) * sizeof(*s->looks) - have);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			err = -errno;
		if (n <= 0)
			continue;
		have += n;
		s->nr_looks += have / sizeof(*s->looks);
		have %= sizeof(*s->looks);
	}
	if (fd >= 0)
		close(fd);
	bpf_link__destroy(link);
	return err;
}

/* All that a process has mapped; large mappings take several times. */
static int look_through(struct tracer *t, uint32_t pid)
{
	struct sampler *s = t->sampler;
	struct sampling state;
	int err = 0;

	s->nr_looks = 0;
	if (!sampling_of(t, &state))
		return -errno;
	for (state.first = 0, state.more = 1; !err && state.more; state.first += SAMPLE_TABLES) {
		state.more = 0;
		err = set_sampling(t, &state);
		err = err ?: look(s, t->snap->progs.snap_marks, pid);
		if (!err && !sampling_of(t, &state))
			err = -errno;
	}
	if (state.no_base && !s->told && t->opts.warn) {
		s->told = true;
		t->opts.warn(t->opts.ctx, "--shm-sample: the page tables of some processes cannot "
					  "be read: what they touch again is not seen");
	}
	return err;
}

/* --- clearing --- */

/* Of that very process: the directory is of no other that has its number later. */
static bool clear_marks(int proc_dir)
{
	int fd = openat(proc_dir, "clear_refs", O_WRONLY | O_CLOEXEC);
	/* The second one also makes the processor forget what it has cached of the first. */
	bool done = fd >= 0 && write(fd, "3", 1) == 1 && write(fd, "4", 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

/* --- counting --- */

static struct tally *tally_of(struct sampler *s, const struct marked_pages *p)
{
	struct tally *more;

	for (size_t i = 0; i < s->nr_tallies; i++)
		if (s->tallies[i].chan == p->chan)
			return &s->tallies[i];
	if (s->nr_tallies == s->max_tallies) {
		more = realloc(s->tallies, (2 * s->max_tallies + 16) * sizeof(*more));
		if (!more)
			return NULL;
		s->tallies = more;
		s->max_tallies = 2 * s->max_tallies + 16;
	}
	more = &s->tallies[s->nr_tallies++];
	*more = (struct tally){ .chan = p->chan, .chan_row = p->chan_row };
	return more;
}

static void compare(const struct sampler *s, struct tally *t, const struct marked_pages *p,
		    const struct block *was)
{
	for (int i = 0; i < MARKED_WORDS; i++) {
		uint64_t both = p->marks[MARK_PRESENT][i] & was->present[i];
		uint64_t written = p->marks[MARK_DIRTY][i] & ~was->dirty[i];
		uint64_t touched = p->marks[MARK_ACCESSED][i] & both;

		if (s->soft_dirty)
			written |= p->marks[MARK_SOFT_DIRTY][i];
		written &= both;
		t->pages[ROLE_WRITE] += __builtin_popcountll(written);
		/* With soft-dirty marks all that is written is known, and so what is only read. */
		t->pages[s->soft_dirty || p->readonly ? ROLE_READ : ROLE_ATTACH] +=
			__builtin_popcountll(touched & ~written);
	}
}

static uint64_t key_of(const struct marked_pages *p)
{
	return (uint64_t)p->proc << 32 | p->chan;
}

static int remember(struct sampler *s, const struct marked_pages *p)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b || map__put(&s->now, key_of(p), p->addr, b)) {
		free(b);
		return -ENOMEM;
	}
	memcpy(b->present, p->marks[MARK_PRESENT], sizeof(b->present));
	memcpy(b->dirty, p->marks[MARK_DIRTY], sizeof(b->dirty));
	b->attached = p->attached;
	b->shift = p->shift;
	return 0;
}

static void say_tally(struct tracer *t, uint32_t proc, const struct tally *a)
{
	static const enum role roles[] = { ROLE_WRITE, ROLE_READ, ROLE_ATTACH };

	if (t->chans[a->chan_row].id != a->chan)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
		struct rec_edge r = {
			.row = {
				.proc = proc,
				.chan = a->chan,
				.chan_row = a->chan_row,
				.role = roles[i],
				.samples = 1,
				.sampled_pages = a->pages[roles[i]],
				.first_ns = t->sampler->since,
				.last_ns = tracer__now(),
			},
		};

		if (!r.row.sampled_pages)
			continue;
		harvest__say_chan(t, a->chan_row);
		tracer__emit(t, &r.h, REC_EDGE, sizeof(r));
	}
}

static void sample_proc(struct tracer *t, const struct proc_row *p)
{
	struct sampler *s = t->sampler;
	const uint32_t id = p->id;
	char path[32];
	bool cleared;
	int dir;

	snprintf(path, sizeof(path), "/proc/%u", p->pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	if (look_through(t, p->pid) || !s->nr_looks || s->looks[0].proc != id) {
		close(dir);
		return;
	}
	cleared = clear_marks(dir);
	close(dir);
	s->nr_tallies = 0;
	for (size_t i = 0; i < s->nr_looks; i++) {
		const struct marked_pages *l = &s->looks[i];
		const struct block *was = map__get(&s->known, key_of(l), l->addr);
		struct tally *a = tally_of(s, l);

		if (a && was && was->attached == l->attached && was->shift == l->shift)
			compare(s, a, l, was);
		if (cleared)
			remember(s, l);
	}
	for (size_t i = 0; i < s->nr_tallies; i++)
		say_tally(t, id, &s->tallies[i]);
}

static bool shares_memory(const struct tracer *t, uint32_t row)
{
	struct mem_spans m;

	return !bpf_map_lookup_elem(bpf_map__fd(t->skel->maps.mem_spans), &row, &m) && m.nr &&
	       m.proc == t->procs[row].id;
}

void sample__round(struct tracer *t)
{
	const size_t nr = t->engine->used[TABLE_PROCS], max = t->rows[TABLE_PROCS].max;
	struct sampler *s = t->sampler;

	if (!s)
		return;
	for (size_t i = 0; i < nr && i < max; i++)
		if (t->procs[i].id && !(t->procs[i].flags & (PROC_DEAD | PROC_HOLDER)) &&
		    shares_memory(t, i))
			sample_proc(t, &t->procs[i]);
	forget(&s->known);
	s->known = s->now;
	memset(&s->now, 0, sizeof(s->now));
	/* However long it took: never more than half of the time. */
	s->since = tracer__now();
	s->due = s->since + t->opts.sample_ns;
}

void sample__tick(struct tracer *t)
{
	if (t->sampler && tracer__now() >= t->sampler->due)
		sample__round(t);
}

int sample__wait_ms(const struct tracer *t, int at_most)
{
	const uint64_t now = tracer__now();
	uint64_t ms;

	if (!t->sampler)
		return at_most;
	ms = t->sampler->due > now ? (t->sampler->due - now + 999999) / 1000000 : 0;
	return ms < (uint64_t)at_most ? (int)ms : at_most;
}

int sample__start(struct tracer *t)
{
	struct sampling state;
	struct sampler *s;

	if (!t->opts.sample_ns || !(t->opts.mechs & MECHS_MEMORY))
		return 0;
	if (!t->snap || !proc_is_ours())
		return -EOPNOTSUPP;
	s = t->sampler = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->soft_dirty = has_soft_dirty();
	if (look(s, t->snap->progs.snap_base, getpid()) || !sampling_of(t, &state) || !state.base)
		return -EOPNOTSUPP;
	s->since = tracer__now();
	return 0;
}

void sample__free(struct tracer *t)
{
	struct sampler *s = t->sampler;

	if (!s)
		return;
	forget(&s->known);
	forget(&s->now);
	free(s->looks);
	free(s->tallies);
	free(s);
}
