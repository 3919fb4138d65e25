/* SPDX-License-Identifier: BSD-2-Clause */
/* Other hosts: a node for each address and port that a connection or a datagram leaves this one for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "graph_priv.h"

#define KEY_HOST 0xf0000000u /* above all groups */

static bool is_loopback(const struct chan_end *e)
{
	static const uint8_t one[16] = { [15] = 1 };

	return e->family == AF_INET6 ? !memcmp(e->addr, one, sizeof(one)) : e->addr[0] == 127;
}

static bool has_edges(const struct chan *c, unsigned int end)
{
	for (int role = 0; role < ROLES_IO; role++)
		if (!list__empty(&c->edges[role][end]))
			return true;
	return false;
}

/* The end that is on another host, as far as its address tells; NULL: none is. */
static const struct chan_end *far_end(const struct chan *c, unsigned int *near)
{
	const struct chan_end *ends = c->c.row.ends;

	if (c->c.row.key.mech == MECH_UDP) {
		*near = 0;
		return !ends[0].ino && ends[0].family && !is_loopback(&ends[0]) &&
				       list__empty(&c->edges[ROLE_READ][0])
			       ? &ends[0]
			       : NULL;
	}
	if (c->c.row.key.mech != MECH_TCP || !chan_has_two_ends(c))
		return NULL;
	for (*near = 0; *near < 2; (*near)++) {
		const struct chan_end *far = &ends[!*near];

		if (ends[*near].ino && !far->ino && !has_edges(c, !*near) && !is_loopback(far) &&
		    memcmp(far->addr, ends[*near].addr, sizeof(far->addr)))
			return far;
	}
	return NULL;
}

static struct gproc *host_node(struct graph *g, const struct chan_end *e)
{
	char *name = graph__address(e);
	struct proc *p;

	if (!name)
		return NULL;
	list_for_each(p, &g->priv->procs, all)
		if (p->p.key >= KEY_HOST && !strcmp(p->p.comm, name)) {
			free(name);
			return &p->p;
		}
	p = graph_new_proc(g, KEY_HOST + g->priv->nr_hosts++);
	if (!p) {
		free(name);
		return NULL;
	}
	p->p.comm = name;
	p->p.flags = PROC_HOLDER;
	p->needed = true;
	return &p->p;
}

static int add(struct graph *g, struct chan *c, struct gproc *host, const struct edge *e)
{
	const bool out = e->e.role == ROLE_WRITE;
	struct gflow f = {
		.from = out ? e->e.proc : host,
		.to = out ? host : e->e.proc,
		.ops = e->e.ops,
		.bytes = e->e.bytes,
	};

	return e->e.bytes ? flow_add(g, c, &f) : 0;
}

int host_resolve(struct graph *g, struct chan *c, bool *is_host)
{
	unsigned int near = 0;
	const struct chan_end *far = far_end(c, &near);
	struct gproc *host;
	const struct edge *e;
	int err = 0;

	*is_host = far;
	if (!far)
		return 0;
	host = host_node(g, far);
	if (!host)
		return -ENOMEM;
	for (int role = 0; role < ROLES_IO; role++)
		list_for_each(e, &c->edges[role][near], by_chan)
			if (!err)
				err = add(g, c, host, e);
	return err;
}
