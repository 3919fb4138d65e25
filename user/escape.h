/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names from the traced machine, made harmless for what they are written into.
 *
 * The visible form is valid UTF-8 without control, format or bidirectional characters: these, and
 * bytes that are no UTF-8, are shown as \n, \x1b, \u202e. It is never ambiguous about where a name
 * ends or what is around it; it does not tell an ESC from the four characters \x1b. Everything
 * below writes the visible form, with the quoting of the target on top.
 */
#ifndef IPCTRACE_ESCAPE_H
#define IPCTRACE_ESCAPE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Decodes one code point of s[0..len). Returns its length, 0 if the bytes are no UTF-8. */
size_t utf8__decode(const char *s, size_t len, uint32_t *cp);

#define ESCAPE_UNIT 16

/*
 * The visible form of what *s points at, in buf, and *s moved past it. Returns the columns that it
 * takes on a terminal, or -1 at the end.
 */
int escape__next(const char **s, const char *end, char buf[ESCAPE_UNIT]);

/*
 * The visible form of s, of at most max columns (0: as wide as it is). What is too long loses its
 * middle, for in paths and command lines both ends matter. The caller frees it; NULL: no memory.
 */
char *escape__visible(const char *s, size_t max);

/* Columns that a visible string takes. */
size_t escape__columns(const char *s);

/* argv (each with its NUL, as in /proc/PID/cmdline) as one line; the caller frees it. */
char *escape__args(const char *args, size_t len);

/* For a terminal. */
void escape__text(FILE *f, const char *s);

/*
 * Inside the double quotes of a DOT string. In labels and tooltips Graphviz takes & for the start
 * of an entity; in the other attributes it does not.
 */
void escape__dot(FILE *f, const char *s);
void escape__dot_label(FILE *f, const char *s);

/* What escape__dot wrote, back to the visible form, in place. */
void escape__undot(char *s);

/* For text and attribute values in XML and HTML. */
void escape__xml(FILE *f, const char *s);

#endif
