/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "data.h"
#include "sync.h"

char *data__buffer(void)
{
	static char *buf;

	if (!buf)
		buf = xmalloc(DATA_MAX);
	return buf;
}

void must(bool ok, const char *what)
{
	die_if(!ok, "%s: %s", what, strerror(errno));
}

int data__file(const char *file)
{
	char name[16];

	snprintf(name, sizeof(name), "f%u", arena->nr_chans);
	return lockfile__make(name, file);
}

void data__write(const struct end *e, data_fn put)
{
	uint64_t total = arg_num("bytes"), done = 0;
	char *buf = data__buffer();
	ssize_t n, ret;

	memset(buf, self, DATA_MAX);
	for (; done < total; done += n) {
		n = arg_num("chunk") < total - done ? arg_num("chunk") : total - done;
		ret = put ? put(e, buf, n, done) : x_write(e, buf, n);
		must(ret == n, "write");
	}
}

void data__read(const struct end *e, size_t chunk, bool sure, data_fn take)
{
	uint64_t found[256] = { 0 }, at = 0;
	char *buf = data__buffer();
	ssize_t n;

	do {
		n = take ? take(e, buf, chunk, at) : x_read(e, buf, chunk);
		must(n >= 0, "read");
		for (ssize_t i = 0; i < n; i++)
			found[(unsigned char)buf[i]]++;
		at += n;
	} while (n);
	for (int who = 0; who < 256; who++)
		if (found[who] && who != self)
			flow__add(who, self, e->chan, found[who], !sure);
}
