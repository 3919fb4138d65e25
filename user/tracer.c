// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tracer_priv.h"

uint64_t tracer__now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void tracer__emit(struct tracer *t, struct rec_hdr *h, uint16_t type, size_t len)
{
	h->type = type;
	h->len = len;
	h->cpu = 0;
	h->time = tracer__now();
	t->opts.emit(t->opts.ctx, h);
}

static void say(char *why, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
}

/* --- loading --- */

static void *map_rows(struct tracer *t, enum table which, struct bpf_map *map, struct bpf_map *free)
{
	struct rows *r = &t->rows[which];

	r->size = bpf_map__value_size(map) * r->max;
	r->free_fd = bpf_map__fd(free);
	r->at = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (r->at == MAP_FAILED)
		r->at = NULL;
	return r->at;
}

static int map_tables(struct tracer *t)
{
	struct ipctrace_bpf *s = t->skel;

	t->procs = map_rows(t, TABLE_PROCS, s->maps.procs, s->maps.free_procs);
	t->tasks = map_rows(t, TABLE_TASKS, s->maps.tasks, s->maps.free_tasks);
	t->chans = map_rows(t, TABLE_CHANS, s->maps.chans, s->maps.free_chans);
	t->edges = map_rows(t, TABLE_EDGES, s->maps.edges, s->maps.free_edges);
	t->rows[TABLE_LEDGERS].free_fd = bpf_map__fd(s->maps.free_ledgers);
	t->engine = mmap(NULL, sizeof(*t->engine), PROT_READ | PROT_WRITE, MAP_SHARED,
			 bpf_map__fd(s->maps.engine), 0);
	if (t->engine == MAP_FAILED)
		t->engine = NULL;
	t->chan_state = calloc(t->rows[TABLE_CHANS].max, 1);
	t->proc_said = calloc(t->rows[TABLE_PROCS].max, 1);
	return t->procs && t->tasks && t->chans && t->edges && t->engine && t->chan_state &&
			       t->proc_said
		       ? 0
		       : -ENOMEM;
}

/* A program that only others of one kind go on to. */
static int fill_only(struct tracer *t, struct bpf_map *map, const char *prog)
{
	int fd = tracer__prog_fd(t, prog);
	uint32_t zero = 0;

	return fd < 0 || !bpf_map_update_elem(bpf_map__fd(map), &zero, &fd, 0) ? 0 : -errno;
}

static int fill_dispatch(struct tracer *t)
{
	int fd = bpf_map__fd(t->skel->maps.on_exit);

	for (uint32_t kind = 0; kind < KIND_MAX; kind++) {
		int prog = handlers[kind] ? tracer__prog_fd(t, handlers[kind]) : -1;

		if (prog >= 0 && bpf_map_update_elem(fd, &kind, &prog, 0))
			return -errno;
	}
	return fill_only(t, t->skel->maps.on_fault, "on_touch");
}

int tracer__prog_fd(const struct tracer *t, const char *name)
{
	for (int i = 0; i < HALVES; i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(t->half[i]->obj, name);
		int fd = p ? bpf_program__fd(p) : -1;

		if (fd >= 0)
			return fd;
	}
	return -1;
}

static int on_ring(void *ctx, void *data, size_t size)
{
	struct tracer *t = ctx;

	(void)size;
	t->opts.emit(t->opts.ctx, data);
	return 0;
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN && getenv("IPCTRACE_DEBUG") ? vfprintf(stderr, fmt, ap) : 0;
}

int tracer__new(struct tracer **out, const struct tracer_opts *opts, char *why, size_t size)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct tracer *t = calloc(1, sizeof(*t));
	struct timespec res;
	int err = -ENOMEM;

	if (!t)
		goto fail;
	t->opts = *opts;
	clock_getres(CLOCK_MONOTONIC_COARSE, &res);
	t->tick_ns = res.tv_nsec;
	libbpf_set_print(quiet);
	setrlimit(RLIMIT_MEMLOCK,
		  &unlimited); /* refused without CAP_SYS_RESOURCE; since 5.11 not needed */
	err = load__tracing(t);
	err = err ?: map_tables(t);
	err = err ?: fill_dispatch(t);
	if (err)
		goto fail;
	t->ring = ring_buffer__new(bpf_map__fd(t->skel->maps.ring), on_ring, t, NULL);
	err = t->ring ? 0 : -errno;
	if (err)
		goto fail;
	if (!t->snap && opts->warn)
		opts->warn(opts->ctx, "this kernel has no task iterators: what existed before "
				      "the trace is not seen");
	err = sample__start(t);
	if (err) {
		say(why, size,
		    "cannot sample shared memory here: this kernel's page tables are not "
		    "to be read; leave --shm-sample out");
		tracer__free(t);
		return err;
	}
	*out = t;
	return 0;
fail:
	say(why, size, "cannot load the tracing programs: %s (see `ipctrace doctor`)",
	    strerror(-err));
	tracer__free(t);
	return err;
}

/* --- running --- */

int tracer__attach(struct tracer *t)
{
	int err = ipctrace_bpf__attach(t->half[1]); /* sys_exit goes on to programs of this one */

	return err ?: ipctrace_bpf__attach(t->half[0]);
}

/*
 * A program array whose last user closes it while somebody else looks at it (`bpftool map`) can stay
 * in the kernel for ever, with its programs. An empty one has nothing to keep.
 */
static void empty_dispatch(struct tracer *t)
{
	uint32_t zero = 0;

	for (uint32_t kind = 0; kind < KIND_MAX; kind++)
		bpf_map_delete_elem(bpf_map__fd(t->skel->maps.on_exit), &kind);
	bpf_map_delete_elem(bpf_map__fd(t->skel->maps.on_fault), &zero);
}

