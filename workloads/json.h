/* SPDX-License-Identifier: BSD-2-Clause */
/* A streaming JSON writer that owns the commas. key is NULL inside arrays and at the top. */
#ifndef WORKLOAD_JSON_H
#define WORKLOAD_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *out;
	bool comma;
	int depth;
};

void json__open(struct json *j, const char *key, char bracket);
void json__close(struct json *j, char bracket);
void json__num(struct json *j, const char *key, uint64_t num);
void json__int(struct json *j, const char *key, int64_t num);
void json__num_or_null(struct json *j, const char *key, int64_t num); /* negative: null */
void json__str(struct json *j, const char *key, const char *s); /* NULL: null */
void json__true(struct json *j, const char *key);

#endif
