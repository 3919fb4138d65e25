/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

size_t places_size(uint32_t places)
{
	return places * PLACE_SIZE;
}

/* ---- channels ---- */

static void set_size(int fd, int chan, uint32_t places)
{
	die_if(places > MAX_PLACES, "more than %d places", MAX_PLACES);
	die_if(ftruncate(fd, places_size(places)), "ftruncate: %s", strerror(errno));
	arena->chans[chan].capacity = places_size(places);
}

static int shm__chan(const char *name, key_t key, size_t size, const int *id)
{
	struct chan *c;
	struct stat ns;
	int chan;

	die_if(stat("/proc/self/ns/ipc", &ns), "ipc namespace: %s", strerror(errno));
	chan = chan__add(name, "shm", 0, *id);
	c = &arena->chans[chan];
	c->key = (uint32_t)key;
	c->ns = ns.st_ino;
	c->capacity = size;
	return chan;
}

int shm__make(const char *name, key_t key, uint32_t places, int *id)
{
	die_if(places > MAX_PLACES, "more than %d places", MAX_PLACES);
	*id = shmget(key, places_size(places), IPC_CREAT | IPC_EXCL | 0600);
	die_if(*id < 0, "shmget: %s", strerror(errno));
	return shm__chan(name, key, places_size(places), id);
}

int shm__make_huge(const char *name, size_t size, int *id)
{
	*id = shmget(IPC_PRIVATE, size, IPC_CREAT | SHM_HUGETLB | 0600);
	if (*id < 0)
		skip("shmget with huge pages: %s", strerror(errno));
	return shm__chan(name, 0, size, id);
}

/* Ids are numbers of one namespace: another's segment may have the same. */
void memory_cleanup(void)
{
	struct stat ns;

	if (stat("/proc/self/ns/ipc", &ns))
		return;
	for (uint32_t i = 0; i < arena->nr_chans; i++) {
		struct chan *c = &arena->chans[i];

		if (!strcmp(c->mechanism, "shm") && c->ns == ns.st_ino)
			shmctl(c->ino, IPC_RMID, NULL);
	}
}

int posixshm__make(const char *name, const char *file, uint32_t places, struct end *e)
{
	char path[PATH_MAX];
	int fd, chan;

	snprintf(path, sizeof(path), "/dev/shm/%s", file);
	fd = shm_open(file, O_RDWR | O_CREAT | O_EXCL, 0600);
	die_if(fd < 0, "shm_open %s: %s", file, strerror(errno));
	chan = chan__new(name, "posixshm", fd, path);
	set_size(fd, chan, places);
	end__init(e, fd, chan);
	return chan;
}

int memfd__make(const char *name, const char *label, uint32_t places, struct end *e)
{
	int fd = memfd_create(label, 0), chan;
	char path[64];

	die_if(fd < 0, "memfd_create: %s", strerror(errno));
	snprintf(path, sizeof(path), "memfd:%s", label);
	chan = chan__new(name, "memfd", fd, NULL);
	snprintf(arena->chans[chan].label, sizeof(arena->chans[chan].label), "%s", path);
	set_size(fd, chan, places);
	end__init(e, fd, chan);
	return chan;
}

int file__make(const char *name, const char *file, uint32_t places, struct end *e)
{
	char path[PATH_MAX + 64];
	int fd, chan;

	snprintf(path, sizeof(path), "%s/%s", tmpdir(), file);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	die_if(fd < 0, "open %s: %s", path, strerror(errno));
	chan = chan__new(name, "mmap", fd, path);
	set_size(fd, chan, places);
	end__init(e, fd, chan);
	return chan;
}

void memory__open(struct end *e, int chan, int flags)
{
	const char *path = arena->chans[chan].path;
	int fd = open(path, flags | O_CLOEXEC);

	die_if(fd < 0, "open %s: %s", path, strerror(errno));
	end__init(e, fd, chan);
}

void memory__unlink(int chan)
{
	const char *path = arena->chans[chan].path;

	die_if(unlink(path), "unlink %s: %s", path, strerror(errno));
}

/* ---- mapping ---- */

static void mem__init(struct mem *m, void *at, int chan, uint32_t places)
{
	*m = (struct mem){ .at = at, .chan = chan, .places = places, .user = self };
}

void mem__shmat(struct mem *m, int chan, int id, int flags)
{
	void *at = shmat(id, NULL, flags);

	die_if(at == (void *)-1, "shmat: %s", strerror(errno));
	mem__init(m, at, chan, arena->chans[chan].capacity / PLACE_SIZE);
	edge__count(edge__mine(chan, ROLE_ATTACH), false, 0, 0);
}