/* What counts goes first. A task that ends meanwhile still says what it has seen. */
static void detach_counting(struct tracer *t)
{
	for (int half = 0; half < HALVES; half++) {
		struct bpf_object_skeleton *s = t->half[half]->skeleton;

		for (int i = 0; i < s->prog_cnt; i++) {
			if (*s->progs[i].prog == t->half[half]->progs.on_exit_task)
				continue;
			bpf_link__destroy(*s->progs[i].link);
			*s->progs[i].link = NULL;
		}
	}
	/* Wait for programs that run right now, so that the counters stand still. */
	syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

int tracer__add_pid(struct tracer *t, pid_t pid)
{
	uint32_t key = pid, one = 1;

	return bpf_map_update_elem(bpf_map__fd(t->skel->maps.scope_pids), &key, &one, 0);
}

int tracer__start(struct tracer *t, char *why, size_t size)
{
	int err = 0;

	for (size_t i = 0; i < t->opts.nr_pids && !err; i++)
		err = tracer__add_pid(t, t->opts.pids[i]);
	err = err ?: tracer__attach(t);
	if (err) {
		say(why, size, "cannot attach the tracing programs: %s (see `ipctrace doctor`)",
		    strerror(-err));
		return err;
	}
	/* Twice: a thread made by one that had not been reached yet is found the second time. */
	snapshot__tasks(t);
	snapshot__tasks(t);
	snapshot__chans(t);
	snapshot__holders(t);
	return 0;
}

int tracer__fd(const struct tracer *t)
{
	return ring_buffer__epoll_fd(t->ring);
}

void tracer__consume(struct tracer *t)
{
	ring_buffer__consume(t->ring);
}

/* Costly for all of the machine, so only when it tells something: see queue.bpf.c. */
static void watch_messages(struct tracer *t)
{
	struct ipctrace_bpf *s = t->half[0];

	if (!t->engine->queue_crowd || t->watches_messages)
		return;
	t->watches_messages = true;
	s->links.message_freed = bpf_program__attach(s->progs.message_freed);
	if (s->links.message_freed)
		s->links.message_made = bpf_program__attach(s->progs.message_made);
}

/* Does anybody still live who has read from a socket that others read from, too? */
static bool any_crowd(const struct tracer *t, uint32_t mech)
{
	for (uint32_t i = 0; i < t->engine->used[TABLE_EDGES] && i < t->rows[TABLE_EDGES].max;
	     i++) {
		const struct edge_row *e = &t->edges[i];
		const struct chan_row *c = &t->chans[e->chan_row];

		if (e->proc && e->role == ROLE_READ && c->id == e->chan && c->key.mech == mech &&
		    c->edges[SOLE_USER(e->end, ROLE_READ)] == PROC_SHARED)
			return true;
	}
	return false;
}

/* Who sent what was allocated before is not known any more when it is looked for the next time. */
static void forget_skbs(struct tracer *t)
{
	struct ipctrace_bpf *s = t->half[0];
	int fd = bpf_map__fd(s->maps.skb_senders);
	uint64_t key;

	t->engine->follows_skbs = 0;
	bpf_link__destroy(s->links.skb_copied);
	bpf_link__destroy(s->links.skb_made);
	s->links.skb_copied = s->links.skb_made = NULL;
	syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	while (!bpf_map_get_next_key(fd, NULL, &key))
		bpf_map_delete_elem(fd, &key);
}

/* Costly too, so only as long as it tells something: see crowd.bpf.c. */
static void watch_sockets(struct tracer *t)
{
	struct ipctrace_bpf *s = t->half[0];

	if (t->engine->udp_crowd && !any_crowd(t, MECH_UDP))
		t->engine->udp_crowd = 0;
	if (t->engine->unix_crowd && !any_crowd(t, MECH_UNIX))
		t->engine->unix_crowd = 0;
	if (!t->engine->unix_crowd && t->engine->follows_skbs)
		forget_skbs(t);
	if (!t->engine->unix_crowd || t->engine->follows_skbs || s->links.skb_copied)
		return;
	s->links.skb_copied = bpf_program__attach(s->progs.skb_copied);
	if (s->links.skb_copied)
		s->links.skb_made = bpf_program__attach(s->progs.skb_made);
	t->engine->follows_skbs = s->links.skb_made != NULL;
}

size_t tracer__tick(struct tracer *t)
{
	tracer__consume(t);
	watch_messages(t);
	watch_sockets(t);
	if (t->engine->rescan) {
		t->engine->rescan = 0;
		snapshot__tasks(t);
	}
	sample__tick(t);
	return harvest__tick(t);
}

int tracer__wait_ms(const struct tracer *t, int at_most)
{
	return sample__wait_ms(t, at_most);
}

void tracer__stop(struct tracer *t)
{
	if (t->detached)
		return;
	t->detached = true;
	sample__round(t);
	detach_counting(t);
	snapshot__seen(t);
	snapshot__names(t);
	for (int i = 0; i < HALVES; i++)
		ipctrace_bpf__detach(t->half[i]);
	empty_dispatch(t);
	tracer__consume(t);
	harvest__all(t);
}

void tracer__free(struct tracer *t)
{
	if (!t)
		return;
	for (int i = 0; i < TABLE_MAX; i++)
		if (t->rows[i].at)
			munmap(t->rows[i].at, t->rows[i].size);
	if (t->engine)
		munmap(t->engine, sizeof(*t->engine));
	ring_buffer__free(t->ring);
	sample__free(t);
	snapshot_bpf__destroy(t->snap);
	for (int i = 0; i < HALVES; i++)
		ipctrace_bpf__destroy(t->half[i]);
	free(t->chan_state);
	free(t->proc_said);
	free(t->ended.at);
	free(t->outsiders);
	free(t->cgroups);
	free(t);
}
