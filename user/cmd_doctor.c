/* SPDX-License-Identifier: BSD-2-Clause */
/* ipctrace doctor: what this kernel allows, what will be missing, and how to get it. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <graphviz/gvc.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "features.h"
#include "features.skel.h"
#include "tracer.h"

enum verdict { MISSING, OK, UNKNOWN, NOTE };

/* What the probes must see: calls, switches, a fork and an exit. */
static void make_something_happen(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	usleep(1);
}

static void drain(struct bpf_link *link)
{
	char buf[4096];
	int fd = bpf_iter_create(bpf_link__fd(link));

	if (fd < 0)
		return;
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static bool was_hit(struct features_bpf *skel)
{
	__u32 zero = 0;
	__u64 n = 0;

	return !bpf_map_lookup_elem(bpf_map__fd(skel->maps.hits), &zero, &n) && n;
}

struct probe {
	const char *prog; /* in features.bpf.c */
	const char *map; /* what it needs beside hits */
	const char *callee; /* to put into that map */
	bool quiet; /* nothing makes it run here: that it attaches must do */
};

static struct features_bpf *open_probe(const struct probe *p)
{
	struct features_bpf *skel = features_bpf__open();
	struct bpf_program *prog;
	struct bpf_map *map;

	if (!skel)
		return NULL;
	bpf_object__for_each_program(prog, skel->obj) {
		const char *name = bpf_program__name(prog);

		bpf_program__set_autoload(prog, !strcmp(name, p->prog) ||
							(p->callee && !strcmp(name, p->callee)));
	}
	bpf_object__for_each_map(map, skel->obj)
		bpf_map__set_autocreate(map,
					map == skel->maps.hits ||
						(p->map && !strcmp(bpf_map__name(map), p->map)));
	return skel;
}

static bool put_callee(struct features_bpf *skel, const struct probe *p)
{
	struct bpf_program *callee = bpf_object__find_program_by_name(skel->obj, p->callee);
	__u32 zero = 0, fd = callee ? (__u32)bpf_program__fd(callee) : 0;

	return !bpf_map_update_elem(bpf_object__find_map_fd_by_name(skel->obj, p->map), &zero, &fd,
				    BPF_ANY);
}

static bool try_probe(const struct probe *p)
{
	struct features_bpf *skel = open_probe(p);
	struct bpf_program *prog;
	struct bpf_link *link;
	bool ok = false;

	if (!skel)
		return false;
	prog = bpf_object__find_program_by_name(skel->obj, p->prog);
	if (!prog || bpf_object__load(skel->obj) || (p->callee && !put_callee(skel, p)))
		goto out;
	link = bpf_program__attach(prog);
	if (!link)
		goto out;
	if (bpf_program__type(prog) == BPF_PROG_TYPE_TRACING &&
	    bpf_program__expected_attach_type(prog) == BPF_TRACE_ITER)
		drain(link);
	else
		make_something_happen();
	ok = p->quiet || was_hit(skel);
	bpf_link__destroy(link);
out:
	features_bpf__destroy(skel);
	return ok;
}

static bool try_tables(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ipctrace_try", 4, 128, 131072, &opts);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* The tracing programs themselves, past the verifier, not attached. */
static bool try_engine(void)
{
	struct tracer_opts opts = { .scope = SCOPE_PIDS | SCOPE_CGROUP,
				    .mechs = ~0U,
				    .life = true };
	struct tracer *tracer = NULL;
	char why[256];

	if (tracer__new(&tracer, &opts, why, sizeof(why)))
		return false;
	tracer__free(tracer);
	return true;
}

/* A child makes a call as 32-bit programs do. */
static bool try_compat(void)
{
#ifdef __x86_64__
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		long ret = 20; /* getpid */

		signal(SIGSEGV, SIG_DFL);
		__asm__ volatile("int $0x80" : "+a"(ret) : : "memory", "r8", "r9", "r10", "r11");
		_exit(ret != getpid());
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
#else
	return false;
#endif
}

static bool try_jit(void)
{
	FILE *f = fopen("/proc/sys/net/core/bpf_jit_enable", "re");
	int c = f ? fgetc(f) : EOF;

	if (f)
		fclose(f);
	return c != '0';
}

static bool try_other_pids(void)
{
	return features__cap(CAP_SYS_PTRACE);
}

static bool try_drawing(void)
{
	static const char *const formats[] = { "svg", "png", "pdf" };
	GVC_t *gvc = gvContext();
	int nr = 0;
	char device[] = "device";
	char **list = gvc ? gvPluginList(gvc, device, &nr, NULL) : NULL;
	bool all = true;

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		bool found = false;

		for (int j = 0; j < nr; j++)
			found |= !strcmp(list[j], formats[i]);
		all &= found;
	}
	for (int j = 0; j < nr; j++)
		free(list[j]);
	free(list);
	if (gvc)
		gvFreeContext(gvc);
	return all;
}

/* A row of the report. `without` says what is missing without it, `how` how to get it. */
struct feature {
	const char *name;
	bool needed;
	bool userspace; /* can be tried where BPF is refused */
	struct probe probe;
	bool (*try)(void); /* instead of a probe */
	const char *without, *how;
};

static const struct feature features[] = {
	{
		.name = "reading kernel memory",
		.needed = true,
		.probe = { .prog = "read_kernel" },
		.without = "nothing can be traced",
		.how = "boot without lockdown=confidentiality",
	},
	{
		.name = "system call tracepoint (tp_btf sys_exit)",
		.needed = true,
		.probe = { .prog = "on_exit" },
		.without = "nothing can be traced",
		.how = "a kernel with CONFIG_FTRACE_SYSCALLS, CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "dispatch by tail calls",
		.needed = true,
		.probe = { .prog = "tail_caller", .map = "calls", .callee = "on_exit" },
		.without = "nothing can be traced",
		.how = "a kernel with CONFIG_FTRACE_SYSCALLS and the BPF JIT",
	},
	{
		.name = "process tracepoints: fork",
		.needed = true,
		.probe = { .prog = "on_fork" },
		.without = "children are not followed",
		.how = "a kernel with CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "process tracepoints: exec",
		.needed = true,
		.probe = { .prog = "on_exec", .quiet = true },
		.without = "programs have the wrong names",
		.how = "a kernel with CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "process tracepoints: exit",
		.needed = true,
		.probe = { .prog = "on_dead" },
		.without = "the tables fill up",
		.how = "a kernel with CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "process tracepoints: rename",
		.needed = true,
		.probe = { .prog = "on_rename", .quiet = true },
		.without = "programs have the wrong names",
		.how = "a kernel with CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "cgroup tracepoint (cgroup_attach_task)",
		.probe = { .prog = "on_move", .quiet = true },
		.without = "--cgroup does not work",
		.how = "a kernel with CONFIG_CGROUPS",
	},
	{
		.name = "scheduler tracepoint (sched_switch)",
		.needed = true,
		.probe = { .prog = "on_switch" },
		.without = "who waits for whom, and how long, stays unknown",
		.how = "a kernel with CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "scheduler tracepoint (sched_waking)",
		.probe = { .prog = "on_waking" },
		.without = "who wakes whom at semaphores, futexes and locks stays unknown",
		.how = "a kernel with CONFIG_BPF_EVENTS and BTF",
	},
	{
		.name = "bounded loops (bpf_loop)",
		.needed = true,
		.probe = { .prog = "loops" },
		.without = "nothing can be traced",
		.how = "Linux 5.17 or newer",
	},
	{
		.name = "task storage",
		.needed = true,
		.probe = { .prog = "task_storage", .map = "storage" },
		.without = "nothing can be traced",
		.how = "Linux 5.12 or newer, with CONFIG_BPF_SYSCALL",
	},
	{
		.name = "ring buffer",
		.needed = true,
		.probe = { .prog = "ring_buffer", .map = "ring" },
		.without = "nothing can be traced",
		.how = "Linux 5.8 or newer",
	},
	{
		.name = "memory-mapped tables (16 MB)",
		.needed = true,
		.try = try_tables,
		.without = "there is nowhere to count",
		.how = "more memory; before Linux 5.11 also `ulimit -l unlimited`",
	},
	{
		.name = "the tracing programs themselves",
		.needed = true,
		.try = try_engine,
		.without = "nothing can be traced",
		.how = "what is missing above; if nothing is, IPCTRACE_DEBUG=1 shows why",
	},
	{
		.name = "iterators over open files",
		.probe = { .prog = "iter_files" },
		.without = "who holds a channel since before the trace stays unknown",
		.how = "Linux 5.8 or newer, with BTF",
	},
	{
		.name = "other users' processes (CAP_SYS_PTRACE)",
		.userspace = true,
		.try = try_other_pids,
		.without = "names of processes that were there before the trace may be missing",
		.how = "run as root, or add CAP_SYS_PTRACE",
	},
	{
		.name = "typed kernel pointers (bpf_rdonly_cast)",
		.probe = { .prog = "rdonly_cast" },
		.without = "each IPC call costs some nanoseconds more",
		.how = "Linux 6.2 or newer",
	},
	{
		.name = "BPF JIT",
		.userspace = true,
		.try = try_jit,
		.without = "everything is traced, and slowly",
		.how = "sysctl net.core.bpf_jit_enable=1",
	},
	{
		.name = "fentry",
		.probe = { .prog = "on_function", .quiet = true },
		.without = "nothing: ipctrace does not depend on it",
		.how = "a kernel with CONFIG_FUNCTION_TRACER and its dynamic part open",
	},
	{
		.name = "kprobes",
		.probe = { .prog = "on_kprobe", .quiet = true },
		.without = "nothing: ipctrace does not depend on them",
		.how = "a kernel with CONFIG_KPROBES",
	},
	{
		.name = "drawings (Graphviz plugins for svg, png, pdf)",
		.userspace = true,
		.try = try_drawing,
		.without = "-o FILE.svg, .png and .pdf may fail; .dot and .json work",
		.how = "apt-get install graphviz",
	},
};

static void print_row(enum verdict v, const char *name, bool needed, const char *without,
		      const char *how)
{
	static const char *const words[] = { "missing", "ok", "unknown", "note" };

	printf("%-8s %s", words[v], name);
	if (v == MISSING)
		printf("%s\n         without it: %s\n         to get it: %s",
		       needed ? "" : " (optional)", without, how);
	putchar('\n');
}

static void report_user(void)
{
	char why[256], line[64];

	snprintf(line, sizeof(line), "privileges (%s, CAP_BPF, CAP_PERFMON)",
		 geteuid() ? "not root" : "root");
	print_row(features__privileged(why, sizeof(why)) ? OK : MISSING, line, true,
		  "nothing can be traced",
		  "run as root of the machine, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE");
}

static void report_kernel(void)
{
	bool btf = !access(features__btf(), R_OK);
	char mode[32], line[64];

	print_row(btf ? OK : MISSING, "kernel types (BTF)", true, "nothing can be traced",
		  "a kernel with CONFIG_DEBUG_INFO_BTF");
	features__lockdown(mode, sizeof(mode));
	snprintf(line, sizeof(line), "lockdown: %s", *mode ? mode : "the kernel does not say");
	print_row(strcmp(mode, "confidentiality") ? OK : MISSING, line, true,
		  "nothing can be traced", "boot with lockdown=integrity or without");
}

static bool report_features(bool bpf)
{
	bool all = true;

	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const struct feature *f = &features[i];
		enum verdict v = UNKNOWN;

		if (bpf || f->userspace)
			v = (f->try ? f->try() : try_probe(&f->probe)) ? OK : MISSING;
		all &= v == OK || !f->needed;
		print_row(v, f->name, f->needed, f->without, f->how);
	}
	return all;
}

