/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writers: one file each (out_*.c), one `const struct out_ops` each. A writer gets the finished
 * graph's parts in a fixed order through walk() in out.c; it never looks for anything itself.
 * Every string that comes from the traced machine is hostile: a writer escapes for its format.
 */
#ifndef IPCTRACE_OUT_H
#define IPCTRACE_OUT_H

#include <stdio.h>

#include "graph.h"
#include "reduce.h"

struct out {
	FILE *f;
	const struct graph *g;
	void *priv; /* the writer's own */
	const char *engine; /* drawings: who lays them out; NULL: by their size */
	bool reduced; /* g has been made small enough already */
	const struct graph *whole; /* while g is what was made of it; NULL: g is all there is */
};

struct out_ops {
	const char *name; /* "json" */
	const char *extensions; /* "json", "dot gv" */
	const char *help;
	/* For the eye: how to reduce the graph, see reduce.h; NULL, or giving NULL: not at all. */
	const struct reduce_opts *(*reduce)(const struct out *o);
	int (*begin)(struct out *o);
	int (*event)(struct out *o,
		     const struct rec_hdr *rec); /* each record, as it comes; may be NULL */
	int (*proc)(struct out *o, const struct gproc *p);
	int (*chan)(struct out *o, const struct gchan *c);
	int (*edge)(struct out *o, const struct gedge *e);
	int (*flow)(struct out *o, const struct gflow *f);
	int (*lost)(struct out *o);
	int (*end)(struct out *o);
};

extern const struct out_ops out_text, out_dot, out_svg, out_png, out_pdf, out_json, out_jsonl,
	out_ipct;

/* What drawings have for reduce(). */
const struct reduce_opts *out__reduce_drawing(const struct out *o);

/* The writer for a file name, by its extension; NULL if there is none. */
const struct out_ops *out__by_filename(const char *filename);

/* "dot gv svg png ..." for messages. */
const char *out__extensions(void);

/*
 * The finished graph in one go, without a file of its own. A writer that has event() is begun at
 * the first event, when out->g is still NULL; the others are begun when the graph is finished.
 * end() is called once for each begin(), also after an error, and frees what the writer has.
 */
int out__write(struct out *o, const struct out_ops *ops);

/*
 * An output file. Opened (and so checked for being writable) before tracing starts; what is written
 * goes to a temporary file beside it and is renamed into place by out_file__finish(), so a disk that
 * fills up never leaves half a file under the asked name. "-" is stdout, in the
 * format text; "json:-", "dot:/dev/fd/3" name the format that no extension gives.
 */
struct out_file;
int out_file__open(struct out_file **of, const char *spec); /* prints one line on error */
int out_file__event(struct out_file *of, const struct rec_hdr *rec);
int out_file__finish(struct out_file *of, const struct graph *g); /* prints one line on error */
void out_file__free(struct out_file *of);

#endif
