/* SPDX-License-Identifier: BSD-2-Clause */
/* Parameters that many factories have, for their tables. */
#ifndef WORKLOAD_FACTORY_H
#define WORKLOAD_FACTORY_H

#define NUM_PARAM(name, value, min, max, help)    \
	{                                         \
		name, value, NULL, min, max, help \
	}
#define HOLD_PARAM \
	NUM_PARAM("hold", "0", 0, 1, "1: nothing is sent before a line on standard input")
#define COMMON_PARAMS                                                               \
	NUM_PARAM("deadline", "60", 1, 86400, "seconds until everything is ended"), \
	{                                                                           \
		"comm", "", NULL, 0, 0, "put before each process name"              \
	}
#define BYTES_PARAM(value) NUM_PARAM("bytes", value, 0, 1ULL << 40, "length of the stream")
#define CHUNK_PARAM(value) NUM_PARAM("chunk", value, 1, 1 << 26, "bytes asked of each write")
#define RCHUNK_PARAM(value) NUM_PARAM("rchunk", value, 1, 1 << 26, "bytes asked of each read")

#endif
