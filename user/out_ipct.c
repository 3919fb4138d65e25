/* SPDX-License-Identifier: BSD-2-Clause */
/* A recording: the records as they come. */
#include "out.h"
#include "recfile.h"

static int begin(struct out *o)
{
	return recfile__write_header(o->f);
}

static int event(struct out *o, const struct rec_hdr *rec)
{
	return recfile__write(o->f, rec);
}

const struct out_ops out_ipct = {
	.name = "ipct",
	.extensions = "ipct",
	.help = "a recording, for ipctrace graph, report and dump",
	.begin = begin,
	.event = event,
};
