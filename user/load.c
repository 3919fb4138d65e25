// SPDX-License-Identifier: BSD-2-Clause
/* Which programs are loaded, from which object, and how large their maps are. */
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "glob.h"
#include "mech.h"
#include "tracer_priv.h"

/* They need the types of the above. */
#include "ipctrace_old.skel.h"
#include "snapshot_old.skel.h"

#define DEFAULT_EDGES 65536
#define DEFAULT_RING (4 << 20)
#define LEDGERS 2048
#define FLOWS 16384

/* Programs that are only jumped to from the dispatcher, by kind of call. */
#define KIND_ROW(kind) [KIND_##kind] = "on_" #kind,
const char *const handlers[KIND_MAX] = { HANDLERS(KIND_ROW) };

/* --- what this kernel has --- */

/* What differs between kernels in how they are traced; tracepoints by their number of arguments. */
struct kernel {
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

static int look_around(struct kernel *k)
{
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		return -errno;
	/* With 6.2. */
	k->casts = btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	k->uring_submit_req = tracepoint_args(btf, "io_uring_submit_req");
	k->uring_submit_sqe = !k->uring_submit_req && tracepoint_args(btf, "io_uring_submit_sqe");
	k->uring_complete = tracepoint_args(btf, "io_uring_complete");
	k->uring_overflow = tracepoint_args(btf, "io_uring_cqe_overflow");
	k->sk_data_ready = tracepoint_args(btf, "sk_data_ready");
	btf__free(btf);
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
					   t->opts.mechs & MECHS_MAPPED ? procs : 1);

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
static void pick_unix_programs(struct tracer *t, const struct kernel *k)
{
	bool watched = t->opts.mechs & 1U << MECH_UNIX, told = k->sk_data_ready;

	bpf_program__set_autoload(t->skel->progs.unix_ready, watched && told);
	bpf_program__set_autoload(t->skel->progs.unix_ready_6_2, watched && !told);
	bpf_program__set_autoload(t->skel->progs.unix_taken, watched);
	bpf_program__set_autoload(t->skel->progs.on_passed,
				  t->opts.mechs & (1U << MECH_UNIX | 1U << MECH_VM));
}

static void pick_uring_programs(struct tracer *t, const struct kernel *k)
{
	bpf_program__set_autoload(t->skel->progs.on_uring_submit, k->uring_submit_req);
	bpf_program__set_autoload(t->skel->progs.on_uring_submit_sqe, k->uring_submit_sqe);
	bpf_program__set_autoload(t->skel->progs.on_uring_complete, k->uring_complete);
	bpf_program__set_autoload(t->skel->progs.on_uring_overflow, k->uring_overflow);
}

static void pick_programs(struct tracer *t, const struct kernel *k)
{
	pick_unix_programs(t, k);
	pick_uring_programs(t, k);
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

/* --- objects --- */

/* The same maps and programs by the same names; only the code differs. */
static struct ipctrace_bpf *open_tracing(const struct kernel *k)
{
	struct ipctrace_bpf *skel = calloc(1, sizeof(*skel));
	struct bpf_object_skeleton *s;

	if (!skel || ipctrace_bpf__create_skeleton(skel))
		goto fail;
	s = skel->skeleton;
	if (!k->casts)
		s->data = (void *)ipctrace_old_bpf__elf_bytes(&s->data_sz);
	if (!bpf_object__open_skeleton(s, NULL))
		return skel;
fail:
	ipctrace_bpf__destroy(skel);
	return NULL;
}

int load__tracing(struct tracer *t)
{
	struct kernel k = { 0 };
	int err = look_around(&k);

	if (err)
		return err;
	t->casts = k.casts;
	t->skel = open_tracing(&k);
	if (!t->skel)
		return -ENOMEM;
	err = size_maps(t);
	err = err ?: configure(t, &k);
	if (err)
		return err;
	pick_programs(t, &k);
	return ipctrace_bpf__load(t->skel);
}

struct snapshot_bpf *load__open_snapshot(const struct tracer *t)
{
	struct snapshot_bpf *snap = calloc(1, sizeof(*snap));
	struct bpf_object_skeleton *s;

	if (!snap || snapshot_bpf__create_skeleton(snap))
		goto fail;
	s = snap->skeleton;
	if (!t->casts)
		s->data = (void *)snapshot_old_bpf__elf_bytes(&s->data_sz);
	if (!bpf_object__open_skeleton(s, NULL))
		return snap;
fail:
	snapshot_bpf__destroy(snap);
	return NULL;
}
