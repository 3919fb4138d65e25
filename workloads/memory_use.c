/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "memory_use.h"

#define SEED 7

/* ---- one kind like another ---- */

struct shared shared__make(enum memory_kind kind, const char *name, uint32_t places)
{
	struct shared s = { .kind = kind, .id = -1, .maker = getpid() };
	char file[64];
	int fd;

	s.e.fd = -1;
	snprintf(file, sizeof(file), "workload-%d-%s", getpid(), name);
	switch (kind) {
	case KIND_SHM:
		s.chan = shm__make(name, getpid() << 8 | arena->nr_chans, places, &s.id);
		break;
	case KIND_POSIXSHM:
		s.chan = posixshm__make(name, file, places, &s.e);
		break;
	case KIND_MEMFD:
		s.chan = memfd__make(name, name, places, &s.e);
		break;
	case KIND_FILE:
		s.chan = file__make(name, name, places, &s.e);
		break;
	case KIND_ANON:
		s.chan = mem__map_new(&s.made, name, places, -1);
		break;
	case KIND_ZERO:
		fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
		die_if(fd < 0, "open /dev/zero: %s", strerror(errno));
		s.chan = mem__map_new(&s.made, name, places, fd);
		close(fd);
		break;
	}
	return s;
}

struct mem shared__attach(const struct shared *s, bool readonly)
{
	int flags = readonly ? O_RDONLY : O_RDWR;
	struct mem m = s->made;
	char path[64];
	struct end e;

	switch (s->kind) {
	case KIND_SHM:
		mem__shmat(&m, s->chan, s->id, readonly ? SHM_RDONLY : 0);
		return m;
	case KIND_POSIXSHM:
	case KIND_FILE:
		memory__open(&e, s->chan, flags);
		break;
	case KIND_MEMFD:
		/* Has no other name. */
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", s->maker, s->e.fd);
		end__init(&e, open(path, flags | O_CLOEXEC), s->chan);
		die_if(e.fd < 0, "open %s: %s", path, strerror(errno));
		break;
	default:
		return m;
	}
	mem__map(&m, &e, readonly ? PROT_READ : PROT_READ | PROT_WRITE);
	close(e.fd);
	return m;
}

void shared__detach(const struct shared *s, struct mem *m)
{
	if (s->kind == KIND_SHM)
		mem__shmdt(m);
	else
		mem__unmap(m);
}

void shared__remove(const struct shared *s)
{
	if (s->kind == KIND_SHM)
		die_if(shmctl(s->id, IPC_RMID, NULL), "IPC_RMID: %s", strerror(errno));
	else if (arena->chans[s->chan].path[0])
		memory__unlink(s->chan);
	if (s->e.fd >= 0)
		close(s->e.fd);
}

/* ---- relations ---- */

struct launch {
	const char *name;
	proc_fn fn;
	void *arg;
};

static void launch(void *arg)
{
	struct launch *l = arg;

	die_if(setsid() < 0, "setsid: %s", strerror(errno));
	proc__spawn(l->name, l->fn, l->arg);
}

static void related__spawn(const char *name, proc_fn fn, void *arg)
{
	struct launch l = { name, fn, arg };

	/* The one between is gone before anything is touched. */
	if (arg_is("relation", "orphan"))
		proc__wait(proc__spawnf(launch, &l, "l-%s", name));
	else
		proc__spawn(name, fn, arg);
}

/* ---- a producer and consumers ---- */

static void producer(void *arg)
{
	const struct shared *s = arg;
	struct mem m = shared__attach(s, false);
	uint32_t list[MAX_PLACES];
	int n = parse_places(arg_str("write"), list, m.places);

	turn__await(0, 1);
	for (int i = 0; i < n; i++)
		mem__write(&m, list[i], mem__value(list[i], SEED));
	/* A second time: nothing to be seen. */
	for (int i = 0; i < n; i++)
		mem__write(&m, list[i], mem__value(list[i], SEED));
	turn__pass(1);
	turn__await(2, arg_num("readers"));
	shared__detach(s, &m);
}

static bool is_in(uint32_t place, const uint32_t *list, int n)
{
	for (int i = 0; i < n; i++)
		if (list[i] == place)
			return true;
	return false;
}

