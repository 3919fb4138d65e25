/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers for people. Each returns its buffer. */
#ifndef IPCTRACE_HUMAN_H
#define IPCTRACE_HUMAN_H

#include <stdint.h>

#define HUMAN_LEN 40

const char *human__count(char buf[HUMAN_LEN], uint64_t n); /* 1,234,567 */
const char *human__bytes(char buf[HUMAN_LEN], uint64_t n); /* 10 B, 1.2 MiB */
const char *human__exact(char buf[HUMAN_LEN], uint64_t n); /* exact as long as it can be read */
const char *human__time(char buf[HUMAN_LEN], uint64_t ns); /* 1.2 ms, 3 min 20 s */
const char *human__date(char buf[HUMAN_LEN],
			uint64_t ns); /* RFC 3339: 2025-11-21T00:48:00.123456789Z */
const char *human__moment(char buf[HUMAN_LEN], uint64_t ns); /* 2025-11-21 00:48:00 UTC */

#endif
