/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mech.h"
#include "recfile.h"
#include "rectext.h"
#include "rectext_priv.h"

static __u64 load(const char *rec, __u16 at, __u16 size)
{
	__u64 v = 0;

	memcpy(&v, rec + at, size);
	return v;
}

static void print_bytes(FILE *f, const char *s, size_t len)
{
	fputc('"', f);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = s[i];

		if (!c)
			fputs("\\0", f);
		else if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c >= ' ' && c < 0x7f)
			fputc(c, f);
		else
			fprintf(f, "\\x%02x", c);
	}
	fputc('"', f);
}

static void print_flags(FILE *f, __u64 v, const char *const *names)
{
	const char *sep = "";

	for (int i = 0; names[i]; i++) {
		if (!(v & 1ull << i))
			continue;
		fprintf(f, "%s%s", sep, names[i]);
		sep = "+";
		v &= ~(1ull << i);
	}
	if (v)
		fprintf(f, "%s%" PRIu64, sep, (uint64_t)v);
}

static void print_enum(FILE *f, __u64 v, const char *const *names)
{
	__u64 n = 0;

	while (names[n])
		n++;
	if (v < n)
		fputs(names[v], f);
	else
		fprintf(f, "%" PRIu64, (uint64_t)v);
}

static void print_errors(FILE *f, const struct edge_row *row)
{
	const char *sep = " errors=";

	for (int i = 0; i < EDGE_ERRS; i++) {
		const char *name = strerrorname_np(row->err_no[i]);

		if (!row->errs[i] && !row->err_no[i])
			continue;
		if (name && row->err_no[i])
			fprintf(f, "%s%s:%" PRIu64, sep, name, (uint64_t)row->errs[i]);
		else
			fprintf(f, "%s%u:%" PRIu64, sep, row->err_no[i], (uint64_t)row->errs[i]);
		sep = ",";
	}
}

static size_t text_len(const struct field *fd, const char *rec)
{
	size_t len;

	if (fd->kind == STRING)
		return strnlen(rec + fd->at, fd->size);
	len = load(rec, fd->len_at, fd->len_size);
	return len < fd->size ? len : fd->size;
}

static void print_value(FILE *f, const struct field *fd, __u64 v)
{
	switch (fd->kind) {
	case ENUM:
		print_enum(f, v, fd->names);
		break;
	case FLAGS:
		print_flags(f, v, fd->names);
		break;
	case MECH:
		if (mech__by_name(mech__get(v)->name) == v)
			fputs(mech__get(v)->name, f);
		else
			fprintf(f, "%" PRIu64, (uint64_t)v);
		break;
	case SIGNED:
		fprintf(f, "%" PRId64, (int64_t)v);
		break;
	case PROCESS:
		if (v == PROC_OUTSIDE || v == PROC_SHARED) {
			fputs(v == PROC_SHARED ? "shared" : "outside", f);
			break;
		}
		/* fall through */
	default:
		fprintf(f, "%" PRIu64, (uint64_t)v);
	}
}

static void print_field(FILE *f, const struct field *fd, const char *rec)
{
	if (fd->kind == ERRORS) {
		print_errors(f, &((const struct rec_edge *)rec)->row);
	} else if (fd->kind == STRING || fd->kind == BYTES) {
		size_t len = text_len(fd, rec);

		if (!len)
			return;
		fprintf(f, " %s=", fd->name);
		print_bytes(f, rec + fd->at, len);
	} else {
		__u64 v = load(rec, fd->at, fd->size);

		/* A role is never left out: 0 is one. */
		if (!v && fd->names != rectext_roles)
			return;
		fprintf(f, " %s=", fd->name);
		print_value(f, fd, v);
	}
}

void rectext__print(FILE *f, const struct rec_hdr *rec)
{
	const struct type *t = rec->type < NR_TYPES ? &rectext_types[rec->type] : NULL;
	size_t known = record_min_len(rec->type);
	const char *bytes = (const char *)rec;
	const struct field *fd;

	if (t && t->name && rec->len >= known) {
		fputs(t->name, f);
	} else {
		fprintf(f, "type%u", rec->type);
		t = NULL;
		known = sizeof(*rec);
	}
	for (fd = rectext_hdr_fields; fd->name; fd++)
		print_field(f, fd, bytes);
	for (fd = t ? t->fields : NULL; fd && fd->name; fd++)
		print_field(f, fd, bytes);
	if (rec->len > known) {
		fputs(" more=", f);
		print_bytes(f, bytes + known, rec->len - known);
	}
	fputc('\n', f);
}

static void store(char *rec, __u16 at, __u16 size, __u64 v)
{
	memcpy(rec + at, &v, size);
}

static int parse_u64(const char **s, __u64 *v)
{
	char *end;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	errno = 0;
	*v = strtoull(*s, &end, 10);
	*s = end;
	return errno ? -EINVAL : 0;
}

/* The characters of a word: up to a blank or one of what separates words in a value. */
static size_t word_len(const char *s)
{
	return strcspn(s, " \t\n=+,:");
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return word && strlen(word) == len && !memcmp(s, word, len);
}

/* The index of the word at *s, and *s moved past it; a number stands for itself. */
static int parse_word(const char **s, const char *const *names, __u64 *v)
{
	size_t len = word_len(*s);

	for (__u64 i = 0; names[i]; i++) {
		if (!is_word(*s, len, names[i]))
			continue;
		*s += len;
		*v = i;
		return 0;
	}
	return -EINVAL;
}

static int parse_flags(const char **s, const char *const *names, __u64 *v)
{
	*v = 0;
	for (;; (*s)++) {
		__u64 bit, number;

		if (!parse_word(s, names, &bit))
			*v |= 1ull << bit;
		else if (!parse_u64(s, &number))
			*v |= number;
		else
			return -EINVAL;
		if (**s != '+')
			return 0;
	}
}

