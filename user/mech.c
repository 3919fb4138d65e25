/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include <sys/stat.h>

#include "mech.h"

static const struct mech_desc unknown = {
	.name = "unknown",
	.help = "of a newer ipctrace",
	.medium = "unknown",
	.unit = "unknown",
	.allows = "unknown",
	.naming = "unknown",
	.buffering = "unknown",
	.scope = "unknown",
	.display = "unknown:[%llu]",
	.color = "#999999",
	.color_name = "grey",
	.style = "dotted",
};

/* Colours: Okabe and Ito's palette. */
static const struct mech_desc mechs[MECH_MAX] = {
	[MECH_PIPE] = {
		.name = "pipe",
		.help = "anonymous pipes",
		.medium = "memory",
		.unit = "byte stream",
		.allows = "one-way",
		/* No name at all: the ends get it from who made it, by inheritance. */
		.naming = "direct",
		.buffering = "bounded",
		.scope = "same-host",
		.types = 1U << (S_IFIFO >> 12),
		.display = "pipe:[%llu]",
		.color = "#0072b2",
		.color_name = "blue",
		.style = "solid",
	},
	[MECH_FIFO] = {
		.name = "fifo",
		.help = "named pipes",
		/* Only its name is in the file system. */
		.medium = "memory",
		.unit = "byte stream",
		.allows = "one-way",
		.naming = "indirect",
		.buffering = "bounded",
		.scope = "same-host",
		.naming_by = NAME_PATH,
		.types = 1U << (S_IFIFO >> 12),
		.display = "fifo:[%llu]",
		.color = "#d55e00",
		.color_name = "orange",
		.style = "dashed",
	},
	[MECH_UNIX] = {
		.name = "unix",
		.help = "unix domain sockets",
		.medium = "socket",
		.unit = "byte stream",
		.allows = "two-way",
		.naming = "indirect",
		.buffering = "bounded",
		.scope = "same-host",
		.naming_by = NAME_UNIX,
		.types = 1U << (S_IFSOCK >> 12),
		.display = "unix:[%llu]",
		.color = "#009e73",
		.color_name = "green",
		.style = "solid",
	},
	[MECH_TCP] = {
		.name = "tcp",
		.help = "TCP connections, over IPv4 and IPv6",
		.medium = "socket",
		.unit = "byte stream",
		.allows = "two-way",
		.naming = "indirect",
		.buffering = "bounded",
		.scope = "any-host",
		.naming_by = NAME_INET,
		.types = 1U << (S_IFSOCK >> 12),
		.display = "tcp:[%llu]",
		.color = "#cc79a7",
		.color_name = "purple",
		.style = "solid",
	},
	[MECH_SEM] = {
		.name = "sem",
		.help = "System V semaphores",
		.medium = "memory",
		.unit = "event",
		.allows = "two-way",
		.naming = "indirect",
		.buffering = "bounded",
		.scope = "same-host",
		.flows = FLOWS_ROWS,
		.measured = IN_OPS,
		.in_ipcns = true,
		.display = "sem:[%llu]",
		.color = "#56b4e9",
		.color_name = "light blue",
		.style = "dashed",
	},
	[MECH_FUTEX] = {
		.name = "futex",
		.help = "futexes that processes share",
		.medium = "memory",
		.unit = "event",
		.allows = "two-way",
		.naming = "indirect",
		.buffering = "zero",
		.scope = "same-host",
		.naming_by = NAME_WORD,
		.flows = FLOWS_ROWS,
		.measured = IN_OPS,
		.display = "anon:[%llu]",
		.color = "#56b4e9",
		.color_name = "light blue",
		.style = "dotted",
	},
	[MECH_FILE] = {
		.name = "file",
		.help = "locks on files (only with -m file)",
		.medium = "file",
		.unit = "event",
		.allows = "two-way",
		.naming = "indirect",
		.buffering = "zero",
		.scope = "same-host",
		.naming_by = NAME_PATH,
		.flows = FLOWS_ROWS,
		.measured = IN_OPS,
		.off = true,
		.display = "file:[%llu]",
		.color = "#999999",
		.color_name = "grey",
		.style = "solid",
	},
};

const struct mech_desc *mech__get(uint32_t mech)
{
	return mech < MECH_MAX && mechs[mech].name ? &mechs[mech] : &unknown;
}

enum mech mech__by_name(const char *name)
{
	for (int i = 0; i < MECH_MAX; i++)
		if (mechs[i].name && !strcmp(mechs[i].name, name))
			return i;
	return MECH_NONE;
}
