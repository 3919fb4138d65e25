// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel's types, for CO-RE. For each type that the programs name, libbpf compares the names of all
 * that the kernel has, more than a hundred thousand, and it does so anew for each object: a quarter of
 * the time that starting took. So it is given a copy which ends after the last one that is asked for, and
 * in which no others have names. Their numbers are the same.
 */
#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktypes.h"

#define FLAVOR "___" /* what follows it is not of the kernel's name: see libbpf */
#define NAMES 8192

struct names {
	struct hsearch_data table;
	char **all; /* as the table does not give them back */
	size_t nr;
};

/* Structs and the like; all others are found by libbpf in other ways. */
static const char *name_to_find(const struct btf *btf, const struct btf_type *t)
{
	if (!btf_is_composite(t) && !btf_is_any_enum(t) && !btf_is_fwd(t))
		return NULL;
	return t->name_off ? btf__name_by_offset(btf, t->name_off) : NULL;
}

static bool names__have(struct names *n, const char *name)
{
	ENTRY item = { .key = (char *)name }, *found;

	return hsearch_r(item, FIND, &found, &n->table);
}

static int names__add(struct names *n, const char *name)
{
	const char *flavor = strstr(name, FLAVOR);
	ENTRY item = { 0 }, *found;

	item.key = flavor ? strndup(name, flavor - name) : strdup(name);
	if (!item.key || n->nr == NAMES || names__have(n, item.key)) {
		int err = !item.key ? -ENOMEM : n->nr == NAMES ? -E2BIG : 0;

		free(item.key);
		return err;
	}
	n->all[n->nr++] = item.key;
	return hsearch_r(item, ENTER, &found, &n->table) ? 0 : -ENOMEM;
}

static void names__free(struct names *n)
{
	for (size_t i = 0; i < n->nr; i++)
		free(n->all[i]);
	free(n->all);
	hdestroy_r(&n->table);
}

static int take_names(struct names *n, const struct btf *btf)
{
	int err = 0;

	for (__u32 id = 1; id < btf__type_cnt(btf) && !err; id++) {
		const char *name = name_to_find(btf, btf__type_by_id(btf, id));

		err = name ? names__add(n, name) : 0;
	}
	return err;
}

/* A type in a copy of what btf was read from. */
static struct btf_type *type_in(char *copy, const struct btf *btf, __u32 id)
{
	uint32_t size;
	const char *raw = btf__raw_data(btf, &size);

	return (void *)(copy + ((const char *)btf__type_by_id(btf, id) - raw));
}

/* Returns the last type that keeps its name. */
static __u32 drop_names(char *copy, const struct btf *kernel, struct names *asked)
{
	__u32 last = 0;

	for (__u32 id = 1; id < btf__type_cnt(kernel); id++) {
		const char *name = name_to_find(kernel, btf__type_by_id(kernel, id));

		if (!name)
			continue;
		if (names__have(asked, name))
			last = id;
		else
			type_in(copy, kernel, id)->name_off = 0;
	}
	return last;
}

static __u32 max_u32(__u32 a, __u32 b)
{
	return a > b ? a : b;
}

/* The highest number of the types that this one is made of. */
static __u32 highest_part(const struct btf_type *t)
{
	__u32 max = 0;

	if (btf_is_composite(t)) {
		for (int i = 0; i < btf_vlen(t); i++)
			max = max_u32(max, btf_members(t)[i].type);
	} else if (btf_is_func_proto(t)) {
		max = t->type;
		for (int i = 0; i < btf_vlen(t); i++)
			max = max_u32(max, btf_params(t)[i].type);
	} else if (btf_is_array(t)) {
		max = max_u32(btf_array(t)->type, btf_array(t)->index_type);
	} else if (btf_is_datasec(t)) {
		for (int i = 0; i < btf_vlen(t); i++)
			max = max_u32(max, btf_var_secinfos(t)[i].type);
	} else if (!btf_is_int(t) && !btf_is_float(t) && !btf_is_any_enum(t) && !btf_is_fwd(t)) {
		max = t->type;
	}
	return max;
}

/* The functions come last, and are more than all else: without what comes after all that is needed. */
static void cut_off(char *copy, const struct btf *kernel, __u32 last)
{
	struct btf_header *h = (void *)copy;

	for (__u32 id = 1; id <= last; id++)
		last = max_u32(last, highest_part(btf__type_by_id(kernel, id)));
	if (last + 1 < btf__type_cnt(kernel))
		h->type_len =
			(char *)type_in(copy, kernel, last + 1) - copy - h->hdr_len - h->type_off;
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n <= 0)
			return n ? -errno : -EIO;
		data += n;
		size -= n;
	}
	return 0;
}

int ktypes__file(char path[KTYPES_PATH])
{
	int fd = memfd_create("types", MFD_CLOEXEC);

	if (fd >= 0)
		snprintf(path, KTYPES_PATH, "/proc/self/fd/%d", fd);
	return fd < 0 ? -errno : fd;
}

int ktypes__write(int fd, const struct btf *kernel, const struct btf *const *ours, size_t nr)
{
	struct names asked = { .all = calloc(NAMES, sizeof(*asked.all)) };
	uint32_t size;
	const void *raw = btf__raw_data(kernel, &size);
	char *copy = raw ? malloc(size) : NULL;
	int err = asked.all && copy && hcreate_r(2 * NAMES, &asked.table) ? 0 : -ENOMEM;

	for (size_t i = 0; i < nr && !err; i++)
		err = take_names(&asked, ours[i]);
	if (!err) {
		memcpy(copy, raw, size);
		cut_off(copy, kernel, drop_names(copy, kernel, &asked));
		err = write_all(fd, copy, size);
	}
	free(copy);
	names__free(&asked);
	return err;
}
