// SPDX-License-Identifier: BSD-2-Clause
/* Which programs are loaded, from which object, and how large their maps are. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "glob.h"
#include "ktypes.h"
#include "mech.h"
#include "tracer_priv.h"

/* They need the types of the above. */
#include "ipctrace_old.skel.h"
#include "snapshot_old.skel.h"

#define DEFAULT_EDGES 65536
#define DEFAULT_RING (4 << 20)
#define LEDGERS 2048

/* Programs that are only jumped to from the dispatcher, by kind of call. */
#define KIND_ROW(kind) [KIND_##kind] = "on_" #kind,
const char *const handlers[KIND_MAX] = { HANDLERS(KIND_ROW) };

/* --- what this kernel has --- */

/* What differs between kernels in how they are traced; tracepoints by their number of arguments. */
struct kernel {
	struct btf *btf;
	char types[KTYPES_PATH]; /* a file with those that are asked for, for libbpf */
	int types_fd; /* -1: libbpf shall look itself */
	bool casts;
	int uring_submit_req, uring_submit_sqe, uring_complete, uring_overflow;
	int sk_data_ready;
};

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

/* Is a type a module's here? libbpf looks there, but not if it is told where to look. */
static bool modules_have_types(void)
{
	static const char *const btfs[] = { "/sys/kernel/btf/vsock", "/sys/kernel/btf/unix",
					    "/sys/kernel/btf/ipv6" };

	for (size_t i = 0; i < sizeof(btfs) / sizeof(btfs[0]); i++)
		if (!access(btfs[i], F_OK))
			return true;
	return false;
}

static const char *types_path(const struct kernel *k)
{
	return k->types_fd >= 0 ? k->types : NULL;
}

static int look_around(struct kernel *k)
{
	struct btf *btf = btf__load_vmlinux_btf();

	k->btf = btf;
	if (!btf)
		return -errno;
	if (!modules_have_types())
		k->types_fd = ktypes__file(k->types);
	/* With 6.2. */
	k->casts = btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	k->uring_submit_req = tracepoint_args(btf, "io_uring_submit_req");
	k->uring_submit_sqe = !k->uring_submit_req && tracepoint_args(btf, "io_uring_submit_sqe");
	k->uring_complete = tracepoint_args(btf, "io_uring_complete");
	k->uring_overflow = tracepoint_args(btf, "io_uring_cqe_overflow");
	k->sk_data_ready = tracepoint_args(btf, "sk_data_ready");
	return 0;
}

/* --- settings and sizes --- */

static int configure(struct tracer *t, const struct kernel *k)
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
	cfg->uring_entry = k->uring_complete == ARGS_WITH_ENTRY;
	return 0;
}

/* Nothing where nothing is to be seen. */
static int size_memory(struct tracer *t, size_t procs)
{
	bool on = t->opts.mechs & MECHS_MEMORY;
	struct ipctrace_bpf *s = t->skel;
	int err = bpf_map__set_max_entries(s->maps.mem_spans,
					   t->opts.mechs & MECHS_MEMORY ? procs : 1);

	err = err ?: bpf_map__set_max_entries(s->maps.touches, on ? TOUCHES : 1);
	on = t->opts.mechs & 1U << MECH_FILE;
	err = err ?: bpf_map__set_max_entries(s->maps.page_parts, on ? PARTS_PAGES : 1);
	on = t->opts.mechs & (MECHS_MEMORY | MECHS_STORED);
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
	err = err ?: size_memory(t, max[TABLE_PROCS]);
	return err ?: bpf_map__set_max_entries(s->maps.ring, ring ? ring : DEFAULT_RING);
}

/* --- programs --- */

/* Where datagrams go is told by a tracepoint of Linux 6.3, before that by a function. */
static void pick_socket_programs(const struct tracer *t, struct ipctrace_bpf *s,
				 const struct kernel *k)
{
	bool ready = t->opts.mechs & (1U << MECH_UNIX | 1U << MECH_UDP);

	bpf_program__set_autoload(s->progs.on_ready, ready && k->sk_data_ready);
	bpf_program__set_autoload(s->progs.on_ready_6_2, ready && !k->sk_data_ready);
	bpf_program__set_autoload(s->progs.unix_taken, t->opts.mechs & 1U << MECH_UNIX);
	bpf_program__set_autoload(s->progs.skb_made, t->opts.mechs & 1U << MECH_UNIX);
	bpf_program__set_autoload(s->progs.skb_copied, t->opts.mechs & 1U << MECH_UNIX);
	bpf_program__set_autoattach(s->progs.skb_made, false);
	bpf_program__set_autoattach(s->progs.skb_copied, false);
	bpf_program__set_autoload(s->progs.on_passed,
				  t->opts.mechs & (1U << MECH_UNIX | 1U << MECH_VM));
}

