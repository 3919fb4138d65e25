/* SPDX-License-Identifier: BSD-2-Clause */
/* Other ways into a TCP connection and out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "factory.h"
#include "inet.h"

#define SEED 15

struct job {
	int listener;
	union addr to;
};

/* A plain file with the stream in it: no channel. */
static int stream_file(size_t bytes)
{
	char *buf = xmalloc(bytes), path[] = "/tmp/workload-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	die_if(fd < 0 || unlink(path), "a file: %s", strerror(errno));
	pattern__fill(buf, bytes, SEED, 0);
	die_if(write(fd, buf, bytes) != (ssize_t)bytes || lseek(fd, 0, SEEK_SET), "a file: %s",
	       strerror(errno));
	free(buf);
	return fd;
}

static void put_file(const struct end *e, size_t bytes)
{
	struct end file = { .fd = stream_file(bytes), .chan = -1 }, p[2];
	size_t left = bytes;
	ssize_t n;

	if (arg_is("put", "splice"))
		pipe__open("p0", p, 0);
	while (left) {
		if (arg_is("put", "sendfile")) {
			n = x_sendfile(e, &file, left);
		} else {
			n = x_splice(&file, &p[1], left < 4096 ? left : 4096, 0);
			die_if(n <= 0, "splice: %s", strerror(errno));
			for (ssize_t done = 0, m; done < n; done += m) {
				m = x_splice(&p[0], e, n - done, 0);
				die_if(m <= 0, "splice: %s", strerror(errno));
			}
		}
		die_if(n <= 0, "sendfile: %s", strerror(errno));
		left -= n;
	}
	end__close(&file);
}

static void put_zerocopy(const struct end *e, size_t bytes)
{
	char *buf = xmalloc(bytes), control[100];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	int one = 1;

	pattern__fill(buf, bytes, SEED, 0);
	if (setsockopt(e->fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		skip("SO_ZEROCOPY: %s", strerror(errno));
	for (size_t done = 0; done < bytes;) {
		ssize_t n = x_send(e, buf + done, bytes - done, MSG_ZEROCOPY);

		die_if(n <= 0, "send: %s", strerror(errno));
		done += n;
	}
	/* That the kernel is done with the memory is no message of the other side. */
	x_recvmsg(e, &msg, MSG_ERRQUEUE);
	free(buf);
}

static void client(void *arg)
{
	size_t bytes = arg_num("bytes");
	struct job *job = arg;
	struct end e;

	close(job->listener);
	tcp__connect(&e, "t0", &job->to);
	if (arg_is("put", "write"))
		stream__write(&e, SEED, bytes, bytes);
	else if (arg_is("put", "zerocopy"))
		put_zerocopy(&e, bytes);
	else
		put_file(&e, bytes);
	end__close(&e);
	turn__pass(0);
}

static void server(void *arg)
{
	size_t bytes = arg_num("bytes"), half = bytes / 2;
	char *buf = xmalloc(bytes);
	struct job *job = arg;
	struct end e;

	tcp__accept(&e, job->listener);
	close(job->listener);
	turn__await(0, 1);
	for (uint64_t i = 0; i < arg_num("peeks"); i++)
		die_if(x_recv(&e, buf, bytes, MSG_PEEK | MSG_WAITALL) <= 0, "peek: %s",
		       strerror(errno));
	/* Thrown away unseen, but received. */
	for (size_t done = 0; done < half;) {
		ssize_t n = x_recv(&e, buf, half - done, MSG_TRUNC);

		die_if(n <= 0, "receive: %s", strerror(errno));
		done += n;
	}
	die_if(x_recv(&e, buf, bytes - half, MSG_WAITALL) != (ssize_t)(bytes - half), "receive: %s",
	       strerror(errno));
	die_if(!pattern__check(buf, bytes - half, SEED, half), "payload differs");
	die_if(x_recv(&e, buf, 1, 0) != 0, "no end of file");
	end__close(&e);
	free(buf);
}

static void run_ways(void)
{
	struct job job;
	union addr a;

	addr__server(&a);
	job.listener = tcp__listen(&a, 1, false);
	addr__client(&job.to, addr__port(&a));
	proc__spawn("s0", server, &job);
	proc__spawn("c0", client, &job);
	close(job.listener);
}

const struct factory tcp_ways_factories[] = {
	{
		.name = "tcp-ways",
		.help = "sendfile, splice and MSG_ZEROCOPY in; MSG_PEEK, MSG_TRUNC and MSG_WAITALL out",
		.params = {
			COMMON_PARAMS, FAMILY_PARAM,
			NUM_PARAM("bytes", "20000", 2, 50000, "bytes sent"),
			NUM_PARAM("peeks", "2", 0, 1000, "looks at them"),
			{ "put", "write", "write|sendfile|splice|zerocopy", 0, 0, "how they are sent" },
		},
		.selftest = "put=write;put=sendfile;put=splice family=v6;put=zerocopy peeks=0",
		.run = run_ways,
	},
	{ .name = NULL }
};