static void consumer(void *arg)
{
	const struct shared *s = arg;
	struct mem m = shared__attach(s, true);
	uint32_t list[MAX_PLACES], written[MAX_PLACES];
	int n = parse_places(arg_str("read"), list, m.places);
	int w = parse_places(arg_str("write"), written, m.places);

	turn__await(1, 1);
	for (int i = 0; i < 2 * n; i++) {
		uint32_t place = list[i % n];

		if (is_in(place, written, w))
			mem__expect(&m, place, SEED);
		else
			die_if(mem__read(&m, place), "place %u is not zero", place);
	}
	/* Left to the end of the process. */
	turn__pass(2);
}

void touch__run(enum memory_kind kind)
{
	uint32_t list[MAX_PLACES], places = arg_num("places"), readers = arg_num("readers");
	struct shared s;
	char name[24];

	die_if(parse_places(arg_str("write"), list, places) < 0, "write: no list of pages below %u",
	       places);
	die_if(parse_places(arg_str("read"), list, places) < 0, "read: no list of pages below %u",
	       places);
	s = shared__make(kind, "m0", places);
	related__spawn("producer", producer, &s);
	for (uint32_t i = 0; i < readers; i++) {
		snprintf(name, sizeof(name), "consumer%u", i);
		related__spawn(name, consumer, &s);
	}
	turn__pass(0);
	procs__join();
	shared__remove(&s);
}

/* ---- by turns ---- */

/* Page 2i is a's, page 2i + 1 is b's; whoever reads a page has not written it. */
static void take_turns(const struct shared *s, bool first)
{
	struct mem m = shared__attach(s, false);
	uint32_t rounds = arg_num("rounds");

	for (uint32_t i = 0; i < 2 * rounds; i++) {
		bool mine = first == !(i % 2);

		if (mine) {
			turn__await(0, 2 * i);
			mem__write(&m, i, mem__value(i, SEED));
			turn__pass(0);
		} else {
			turn__await(0, 2 * i + 1);
			mem__expect(&m, i, SEED);
			turn__pass(0);
		}
	}
	shared__detach(s, &m);
}

static void first_of_two(void *arg)
{
	take_turns(arg, true);
}

static void second_of_two(void *arg)
{
	take_turns(arg, false);
}

void turns__run(enum memory_kind kind)
{
	struct shared s = shared__make(kind, "m0", 2 * arg_num("rounds"));

	proc__spawn("a", first_of_two, &s);
	proc__spawn("b", second_of_two, &s);
	procs__join();
	shared__remove(&s);
}

/* ---- inherited ---- */

struct heir {
	struct mem m;
	uint32_t index, places;
};

static void heir(void *arg)
{
	struct heir *h = arg;
	uint32_t parents = 0, own = (h->index + 1) * h->places;

	/* The parent's pages, and some of its own, that the parent reads then. */
	for (uint32_t i = 0; i < h->places; i++)
		mem__expect(&h->m, parents + i, SEED);
	for (uint32_t i = 0; i < h->places; i++)
		mem__write(&h->m, own + i, mem__value(own + i, SEED));
}

void inherit__run(enum memory_kind kind)
{
	uint32_t children = arg_num("children"), places = arg_num("places");
	struct shared s;
	struct heir h = { .places = places };

	die_if((children + 1) * places > MAX_PLACES, "children and pages: more than %d",
	       MAX_PLACES);
	s = shared__make(kind, "m0", (children + 1) * places);
	h.m = shared__attach(&s, false);
	for (uint32_t i = 0; i < places; i++)
		mem__write(&h.m, i, mem__value(i, SEED));
	for (h.index = 0; h.index < children; h.index++)
		proc__spawnf(heir, &h, "heir%u", h.index);
	procs__join();
	for (uint32_t i = places; i < (children + 1) * places; i++)
		mem__expect(&h.m, i, SEED);
	shared__remove(&s);
	shared__detach(&s, &h.m);
}

/* ---- a sequence lock ---- */

enum { SEQ_LOCK, SEQ_DATA, SEQ_STOP, SEQ_PLACES };

struct seq_data {
	uint64_t a, b;
};

/* Beside the first word of the page, which has been touched. */
static struct seq_data *seq_data(struct mem *m)
{
	return (struct seq_data *)(m->at + SEQ_DATA * PLACE_SIZE);
}

static void seq_writer(void *arg)
{
	const struct shared *s = arg;
	struct mem m = shared__attach(s, false);
	uint64_t updates = arg_num("updates"), *lock = (uint64_t *)m.at;

	mem__write(&m, SEQ_LOCK, 0);
	mem__write(&m, SEQ_DATA, 0);
	turn__pass(0);
	turn__await(1, arg_num("readers"));
	for (uint64_t i = 1; i <= updates; i++) {
		__atomic_store_n(lock, 2 * i - 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&seq_data(&m)->a, i, __ATOMIC_SEQ_CST);
		__atomic_store_n(&seq_data(&m)->b, ~i, __ATOMIC_SEQ_CST);
		__atomic_store_n(lock, 2 * i, __ATOMIC_SEQ_CST);
	}
}

