/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "escape.h"
#include "out.h"
#include "reduce.h"

static const struct out_ops *const writers[] = {
	&out_text, &out_dot, &out_svg, &out_png, &out_pdf, &out_json, &out_jsonl, &out_ipct,
};

#define NR_WRITERS (sizeof(writers) / sizeof(*writers))

struct out_file {
	const struct out_ops *ops;
	struct out out;
	char *name; /* as asked for, made harmless for messages */
	char *path; /* where it ends up; NULL: it is written in place (stdout, a device, a FIFO) */
	char *tmp;
	bool begun;
	int err; /* said already */
};

static bool has_word(const char *words, const char *word, size_t len)
{
	while (*words) {
		const size_t n = strcspn(words, " ");

		if (n == len && !memcmp(words, word, n))
			return true;
		words += n + (words[n] == ' ');
	}
	return false;
}

static const struct out_ops *by_extension(const char *ext, size_t len)
{
	for (size_t i = 0; len && i < NR_WRITERS; i++)
		if (has_word(writers[i]->extensions, ext, len))
			return writers[i];
	return NULL;
}

const struct out_ops *out__by_filename(const char *filename)
{
	const char *base = strrchr(filename, '/');
	const char *dot = strrchr(base ? base : filename, '.');

	return dot ? by_extension(dot + 1, strlen(dot + 1)) : NULL;
}

const char *out__extensions(void)
{
	static char all[128];
	size_t n = 0;

	for (size_t i = 0; i < NR_WRITERS; i++)
		n += snprintf(all + n, sizeof(all) - n, "%s%s", n ? " " : "",
			      writers[i]->extensions);
	return all;
}

/* "json:-", "dot:/dev/fd/3": the format is said, and the rest is the file. NULL: no such form. */
static const struct out_ops *by_prefix(const char *spec, const char **file)
{
	const char *colon = strchr(spec, ':');

	if (!colon || !colon[1])
		return NULL;
	*file = colon + 1;
	return by_extension(spec, colon - spec);
}

/* What goes wrong after one failed write goes wrong because of it: the first error counts. */
static int check(struct out *o, int err)
{
	if (!err && ferror(o->f))
		err = errno ? -errno : -EIO;
	return err;
}

static int walk(struct out *o, const struct out_ops *ops)
{
	const struct graph *g = o->g;
	int err = 0;

	for (size_t i = 0; ops->proc && !err && i < g->nr_procs; i++)
		err = check(o, ops->proc(o, g->procs[i]));
	for (size_t i = 0; ops->chan && !err && i < g->nr_chans; i++)
		err = check(o, ops->chan(o, g->chans[i]));
	for (size_t i = 0; ops->edge && !err && i < g->nr_edges; i++)
		err = check(o, ops->edge(o, g->edges[i]));
	for (size_t i = 0; ops->flow && !err && i < g->nr_flows; i++)
		err = check(o, ops->flow(o, g->flows[i]));
	if (ops->lost && !err)
		err = check(o, ops->lost(o));
	return err;
}

/* end() also frees what begin() made, so it is called whatever happened in between. */
static int write_graph(struct out *o, const struct out_ops *ops, bool begun)
{
	int err = 0, err_end;

	errno = 0;
	if (!begun)
		err = check(o, ops->begin ? ops->begin(o) : 0);
	if (!err)
		err = walk(o, ops);
	err_end = ops->end ? ops->end(o) : 0;
	if (!err)
		err = check(o, err_end);
	if (!err && fflush(o->f))
		err = -errno;
	return err;
}

const struct reduce_opts *out__reduce_drawing(const struct out *o)
{
	static const struct reduce_opts opts = REDUCE_DEFAULTS;

	(void)o;
	return &opts;
}

static int write_all(struct out *o, const struct out_ops *ops, bool begun)
{
	const struct reduce_opts *opts = ops->reduce && !o->reduced ? ops->reduce(o) : NULL;
	struct graph *reduced;
	int err;

	if (!opts)
		return write_graph(o, ops, begun);
	reduced = reduce__for_drawing(o->g, opts);
	if (!reduced)
		return -ENOMEM;
	o->whole = o->g;
	o->g = reduced;
	o->reduced = true;
	err = write_graph(o, ops, begun);
	o->g = o->whole;
	o->whole = NULL;
	o->reduced = false;
	reduce__free(reduced);
	return err;
}

int out__write(struct out *o, const struct out_ops *ops)
{
	return write_all(o, ops, false);
}