void mem__shmdt(struct mem *m)
{
	die_if(shmdt(m->at), "shmdt: %s", strerror(errno));
	m->at = NULL;
}

void x_mmap(struct mem *m, const struct end *e, size_t size, int prot, int flags)
{
	void *at = mmap(NULL, size, prot, MAP_SHARED | flags, e->fd, 0);
	int err = errno;

	edge__count(edge__mine(e->chan, ROLE_ATTACH), false, at == MAP_FAILED ? -1 : 0, err);
	mem__init(m, at, e->chan, size / PLACE_SIZE);
	errno = err;
}

void mem__map(struct mem *m, const struct end *e, int prot)
{
	x_mmap(m, e, arena->chans[e->chan].capacity, prot, 0);
	die_if(m->at == MAP_FAILED, "mmap: %s", strerror(errno));
}

int mem__map_new(struct mem *m, const char *name, uint32_t places, int fd)
{
	size_t size = places_size(places);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	uint64_t dev, ino;
	int chan;

	die_if(places > MAX_PLACES, "more than %d places", MAX_PLACES);
	die_if(at == MAP_FAILED, "mmap: %s", strerror(errno));
	die_if(mapped_file(at, &dev, &ino), "not in /proc/self/maps");
	chan = chan__add(name, "mmap", dev, ino);
	arena->chans[chan].capacity = size;
	mem__init(m, at, chan, places);
	edge__count(edge__mine(chan, ROLE_ATTACH), false, 0, 0);
	return chan;
}

void mem__unmap(struct mem *m)
{
	die_if(munmap(m->at, places_size(m->places)), "munmap: %s", strerror(errno));
	m->at = NULL;
}

/* ---- touching ---- */

static uint64_t *place_at(struct mem *m, uint32_t place)
{
	return (uint64_t *)(m->at + place * PLACE_SIZE);
}

/* Is it the first touch of that place in this mapping by this process? */
static bool first_touch(struct mem *m, uint32_t place)
{
	uint64_t bit = 1ULL << place % 64;

	die_if(place >= m->places, "place %u of %u", place, m->places);
	if (m->user != self) {
		m->user = self;
		memset(m->touched, 0, sizeof(m->touched));
	}
	if (m->touched[place / 64] & bit)
		return false;
	m->touched[place / 64] |= bit;
	return true;
}

void mem__write(struct mem *m, uint32_t place, uint64_t value)
{
	if (first_touch(m, place)) {
		edge__mine(m->chan, ROLE_WRITE)->pages++;
		arena->chans[m->chan].writers[place] = self + 1;
	}
	/*
	 * A plain store, and a fence: emulators may do an exchange as a load and then a store, and the
	 * load is then what faults.
	 */
	__atomic_store_n(place_at(m, place), value, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

uint64_t mem__read(struct mem *m, uint32_t place)
{
	int writer = arena->chans[m->chan].writers[place] - 1;

	if (first_touch(m, place)) {
		edge__mine(m->chan, ROLE_READ)->pages++;
		if (writer >= 0 && writer != self)
			flow__add_pages(writer, self, m->chan, 1);
	}
	return __atomic_load_n(place_at(m, place), __ATOMIC_SEQ_CST);
}

uint64_t mem__value(uint32_t place, uint32_t seed)
{
	return 0x9e3779b97f4a7c15ULL * (seed + 1) + place;
}

void mem__expect(struct mem *m, uint32_t place, uint32_t seed)
{
	uint64_t got = mem__read(m, place);

	die_if(got != mem__value(place, seed), "place %u holds %#llx", place,
	       (unsigned long long)got);
}

static sigjmp_buf after_fault;

static void on_fault(int sig)
{
	siglongjmp(after_fault, sig);
}

bool mem__faults(struct mem *m, uint32_t place, bool write, int sig)
{
	struct sigaction sa = { .sa_handler = on_fault }, old;
	volatile uint64_t *at = place_at(m, place);
	int got;

	die_if(sigaction(sig, &sa, &old), "sigaction: %s", strerror(errno));
	got = sigsetjmp(after_fault, 1);
	if (!got && write)
		*at = place;
	else if (!got)
		(void)*at;
	die_if(sigaction(sig, &old, NULL), "sigaction: %s", strerror(errno));
	return got == sig;
}

int parse_places(const char *list, uint32_t places[MAX_PLACES], uint32_t below)
{
	int n = 0;
	char *end;

	for (; *list; list = *end ? end + 1 : end) {
		unsigned long place = strtoul(list, &end, 10);

		if (end == list || (*end && *end != ',') || place >= below || n == MAX_PLACES)
			return -1;
		places[n++] = place;
	}
	return n;
}
