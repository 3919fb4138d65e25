/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pass.h"

void parcel__init(struct parcel *p, void *buf, size_t len)
{
	memset(p, 0, sizeof(*p));
	p->iov = (struct iovec){ buf, len };
	p->msg = (struct msghdr){ .msg_iov = &p->iov, .msg_iovlen = 1 };
}

static void put(struct parcel *p, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (void *)(p->control.room + p->msg.msg_controllen);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	p->msg.msg_control = &p->control;
	p->msg.msg_controllen += CMSG_SPACE(len);
}

void parcel__put_fds(struct parcel *p, const int *fds, uint32_t n)
{
	put(p, SCM_RIGHTS, fds, n * sizeof(int));
}

void parcel__put_credentials(struct parcel *p, const struct ucred *c)
{
	put(p, SCM_CREDENTIALS, c, sizeof(*c));
}

void parcel__room(struct parcel *p, uint32_t fds, bool credentials)
{
	p->msg.msg_control = &p->control;
	p->msg.msg_controllen = fds ? CMSG_LEN(fds * sizeof(int)) : 0;
	if (credentials)
		p->msg.msg_controllen =
			CMSG_SPACE(fds * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred));
}

static const struct cmsghdr *find(const struct parcel *p, int type)
{
	struct msghdr *msg = (struct msghdr *)&p->msg;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == type)
			return c;
	return NULL;
}

uint32_t parcel__fds(const struct parcel *p, int *fds)
{
	const struct cmsghdr *c = find(p, SCM_RIGHTS);
	uint32_t n = c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

	if (n)
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return n;
}

bool parcel__credentials(const struct parcel *p, struct ucred *to)
{
	const struct cmsghdr *c = find(p, SCM_CREDENTIALS);

	if (c)
		memcpy(to, CMSG_DATA(c), sizeof(*to));
	return c;
}

/* ---- facts ---- */

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFCHR:
	case S_IFBLK:
		return "device";
	case S_IFSOCK:
		return "socket";
	case S_IFIFO:
		return "pipe";
	default:
		return "anonymous";
	}
}

/* As the links in /proc name them, but for what all anonymous ones begin with. */
static void name_of(int fd, struct pass *p)
{
	static const char anon[] = "anon_inode:";
	char link[32], name[sizeof(p->name)];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, name, sizeof(name) - 1);
	die_if(n < 0, "%s: %s", link, strerror(errno));
	name[n] = '\0';
	if (strncmp(name, anon, sizeof(anon) - 1)) {
		memcpy(p->name, name, sizeof(name));
		return;
	}
	strcpy(p->name, name + sizeof(anon) - 1);
	strcpy(p->kind, "anonymous");
}

static bool is_mailbox(const struct chan *c)
{
	return !c->two_ends && (!strcmp(c->mechanism, "unix") || !strcmp(c->mechanism, "udp"));
}

static void describe(int fd, int what, struct pass *p)
{
	static const char *const modes[] = { "read", "write", "read-write" };
	struct stat st;

	die_if(fstat(fd, &st), "fstat: %s", strerror(errno));
	strcpy(p->mode, modes[fcntl(fd, F_GETFL) & O_ACCMODE]);
	p->what = what;
	if (what >= 0) {
		strcpy(p->kind, arena->chans[what].mechanism);
		if (is_mailbox(&arena->chans[what]))
			strcpy(p->mode, "read");
		return;
	}
	strcpy(p->kind, kind_of(st.st_mode));
	name_of(fd, p);
}

static void add_pass(struct pass *p, int fd, int what)
{
	uint32_t n;

	describe(fd, what, p);
	n = __atomic_fetch_add(&arena->nr_passes, 1, __ATOMIC_SEQ_CST);
	die_if(n >= MAX_PASSES, "more than %d descriptors passed", MAX_PASSES);
	arena->passes[n] = *p;
}

void pass__count(const struct end *over, int from, int fd, int what)
{
	struct pass p = {
		.proc = self,
		.over = over->chan,
		.from = from,
		.role = from < 0 ? ROLE_PASS_FD : ROLE_TAKE_FD,
		.end = over->side,
	};

	end__edge(over, p.role)->ops++;
	add_pass(&p, fd, what);
}

void take__count(int chan, int owner, int fd, int what)
{
	struct pass given = {
		.proc = owner, .over = chan, .from = -1, .role = ROLE_PASS_FD, .end = 1
	};
	struct pass taken = { .proc = self, .over = chan, .from = owner, .role = ROLE_TAKE_FD };

	add_pass(&given, fd, what);
	add_pass(&taken, fd, what);
}

void credentials__count(const struct end *over, enum role role, const struct ucred *c)
{
	struct edge *e = end__edge(over, role);

	e->credentials++;
	e->ucred[0] = c->pid;
	e->ucred[1] = c->uid;
	e->ucred[2] = c->gid;
}

void pass__fds(const struct end *e, const int *fds, const int *whats, uint32_t n, void *buf,
	       size_t len)
{
	struct parcel p;

	parcel__init(&p, buf, len);
	parcel__put_fds(&p, fds, n);
	die_if(x_sendmsg(e, &p.msg, 0) != (ssize_t)len, "sendmsg: %s", strerror(errno));
	for (uint32_t i = 0; i < n; i++)
		pass__count(e, -1, fds[i], whats[i]);
}

uint32_t take__fds(const struct end *e, int *fds, uint32_t room, void *buf, size_t len)
{
	struct parcel p;

	parcel__init(&p, buf, len);
	parcel__room(&p, room, false);
	die_if(x_recvmsg(e, &p.msg, MSG_CMSG_CLOEXEC) != (ssize_t)len, "recvmsg: %s",
	       strerror(errno));
	return parcel__fds(&p, fds);
}