static void seq_reader(void *arg)
{
	const struct shared *s = arg;
	struct mem m = shared__attach(s, true);
	uint64_t updates = arg_num("updates"), a = 0, b, before, after;

	turn__await(0, 1);
	before = mem__read(&m, SEQ_LOCK);
	mem__read(&m, SEQ_DATA);
	turn__pass(1);
	while (a != updates) {
		before = __atomic_load_n((uint64_t *)m.at, __ATOMIC_SEQ_CST);
		a = __atomic_load_n(&seq_data(&m)->a, __ATOMIC_SEQ_CST);
		b = __atomic_load_n(&seq_data(&m)->b, __ATOMIC_SEQ_CST);
		after = __atomic_load_n((uint64_t *)m.at, __ATOMIC_SEQ_CST);
		if (before == after && !(before & 1))
			die_if(a && b != ~a, "the lock does not hold");
		else
			a = 0;
		if (a != updates)
			sched_yield();
	}
}

void seqlock__run(enum memory_kind kind)
{
	struct shared s = shared__make(kind, "m0", SEQ_PLACES);

	proc__spawn("writer", seq_writer, &s);
	for (uint32_t i = 0; i < arg_num("readers"); i++)
		proc__spawnf(seq_reader, &s, "reader%u", i);
	procs__join();
	shared__remove(&s);
}

/* ---- touched for long after the first time ---- */

/* Beside the word of each place that is counted. */
static void touch_on(struct mem *m, const uint32_t *list, int n, bool write)
{
	uint64_t until = now_ns() + arg_num("ms") * 1000000ULL;

	do {
		for (int i = 0; i < n; i++) {
			volatile uint64_t *at = (uint64_t *)(m->at + list[i] * PLACE_SIZE) + 1;

			if (write)
				(*at)++;
			else
				(void)*at;
		}
	} while (now_ns() < until);
}

enum { BUSY_BEGIN, BUSY_READ, BUSY_END };

static void busy_writer(void *arg)
{
	static const uint32_t list[] = { 0, 2 };
	struct mem m = shared__attach(arg, false);

	for (int i = 0; i < 2; i++)
		mem__write(&m, list[i], mem__value(list[i], SEED));
	turn__pass(BUSY_BEGIN);
	turn__await(BUSY_READ, 2);
	touch_on(&m, list, 2, true);
	turn__pass(BUSY_END);
}

static void busy_reader(void *arg)
{
	static const uint32_t list[] = { 2 };
	struct mem m = shared__attach(arg, true);

	turn__await(BUSY_BEGIN, 1);
	mem__expect(&m, 2, SEED);
	turn__pass(BUSY_READ);
	touch_on(&m, list, 1, false);
	turn__pass(BUSY_END);
}

/* Has it mapped all the time, and touches it at the beginning only. */
static void idle_user(void *arg)
{
	struct mem m = shared__attach(arg, false);

	turn__await(BUSY_BEGIN, 1);
	mem__expect(&m, 0, SEED);
	mem__write(&m, 1, mem__value(1, SEED));
	turn__pass(BUSY_READ);
	turn__await(BUSY_END, 2);
}

void busy__run(enum memory_kind kind)
{
	struct shared s = shared__make(kind, "m0", 3);

	proc__spawn("writer", busy_writer, &s);
	proc__spawn("reader", busy_reader, &s);
	proc__spawn("idle", idle_user, &s);
	procs__join();
	shared__remove(&s);
}

/* ---- attached again and again ---- */

static void again_user(void *arg)
{
	const struct shared *s = arg;
	struct mem m;

	/* Each is a mapping of its own: the same page faults in each. */
	for (uint32_t i = 0; i < arg_num("times"); i++) {
		m = shared__attach(s, false);
		mem__expect(&m, 0, SEED);
		mem__write(&m, 1, mem__value(1, i));
		if (arg_is("order", "one-by-one"))
			shared__detach(s, &m);
	}
}

void again__run(enum memory_kind kind)
{
	struct shared s = shared__make(kind, "m0", 2);
	struct mem m = shared__attach(&s, false);

	mem__write(&m, 0, mem__value(0, SEED));
	proc__wait(proc__spawn("again", again_user, &s));
	shared__detach(&s, &m);
	shared__remove(&s);
}