static int fail(struct out_file *of, int err)
{
	warn_line("cannot write %s: %s", of->name, strerror(-err));
	of->err = err;
	return err;
}

/*
 * What is there already is opened once, so that a file that must not be written is found now, and
 * that the kernel's rules for symbolic links in sticky directories are asked before we follow one.
 */
static int probe_existing(struct out_file *of, const char *file, mode_t *mode)
{
	struct stat st;
	int fd;

	if (stat(file, &st)) {
		of->path = strdup(file);
		return errno != ENOENT ? -errno : of->path ? 0 : -ENOMEM;
	}
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return 0;
	fd = open(file, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	close(fd);
	*mode = st.st_mode & 0777;
	of->path = realpath(file, NULL);
	return of->path ? 0 : -errno;
}

static int open_tmp(struct out_file *of, mode_t mode)
{
	const char *slash = strrchr(of->path, '/');
	int dir = slash ? slash - of->path + 1 : 0;
	int fd, err;

	if (asprintf(&of->tmp, "%.*s.ipctrace-XXXXXX", dir, of->path) < 0) {
		of->tmp = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(of->tmp, O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		free(of->tmp);
		of->tmp = NULL;
		return err;
	}
	of->out.f = fdopen(fd, "w");
	if (fchmod(fd, mode) || !of->out.f) {
		err = -errno;
		if (!of->out.f)
			close(fd);
		return err;
	}
	return 0;
}

static int open_file(struct out_file *of, const char *file)
{
	mode_t mask = umask(077), mode;
	int err;

	umask(mask);
	mode = 0666 & ~mask;
	if (!strcmp(file, "-")) {
		of->out.f = stdout;
		return 0;
	}
	err = probe_existing(of, file, &mode);
	if (err)
		return err;
	if (of->path)
		return open_tmp(of, mode);
	of->out.f = fopen(file, "we");
	return of->out.f ? 0 : -errno;
}

static const struct out_ops *choose(const char *spec, const char **file)
{
	const struct out_ops *ops = by_prefix(spec, file);

	if (ops)
		return ops;
	*file = spec;
	return strcmp(spec, "-") ? out__by_filename(spec) : &out_text;
}

int out_file__open(struct out_file **of_out, const char *spec)
{
	struct out_file *of = calloc(1, sizeof(*of));
	const char *file;
	int err;

	*of_out = NULL;
	if (!of)
		return -ENOMEM;
	of->name = escape__visible(spec, 0);
	of->ops = choose(spec, &file);
	if (!of->name) {
		err = -ENOMEM;
		goto out;
	}
	if (!of->ops) {
		warn_line("unknown format of '%s': the file name must end in one of: %s", of->name,
			  out__extensions());
		err = -EINVAL;
		goto out;
	}
	err = open_file(of, file);
	if (err)
		warn_line("cannot write %s: %s", of->name, strerror(-err));
out:
	if (err)
		out_file__free(of);
	else
		*of_out = of;
	return err;
}

/* Only writers with event() begin while there is no graph yet. */
int out_file__event(struct out_file *of, const struct rec_hdr *rec)
{
	int err = 0;

	if (!of->ops->event || of->err)
		return 0;
	errno = 0;
	if (!of->begun && of->ops->begin)
		err = check(&of->out, of->ops->begin(&of->out));
	of->begun = true;
	if (!err)
		err = check(&of->out, of->ops->event(&of->out, rec));
	return err ? fail(of, err) : 0;
}

int out_file__finish(struct out_file *of, const struct graph *g)
{
	int err;

	if (of->err)
		return of->err;
	of->out.g = g;
	err = write_all(&of->out, of->ops, of->begun);
	of->begun = false;
	if (of->out.f != stdout) {
		if (fclose(of->out.f) && !err)
			err = -errno;
		of->out.f = NULL;
	}
	if (!err && of->tmp && rename(of->tmp, of->path))
		err = -errno;
	if (err)
		return fail(of, err);
	free(of->tmp);
	of->tmp = NULL;
	return 0;
}

void out_file__free(struct out_file *of)
{
	if (!of)
		return;
	if (of->begun && of->ops->end)
		of->ops->end(&of->out); /* out.g is NULL: the trace was given up */
	if (of->out.f && of->out.f != stdout)
		fclose(of->out.f);
	if (of->tmp)
		unlink(of->tmp);
	free(of->tmp);
	free(of->path);
	free(of->name);
	free(of);
}
