/* SPDX-License-Identifier: BSD-2-Clause */
/* What out_dot.c and out_svg.c share. */
#ifndef IPCTRACE_DOT_H
#define IPCTRACE_DOT_H

#include <stddef.h>

/* The layout engine that can still cope with so many nodes: "dot", "fdp", "sfdp". */
const char *dot__engine(size_t nr_nodes);

#endif
