/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared memory of all kinds. Who touches what is counted where it happens: the first touch of a page
 * in a mapping is what the kernel sees, as a page fault; what was mapped by then is silent.
 *
 * Memory is used in places, one page each, with more than 64 KiB between them: the kernel maps
 * neighbours of a page that is read (fault-around) and of one in a large folio, and these would
 * never fault.
 */
#ifndef WORKLOAD_MEMORY_H
#define WORKLOAD_MEMORY_H

#include "ops.h"

#define PLACE_SIZE (32UL * 4096)

/* One mapping, as the calling process has it. A child that inherits it touches all of it anew. */
struct mem {
	char *at;
	int chan;
	uint32_t places;
	int user; /* the process for which touched[] speaks */
	uint64_t touched[MAX_PLACES / 64];
};

size_t places_size(uint32_t places);

/* Channels; each returns its index. Nobody has attached it yet. */
int shm__make(const char *name, key_t key, uint32_t places, int *id);
int shm__make_huge(const char *name, size_t size, int *id);
int posixshm__make(const char *name, const char *file, uint32_t places, struct end *e);
int memfd__make(const char *name, const char *label, uint32_t places, struct end *e);
int file__make(const char *name, const char *file, uint32_t places, struct end *e);
/* Another descriptor of a posixshm or of a file. */
void memory__open(struct end *e, int chan, int flags);
void memory__unlink(int chan);

/* System V: attach, detach. */
void mem__shmat(struct mem *m, int chan, int id, int flags);
void mem__shmdt(struct mem *m);

/* MAP_SHARED with a descriptor; x_mmap() may fail and says MAP_FAILED in m->at. */
void mem__map(struct mem *m, const struct end *e, int prot);
void x_mmap(struct mem *m, const struct end *e, size_t size, int prot, int flags);
/* Anonymous or of /dev/zero (fd): a channel of its own. */
int mem__map_new(struct mem *m, const char *name, uint32_t places, int fd);
void mem__unmap(struct mem *m);

/* One store, one load, at a page. */
void mem__write(struct mem *m, uint32_t place, uint64_t value);
uint64_t mem__read(struct mem *m, uint32_t place);
/* The value that is written to a place when nothing else is said, and a read that expects it. */
uint64_t mem__value(uint32_t place, uint32_t seed);
void mem__expect(struct mem *m, uint32_t place, uint32_t seed);
/* Not counted: what the kernel refuses. True if the access made that signal. */
bool mem__faults(struct mem *m, uint32_t place, bool write, int sig);

/* A list as "0,2,5"; how many, -1 if it is none. */
int parse_places(const char *list, uint32_t places[MAX_PLACES], uint32_t below);

#endif
