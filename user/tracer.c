// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "../bpf/calls.h"
#include "glob.h"
#include "mech.h"
#include "tracer_priv.h"

#define DEFAULT_EDGES 65536
#define DEFAULT_RING (4 << 20)
#define LEDGERS 2048
#define FLOWS 16384

/* Programs that are only jumped to from the dispatcher, by kind of call. */
#define KIND_ROW(kind) [KIND_##kind] = "on_" #kind,
static const char *const handlers[KIND_MAX] = { HANDLERS(KIND_ROW) };

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

/* The number of arguments of a tracepoint, with that of the probe itself; 0: there is none. */
static int tracepoint_args(const struct btf *btf, const char *name)
{
	char type[64];
	const struct btf_type *t;
	int id;

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF);
	t = id > 0 ? btf__type_by_id(btf, id) : NULL;
	t = t ? btf__type_by_id(btf, t->type) : NULL; /* pointer */
	t = t ? btf__type_by_id(btf, t->type) : NULL; /* function */
	return t && btf_is_func_proto(t) ? btf_vlen(t) : 0;
}

#define ARGS_WITH_ENTRY 4

/* What this kernel has. */
static int look_around(struct tracer *t, struct settings *cfg)
{
	struct {
		const char *name;
		struct bpf_program *prog;
	} optional[] = {
		{ "io_uring_submit_req", t->skel->progs.on_uring_submit },
		{ "io_uring_submit_sqe", t->skel->progs.on_uring_submit_sqe },
		{ "io_uring_complete", t->skel->progs.on_uring_complete },
		{ "io_uring_cqe_overflow", t->skel->progs.on_uring_overflow },
	};
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		return -errno;
	/* With 6.2. */
	cfg->casts = btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	cfg->uring_entry = tracepoint_args(btf, "io_uring_complete") == ARGS_WITH_ENTRY;
	for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
		if (!tracepoint_args(btf, optional[i].name))
			bpf_program__set_autoload(optional[i].prog, false);
	btf__free(btf);
	return 0;
}

static int configure(struct tracer *t)
{
	struct settings *cfg = (struct settings *)&t->skel->rodata->cfg;
	const struct tracer_opts *o = &t->opts;
	struct stat ns;

	cfg->scope = o->scope;
	cfg->cgroup = o->cgroup;
	cfg->mechs = o->mechs;
	for (int mech = 0; mech < MECH_MAX; mech++)
		if (o->mechs & 1U << mech)
			cfg->types |= mech__get(mech)->types;
	cfg->ops = o->ops;
	cfg->life = o->life;
	cfg->started = time(NULL);
	if (!stat("/proc/self/ns/pid", &ns))
		cfg->pidns = ns.st_ino;
	cfg->nr_procs = t->rows[TABLE_PROCS].max;
	cfg->nr_tasks = t->rows[TABLE_TASKS].max;
	cfg->nr_chans = t->rows[TABLE_CHANS].max;
	cfg->nr_edges = t->rows[TABLE_EDGES].max;
	cfg->nr_ledgers = t->rows[TABLE_LEDGERS].max;
	cfg->nr_cpus = libbpf_num_possible_cpus();
	cfg->nr_comms = o->nr_globs;
	for (size_t i = 0; i < o->nr_globs; i++)
		if (glob__compile(&cfg->comm[i], o->globs[i]))
			return -EINVAL;
	return look_around(t, cfg);
}

/* Nothing where nothing is to be seen. */
static int size_memory(struct tracer *t, size_t procs)
{
	bool on = t->opts.mechs & MECHS_MEMORY;
	struct ipctrace_bpf *s = t->skel;
	int err = bpf_map__set_max_entries(s->maps.mem_spans,
					   t->opts.mechs & MECHS_MAPPED ? procs : 1);

	err = err ?: bpf_map__set_max_entries(s->maps.touches, on ? TOUCHES : 1);
	return err ?: bpf_map__set_max_entries(s->maps.page_writers, on ? PAGE_GROUPS : 1);
}

