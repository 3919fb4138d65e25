/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "facts.h"

struct arena *arena;

static void *map_arena(int fd)
{
	void *p = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE,
		       MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	if (p == MAP_FAILED) {
		perror("workload: mmap");
		_exit(1);
	}
	return p;
}

void arena__create(const struct factory *f)
{
	int fd = -1;

	factory = f;
	if (f->exec) {
		fd = memfd_create("workload-facts", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, sizeof(*arena))) {
			perror("workload: memfd");
			_exit(1);
		}
	}
	arena = map_arena(fd);
	arena->fd = fd;
	if (mapped_file(arena, &arena->dev, &arena->ino)) {
		fprintf(stderr, "workload: cannot read /proc/self/maps\n");
		_exit(1);
	}
	for (int r = 0; r < NR_ROLES; r++)
		arena->totals[r].blocked = arena->totals[r].blocked_ns_min = UNKNOWN;
}

void arena__attach(int fd)
{
	arena = map_arena(fd);
}

void arena__free(void)
{
	if (arena && arena->fd >= 0)
		close(arena->fd);
	if (arena)
		munmap(arena, sizeof(*arena));
	arena = NULL;
}

int mapped_file(const void *at, uint64_t *dev, uint64_t *ino)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, inode;
	unsigned int major, minor;
	char line[PATH_MAX + 128];
	int err = -ENOENT;

	while (maps && err && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %*x %x:%x %lu", &start, &end, &major, &minor,
			   &inode) != 5 ||
		    start > (unsigned long)at || end <= (unsigned long)at)
			continue;
		*dev = makedev(major, minor);
		*ino = inode;
		err = 0;
	}
	if (maps)
		fclose(maps);
	return err;
}

int chan__add(const char *name, const char *mechanism, uint64_t dev, uint64_t ino)
{
	struct chan *c;
	int chan;

	if (arena->totals_only) {
		__atomic_fetch_add(&arena->total_chans, 1, __ATOMIC_RELAXED);
		return 0;
	}
	chan = __atomic_fetch_add(&arena->nr_chans, 1, __ATOMIC_SEQ_CST);
	die_if(chan >= MAX_CHANS, "more than %d channels", MAX_CHANS);
	c = &arena->chans[chan];
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->mechanism, sizeof(c->mechanism), "%s", mechanism);
	c->dev = dev;
	c->ino = ino;
	c->capacity = c->highwater = c->key = UNKNOWN;
	c->capacity_messages = c->highwater_messages = UNKNOWN;
	return chan;
}

int chan__new(const char *name, const char *mechanism, int fd, const char *path)
{
	struct stat st;
	int chan;

	die_if(fstat(fd, &st), "fstat: %s", strerror(errno));
	chan = chan__add(name, mechanism, st.st_dev, st.st_ino);
	if (arena->totals_only)
		return chan;
	snprintf(arena->chans[chan].path, PATH_MAX, "%s", path ? path : "");
	arena->chans[chan].capacity = fcntl(fd, F_GETPIPE_SZ);
	return chan;
}

void conn__set_end(int chan, int end, int fd)
{
	struct stat st;

	if (arena->totals_only)
		return;
	die_if(fstat(fd, &st), "fstat: %s", strerror(errno));
	arena->chans[chan].ends[end] = st.st_ino;
}

int conn__new(const char *name, const char *mechanism, int fd)
{
	int chan = chan__add(name, mechanism, 0, 0);

	if (!arena->totals_only)
		arena->chans[chan].two_ends = 1;
	conn__set_end(chan, 0, fd);
	return chan;
}

struct edge *edge__get(int proc, int chan, enum role role)
{
	return edge__at(proc, chan, role, 0);
}

/* Two processes never make the same edge; the threads of one are locked by the caller. */
struct edge *edge__at(int proc, int chan, enum role role, uint32_t end)
{
	uint32_t n = __atomic_load_n(&arena->nr_edges, __ATOMIC_SEQ_CST);
	struct edge *e;

