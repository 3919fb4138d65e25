/* SPDX-License-Identifier: BSD-2-Clause */
/* The first record: what the trace was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph_priv.h"

static int set(char **to, const char *value)
{
	char *s = strdup(value);

	if (!s)
		return -ENOMEM;
	free(*to);
	*to = s;
	return 0;
}

static int append(char ***list, const char *value)
{
	size_t n = 0;
	char **l;

	while (*list && (*list)[n])
		n++;
	l = reallocarray(*list, n + 2, sizeof(*l));
	if (!l)
		return -ENOMEM;
	*list = l;
	l[n + 1] = NULL;
	l[n] = strdup(value);
	return l[n] ? 0 : -ENOMEM;
}

static int set_pair(struct gmeta *m, const char *key, const char *value)
{
	if (!strcmp(key, "version"))
		return set(&m->version, value);
	if (!strcmp(key, "host"))
		return set(&m->host, value);
	if (!strcmp(key, "kernel"))
		return set(&m->kernel, value);
	if (!strcmp(key, "arg"))
		return append(&m->args, value);
	if (!strcmp(key, "filter"))
		return append(&m->filters, value);
	if (!strcmp(key, "note"))
		return append(&m->notes, value);
	return 0;
}

static void free_list(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

void meta_free(struct gmeta *m)
{
	free(m->version);
	free(m->host);
	free(m->kernel);
	free_list(m->args);
	free_list(m->filters);
	free_list(m->notes);
	*m = (struct gmeta){ 0 };
}

int meta_set(struct gmeta *m, const struct rec_meta *rec)
{
	size_t len = rec->text_len > META_TEXT ? META_TEXT : rec->text_len;
	const char *s = rec->text, *end = s + len;
	uint64_t duration = m->duration_ns;
	int err = 0;

	meta_free(m);
	m->started = rec->started;
	m->duration_ns = duration;
	while (!err) {
		const char *value = memchr(s, '\0', end - s);
		const char *next = value ? memchr(value + 1, '\0', end - value - 1) : NULL;

		if (!next)
			break;
		err = set_pair(m, s, value + 1);
		s = next + 1;
	}
	if (!err && !m->version)
		err = set(&m->version, "");
	if (!err && !m->host)
		err = set(&m->host, "");
	if (!err && !m->kernel)
		err = set(&m->kernel, "");
	return err;
}
