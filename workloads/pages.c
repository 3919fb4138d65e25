/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared memory whose pages are touched unseen: huge ones, and what is mapped whole at once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>

#include "memory_use.h"

#define SEED 17
#define PAGE 4096

/* ---- huge pages ---- */

#define HUGE (2UL << 20)
#define HUGE_PAGES 4
#define OVERCOMMIT "/proc/sys/vm/nr_overcommit_hugepages"

/* Pages that are made when they are needed; returns how many could be before. */
static long allow_huge(long more)
{
	FILE *f = fopen(OVERCOMMIT, "r+e");
	long was;

	if (!f || fscanf(f, "%ld", &was) != 1)
		skip("no huge pages here");
	rewind(f);
	if (fprintf(f, "%ld", was + more) < 0 || fclose(f))
		skip("%s: %s", OVERCOMMIT, strerror(errno));
	return was;
}

/* One byte of a huge page; which one does not matter. */
static volatile char *huge_at(const struct mem *m, uint32_t page, size_t offset)
{
	return m->at + page * HUGE + offset;
}

static struct mem huge_attach(const struct shared *s, int prot)
{
	struct mem m;

	if (s->kind == KIND_SHM) {
		mem__shmat(&m, s->chan, s->id, prot & PROT_WRITE ? 0 : SHM_RDONLY);
		return m;
	}
	x_mmap(&m, &s->e, HUGE_PAGES * HUGE, prot, 0);
	die_if(m.at == MAP_FAILED, "mmap: %s", strerror(errno));
	return m;
}

static void huge_writer(void *arg)
{
	const struct shared *s = arg;
	struct mem m = huge_attach(s, PROT_READ | PROT_WRITE);

	for (uint32_t i = 0; i < HUGE_PAGES; i += 2) {
		*huge_at(&m, i, 5 * PAGE) = 1;
		*huge_at(&m, i, 7 * PAGE) = 1;
		edge__mine(s->chan, ROLE_WRITE)->pages++;
	}
}

static void huge_reader(void *arg)
{
	const struct shared *s = arg;
	struct mem m = huge_attach(s, PROT_READ);

	/* Another place of a page that was written, and a page that was not. */
	for (uint32_t i = 0; i < 2; i++) {
		die_if(*huge_at(&m, i, 9 * PAGE), "page %u is not zero", i);
		edge__mine(s->chan, ROLE_READ)->pages++;
	}
	flow__add_pages(1, self, s->chan, 1);
}

static struct shared huge_make(enum memory_kind kind)
{
	struct shared s = { .kind = kind, .e.fd = -1 };
	int fd;

	if (kind == KIND_SHM) {
		s.chan = shm__make_huge("m0", HUGE_PAGES * HUGE, &s.id);
		return s;
	}
	fd = memfd_create("huge", MFD_HUGETLB | MFD_CLOEXEC);
	if (fd < 0)
		skip("memfd_create with huge pages: %s", strerror(errno));
	s.chan = chan__new("m0", "memfd", fd, NULL);
	snprintf(arena->chans[s.chan].label, sizeof(arena->chans[s.chan].label), "memfd:huge");
	die_if(ftruncate(fd, HUGE_PAGES * HUGE), "ftruncate: %s", strerror(errno));
	arena->chans[s.chan].capacity = HUGE_PAGES * HUGE;
	end__init(&s.e, fd, s.chan);
	return s;
}

static void run_huge(void)
{
	long was = allow_huge(HUGE_PAGES);
	struct shared s = huge_make(arg_is("of", "shm") ? KIND_SHM : KIND_MEMFD);

	arena->chans[s.chan].page_size = HUGE;
	snprintf(arena->chans[s.chan].unseen, sizeof(arena->chans[s.chan].unseen), "huge");
	proc__wait(proc__spawn("writer", huge_writer, &s));
	proc__wait(proc__spawn("reader", huge_reader, &s));
	if (s.kind == KIND_SHM)
		die_if(shmctl(s.id, IPC_RMID, NULL), "IPC_RMID: %s", strerror(errno));
	else
		close(s.e.fd);
	allow_huge(was - allow_huge(0));
}

/* ---- huge pages that are made of what was asked for as small ones ---- */

