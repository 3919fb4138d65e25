/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "table.h"

#define GAP 2
#define NARROWEST 8

struct table {
	const struct column *columns;
	size_t nr_columns;
	char **cells;
	size_t nr_cells, room;
	bool no_memory;
};

struct table *table__new(const struct column *columns, size_t nr)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t) {
		t->columns = columns;
		t->nr_columns = nr;
	}
	return t;
}

void table__free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->nr_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

void table__add(struct table *t, const char *text)
{
	char *cell = escape__visible(text, 0);

	if (cell && t->nr_cells == t->room) {
		const size_t room = t->room ? 2 * t->room : 64;
		char **cells = reallocarray(t->cells, room, sizeof(*cells));

		if (cells) {
			t->cells = cells;
			t->room = room;
		}
	}
	if (!cell || t->nr_cells == t->room) {
		t->no_memory = true;
		free(cell);
		return;
	}
	t->cells[t->nr_cells++] = cell;
}

void table__addf(struct table *t, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		t->no_memory = true;
		return;
	}
	table__add(t, s);
	free(s);
}

/* Takes from the widest of the elastic columns, so that what is short stays whole. */
static void fit(const struct table *t, size_t *widths, size_t width)
{
	size_t total = 0, widest;

	for (size_t i = 0; i < t->nr_columns; i++)
		total += widths[i] + (i ? GAP : 0);
	while (width && total > width) {
		widest = t->nr_columns;
		for (size_t i = 0; i < t->nr_columns; i++)
			if (t->columns[i].elastic && widths[i] > NARROWEST &&
			    (widest == t->nr_columns || widths[i] > widths[widest]))
				widest = i;
		if (widest == t->nr_columns)
			return;
		widths[widest]--;
		total--;
	}
}

static int print_cell(const struct table *t, FILE *f, size_t column, const char *cell, size_t width)
{
	const bool last = column + 1 == t->nr_columns;
	char *cut = NULL;
	size_t columns = escape__columns(cell), pad;

	if (columns > width && t->columns[column].elastic) {
		cut = escape__visible(cell, width);
		if (!cut)
			return -ENOMEM;
		cell = cut;
		columns = escape__columns(cell);
	}
	pad = columns < width ? width - columns : 0;
	fprintf(f, "%*s%s%*s", t->columns[column].right ? (int)pad : 0, "", cell,
		t->columns[column].right || last ? 0 : (int)pad, "");
	fprintf(f, "%*s", last ? 0 : GAP, "");
	free(cut);
	return 0;
}

static int print_rows(const struct table *t, FILE *f, const size_t *widths, const char *on,
		      const char *off)
{
	bool titled = false;
	int err = 0;

	for (size_t i = 0; i < t->nr_columns; i++)
		titled |= !!*t->columns[i].title;
	if (titled) {
		fputs(on, f);
		for (size_t i = 0; i < t->nr_columns; i++)
			err = err ? err : print_cell(t, f, i, t->columns[i].title, widths[i]);
		fprintf(f, "%s\n", off);
	}
	for (size_t i = 0; !err && i < t->nr_cells; i++) {
		const size_t column = i % t->nr_columns;

		err = print_cell(t, f, column, t->cells[i], widths[column]);
		if (column + 1 == t->nr_columns)
			fputc('\n', f);
	}
	return err;
}

int table__print(const struct table *t, FILE *f, size_t width, const char *on, const char *off)
{
	size_t *widths = calloc(t->nr_columns, sizeof(*widths));
	int err = -ENOMEM;

	if (!widths || t->no_memory)
		goto out;
	for (size_t i = 0; i < t->nr_columns; i++)
		widths[i] = strlen(t->columns[i].title);
	for (size_t i = 0; i < t->nr_cells; i++) {
		const size_t columns = escape__columns(t->cells[i]);
		size_t *widest = &widths[i % t->nr_columns];

		*widest = columns > *widest ? columns : *widest;
	}
	fit(t, widths, width);
	err = print_rows(t, f, widths, on, off);
out:
	free(widths);
	return err;
}
