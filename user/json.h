/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON as a stream: the writer owns commas, line breaks and escapes. Strings come out as valid
 * UTF-8 (bytes that are none become U+FFFD) and may be put in HTML as they are: < > & are escaped.
 * Containers nested less than `lines` deep have a line for each member, deeper ones are one line.
 */
#ifndef IPCTRACE_JSON_H
#define IPCTRACE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 16

struct json {
	FILE *f;
	int lines;
	int depth;
	bool keyed; /* a key was written, its value comes */
	char close[JSON_DEPTH];
	bool filled[JSON_DEPTH + 1];
};

void json__init(struct json *j, FILE *f, int lines);

void json__object(struct json *j);
void json__array(struct json *j);
void json__close(struct json *j); /* whichever is open */
void json__key(struct json *j, const char *key);
void json__key_n(struct json *j, const char *key, size_t len);

void json__string(struct json *j, const char *s); /* NULL: null */
void json__string_n(struct json *j, const char *s, size_t len);
void json__u64(struct json *j, uint64_t v);
void json__i64(struct json *j, int64_t v);
void json__bool(struct json *j, bool v);
void json__null(struct json *j);

/* A key and its value. */
void json__put_string(struct json *j, const char *key, const char *s);
void json__put_string_n(struct json *j, const char *key, const char *s, size_t len);
void json__put_u64(struct json *j, const char *key, uint64_t v);
void json__put_bool(struct json *j, const char *key, bool v);
void json__put_null(struct json *j, const char *key);
void json__put_object(struct json *j, const char *key);
void json__put_array(struct json *j, const char *key);

#endif
