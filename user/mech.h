/* SPDX-License-Identifier: BSD-2-Clause */
/* What user space knows of a mechanism: one row of mech.c, and nothing elsewhere. */
#ifndef IPCTRACE_MECH_H
#define IPCTRACE_MECH_H

#include <stdbool.h>
#include <stdint.h>

#include "../bpf/record.h"

struct mech_desc {
	const char *name; /* -m NAME, "mechanism" in JSON */
	const char *help; /* a few words */
	/* As the textbooks class it. */
	const char *medium; /* "memory", "file", "file + memory", "socket", "message queue" */
	const char *unit; /* "byte stream", "message", "page", "event" */
	const char *allows; /* the direction one channel allows: "one-way", "two-way" */
	const char *naming; /* "direct", "indirect" */
	const char *buffering; /* "zero", "bounded", "unbounded" */
	const char *scope; /* "same-host", "any-host" */
	enum {
		NAME_NONE,
		NAME_PATH,
		NAME_LEAF,
		NAME_UNIX,
		NAME_INET,
		NAME_WORD,
		NAME_NUMBER,
		NAME_NETLINK,
		NAME_SIGNAL,
		NAME_PROCESS
	} naming_by; /* see names.c */
	enum {
		FLOWS_BYTES, /* derived from bytes */
		FLOWS_ROWS, /* the kernel's rows are flows */
		FLOWS_TO_ALL, /* every reader gets all of it */
		FLOWS_EVENTS, /* a read takes what all writes before have added up to */
		FLOWS_LOOSE, /* what is read need not be what was written */
		FLOWS_NONE, /* who is at the other end is not known */
	} flows;
	enum {
		IN_BYTES,
		IN_OPS,
		IN_PAGES,
		IN_BOTH /* bytes, and operations that have none */
	} measured; /* what of edges and flows counts; pages beside bytes, if there are any */
	bool off; /* unless asked for with -m */
	const char *tags; /* what messages differ by: "types", "priorities"; NULL: nothing */
	bool is_signal; /* may be ignored; has a number, a receiver and a value */
	bool of_process; /* belongs to one process (key.ino: its id), and is there as long as that */
	bool counts; /* what is written is added to a counter, which reading takes from */
	bool fill_is_memory; /* capacity and highest fill: what the kernel counts of memory, not bytes */
	bool in_ipcns; /* System V: has a key, and an id that means something in its namespace only */
	uint32_t types; /* bit per S_IFMT >> 12: what files that can be one are; 0: none is one */
	/* What users call a channel without a name: printf format of one unsigned long long, the inode. */
	const char *display;
	/* Drawings: a colour-blind-safe colour and, as colour is never the only sign, a line style. */
	const char *color, *color_name, *style;
};

/* Never NULL: one row stands for mechanisms of newer versions. */
const struct mech_desc *mech__get(uint32_t mech);

/* Of a word in memory (NAME_WORD): its offset in bytes. */
static inline uint64_t word__offset(const struct chan_row *row)
{
	return (uint64_t)row->key.word << 2;
}

/* MECH_NONE if there is none of that name. */
enum mech mech__by_name(const char *name);

#endif
