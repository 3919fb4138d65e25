/* SPDX-License-Identifier: BSD-2-Clause */
#include "tags.h"

void tags__add(struct gtags *t, int32_t tag, uint64_t ops)
{
	if (!ops)
		return;
	for (int i = 0; i < TAGS_MAX; i++) {
		if (t->of[i].ops && t->of[i].tag != tag)
			continue;
		t->of[i].tag = tag;
		t->of[i].ops += ops;
		return;
	}
	t->others += ops;
}

void tags__merge(struct gtags *into, const struct gtags *from)
{
	for (int i = 0; i < TAGS_MAX; i++)
		tags__add(into, from->of[i].tag, from->of[i].ops);
	into->others += from->others;
}
