/* SPDX-License-Identifier: BSD-2-Clause */
/* See struct memo. */
#include <errno.h>
#include <stdlib.h>

#include "graph_priv.h"

#define MEMO_PAGE 1024
#define MEMO_PAGES 64 /* kept of each memo */

static void memo_move_on(struct memo *m, uint32_t newest)
{
	/* Once around is enough, however far it is. */
	for (uint32_t i = 0; m->newest < newest && i <= MEMO_PAGES; i++) {
		uint32_t old = m->newest + 1 + i;

		if (old > newest || old < MEMO_PAGES)
			continue;
		free(map__get(&m->pages, old - MEMO_PAGES, 0));
		map__del(&m->pages, old - MEMO_PAGES, 0);
	}
	m->newest = newest;
}

bool memo_forgot(const struct memo *m, uint32_t key)
{
	return key / MEMO_PAGE + MEMO_PAGES <= m->newest;
}

int memo_set(struct memo *m, uint32_t key, uint32_t value)
{
	uint32_t *page;

	if (memo_forgot(m, key))
		return 0;
	if (key / MEMO_PAGE > m->newest)
		memo_move_on(m, key / MEMO_PAGE);
	page = map__get(&m->pages, key / MEMO_PAGE, 0);
	if (!page) {
		page = calloc(MEMO_PAGE, sizeof(*page));
		if (!page || map__put(&m->pages, key / MEMO_PAGE, 0, page)) {
			free(page);
			return -ENOMEM;
		}
	}
	page[key % MEMO_PAGE] = value;
	return 0;
}

uint32_t memo_get(const struct memo *m, uint32_t key)
{
	const uint32_t *page = map__get(&m->pages, key / MEMO_PAGE, 0);

	return page ? page[key % MEMO_PAGE] : 0;
}

void memo_free(struct memo *m)
{
	for (size_t i = 0; i < m->pages.size; i++)
		free(m->pages.slots[i].value);
	map__free(&m->pages);
}