static void pick_uring_programs(struct ipctrace_bpf *s, const struct kernel *k)
{
	bpf_program__set_autoload(s->progs.on_uring_submit, k->uring_submit_req);
	bpf_program__set_autoload(s->progs.on_uring_submit_sqe, k->uring_submit_sqe);
	bpf_program__set_autoload(s->progs.on_uring_complete, k->uring_complete);
	bpf_program__set_autoload(s->progs.on_uring_overflow, k->uring_overflow);
}

static void pick_programs(const struct tracer *t, struct ipctrace_bpf *s, const struct kernel *k)
{
	pick_socket_programs(t, s, k);
	pick_uring_programs(s, k);
	for (size_t i = 0; i < KIND_MAX; i++)
		if (handlers[i])
			bpf_program__set_autoattach(
				bpf_object__find_program_by_name(s->obj, handlers[i]), false);
	if (!(t->opts.mechs & MECHS_SYNC)) {
		bpf_program__set_autoload(s->progs.on_sync, false);
		bpf_program__set_autoload(s->progs.sched_waking, false);
	}
	if (!(t->opts.mechs & MECHS_QUEUE)) {
		bpf_program__set_autoload(s->progs.on_queue, false);
		bpf_program__set_autoload(s->progs.message_made, false);
		bpf_program__set_autoload(s->progs.message_freed, false);
	}
	bpf_program__set_autoattach(s->progs.message_made, false);
	bpf_program__set_autoattach(s->progs.message_freed, false);
	bpf_program__set_autoattach(s->progs.on_touch, false);
	if (!(t->opts.mechs & MECHS_MEMORY)) {
		bpf_program__set_autoload(s->progs.on_touch, false);
		bpf_program__set_autoload(s->progs.on_fault_user, false);
		bpf_program__set_autoload(s->progs.on_fault_kernel, false);
	}
	if (!(t->opts.mechs & 1U << MECH_SIGNAL)) {
		bpf_program__set_autoload(s->progs.on_signal, false);
		bpf_program__set_autoload(s->progs.on_deliver, false);
	}
	if (!(t->opts.mechs & 1U << MECH_VM))
		bpf_program__set_autoload(s->progs.on_vm, false);
	if (!(t->opts.scope & SCOPE_CGROUP))
		bpf_program__set_autoload(s->progs.on_move, false);
}

/* --- objects --- */

/* The same maps and programs by the same names; only the code differs. */
static struct ipctrace_bpf *open_tracing(const struct kernel *k)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = types_path(k));
	struct ipctrace_bpf *skel = calloc(1, sizeof(*skel));
	struct bpf_object_skeleton *s;

	if (!skel || ipctrace_bpf__create_skeleton(skel))
		goto fail;
	s = skel->skeleton;
	if (!k->casts)
		s->data = (void *)ipctrace_old_bpf__elf_bytes(&s->data_sz);
	if (!bpf_object__open_skeleton(s, &opts))
		return skel;
fail:
	ipctrace_bpf__destroy(skel);
	return NULL;
}

/* Every map of the object is the tracer's of the same name. */
int load__share_maps(const struct tracer *t, const struct bpf_object *obj)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj) {
		struct bpf_map *ours =
			bpf_object__find_map_by_name(t->skel->obj, bpf_map__name(map));
		int err;

		if (!ours || bpf_map__is_internal(map))
			continue;
		err = bpf_map__reuse_fd(map, bpf_map__fd(ours));
		if (err)
			return err;
	}
	return 0;
}

static int make_map(const struct bpf_map *map, const struct bpf_map_create_opts *opts)
{
	return bpf_map_create(bpf_map__type(map), bpf_map__name(map), bpf_map__key_size(map),
			      bpf_map__value_size(map), bpf_map__max_entries(map), opts);
}

static int make_typed_map(struct bpf_map *map, const struct btf *btf)
{
	LIBBPF_OPTS(bpf_map_create_opts, plain, .map_flags = bpf_map__map_flags(map));
	LIBBPF_OPTS(bpf_map_create_opts, typed, .map_flags = bpf_map__map_flags(map),
		    .btf_fd = btf__fd(btf), .btf_key_type_id = bpf_map__btf_key_type_id(map),
		    .btf_value_type_id = bpf_map__btf_value_type_id(map));
	int fd = make_map(map, &typed), err;

	if (fd < 0) /* some kinds have no types */
		fd = make_map(map, &plain);
	if (fd < 0)
		return fd;
	err = bpf_map__reuse_fd(map, fd);
	close(fd);
	return err;
}