static int size_maps(struct tracer *t)
{
	size_t edges = t->opts.rows ? t->opts.rows : DEFAULT_EDGES, ring = t->opts.ring_bytes;
	struct ipctrace_bpf *s = t->skel;
	size_t max[TABLE_MAX] = {
		[TABLE_PROCS] = edges / 4, [TABLE_TASKS] = edges / 2, [TABLE_CHANS] = edges / 2,
		[TABLE_EDGES] = edges,     [TABLE_LEDGERS] = LEDGERS,
	};
	struct bpf_map *maps[TABLE_MAX][2] = {
		[TABLE_PROCS] = { s->maps.procs, s->maps.free_procs },
		[TABLE_TASKS] = { s->maps.tasks, s->maps.free_tasks },
		[TABLE_CHANS] = { s->maps.chans, s->maps.free_chans },
		[TABLE_EDGES] = { s->maps.edges, s->maps.free_edges },
		[TABLE_LEDGERS] = { s->maps.ledgers, s->maps.free_ledgers },
	};
	int err = 0;

	for (int i = 0; i < TABLE_MAX; i++) {
		t->rows[i].max = max[i];
		err = err ?: bpf_map__set_max_entries(maps[i][0], max[i]);
		err = err ?: bpf_map__set_max_entries(maps[i][1], max[i]);
	}
	err = err ?: bpf_map__set_max_entries(s->maps.chan_rows, max[TABLE_CHANS]);
	err = err ?: bpf_map__set_max_entries(s->maps.edge_rows, max[TABLE_EDGES]);
	err = err ?: bpf_map__set_max_entries(s->maps.flows, FLOWS);
	if (t->opts.mechs & 1U << MECH_VM)
		err = err ?: bpf_map__set_max_entries(s->maps.proc_owners, max[TABLE_PROCS]);
	err = err ?: bpf_map__set_max_entries(s->maps.passes, PASSES);
	err = err ?: size_memory(t, max[TABLE_PROCS]);
	return err ?: bpf_map__set_max_entries(s->maps.ring, ring ? ring : DEFAULT_RING);
}

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
	t->dead = calloc(t->rows[TABLE_PROCS].max, sizeof(*t->dead));
	return t->procs && t->tasks && t->chans && t->edges && t->engine && t->chan_state &&
			       t->proc_said && t->dead
		       ? 0
		       : -ENOMEM;
}

/* Programs that only one other goes on to. */
static int fill_only(struct bpf_map *map, struct bpf_program *prog)
{
	int fd = bpf_program__fd(prog);
	uint32_t zero = 0;

	return fd < 0 || !bpf_map_update_elem(bpf_map__fd(map), &zero, &fd, 0) ? 0 : -errno;
}

static int fill_faults(struct tracer *t)
{
	int err = fill_only(t->skel->maps.on_fault, t->skel->progs.on_touch);

	return err ?: fill_only(t->skel->maps.on_switch, t->skel->progs.on_late_touch);
}

static int fill_dispatch(struct tracer *t)
{
	int fd = bpf_map__fd(t->skel->maps.on_exit);

	for (uint32_t kind = 0; kind < KIND_MAX; kind++) {
		int prog = handlers[kind] ? tracer__prog_fd(t, handlers[kind]) : -1;

		if (prog >= 0 && bpf_map_update_elem(fd, &kind, &prog, 0))
			return -errno;
	}
	return fill_faults(t);
}

int tracer__prog_fd(const struct tracer *t, const char *name)
{
	struct bpf_program *p = bpf_object__find_program_by_name(t->skel->obj, name);

	return p ? bpf_program__fd(p) : -1;
}

static int on_ring(void *ctx, void *data, size_t size)
{
	struct tracer *t = ctx;

	(void)size;
	t->opts.emit(t->opts.ctx, data);
	return 0;
}

static bool has_tracepoint(const char *name)
{
	struct btf *btf = btf__load_vmlinux_btf();
	char type[64];
	bool has;

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	has = btf && btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF) > 0;
	btf__free(btf);
	return has;
}

/* Where datagrams go is told by a tracepoint of Linux 6.3, before that by a function. */
static void pick_unix_programs(struct tracer *t)
{
	bool watched = t->opts.mechs & 1U << MECH_UNIX, told = has_tracepoint("sk_data_ready");

	bpf_program__set_autoload(t->skel->progs.unix_ready, watched && told);
	bpf_program__set_autoload(t->skel->progs.unix_ready_6_2, watched && !told);
	bpf_program__set_autoload(t->skel->progs.unix_taken, watched);
	bpf_program__set_autoload(t->skel->progs.on_passed,
				  t->opts.mechs & (1U << MECH_UNIX | 1U << MECH_VM));
}