	for (uint32_t i = 0; i < n && i < MAX_EDGES; i++) {
		e = &arena->edges[i];
		if (__atomic_load_n(&e->ready, __ATOMIC_SEQ_CST) && e->proc == proc &&
		    e->chan == chan && e->role == role && e->end == end)
			return e;
	}
	n = __atomic_fetch_add(&arena->nr_edges, 1, __ATOMIC_SEQ_CST);
	die_if(n >= MAX_EDGES, "more than %d edges", MAX_EDGES);
	e = &arena->edges[n];
	*e = (struct edge){ .proc = proc,
			    .chan = chan,
			    .role = role,
			    .end = end,
			    .blocked = UNKNOWN,
			    .blocked_ns_min = UNKNOWN };
	__atomic_store_n(&e->ready, 1, __ATOMIC_SEQ_CST);
	return e;
}

void edge__tag(struct edge *e, int64_t tag)
{
	uint32_t i = 0;

	while (i < e->nr_tags && e->tags[i].tag != tag)
		i++;
	die_if(i == MAX_TAGS, "more than %d types or priorities on one edge", MAX_TAGS);
	if (i == e->nr_tags)
		e->nr_tags++;
	e->tags[i].tag = tag;
	e->tags[i].n++;
}

static void count_error(struct edge *e, int err)
{
	for (int i = 0; i < MAX_ERRNOS; i++) {
		int32_t none = 0;

		if (__atomic_compare_exchange_n(&e->errors[i].err, &none, err, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
		    none == err) {
			__atomic_fetch_add(&e->errors[i].n, 1, __ATOMIC_RELAXED);
			return;
		}
	}
	die("more than %d kinds of errors on one edge", MAX_ERRNOS);
}

void edge__count(struct edge *e, bool nonblock, long ret, int err)
{
	if (nonblock)
		__atomic_fetch_add(&e->nonblocking, 1, __ATOMIC_RELAXED);
	if (ret < 0) {
		count_error(e, err);
		return;
	}
	__atomic_fetch_add(&e->ops, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&e->bytes, ret, __ATOMIC_RELAXED);
}

void flow__add(int from, int to, int chan, uint64_t bytes, bool shared)
{
	uint32_t n = __atomic_fetch_add(&arena->nr_flows, 1, __ATOMIC_SEQ_CST);

	die_if(n >= MAX_FLOWS, "more than %d flows", MAX_FLOWS);
	arena->flows[n] = (struct flow){
		.from = from, .to = to, .chan = chan, .shared = shared, .bytes = bytes
	};
}

void flow__add_shared_ops(int from, int to, int chan, uint64_t ops, bool shared)
{
	uint32_t n = __atomic_fetch_add(&arena->nr_flows, 1, __ATOMIC_SEQ_CST);

	die_if(n >= MAX_FLOWS, "more than %d flows", MAX_FLOWS);
	arena->flows[n] =
		(struct flow){ .from = from, .to = to, .chan = chan, .shared = shared, .ops = ops };
}

void flow__add_ops(int from, int to, int chan, uint64_t ops)
{
	flow__add_shared_ops(from, to, chan, ops, false);
}

void flow__add_pages(int from, int to, int chan, uint64_t pages)
{
	uint32_t n = __atomic_load_n(&arena->nr_flows, __ATOMIC_SEQ_CST);

	for (uint32_t i = 0; i < n && i < MAX_FLOWS; i++) {
		struct flow *f = &arena->flows[i];

		if (f->to == to && f->from == from && f->chan == chan && f->pages) {
			f->pages += pages;
			return;
		}
	}
	n = __atomic_fetch_add(&arena->nr_flows, 1, __ATOMIC_SEQ_CST);
	die_if(n >= MAX_FLOWS, "more than %d flows", MAX_FLOWS);
	arena->flows[n] = (struct flow){ .from = from, .to = to, .chan = chan, .pages = pages };
}

/* ---- what follows from the counts, and whether it is consistent ---- */

static uint64_t edge__failed(const struct edge *e)
{
	uint64_t n = 0;

	for (int i = 0; i < MAX_ERRNOS; i++)
		n += e->errors[i].n;
	return n;
}

static int wrong(const char *what, const char *name)
{
	fprintf(stderr, "workload: %s: inconsistent facts: %s: %s\n", factory->name, name, what);
	return 1;
}

/* Messages can be empty. */
static bool moved(const struct edge *e)
{
	return e->bytes || e->nr_tags;
}

/* Who moved bytes in this role; the last one's index in *one. */
static int movers(int chan, enum role role, uint32_t end, int *one, uint64_t *bytes)
{
	int n = 0;

	*bytes = 0;
	for (uint32_t i = 0; i < arena->nr_edges; i++) {
		const struct edge *e = &arena->edges[i];

		if (e->chan != chan || e->role != role || e->end != end || !moved(e))
			continue;
		*bytes += e->bytes;
		*one = e->proc;
		n++;
	}
	return n;
}

/* One end alone: the flows are plain, each mover's own bytes from or to it. */
static void plain_flows(int chan, enum role many, uint32_t end, int one)
{
	int from, to;

	for (uint32_t i = 0; i < arena->nr_edges; i++) {
		const struct edge *e = &arena->edges[i];

		if (e->chan != chan || e->role != many || e->end != end || !moved(e))
			continue;
		from = many == ROLE_READ ? one : e->proc;
		to = many == ROLE_READ ? e->proc : one;
		if (e->bytes)
			flow__add(from, to, chan, e->bytes, false);
		else
			flow__add_ops(from, to, chan, e->ops);
	}
}

/* One direction of a channel: from an end to an end. told: its flows are known already. */
static void finish_lane(int chan, uint32_t from, uint32_t to, bool told, uint64_t sums[2])
{
	int writer = -1, reader = -1, writers, readers;
	uint64_t written, read;

	writers = movers(chan, ROLE_WRITE, from, &writer, &written);
	readers = movers(chan, ROLE_READ, to, &reader, &read);
	sums[0] += written;
	sums[1] += read;
	if (!told && writers == 1)
		plain_flows(chan, ROLE_READ, to, writer);
	else if (!told && readers == 1 && !arena->chans[chan].leftover &&
		 !arena->chans[chan].truncated)
		plain_flows(chan, ROLE_WRITE, from, reader);
}

static int check_flows(int chan, uint64_t read)
{
	uint64_t flown = 0;

	for (uint32_t i = 0; i < arena->nr_flows; i++)
		if (arena->flows[i].chan == chan)
			flown += arena->flows[i].bytes;
	return flown == read
		       ? 0
		       : wrong("flows do not add up to what was read", arena->chans[chan].name);
}

/* Signals have no bytes. Memory: nothing is used up by reading it, and what was touched says where it came from. */
static bool has_no_balance(const struct chan *c)
{
	static const char *const kinds[] = { "signal",   "eventfd", "pty",  "netlink", "shm",
					     "posixshm", "memfd",   "mmap", "vm",      "file" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(c->mechanism, kinds[i]))
			return true;
	return false;
}

static int finish_channel(int chan)
{
	const struct chan *c = &arena->chans[chan];
	uint64_t sums[2] = { 0 }; /* written, read */
	bool told = false;
	int bad = 0;

	if (has_no_balance(c))
		return 0;
	for (uint32_t i = 0; i < arena->nr_flows; i++)
		told |= arena->flows[i].chan == chan;
	finish_lane(chan, 0, c->two_ends, told, sums);
	if (c->two_ends)
		finish_lane(chan, 1, 0, told, sums);
	if (!c->to_all && sums[0] != sums[1] + c->leftover + c->truncated)
		bad += wrong("written is not read + left over + cut off", c->name);
	/* Of UDP it is memory, not bytes. */
	if (strcmp(c->mechanism, "udp") &&
	    ((c->capacity >= 0 && c->highwater > c->capacity) || c->highwater > (int64_t)sums[0]))
		bad += wrong("more bytes in it than fit", c->name);
	return bad + check_flows(chan, sums[1]);
}

static int finish_edge(struct edge *e)
{
	uint64_t calls = e->ops + edge__failed(e);
	const char *name = arena->procs[e->proc].name;

	if (e->nonblocking > calls || (!e->ops && e->bytes))
		return wrong("more of a kind than calls", name);
	if (e->nonblocking == calls && calls && e->blocked == UNKNOWN)
		e->blocked = 0;
	if (e->blocked != UNKNOWN && (uint64_t)e->blocked > calls - e->nonblocking)
		return wrong("more calls slept than could", name);
	return 0;
}

int facts__finish(void)
{
	int bad = 0;

	if (arena->totals_only) {
		if (arena->totals[ROLE_READ].bytes != arena->totals[ROLE_WRITE].bytes)
			bad += wrong("written is not read", "totals");
		return bad;
	}
	for (uint32_t i = 0; i < arena->nr_edges; i++)
		bad += finish_edge(&arena->edges[i]);
	for (uint32_t i = 0; i < arena->nr_chans; i++)
		bad += finish_channel(i);
	return bad;
}