static int parse_mech(const char **s, __u64 *v)
{
	char name[32] = "";
	size_t len = word_len(*s);

	if (isdigit((unsigned char)**s))
		return parse_u64(s, v);
	if (len < sizeof(name))
		memcpy(name, *s, len);
	*v = mech__by_name(name);
	*s += len;
	return *v == MECH_NONE ? -EINVAL : 0;
}

static int parse_process(const char **s, __u64 *v)
{
	static const char *const words[] = { "outside", "shared", NULL };

	if (parse_word(s, words, v))
		return parse_u64(s, v);
	*v = *v ? PROC_SHARED : PROC_OUTSIDE;
	return 0;
}

static int parse_value(const char **s, const struct field *fd, __u64 *v)
{
	bool negative;
	int err;

	switch (fd->kind) {
	case ENUM:
		return parse_word(s, fd->names, v) ? parse_u64(s, v) : 0;
	case FLAGS:
		return parse_flags(s, fd->names, v);
	case MECH:
		return parse_mech(s, v);
	case PROCESS:
		return parse_process(s, v);
	case SIGNED:
		negative = **s == '-';
		*s += negative;
		err = parse_u64(s, v);
		if (negative)
			*v = -*v;
		return err;
	default:
		return parse_u64(s, v);
	}
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns how many bytes, or -EINVAL. */
static int parse_bytes(const char **s, char *to, size_t size)
{
	size_t n = 0;

	if (*(*s)++ != '"')
		return -EINVAL;
	for (; **s != '"'; (*s)++) {
		char c = **s;

		if (!c || n == size)
			return -EINVAL;
		if (c == '\\') {
			c = *++(*s);
			if (c == '0') {
				c = '\0';
			} else if (c == 'x') {
				if (hex((*s)[1]) < 0 || hex((*s)[2]) < 0)
					return -EINVAL;
				c = hex((*s)[1]) << 4 | hex((*s)[2]);
				*s += 2;
			} else if (c != '\\' && c != '"') {
				return -EINVAL;
			}
		}
		to[n++] = c;
	}
	(*s)++;
	return n;
}

static int parse_error(const char **s, __u64 *no)
{
	size_t len = word_len(*s);

	if (isdigit((unsigned char)**s))
		return parse_u64(s, no);
	for (*no = 1; *no < 255; (*no)++) {
		if (!is_word(*s, len, strerrorname_np(*no)))
			continue;
		*s += len;
		return 0;
	}
	return -EINVAL;
}

static int parse_errors(const char **s, struct edge_row *row)
{
	for (int i = 0; i < EDGE_ERRS; i++) {
		__u64 no, n;

		if (parse_error(s, &no) || *(*s)++ != ':' || parse_u64(s, &n))
			return -EINVAL;
		row->err_no[i] = no;
		row->errs[i] = n;
		if (**s != ',')
			return 0;
		(*s)++;
	}
	return -EINVAL;
}

static int parse_field(const char **s, const struct field *fd, char *rec)
{
	__u64 v;
	int n;

	if (fd->kind == ERRORS)
		return parse_errors(s, &((struct rec_edge *)rec)->row);
	if (fd->kind == STRING || fd->kind == BYTES) {
		n = parse_bytes(s, rec + fd->at, fd->size);
		if (n >= 0 && fd->kind == BYTES)
			store(rec, fd->len_at, fd->len_size, n);
		return n < 0 ? n : 0;
	}
	if (parse_value(s, fd, &v))
		return -EINVAL;
	store(rec, fd->at, fd->size, v);
	return 0;
}

static const struct field *find_field(const struct field *fd, const char *s, size_t len)
{
	while (fd->name && !is_word(s, len, fd->name))
		fd++;
	return fd->name ? fd : NULL;
}

static int parse_type(const char **s, struct rec_hdr *rec, const struct field **fields)
{
	size_t len = word_len(*s);
	__u64 number;

	for (unsigned int i = 0; i < NR_TYPES; i++) {
		if (!is_word(*s, len, rectext_types[i].name))
			continue;
		*s += len;
		rec->type = i;
		rec->len = record_min_len(i);
		*fields = rectext_types[i].fields;
		return 0;
	}
	if (strncmp(*s, "type", 4))
		return -EINVAL;
	*s += 4;
	if (parse_u64(s, &number) || number > 0xffff)
		return -EINVAL;
	rec->type = number;
	rec->len = sizeof(*rec);
	*fields = rectext_hdr_fields;
	return 0;
}

static int parse_one(const char **s, struct rec_hdr *rec, const struct field *fields)
{
	const struct field *fd;
	size_t len = word_len(*s);
	int n;

	if ((*s)[len] != '=')
		return -EINVAL;
	if (is_word(*s, len, "more")) {
		*s += len + 1;
		n = parse_bytes(s, (char *)rec + rec->len, 65535 - rec->len);
		rec->len += n < 0 ? 0 : n;
		return n < 0 ? n : 0;
	}
	fd = find_field(fields, *s, len);
	if (!fd)
		fd = find_field(rectext_hdr_fields, *s, len);
	if (!fd)
		return -EINVAL;
	*s += len + 1;
	return parse_field(s, fd, (char *)rec);
}

int rectext__parse(const char *line, struct rec_hdr *rec, const char **where)
{
	const struct field *fields;

	memset(rec, 0, RECTEXT_MAX);
	*where = line;
	if (parse_type(where, rec, &fields))
		return -EINVAL;
	for (;;) {
		size_t blanks = strspn(*where, " \t\r\n");

		*where += blanks;
		if (!**where)
			return 0;
		if (!blanks || parse_one(where, rec, fields))
			return -EINVAL;
	}
}
