/* SPDX-License-Identifier: BSD-2-Clause */
/* What descriptors that were passed from process to process are of. */
#ifndef IPCTRACE_PASSED_H
#define IPCTRACE_PASSED_H

#include <stddef.h>
#include <stdint.h>

struct gchan;

/* A file whose descriptor was passed; the graph owns it. */
struct gfile {
	uint32_t kind; /* enum passed */
	uint32_t chan_key; /* record id; 0: no channel */
	uint32_t end; /* of that channel, if it has two */
	uint64_t dev, ino;
	char *name; /* "" until graph__finish() if it is a channel */
	const struct gchan *chan; /* from graph__finish() on; NULL: none that is in the graph */
};

struct gpassed {
	const struct gfile *file;
	uint32_t modes; /* bit ROLE_WRITE, bit ROLE_READ */
	uint64_t ops;
};

/* The first that were seen, in at[], which whoever has this struct owns; of others only how many. */
struct gpasses {
	struct gpassed *at;
	size_t nr;
	uint64_t others;
};

/* "pipe", "file", "directory"... */
const char *passed__kind(const struct gfile *f);
/* What can be done by it: "read", "write", "read-write", "none". */
const char *passed__mode(const struct gpassed *p);
uint64_t passes__total(const struct gpasses *p);
/* "pipe:[4711] (write), /etc/passwd (read) and 3 more", for the caller to free; NULL: no memory. */
char *passes__text(const struct gpasses *p, size_t most);

#endif
