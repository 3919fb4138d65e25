/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mkrec IN.recs OUT.ipct: a recording from the text form of `ipctrace dump`, and from what dump
 * never prints:
 *	# comment
 *	!repeat N ... !done	the lines between N times, with $5 as 5, 6, 7 ...
 *	!noheader		first of all: no header
 *	!raw "bytes"		these bytes, escaped as dump does
 *	!cut N			without the last N bytes
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/recfile.h"
#include "user/rectext.h"

#define LINE_MAX_LEN 65536

struct source {
	char **lines;
	size_t nr_lines;
	const char *name;
	FILE *out;
};

static int fail(const struct source *s, size_t line, const char *what, const char *where)
{
	fprintf(stderr, "mkrec: %s:%zu: %s: %.40s\n", s->name, line + 1, what, where);
	return -EINVAL;
}

/* `$5` becomes 5 + i. */
static void expand(char *to, size_t size, const char *from, unsigned long i)
{
	size_t n = 0;

	while (*from && n + 24 < size) {
		if (*from == '$' && isdigit((unsigned char)from[1])) {
			char *end;

			n += snprintf(to + n, size - n, "%lu", strtoul(from + 1, &end, 10) + i);
			from = end;
		} else {
			to[n++] = *from++;
		}
	}
	to[n] = '\0';
}

static int put_record(struct source *s, size_t line, const char *text)
{
	static union {
		struct rec_hdr hdr;
		char bytes[RECTEXT_MAX];
	} rec;
	const char *where;

	if (rectext__parse(text, &rec.hdr, &where))
		return fail(s, line, "not a record", where);
	return recfile__write(s->out, &rec.hdr);
}

/* As the bytes of a record of no known type, without its header. */
static int put_raw(struct source *s, size_t line, const char *quoted)
{
	static union {
		struct rec_hdr hdr;
		char bytes[RECTEXT_MAX];
	} rec;
	char text[LINE_MAX_LEN + 32];
	const char *where;

	snprintf(text, sizeof(text), "type65535 more=%s", quoted);
	if (rectext__parse(text, &rec.hdr, &where))
		return fail(s, line, "no bytes", where);
	fwrite(rec.bytes + sizeof(rec.hdr), rec.hdr.len - sizeof(rec.hdr), 1, s->out);
	return 0;
}

static int put_line(struct source *s, size_t line, unsigned long i)
{
	static char text[LINE_MAX_LEN];

	expand(text, sizeof(text), s->lines[line], i);
	if (!*text || *text == '#')
		return 0;
	if (!strncmp(text, "!raw ", 5))
		return put_raw(s, line, text + 5);
	if (!strncmp(text, "!cut ", 5)) {
		fflush(s->out);
		return ftruncate(fileno(s->out), ftell(s->out) - strtol(text + 5, NULL, 10));
	}
	if (!strcmp(text, "!noheader") || !strcmp(text, "!done"))
		return 0;
	if (*text == '!')
		return fail(s, line, "unknown directive", text);
	return put_record(s, line, text);
}

static int put_repeated(struct source *s, size_t *line)
{
	unsigned long times = strtoul(s->lines[*line] + 8, NULL, 10);
	size_t first = *line + 1, end = first;
	int err = 0;

	while (end < s->nr_lines && strcmp(s->lines[end], "!done"))
		end++;
	for (unsigned long i = 0; i < times; i++)
		for (size_t l = first; !err && l < end; l++)
			err = put_line(s, l, i);
	*line = end;
	return err;
}

static int put_all(struct source *s)
{
	int err = 0;

	if (!s->nr_lines || strcmp(s->lines[0], "!noheader"))
		err = recfile__write_header(s->out);
	for (size_t l = 0; !err && l < s->nr_lines; l++)
		err = strncmp(s->lines[l], "!repeat ", 8) ? put_line(s, l, 0) : put_repeated(s, &l);
	return err;
}

static void read_lines(struct source *s, FILE *f)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, f) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		s->lines = reallocarray(s->lines, s->nr_lines + 1, sizeof(*s->lines));
		s->lines[s->nr_lines++] = strdup(line);
	}
	free(line);
}

int main(int argc, char **argv)
{
	struct source s = { .name = argc > 1 ? argv[1] : "" };
	FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL;
	int err;

	s.out = in ? fopen(argv[2], "w") : NULL;
	if (!s.out) {
		fprintf(stderr, "mkrec: %s\n",
			argc == 3 ? strerror(errno) : "mkrec IN.recs OUT.ipct");
		return 2;
	}
	read_lines(&s, in);
	fclose(in);
	err = put_all(&s);
	if (fclose(s.out) || err)
		return 1;
	for (size_t i = 0; i < s.nr_lines; i++)
		free(s.lines[i]);
	free(s.lines);
	return 0;
}
