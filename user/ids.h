/* SPDX-License-Identifier: BSD-2-Clause */
/* Ids of rows: put in one by one, sorted, then looked for. */
#ifndef IPCTRACE_IDS_H
#define IPCTRACE_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ids {
	uint32_t *at;
	size_t nr;
};

int ids__init(struct ids *ids, size_t max); /* -ENOMEM */
void ids__free(struct ids *ids);
/* No more than max. */
void ids__put(struct ids *ids, uint32_t id);
void ids__sort(struct ids *ids);
bool ids__have(const struct ids *ids, uint32_t id);

#endif
