// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>

#include "ids.h"

int ids__init(struct ids *ids, size_t max)
{
	ids->nr = 0;
	ids->at = calloc(max + 1, sizeof(*ids->at));
	return ids->at ? 0 : -ENOMEM;
}

void ids__free(struct ids *ids)
{
	free(ids->at);
}

void ids__put(struct ids *ids, uint32_t id)
{
	ids->at[ids->nr++] = id;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void ids__sort(struct ids *ids)
{
	qsort(ids->at, ids->nr, sizeof(*ids->at), compare_ids);
}

bool ids__have(const struct ids *ids, uint32_t id)
{
	return bsearch(&id, ids->at, ids->nr, sizeof(id), compare_ids);
}
