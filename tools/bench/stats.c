/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_time_ns / run_cnt as the kernel measures them, in a pass of its own: measuring costs too. A
 * program that is reached by a tail call is part of the one that calls it.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

const enum load_id stats_loads[STATS_LOADS] = { LOAD_PIPE,      LOAD_UNIX,    LOAD_TCP,
						LOAD_PINGPONG1, LOAD_GETPPID, LOAD_FUTEX };

static void add_prog(struct stats *s, uint32_t id)
{
	for (unsigned int i = 0; i < s->nr; i++) {
		if (s->prog[i].id == id)
			return;
	}
	if (s->nr < STATS_PROGS)
		s->prog[s->nr++].id = id;
}

/* The programs that a process holds open. */
static int find_progs(struct stats *s, pid_t pid)
{
	char dir[64], file[352], line[128];
	struct dirent *e;
	unsigned int id;
	DIR *d;
	FILE *f;

	snprintf(dir, sizeof(dir), "/proc/%d/fdinfo", pid);
	d = opendir(dir);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		snprintf(file, sizeof(file), "%s/%s", dir, e->d_name);
		f = fopen(file, "re");
		if (!f)
			continue;
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "prog_id: %u", &id) == 1)
				add_prog(s, id);
		}
		fclose(f);
	}
	closedir(d);
	return s->nr ? 0 : -ENOENT;
}

static void read_progs(struct stats *s, unsigned int load, int sign)
{
	for (unsigned int i = 0; i < s->nr; i++) {
		struct bpf_prog_info info = { 0 };
		unsigned int len = sizeof(info);
		struct prog_stats *p = &s->prog[i];
		int fd = bpf_prog_get_fd_by_id(p->id);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &len)) {
			snprintf(p->name, sizeof(p->name), "%.15s", info.name);
			p->load[load].runs += sign * info.run_cnt;
			p->load[load].ns += sign * info.run_time_ns;
		}
		close(fd);
	}
}

static int by_name(const void *a, const void *b)
{
	const struct prog_stats *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->id > y->id) - (x->id < y->id);
}

int stats__measure(struct stats *s, const struct peer *p, struct worker *w)
{
	int fd, err = find_progs(s, p->pid);

	if (err)
		return err;
	fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < STATS_LOADS; i++) {
		s->ops[i] = loads[stats_loads[i]].ops * 20;
		read_progs(s, i, -1);
		worker__run(w, stats_loads[i], s->ops[i]);
		read_progs(s, i, 1);
	}
	close(fd);
	qsort(s->prog, s->nr, sizeof(s->prog[0]), by_name);
	return 0;
}