/* Makes the maps before any object is loaded, so that several can be at once. */
static int make_maps(const struct bpf_object *obj)
{
	uint32_t size;
	const void *raw = btf__raw_data(bpf_object__btf(obj), &size);
	struct btf *btf = btf__new(raw, size);
	struct bpf_map *map;
	int err = btf ? btf__load_into_kernel(btf) : -errno;

	bpf_object__for_each_map(map, obj)
		if (!err && !bpf_map__is_internal(map))
			err = make_typed_map(map, btf);
	btf__free(btf);
	return err;
}

/* --- several objects at once, as it is the verifier that takes the time --- */

/* What the second half has: about as much work for it as all others. */
static bool is_of_second(const char *prog)
{
	static const char *const second[] = { "on_uring_complete", "on_rare", "on_sync",
					      "sched_switch" };

	for (size_t i = 0; i < sizeof(second) / sizeof(second[0]); i++)
		if (!strcmp(second[i], prog))
			return true;
	return false;
}

static void pick_half(struct tracer *t, int i, const struct kernel *k)
{
	struct bpf_program *prog;

	pick_programs(t, t->half[i], k);
	bpf_object__for_each_program(prog, t->half[i]->obj)
		if (is_of_second(bpf_program__name(prog)) != i)
			bpf_program__set_autoload(prog, false);
}

static int open_halves(struct tracer *t, const struct kernel *k)
{
	int err;

	for (int i = 0; i < HALVES; i++) {
		t->half[i] = open_tracing(k);
		if (!t->half[i])
			return -ENOMEM;
		pick_half(t, i, k);
	}
	t->skel = t->half[0];
	err = size_maps(t);
	return err ?: configure(t, k);
}

static struct snapshot_bpf *open_snapshot(const struct kernel *k)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = types_path(k));
	struct snapshot_bpf *snap = calloc(1, sizeof(*snap));
	struct bpf_object_skeleton *s;

	if (!snap || snapshot_bpf__create_skeleton(snap))
		goto fail;
	s = snap->skeleton;
	if (!k->casts)
		s->data = (void *)snapshot_old_bpf__elf_bytes(&s->data_sz);
	if (!bpf_object__open_skeleton(s, &opts))
		return snap;
fail:
	snapshot_bpf__destroy(snap);
	return NULL;
}

static int write_types(const struct tracer *t, const struct kernel *k)
{
	const struct btf *const ours[] = { bpf_object__btf(t->skel->obj),
					   bpf_object__btf(t->snap->obj) };

	if (k->types_fd < 0)
		return 0;
	return ktypes__write(k->types_fd, k->btf, ours, sizeof(ours) / sizeof(ours[0]));
}

static void *make_all_maps(void *tracer)
{
	struct tracer *t = tracer;

	return (void *)(intptr_t)make_maps(t->skel->obj);
}

static void *load_second(void *tracer)
{
	struct tracer *t = tracer;

	return (void *)(intptr_t)ipctrace_bpf__load(t->half[1]);
}

/* Without it tracing goes on: t->snap is NULL then. */
static void *load_snapshot(void *tracer)
{
	snapshot__load(tracer);
	return NULL;
}

/* Something that another thread can do meanwhile. */
struct job {
	void *(*run)(void *tracer);
	struct tracer *t;
	pthread_t thread;
	bool started;
};

static void job__start(struct job *j)
{
	j->started = !pthread_create(&j->thread, NULL, j->run, j->t);
}

/* What came of it; without a thread it is done now. */
static int job__end(struct job *j)
{
	void *err = NULL;

	if (j->started)
		pthread_join(j->thread, &err);
	else
		err = j->run(j->t);
	return (intptr_t)err;
}

static int prepare(struct tracer *t, const struct kernel *k)
{
	struct job maps = { .run = make_all_maps, .t = t };
	int err, failed;

	job__start(&maps);
	t->snap = open_snapshot(k);
	err = t->snap ? write_types(t, k) : -ENOMEM;
	failed = job__end(&maps);
	err = err ?: failed;
	if (err)
		return err;
	memcpy((void *)&t->half[1]->rodata->cfg, (const void *)&t->skel->rodata->cfg,
	       sizeof(struct settings));
	return load__share_maps(t, t->half[1]->obj);
}

static int load_all(struct tracer *t)
{
	struct job second = { .run = load_second, .t = t };
	struct job snapshot = { .run = load_snapshot, .t = t };
	int err, failed;

	job__start(&second);
	job__start(&snapshot);
	err = ipctrace_bpf__load(t->half[0]);
	failed = job__end(&second);
	job__end(&snapshot);
	return err ?: failed;
}

int load__tracing(struct tracer *t)
{
	struct kernel k = { .types_fd = -1 };
	int err = look_around(&k);

	err = err ?: open_halves(t, &k);
	err = err ?: prepare(t, &k);
	err = err ?: load_all(t);
	if (k.types_fd >= 0)
		close(k.types_fd);
	btf__free(k.btf);
	return err;
}
