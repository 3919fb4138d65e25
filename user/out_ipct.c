/* SPDX-License-Identifier: BSD-2-Clause */
/* A recording: the records as they come. */
#include <errno.h>

#include "out.h"

static int put_event(struct out *o, const struct rec_hdr *rec)
{
	(void)o;
	(void)rec;
	return -ENOTSUP;
}

const struct out_ops out_ipct = {
	.name = "ipct",
	.extensions = "ipct",
	.help = "a recording",
	.event = put_event,
};
