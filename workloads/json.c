/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <string.h>

#include "json.h"

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static int utf8_len(const unsigned char *s)
{
	int len = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;

	for (int i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static void put_string(FILE *out, const char *str)
{
	const unsigned char *s = (const unsigned char *)str;

	fputc('"', out);
	while (*s) {
		int len = utf8_len(s);

		if (!len)
			fputs("\\ufffd", out);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else
			fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
	fputc('"', out);
}

/* One line for each thing in a list, so that facts can be read and compared by eye. */
static void put_key(struct json *j, const char *key)
{
	if (j->comma)
		fputc(',', j->out);
	if (j->depth == 1 || (j->depth == 2 && !key))
		fprintf(j->out, "\n%*s", j->depth * 2, "");
	else if (j->comma)
		fputc(' ', j->out);
	if (key) {
		put_string(j->out, key);
		fputs(": ", j->out);
	}
	j->comma = true;
}

void json__open(struct json *j, const char *key, char bracket)
{
	put_key(j, key);
	fputc(bracket, j->out);
	j->comma = false;
	j->depth++;
}

void json__close(struct json *j, char bracket)
{
	j->depth--;
	if (!j->depth)
		fputc('\n', j->out);
	fputc(bracket, j->out);
	j->comma = true;
}

void json__num(struct json *j, const char *key, uint64_t num)
{
	put_key(j, key);
	fprintf(j->out, "%" PRIu64, num);
}

void json__int(struct json *j, const char *key, int64_t num)
{
	put_key(j, key);
	fprintf(j->out, "%" PRId64, num);
}

void json__num_or_null(struct json *j, const char *key, int64_t num)
{
	put_key(j, key);
	if (num < 0)
		fputs("null", j->out);
	else
		fprintf(j->out, "%" PRId64, num);
}

void json__str(struct json *j, const char *key, const char *s)
{
	put_key(j, key);
	if (s)
		put_string(j->out, s);
	else
		fputs("null", j->out);
}

void json__true(struct json *j, const char *key)
{
	put_key(j, key);
	fputs("true", j->out);
}
