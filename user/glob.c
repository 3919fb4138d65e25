// SPDX-License-Identifier: BSD-2-Clause
/* Shell patterns (* ? [a-z] [!x] \c) over process names, as the kernel side matches them. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "glob.h"

/* Reads a [set] whose '[' has been read; NULL: it has no end. */
static const char *read_set(const char *p, bool take[256])
{
	bool invert = *p == '!' || *p == '^';
	const char *first;

	p += invert;
	for (first = p; *p && (*p != ']' || p == first); p++) {
		unsigned char from = *p, to = from;

		if (p[1] == '-' && p[2] && p[2] != ']') {
			to = p[2];
			p += 2;
		}
		for (int c = from; c <= to; c++)
			take[c] = true;
	}
	if (*p != ']')
		return NULL;
	for (int c = 0; c < 256; c++)
		take[c] ^= invert;
	return p + 1;
}

int glob__compile(struct glob *g, const char *pattern)
{
	unsigned int n = 0;

	memset(g, 0, sizeof(*g));
	for (const char *p = pattern; *p;) {
		bool take[256] = {};

		if (n > 30)
			return -EINVAL;
		if (*p == '*') {
			if (!n || !(g->star & 1U << (n - 1)))
				g->star |= 1U << n++;
			p++;
			continue;
		}
		if (*p == '?') {
			memset(take, true, sizeof(take));
			p++;
		} else if (*p == '[') {
			p = read_set(p + 1, take);
			if (!p)
				return -EINVAL;
		} else {
			if (*p == '\\' && p[1])
				p++;
			take[(unsigned char)*p++] = true;
		}
		for (int c = 0; c < 256; c++)
			if (take[c])
				g->take[c] |= 1U << n;
		n++;
	}
	g->end = 1U << n;
	return 0;
}
