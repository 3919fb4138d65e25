/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unix.h"

int unix__type(void)
{
	if (arg_is("type", "dgram"))
		return SOCK_DGRAM;
	return arg_is("type", "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM;
}

void unix__name(struct unix_addr *a, const char *what)
{
	char *path = a->un.sun_path;
	size_t size = sizeof(a->un.sun_path), n;

	*a = (struct unix_addr){ .un.sun_family = AF_UNIX };
	a->len = offsetof(struct sockaddr_un, sun_path);
	if (arg_is("name", "autobind"))
		return;
	if (arg_is("name", "abstract")) {
		/* Nobody else's; a NUL within is a byte like any other there. */
		n = snprintf(path + 1, size - 1, "workload-%d-%s", proc__pid(0), what);
		a->len += 1 + n;
		return;
	}
	n = snprintf(path, size, "%s/%s", tmpdir(), what);
	die_if(n >= size, "%s: too long for a socket", tmpdir());
	a->len += n + 1;
}

void unix__show(const struct unix_addr *a, char *text, size_t size)
{
	size_t n = a->len - offsetof(struct sockaddr_un, sun_path);

	if (!n)
		*text = '\0';
	else if (a->un.sun_path[0])
		snprintf(text, size, "%s", a->un.sun_path);
	else
		snprintf(text, size, "@%.*s", (int)n - 1, a->un.sun_path + 1);
}

int unix__bound(int type, struct unix_addr *a)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	die_if(fd < 0, "socket: %s", strerror(errno));
	die_if(bind(fd, (struct sockaddr *)&a->un, a->len), "bind: %s", strerror(errno));
	a->len = sizeof(a->un);
	die_if(getsockname(fd, (struct sockaddr *)&a->un, &a->len), "getsockname");
	return fd;
}

int unix__listen(struct unix_addr *a, int backlog)
{
	int fd = unix__bound(unix__type(), a);

	die_if(listen(fd, backlog), "listen: %s", strerror(errno));
	return fd;
}

static void end__at(struct end *e, int fd, int chan, uint32_t side)
{
	end__init(e, fd, chan);
	e->side = side;
}

static void link__set(struct link *l, int fd, int chan, uint32_t side)
{
	end__at(&l->in, fd, chan, side);
	l->out = l->in;
}

void unix__pair(const char *name, int type, struct link l[2])
{
	int fds[2], chan;
	char both[16];

	die_if(socketpair(AF_UNIX, type, 0, fds), "socketpair: %s", strerror(errno));
	if (type == SOCK_DGRAM) {
		for (int i = 0; i < 2; i++) {
			snprintf(both, sizeof(both), "%.12s-%c", name, 'a' + i);
			unix__mailbox(&l[i].in, both, fds[i], NULL);
		}
		for (int i = 0; i < 2; i++)
			end__init(&l[i].out, fds[i], l[!i].in.chan);
		return;
	}
	chan = conn__new(name, "unix", fds[0]);
	conn__set_end(chan, 1, fds[1]);
	link__set(&l[0], fds[0], chan, 0);
	link__set(&l[1], fds[1], chan, 1);
}

void unix__socket(struct link *l, const char *name, int type, const struct unix_addr *a)
{
	int fd = socket(AF_UNIX, type, 0), chan;

	die_if(fd < 0, "socket: %s", strerror(errno));
	chan = conn__new(name, "unix", fd);
	if (!arena->totals_only)
		unix__show(a, arena->chans[chan].path, PATH_MAX);
	link__set(l, fd, chan, 0);
}

void unix__connect(struct link *l, const struct unix_addr *a)
{
	die_if(connect(l->in.fd, (const struct sockaddr *)&a->un, a->len), "connect: %s",
	       strerror(errno));
}

void unix__hello(const struct link *l)
{
	exact__write(&l->out, &l->in.chan, sizeof(l->in.chan));
}

void unix__accept(struct link *l, int listener, int chan)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	bool told = chan >= 0;

	die_if(fd < 0, "accept: %s", strerror(errno));
	if (!told)
		die_if(read(fd, &chan, sizeof(chan)) != sizeof(chan), "no channel was told");
	link__set(l, fd, chan, 1);
	conn__set_end(chan, 1, fd);
	if (!told)
		edge__count(end__edge(&l->in, ROLE_READ), false, sizeof(chan), 0);
}

void unix__mailbox(struct end *e, const char *name, int fd, const struct unix_addr *a)
{
	char path[sizeof(a->un.sun_path) + 2] = "";

	if (a)
		unix__show(a, path, sizeof(path));
	end__init(e, fd, chan__new(name, "unix", fd, path));
}

int64_t unix__mailbox_bound(void)
{
	FILE *f = fopen("/proc/sys/net/unix/max_dgram_qlen", "re");
	int n = 0;

	if (!f || fscanf(f, "%d", &n) != 1)
		skip("cannot read net.unix.max_dgram_qlen");
	fclose(f);
	return n + 1; /* one more than that is let in */
}

void link__close(struct link *l)
{
	end__close(&l->in);
	l->out.fd = -1;
}

void unix__ask(const struct link *l)
{
	size_t req = arg_num("request"), rep = arg_num("reply"), rounds = arg_num("rounds");
	char *buf = xmalloc(req > rep ? req : rep);

	for (size_t i = 0; i < rounds; i++) {
		pattern__fill(buf, req, i, 0);
		exact__write(&l->out, buf, req);
		exact__read(&l->in, buf, rep);
		die_if(!pattern__check(buf, rep, i, 1), "reply %zu differs", i);
	}
	free(buf);
}

void unix__answer(const struct link *l)
{
	size_t req = arg_num("request"), rep = arg_num("reply"), rounds = arg_num("rounds");
	char *buf = xmalloc(req > rep ? req : rep);

	for (size_t i = 0; i < rounds; i++) {
		exact__read(&l->in, buf, req);
		die_if(!pattern__check(buf, req, i, 0), "request %zu differs", i);
		pattern__fill(buf, rep, i, 1);
		exact__write(&l->out, buf, rep);
	}
	free(buf);
}
