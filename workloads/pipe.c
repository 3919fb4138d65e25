/* SPDX-License-Identifier: BSD-2-Clause */
/* Anonymous pipes between one writer and one reader at a time. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "ops.h"

#define SEED 1

/* What a child of the simple factories is given; it inherits both ends and closes what is not its. */
struct job {
	struct end *p;
	uint64_t bytes;
};

static void writer(void *arg)
{
	struct job *job = arg;

	end__close(&job->p[0]);
	stream__write(&job->p[1], SEED, job->bytes, arg_num("chunk"));
	end__close(&job->p[1]);
}

static void reader(void *arg)
{
	struct job *job = arg;
	uint64_t got;

	end__close(&job->p[1]);
	got = stream__read(&job->p[0], SEED, arg_num("rchunk"));
	die_if(got != job->bytes, "read %llu of %llu bytes", (unsigned long long)got,
	       (unsigned long long)job->bytes);
	end__close(&job->p[0]);
}

/* ---- parent and child, siblings ---- */

static void run_parent_child(void)
{
	struct end p[2];
	struct job job = { p, arg_num("bytes") };
	bool down = arg_is("direction", "down");

	pipe__open("c0", p, 0);
	proc__spawn("child", down ? reader : writer, &job);
	(down ? writer : reader)(&job);
}

static void run_siblings(void)
{
	struct end p[2];
	struct job job = { p, arg_num("bytes") };

	pipe__open("c0", p, 0);
	proc__spawn("w0", writer, &job);
	proc__spawn("r0", reader, &job);
	end__close(&p[0]);
	end__close(&p[1]);
}

const struct factory pipe_factories[] = {
	{
		.name = "pipe-parent-child",
		.help = "a stream from parent to child or back over one pipe",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("1M"), CHUNK_PARAM("4096"), RCHUNK_PARAM("4096"),
			{ "direction", "down", "down|up", 0, 0, "who writes: the parent or the child" },
		},
		.selftest = "bytes=10000 chunk=100;direction=up rchunk=7 bytes=5000;bytes=0",
		.run = run_parent_child,
	}, {
		.name = "pipe-siblings",
		.help = "a stream between two children of one parent",
		.params = {
			COMMON_PARAMS, BYTES_PARAM("1M"), CHUNK_PARAM("4096"), RCHUNK_PARAM("4096"),
		},
		.selftest = "bytes=100000 chunk=999;rchunk=65536",
		.run = run_siblings,
	},
	{ .name = NULL }
};
