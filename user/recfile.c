/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "recfile.h"
#include "util.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "recordings are little endian");

#define LEN_MAX 65535 /* rec_hdr.len is 16 bits */

struct recfile {
	FILE *f;
	unsigned long long offset, records;
	bool over, has_end;
	char problem[256];
	union {
		struct rec_hdr hdr;
		char bytes[LEN_MAX + 1];
	} rec;
};

/* As long as this version writes them. */
static const __u16 min_len[] = {
	[REC_META] = sizeof(struct rec_meta),     [REC_PROC] = sizeof(struct rec_proc),
	[REC_CHAN] = sizeof(struct rec_chan),     [REC_EDGE] = sizeof(struct rec_edge),
	[REC_FLOW] = sizeof(struct rec_flow),     [REC_LOST] = sizeof(struct rec_lost),
	[REC_LIFE] = sizeof(struct rec_life),     [REC_OP] = sizeof(struct rec_op),
	[REC_HOLDER] = sizeof(struct rec_holder), [REC_END] = sizeof(struct rec_end),
	[REC_CGROUP] = sizeof(struct rec_cgroup), [REC_PASS] = sizeof(struct rec_pass),
};

/* Of those that have grown: how long they were in format 1. */
static const __u16 first_len[] = {
	[REC_PROC] = offsetof(struct rec_proc, row.title),
	[REC_CHAN] = offsetof(struct rec_chan, row.ends),
	[REC_LOST] = offsetof(struct rec_lost, causes[LOSS_STRAY + 1]),
	[REC_FLOW] = offsetof(struct rec_flow, val.blocked_ns),
};

static size_t shortest(unsigned int type)
{
	return type < ARRAY_SIZE(first_len) && first_len[type] ? first_len[type]
							       : record_min_len(type);
}

/* What the record of an older version lacks is zero. */
static void lengthen(struct rec_hdr *hdr)
{
	size_t len = record_min_len(hdr->type);

	if (hdr->len >= len)
		return;
	memset((char *)hdr + hdr->len, 0, len - hdr->len);
	hdr->len = len;
}

size_t record_min_len(unsigned int type)
{
	return type < ARRAY_SIZE(min_len) ? min_len[type] : 0;
}

int recfile__write_header(FILE *f)
{
	struct recfile_hdr hdr = {
		.magic = { RECFILE_MAGIC[0], RECFILE_MAGIC[1], RECFILE_MAGIC[2], RECFILE_MAGIC[3],
			   RECFILE_MAGIC[4], RECFILE_MAGIC[5], RECFILE_MAGIC[6], RECFILE_MAGIC[7] },
		.version = RECFILE_VERSION,
		.len = sizeof(hdr),
	};

	return fwrite(&hdr, sizeof(hdr), 1, f) == 1 ? 0 : errno ? -errno : -EIO;
}

int recfile__write(FILE *f, const struct rec_hdr *rec)
{
	return fwrite(rec, rec->len, 1, f) == 1 ? 0 : errno ? -errno : -EIO;
}

__attribute__((format(printf, 2, 3))) static void complain(struct recfile *rf, const char *fmt, ...)
{
	va_list ap;

	if (rf->problem[0])
		return;
	va_start(ap, fmt);
	vsnprintf(rf->problem, sizeof(rf->problem), fmt, ap);
	va_end(ap);
}

static void stop(struct recfile *rf)
{
	rf->over = true;
}

/* Returns how much came. */
static size_t get(struct recfile *rf, void *to, size_t len)
{
	size_t n = fread(to, 1, len, rf->f);

	rf->offset += n;
	if (n < len && ferror(rf->f)) {
		complain(rf, "cannot be read: %s", strerror(errno));
		stop(rf);
	}
	return n;
}

static void read_header(struct recfile *rf)
{
	struct recfile_hdr hdr;
	size_t n = get(rf, &hdr, sizeof(hdr)), rest;

	if (rf->over)
		return;
	stop(rf);
	if (!n) {
		complain(rf, "is empty");
	} else if (memcmp(hdr.magic, RECFILE_MAGIC,
			  n < sizeof(hdr.magic) ? n : sizeof(hdr.magic))) {
		complain(rf, "is not a recording of ipctrace");
	} else if (n < sizeof(hdr)) {
		complain(rf, "ends within its header");
	} else if (hdr.len < sizeof(hdr) || hdr.len > LEN_MAX || !hdr.version) {
		complain(rf, "has a damaged header");
	} else {
		rest = hdr.len - sizeof(hdr);
		rf->over = get(rf, rf->rec.bytes, rest) < rest;
		if (rf->over)
			complain(rf, "ends within its header");
		else if (hdr.version > RECFILE_VERSION)
			complain(
				rf,
				"is of a newer ipctrace (format %u, known is %u): parts may be wrong",
				hdr.version, RECFILE_VERSION);
	}
}

struct recfile *recfile__open(const char *path)
{
	struct recfile *rf = calloc(1, sizeof(*rf));

	if (!rf)
		return NULL;
	rf->f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	if (!rf->f) {
		complain(rf, "cannot be opened: %s", strerror(errno));
		stop(rf);
		return rf;
	}
	read_header(rf);
	return rf;
}

bool recfile__usable(const struct recfile *rf)
{
	return !rf->over;
}

/* The end of the file, between two records. */
static void at_end(struct recfile *rf)
{
	if (!rf->has_end && !rf->over)
		complain(
			rf,
			"has no end: the tracer was killed, or the file was cut, after %llu records",
			rf->records);
	stop(rf);
}

const struct rec_hdr *recfile__next(struct recfile *rf)
{
	struct rec_hdr *hdr = &rf->rec.hdr;
	unsigned long long start = rf->offset;
	size_t n;

	if (rf->over)
		return NULL;
	n = get(rf, hdr, sizeof(*hdr));
	if (!n || rf->over) {
		at_end(rf);
		return NULL;
	}
	if (n == sizeof(*hdr) && (hdr->len < sizeof(*hdr) || hdr->len < shortest(hdr->type))) {
		complain(rf, "is damaged at byte %llu (type %u, length %u), after %llu records",
			 start, hdr->type, hdr->len, rf->records);
		stop(rf);
		return NULL;
	}
	if (n < sizeof(*hdr) || get(rf, rf->rec.bytes + n, hdr->len - n) < hdr->len - n) {
		complain(rf, "ends within a record at byte %llu, after %llu records", start,
			 rf->records);
		stop(rf);
		return NULL;
	}
	if (rf->has_end) {
		complain(rf, "goes on after its end, at byte %llu: that part was left out", start);
		stop(rf);
		return NULL;
	}
	lengthen(hdr);
	rf->records++;
	rf->has_end = hdr->type == REC_END;
	return hdr;
}

const char *recfile__problem(const struct recfile *rf)
{
	return rf->problem[0] ? rf->problem : NULL;
}

void recfile__free(struct recfile *rf)
{
	if (!rf)
		return;
	if (rf->f && rf->f != stdin)
		fclose(rf->f);
	free(rf);
}