static void pick_programs(struct tracer *t)
{
	pick_unix_programs(t);
	for (size_t i = 0; i < KIND_MAX; i++)
		if (handlers[i])
			bpf_program__set_autoattach(
				bpf_object__find_program_by_name(t->skel->obj, handlers[i]), false);
	if (!(t->opts.mechs & MECHS_SYNC)) {
		bpf_program__set_autoload(t->skel->progs.on_sync, false);
		bpf_program__set_autoload(t->skel->progs.sched_waking, false);
	}
	if (!(t->opts.mechs & MECHS_QUEUE)) {
		bpf_program__set_autoload(t->skel->progs.on_queue, false);
		bpf_program__set_autoload(t->skel->progs.message_made, false);
		bpf_program__set_autoload(t->skel->progs.message_freed, false);
	}
	bpf_program__set_autoattach(t->skel->progs.message_made, false);
	bpf_program__set_autoattach(t->skel->progs.message_freed, false);
	bpf_program__set_autoattach(t->skel->progs.on_touch, false);
	bpf_program__set_autoattach(t->skel->progs.on_late_touch, false);
	if (!(t->opts.mechs & MECHS_MEMORY)) {
		bpf_program__set_autoload(t->skel->progs.on_touch, false);
		bpf_program__set_autoload(t->skel->progs.on_late_touch, false);
		bpf_program__set_autoload(t->skel->progs.on_fault_user, false);
		bpf_program__set_autoload(t->skel->progs.on_fault_kernel, false);
	}
	if (!(t->opts.mechs & 1U << MECH_SIGNAL)) {
		bpf_program__set_autoload(t->skel->progs.on_signal, false);
		bpf_program__set_autoload(t->skel->progs.on_deliver, false);
	}
	if (!(t->opts.mechs & 1U << MECH_VM))
		bpf_program__set_autoload(t->skel->progs.on_vm, false);
	if (!(t->opts.scope & SCOPE_CGROUP))
		bpf_program__set_autoload(t->skel->progs.on_move, false);
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
	t->skel = ipctrace_bpf__open();
	if (!t->skel)
		goto fail;
	err = size_maps(t);
	err = err ?: configure(t);
	if (err)
		goto fail;
	pick_programs(t);
	err = ipctrace_bpf__load(t->skel);
	err = err ?: map_tables(t);
	err = err ?: fill_dispatch(t);
	if (err)
		goto fail;
	t->ring = ring_buffer__new(bpf_map__fd(t->skel->maps.ring), on_ring, t, NULL);
	err = t->ring ? 0 : -errno;
	if (err)
		goto fail;
	if (snapshot__load(t) && opts->warn)
		opts->warn(opts->ctx, "this kernel has no task iterators: what existed before "
				      "the trace is not seen");
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
	return ipctrace_bpf__attach(t->skel);
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
	bpf_map_delete_elem(bpf_map__fd(t->skel->maps.on_switch), &zero);
}

/* What counts goes first. A task that ends meanwhile still says what it has seen. */
static void detach_counting(struct tracer *t)
{
	struct bpf_object_skeleton *s = t->skel->skeleton;

	for (int i = 0; i < s->prog_cnt; i++) {
		if (*s->progs[i].prog == t->skel->progs.on_exit_task)
			continue;
		bpf_link__destroy(*s->progs[i].link);
		*s->progs[i].link = NULL;
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
	if (!t->engine->queue_crowd || t->watches_messages)
		return;
	t->watches_messages = true;
	t->skel->links.message_freed = bpf_program__attach(t->skel->progs.message_freed);
	if (t->skel->links.message_freed)
		t->skel->links.message_made = bpf_program__attach(t->skel->progs.message_made);
}

size_t tracer__tick(struct tracer *t)
{
	tracer__consume(t);
	watch_messages(t);
	if (t->engine->rescan) {
		t->engine->rescan = 0;
		snapshot__tasks(t);
	}
	return harvest__tick(t);
}

void tracer__stop(struct tracer *t)
{
	if (t->detached)
		return;
	t->detached = true;
	detach_counting(t);
	snapshot__seen(t);
	ipctrace_bpf__detach(t->skel);
	empty_dispatch(t);
	t->engine->loss[LOSS_PAGE] += t->engine->touches_late;
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
	snapshot_bpf__destroy(t->snap);
	ipctrace_bpf__destroy(t->skel);
	free(t->chan_state);
	free(t->proc_said);
	free(t->dead);
	free(t->outsiders);
	free(t->cgroups);
	free(t);
}
