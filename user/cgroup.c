// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"

#define FILEID_KERNFS 0xfe
#define CONTAINER_ID_LEN 64

char *cgroup__mount(void)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char *dir = NULL;
	struct mntent *m;

	while (f && !dir && (m = getmntent(f)))
		if (!strcmp(m->mnt_type, "cgroup2"))
			dir = strdup(m->mnt_dir);
	if (f)
		endmntent(f);
	return dir;
}

/* A file handle of kernfs is just the id, so that no directory need be searched for it. */
static int open_by_id(const char *mount, uint64_t id)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} u = { .h = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS } };
	int dir = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

	if (dir < 0)
		return -errno;
	memcpy(u.h.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(dir, &u.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(dir);
	return fd;
}

int cgroup__path(uint64_t id, char *path, size_t size)
{
	char *mount = cgroup__mount(), link[64], full[PATH_MAX];
	size_t prefix = mount ? strlen(mount) : 0;
	int fd = mount ? open_by_id(mount, id) : -ENOENT;
	ssize_t n;

	if (fd < 0) {
		free(mount);
		return fd;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, full, sizeof(full) - 1);
	close(fd);
	if (n < 0 || (size_t)n < prefix || strncmp(full, mount, prefix))
		n = -ENOENT;
	else
		full[n] = 0;
	free(mount);
	if (n < 0)
		return n;
	snprintf(path, size, "%s", full[prefix] ? full + prefix : "/");
	return 0;
}

/* The 64 hex digits that Docker and its like use. */
static char *find_id(const char *path)
{
	for (const char *p = path; *p; p++) {
		size_t n = 0;

		while (isxdigit((unsigned char)p[n]))
			n++;
		if (n == CONTAINER_ID_LEN)
			return strndup(p, n);
		if (n)
			p += n - 1;
	}
	return NULL;
}

char *cgroup__container(const char *path)
{
	static const char *const before[] = { "/lxc.payload.", "/lxc/", "/machine.slice/machine-" };
	char *id = find_id(path);

	for (size_t i = 0; !id && i < sizeof(before) / sizeof(*before); i++) {
		const char *p = strstr(path, before[i]);
		size_t n;

		if (!p)
			continue;
		p += strlen(before[i]);
		n = strcspn(p, "/");
		if (n > 6 && !strncmp(p + n - 6, ".scope", 6))
			n -= 6;
		if (n)
			id = strndup(p, n);
	}
	return id;
}
