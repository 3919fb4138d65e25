/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

struct range {
	uint32_t first, last;
};

#define ELLIPSIS "..."

static bool in_ranges(const struct range *r, size_t n, uint32_t cp)
{
	for (size_t i = 0; i < n; i++)
		if (cp >= r[i].first && cp <= r[i].last)
			return true;
	return false;
}

#define IN(ranges, cp) in_ranges(ranges, sizeof(ranges) / sizeof(*(ranges)), cp)

/* Controls, and what changes how its surroundings look without being seen itself. */
static bool is_harmful(uint32_t cp)
{
	static const struct range harmful[] = {
		{ 0x00, 0x1f },     { 0x7f, 0x9f },     { 0xad, 0xad },     { 0x61c, 0x61c },
		{ 0x180e, 0x180e }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xe0000, 0xe0fff },
	};

	return (cp & 0xfffe) == 0xfffe || IN(harmful, cp);
}

static int columns_of(uint32_t cp)
{
	static const struct range none[] = {
		{ 0x300, 0x36f },   { 0x483, 0x489 },   { 0x591, 0x5bd },
		{ 0x64b, 0x65f },   { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff },
		{ 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f },
	};
	static const struct range wide[] = {
		{ 0x1100, 0x115f },   { 0x2e80, 0x303e },   { 0x3041, 0xa4cf },
		{ 0xa960, 0xa97c },   { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },
		{ 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },
		{ 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff }, { 0x1f900, 0x1faff },
		{ 0x20000, 0x3fffd },
	};

	if (cp < 0x300)
		return 1;
	return IN(none, cp) ? 0 : IN(wide, cp) ? 2 : 1;
}

size_t utf8__decode(const char *s, size_t len, uint32_t *cp)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)s;
	size_t n;

	if (!len)
		return 0;
	n = u[0] < 0x80   ? 1
	    : u[0] < 0xc2 ? 0
	    : u[0] < 0xe0 ? 2
	    : u[0] < 0xf0 ? 3
	    : u[0] < 0xf5 ? 4
			  : 0;
	if (!n || n > len)
		return 0;
	*cp = n == 1 ? u[0] : u[0] & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (u[i] & 0x3f);
	}
	/* Overlong forms and surrogates would be a second spelling of something else. */
	if (*cp < smallest[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return n;
}

int escape__next(const char **s, const char *end, char buf[ESCAPE_UNIT])
{
	const char *at = *s;
	uint32_t cp;
	size_t n;

	if (at >= end)
		return -1;
	n = utf8__decode(at, end - at, &cp);
	if (!n) {
		*s = at + 1;
		return snprintf(buf, ESCAPE_UNIT, "\\x%02x", (unsigned char)*at);
	}
	*s = at + n;
	if (cp == '\n' || cp == '\t' || cp == '\r')
		return snprintf(buf, ESCAPE_UNIT, "\\%c",
				cp == '\n'   ? 'n'
				: cp == '\t' ? 't'
					     : 'r');
	if (is_harmful(cp))
		return snprintf(buf, ESCAPE_UNIT,
				cp < 0x80      ? "\\x%02x"
				: cp < 0x10000 ? "\\u%04x"
					       : "\\U%08x",
				cp);
	memcpy(buf, at, n);
	buf[n] = '\0';
	return columns_of(cp);
}

size_t escape__columns(const char *s)
{
	const char *end = s + strlen(s);
	char unit[ESCAPE_UNIT];
	size_t sum = 0;
	int n;

	while ((n = escape__next(&s, end, unit)) >= 0)
		sum += n;
	return sum;
}

/* Where the tail of at most max columns begins; units are never cut in two. */
static const char *tail_of(const char *s, const char *end, size_t total, size_t max)
{
	char unit[ESCAPE_UNIT];

	while (s < end && total > max)
		total -= escape__next(&s, end, unit);
	return s;
}

char *escape__visible(const char *s, size_t max)
{
	const char *end, *tail;
	char unit[ESCAPE_UNIT];
	size_t total, head = 0, size;
	char *out = NULL;
	FILE *f;

	s = s ? s : "";
	end = s + strlen(s);
	f = open_memstream(&out, &size);
	if (!f)
		return NULL;
	total = escape__columns(s);
	if (max && total > max) {
		const size_t dots = max > 8 ? strlen(ELLIPSIS) : 0;
		const size_t front = (max - dots) / 2;

		tail = tail_of(s, end, total, max - dots - front);
		for (const char *next = s;; s = next) {
			head += escape__next(&next, end, unit);
			if (head > front || next > tail)
				break;
			fputs(unit, f);
		}
		fputs(dots ? ELLIPSIS : "", f);
		s = tail;
	}
	while (escape__next(&s, end, unit) >= 0)
		fputs(unit, f);
	if (fclose(f)) {
		free(out);
		return NULL;
	}
	return out;
}

char *escape__args(const char *args, size_t len)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-+=./:,@%^";
	const char *end = args + len;
	char unit[ESCAPE_UNIT];
	char *out = NULL;
	size_t size;
	FILE *f;

	f = open_memstream(&out, &size);
	if (!f)
		return NULL;
	for (const char *arg = args; arg < end;) {
		const char *stop = arg + strnlen(arg, end - arg);
		const char *quote =
			(size_t)(stop - arg) == strspn(arg, plain) && stop > arg ? "" : "'";

		fprintf(f, "%s%s", arg > args ? " " : "", quote);
		while (escape__next(&arg, stop, unit) >= 0)
			fputs(*quote && !strcmp(unit, "'") ? "'\\''" : unit, f);
		fputs(quote, f);
		arg = stop + 1;
	}
	if (fclose(f)) {
		free(out);
		return NULL;
	}
	return out;
}

void escape__text(FILE *f, const char *s)
{
	const char *end = s + strlen(s);
	char unit[ESCAPE_UNIT];

	while (escape__next(&s, end, unit) >= 0)
		fputs(unit, f);
}

/* Graphviz unquotes only \" when it reads; that labels see \\ as one backslash comes later. */
static void put_dot(FILE *f, const char *s, const char *amp)
{
	const char *end = s + strlen(s);
	char unit[ESCAPE_UNIT];

	while (escape__next(&s, end, unit) >= 0) {
		for (const char *c = unit; *c; c++) {
			if (*c == '"' || *c == '\\')
				fputc('\\', f);
			if (*c == '&')
				fputs(amp, f);
			else
				fputc(*c, f);
		}
	}
}

void escape__dot(FILE *f, const char *s)
{
	put_dot(f, s, "&");
}

void escape__dot_label(FILE *f, const char *s)
{
	put_dot(f, s, "&amp;");
}

void escape__undot(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '\\' && (s[1] == '\\' || s[1] == '"'))
			s++;
		*to++ = *s;
	}
	*to = '\0';
}

void escape__xml(FILE *f, const char *s)
{
	const char *end = s + strlen(s);
	char unit[ESCAPE_UNIT];

	while (escape__next(&s, end, unit) >= 0) {
		switch (unit[0]) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		case '\'':
			fputs("&#39;", f);
			break;
		default:
			fputs(unit, f);
		}
	}
}
