/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "escape.h"
#include "json.h"

void json__init(struct json *j, FILE *f, int lines)
{
	memset(j, 0, sizeof(*j));
	j->f = f;
	j->lines = lines;
}

static void break_line(struct json *j)
{
	if (j->depth > j->lines)
		return;
	fputc('\n', j->f);
	for (int i = 0; i < j->depth; i++)
		fputc('\t', j->f);
}

/* What must stand before a key or a value. */
static void separate(struct json *j)
{
	if (j->keyed) {
		j->keyed = false;
		return;
	}
	if (!j->depth)
		return;
	if (j->filled[j->depth])
		fputs(j->depth > j->lines ? ", " : ",", j->f);
	j->filled[j->depth] = true;
	break_line(j);
}

static void put_quoted(struct json *j, const char *s, size_t len)
{
	const char *end = s + len;
	uint32_t cp;
	size_t n;

	fputc('"', j->f);
	for (; s < end; s += n ? n : 1) {
		n = utf8__decode(s, end - s, &cp);
		if (!n)
			fputs("\xef\xbf\xbd", j->f);
		else if (cp == '"' || cp == '\\')
			fprintf(j->f, "\\%c", (char)cp);
		else if (cp == '\n' || cp == '\t')
			fputs(cp == '\n' ? "\\n" : "\\t", j->f);
		else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == '<' || cp == '>' ||
			 cp == '&' || cp == 0x2028 || cp == 0x2029)
			fprintf(j->f, "\\u%04x", cp);
		else
			fwrite(s, 1, n, j->f);
	}
	fputc('"', j->f);
}

static void open_container(struct json *j, char opens, char closes)
{
	assert(j->depth < JSON_DEPTH);
	separate(j);
	fputc(opens, j->f);
	j->close[j->depth++] = closes;
	j->filled[j->depth] = false;
}

void json__object(struct json *j)
{
	open_container(j, '{', '}');
}

void json__array(struct json *j)
{
	open_container(j, '[', ']');
}

void json__close(struct json *j)
{
	const bool filled = j->filled[j->depth];
	const bool broken = j->depth <= j->lines;

	assert(j->depth > 0);
	j->depth--;
	if (filled && broken)
		break_line(j);
	fputc(j->close[j->depth], j->f);
	if (!j->depth)
		fputc('\n', j->f);
}

void json__key_n(struct json *j, const char *key, size_t len)
{
	separate(j);
	put_quoted(j, key, len);
	fputs(": ", j->f);
	j->keyed = true;
}

void json__key(struct json *j, const char *key)
{
	json__key_n(j, key, strlen(key));
}

void json__string_n(struct json *j, const char *s, size_t len)
{
	separate(j);
	put_quoted(j, s, len);
}

void json__string(struct json *j, const char *s)
{
	if (s)
		json__string_n(j, s, strlen(s));
	else
		json__null(j);
}

void json__u64(struct json *j, uint64_t v)
{
	separate(j);
	fprintf(j->f, "%" PRIu64, v);
}

void json__i64(struct json *j, int64_t v)
{
	separate(j);
	fprintf(j->f, "%" PRId64, v);
}

void json__bool(struct json *j, bool v)
{
	separate(j);
	fputs(v ? "true" : "false", j->f);
}

void json__null(struct json *j)
{
	separate(j);
	fputs("null", j->f);
}

void json__put_string(struct json *j, const char *key, const char *s)
{
	json__key(j, key);
	json__string(j, s);
}

void json__put_string_n(struct json *j, const char *key, const char *s, size_t len)
{
	json__key(j, key);
	json__string_n(j, s, len);
}

void json__put_u64(struct json *j, const char *key, uint64_t v)
{
	json__key(j, key);
	json__u64(j, v);
}

void json__put_bool(struct json *j, const char *key, bool v)
{
	json__key(j, key);
	json__bool(j, v);
}

void json__put_null(struct json *j, const char *key)
{
	json__key(j, key);
	json__null(j);
}

void json__put_object(struct json *j, const char *key)
{
	json__key(j, key);
	json__object(j);
}

void json__put_array(struct json *j, const char *key)
{
	json__key(j, key);
	json__array(j);
}
