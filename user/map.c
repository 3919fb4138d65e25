/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "map.h"

static size_t hash(const struct map *m, uint64_t a, uint64_t b)
{
	uint64_t x = a + b * 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (x ^ (x >> 31)) & (m->size - 1);
}

/* The slot of a key, or the free one where it belongs. */
static struct map_slot *find(const struct map *m, uint64_t a, uint64_t b)
{
	size_t i = hash(m, a, b);

	while (m->slots[i].value && (m->slots[i].a != a || m->slots[i].b != b))
		i = (i + 1) & (m->size - 1);
	return &m->slots[i];
}

void *map__get(const struct map *m, uint64_t a, uint64_t b)
{
	return m->size ? find(m, a, b)->value : NULL;
}

static int grow(struct map *m)
{
	struct map bigger = { .size = m->size ? m->size * 2 : 64, .used = m->used };

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < m->size; i++)
		if (m->slots[i].value)
			*find(&bigger, m->slots[i].a, m->slots[i].b) = m->slots[i];
	free(m->slots);
	*m = bigger;
	return 0;
}

int map__put(struct map *m, uint64_t a, uint64_t b, void *value)
{
	struct map_slot *s;

	if (m->used * 3 >= m->size * 2 && grow(m))
		return -ENOMEM;
	s = find(m, a, b);
	if (!s->value)
		m->used++;
	*s = (struct map_slot){ a, b, value };
	return 0;
}

void map__del(struct map *m, uint64_t a, uint64_t b)
{
	struct map_slot *s = m->size ? find(m, a, b) : NULL;
	size_t hole, i;

	if (!s || !s->value)
		return;
	m->used--;
	s->value = NULL;
	/* No tombstones: what the hole would cut off from its place moves into it. */
	hole = s - m->slots;
	for (i = (hole + 1) & (m->size - 1); m->slots[i].value; i = (i + 1) & (m->size - 1)) {
		size_t home = hash(m, m->slots[i].a, m->slots[i].b);

		if (((i - home) & (m->size - 1)) < ((i - hole) & (m->size - 1)))
			continue;
		m->slots[hole] = m->slots[i];
		m->slots[i].value = NULL;
		hole = i;
	}
}

void map__free(struct map *m)
{
	free(m->slots);
	*m = (struct map){ 0 };
}
