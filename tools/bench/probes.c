/* SPDX-License-Identifier: BSD-2-Clause */
/* The empty probes, and what else is attached on this machine. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "bench.skel.h"

#define PROBES 4

struct probes {
	struct bench_bpf *skel;
	struct bpf_link *links[PROBES];
};

static int print_warnings(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

int probes__load(struct probes **p)
{
	libbpf_set_print(print_warnings);
	*p = calloc(1, sizeof(**p));
	if (!*p)
		return -ENOMEM;
	(*p)->skel = bench_bpf__open_and_load();
	if ((*p)->skel)
		return 0;
	free(*p);
	*p = NULL;
	return -errno;
}

void probes__free(struct probes *p)
{
	if (!p)
		return;
	probes__detach(p);
	bench_bpf__destroy(p->skel);
	free(p);
}

int probes__attach(struct probes *p, enum variant_id v)
{
	struct bpf_program *progs[] = {
		v >= VAR_EXIT ? p->skel->progs.empty_exit : NULL,
		v >= VAR_BOTH ? p->skel->progs.empty_enter : NULL,
		v >= VAR_SWITCH ? p->skel->progs.empty_switch : NULL,
		v >= VAR_FAULT ? p->skel->progs.empty_fault : NULL,
	};

	for (unsigned int i = 0; i < PROBES; i++) {
		if (!progs[i])
			continue;
		p->links[i] = bpf_program__attach(progs[i]);
		if (!p->links[i]) {
			int err = -errno;

			probes__detach(p);
			return err;
		}
	}
	return 0;
}

void probes__detach(struct probes *p)
{
	for (unsigned int i = 0; i < PROBES; i++) {
		bpf_link__destroy(p->links[i]);
		p->links[i] = NULL;
	}
}

unsigned int links__count(void)
{
	unsigned int id = 0, nr = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		struct bpf_link_info info = { 0 };
		unsigned int len = sizeof(info);
		int fd = bpf_link_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) &&
		    (info.type == BPF_LINK_TYPE_TRACING ||
		     info.type == BPF_LINK_TYPE_RAW_TRACEPOINT ||
		     info.type == BPF_LINK_TYPE_PERF_EVENT))
			nr++;
		close(fd);
	}
	return nr;
}
