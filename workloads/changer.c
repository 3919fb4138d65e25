/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "changer.h"
#include "util.h"

#define SIZE (1024UL * 4096)

static void change_own(struct changer *c)
{
	c->size = SIZE;
	c->at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		     -1, 0);
	die_if(c->at == MAP_FAILED, "mmap: %s", strerror(errno));
}

/* Mapping and unmapping would do as well; this holds the lock of the map for long. */
static void *change(void *arg)
{
	struct changer *c = arg;

	if (!c->at)
		change_own(c);
	while (!__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST)) {
		die_if(mprotect(c->at, c->size, PROT_READ) ||
			       mprotect(c->at, c->size, PROT_READ | PROT_WRITE),
		       "mprotect: %s", strerror(errno));
		__atomic_store_n(&c->changes, true, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

void changer__start(struct changer *c, void *at, size_t size)
{
	*c = (struct changer){ .at = at, .size = size };
	die_if(pthread_create(&c->thread, NULL, change, c), "pthread_create");
	while (!__atomic_load_n(&c->changes, __ATOMIC_SEQ_CST))
		sched_yield();
}

void changer__stop(struct changer *c)
{
	__atomic_store_n(&c->stop, true, __ATOMIC_SEQ_CST);
	die_if(pthread_join(c->thread, NULL), "pthread_join");
}