static bool is_advised(void)
{
	char text[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");

	if (f) {
		if (!fgets(text, sizeof(text), f))
			text[0] = '\0';
		fclose(f);
	}
	return strstr(text, "[advise]") || strstr(text, "[always]");
}

/* At an address that huge pages can be at. */
static struct mem advised_attach(const struct shared *s, int prot)
{
	char *room =
		mmap(NULL, (HUGE_PAGES + 1) * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mem m = { .chan = s->chan };

	die_if(room == MAP_FAILED, "mmap: %s", strerror(errno));
	room += HUGE - (uintptr_t)room % HUGE;
	m.at = mmap(room, HUGE_PAGES * HUGE, prot, MAP_SHARED | MAP_FIXED, s->e.fd, 0);
	die_if(m.at == MAP_FAILED, "mmap: %s", strerror(errno));
	edge__count(edge__mine(s->chan, ROLE_ATTACH), false, 0, 0);
	die_if(madvise(m.at, HUGE_PAGES * HUGE, MADV_HUGEPAGE), "madvise: %s", strerror(errno));
	return m;
}

static long faults(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return use.ru_minflt;
}

/* One access, and whether the kernel had to map the page for it. */
static bool advised_touch(struct mem *m, uint32_t page, size_t offset, bool write)
{
	volatile char *at = huge_at(m, page, offset);
	long before = faults();

	if (write)
		*at = 1;
	else
		(void)*at;
	return faults() != before;
}

static void advised_writer(void *arg)
{
	const struct shared *s = arg;
	struct mem m = advised_attach(s, PROT_READ | PROT_WRITE);
	struct edge *e = edge__mine(s->chan, ROLE_WRITE);
	uint32_t silent = 0;

	faults();
	for (uint32_t i = 0; i < HUGE_PAGES; i += 2) {
		/* The first touch of each is seen, and is the one that another process reads. */
		die_if(!advised_touch(&m, i, 0, true), "page %u was there", i);
		e->pages++;
		for (uint32_t k = 1; k < 4; k++) {
			bool seen = advised_touch(&m, i, k * HUGE / 4, true);

			e->pages += seen;
			silent += !seen;
		}
	}
	arena->scratch[0] = silent;
}

static void advised_reader(void *arg)
{
	const struct shared *s = arg;
	struct mem m = advised_attach(s, PROT_READ);

	faults();
	die_if(!advised_touch(&m, 0, 0, false), "page 0 was there");
	edge__mine(s->chan, ROLE_READ)->pages++;
	flow__add_pages(1, self, s->chan, 1);
}

static void run_advised(void)
{
	struct shared s = { .kind = KIND_MEMFD, .e.fd = memfd_create("thp", MFD_CLOEXEC) };

	if (!is_advised())
		skip("shmem_enabled of transparent huge pages is neither advise nor always");
	die_if(s.e.fd < 0, "memfd_create: %s", strerror(errno));
	s.chan = chan__new("m0", "memfd", s.e.fd, NULL);
	snprintf(arena->chans[s.chan].label, sizeof(arena->chans[s.chan].label), "memfd:thp");
	snprintf(arena->chans[s.chan].unseen, sizeof(arena->chans[s.chan].unseen), "huge");
	die_if(ftruncate(s.e.fd, HUGE_PAGES * HUGE), "ftruncate: %s", strerror(errno));
	arena->chans[s.chan].capacity = HUGE_PAGES * HUGE;
	end__init(&s.e, s.e.fd, s.chan);
	proc__wait(proc__spawn("writer", advised_writer, &s));
	if (!arena->scratch[0])
		skip("the kernel made no huge page");
	proc__wait(proc__spawn("reader", advised_reader, &s));
	close(s.e.fd);
}

/* ---- mapped whole ---- */

static void whole_writer(void *arg)
{
	const struct shared *s = arg;
	size_t size = arena->chans[s->chan].capacity;
	struct mem m;

	/* What is mapped from then on. */
	if (arg_is("by", "mlockall-before"))
		die_if(mlockall(MCL_FUTURE), "mlockall: %s", strerror(errno));
	x_mmap(&m, &s->e, size, PROT_READ | PROT_WRITE,
	       arg_is("by", "populate") ? MAP_POPULATE
	       : arg_is("by", "locked") ? MAP_LOCKED
					: 0);
	die_if(m.at == MAP_FAILED, "mmap: %s", strerror(errno));
	if (arg_is("by", "mlock"))
		die_if(mlock(m.at, size), "mlock: %s", strerror(errno));
	if (arg_is("by", "mlockall"))
		die_if(mlockall(MCL_CURRENT), "mlockall: %s", strerror(errno));
	if (arg_is("by", "madvise"))
		die_if(madvise(m.at, size, MADV_POPULATE_WRITE), "madvise: %s", strerror(errno));
	/* Nobody sees that. */
	for (uint32_t i = 0; i < m.places; i++)
		*(volatile uint64_t *)(m.at + i * PLACE_SIZE) = mem__value(i, SEED);
}

static void run_whole(void)
{
	struct shared s = shared__make(KIND_POSIXSHM, "m0", 4);
	struct mem m;

	snprintf(arena->chans[s.chan].unseen, sizeof(arena->chans[s.chan].unseen), "populated");
	proc__wait(proc__spawn("writer", whole_writer, &s));
	m = shared__attach(&s, true);
	for (uint32_t i = 0; i < m.places; i++)
		mem__expect(&m, i, SEED);
	shared__remove(&s);
}

const struct factory pages_factories[] = {
	{
		.name = "memfd-huge",
		.help = "huge pages: one writes some, another reads other places of them",
		.params = { COMMON_PARAMS, { "of", "memfd", "memfd|shm", 0, 0, "what has them" } },
		.selftest = "of=memfd;of=shm",
		.run = run_huge,
	},
	{
		.name = "memfd-advised",
		.help = "small pages that the kernel makes huge ones of, as it was advised to",
		.params = { COMMON_PARAMS },
		.run = run_advised,
	},
	{
		.name = "posixshm-whole",
		.help = "memory that is mapped whole at once, so that writes are not seen",
		.params = { COMMON_PARAMS,
			    { "by", "populate",
			      "populate|locked|mlock|mlockall|mlockall-before|madvise", 0, 0,
			      "how it is mapped" } },
		.selftest = "by=populate;by=mlock",
		.run = run_whole,
	},
	{ .name = NULL }
};
