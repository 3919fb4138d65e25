/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "record.h"

struct tag {
	uint32_t writer, size;
	uint64_t seq;
};

void records__write(const struct end *e, uint32_t writer, uint64_t count, size_t size)
{
	struct tag tag = { .writer = writer, .size = size };
	char buf[PIPE_BUF];
	ssize_t n;

	for (; tag.seq < count; tag.seq++) {
		memcpy(buf, &tag, sizeof(tag));
		pattern__fill(buf + sizeof(tag), size - sizeof(tag), writer, tag.seq);
		n = x_write(e, buf, size);
		die_if(n != (ssize_t)size, "record: %s", n < 0 ? strerror(errno) : "short write");
	}
}

void records__read(const struct end *e, struct sums *sums, size_t size)
{
	char buf[PIPE_BUF];
	struct tag tag;
	ssize_t n;

	while ((n = x_read(e, buf, size)) > 0) {
		die_if(n != (ssize_t)size, "a record of %zd bytes", n);
		memcpy(&tag, buf, sizeof(tag));
		die_if(tag.writer >= sums->writers || tag.writer >= MAX_SUMS || tag.size != size,
		       "a record with a wrong tag");
		die_if(sums->ordered && tag.seq < sums->next[tag.writer], "records out of order");
		die_if(!pattern__check(buf + sizeof(tag), size - sizeof(tag), tag.writer, tag.seq),
		       "payload differs");
		sums->next[tag.writer] = tag.seq + 1;
		sums->records[tag.writer]++;
	}
	die_if(n < 0, "read: %s", strerror(errno));
}