static void report_compat(void)
{
#ifdef __x86_64__
	print_row(NOTE,
		  try_compat() ? "32-bit programs can run here: their calls are counted as unseen"
			       : "32-bit programs cannot run here, so none goes unseen",
		  false, "", "");
#endif
}

static bool report(void)
{
	libbpf_print_fn_t before = libbpf_set_print(NULL);
	struct utsname uts = { 0 };
	char why[256];
	bool can, all;

	uname(&uts);
	printf("kernel   %s %s %s\n", uts.sysname, uts.release, uts.machine);
	fflush(stdout); /* a probe forks */
	can = features__can_trace(why, sizeof(why));
	report_user();
	report_kernel();
	all = report_features(can);
	report_compat();
	libbpf_set_print(before);
	if (!can)
		printf("\n%s\n", why);
	else if (!all)
		puts("\ncannot trace: something is missing that is not optional, see above");
	else
		puts("\nipctrace can trace here");
	return can && all;
}

int cmd_doctor(int argc, char **argv)
{
	if (argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
		puts("usage: ipctrace doctor\n"
		     "What this kernel allows, what will be missing, and how to get it.\n"
		     "Exit status: 0 if tracing works here, 3 if not.");
		return EXIT_OK;
	}
	if (argc > 1) {
		warn_line("doctor takes no arguments, but got '%s'", argv[1]);
		return EXIT_USAGE;
	}
	return report() ? EXIT_OK : EXIT_CANNOT;
}
