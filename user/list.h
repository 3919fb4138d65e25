/* SPDX-License-Identifier: BSD-2-Clause */
/* Circular doubly linked lists whose nodes lie in what they link. They own nothing. */
#ifndef IPCTRACE_LIST_H
#define IPCTRACE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

static inline void list__init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list__empty(const struct list *l)
{
	return l->next == l;
}

static inline void list__add_tail(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Leaves the node as a list of its own, so that deleting it again does no harm. */
static inline void list__del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list__init(node);
}

#define list_entry(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define list_for_each(pos, head, member)                                                       \
	for (pos = list_entry((head)->next, __typeof__(*pos), member); &pos->member != (head); \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))

/* The body may delete pos. */
#define list_for_each_safe(pos, tmp, head, member)                        \
	for (pos = list_entry((head)->next, __typeof__(*pos), member),    \
	    tmp = list_entry(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (head);                                      \
	     pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*pos), member))

#endif
