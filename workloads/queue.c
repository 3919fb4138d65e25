/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "queue.h"

/* ---- the calls ---- */

static struct edge *edge_of(const struct queue *q, enum role role)
{
	return edge__mine(q->chan, role);
}

static int sent(const struct queue *q, const struct message *m, size_t len, bool nonblock, int ret)
{
	struct edge *e = edge_of(q, ROLE_WRITE);
	int err = errno;

	/* The calls return 0: what they moved is what they were given. */
	edge__count(e, nonblock, ret < 0 ? ret : (long)len, err);
	if (!ret)
		edge__tag(e, m->tag);
	errno = err;
	return ret;
}

int q_send(const struct queue *q, const struct message *m, size_t len, int flags)
{
	if (q->posix)
		return sent(q, m, len, q->nonblock, mq_send(q->id, m->text, len, m->tag));
	return sent(q, m, len, flags & IPC_NOWAIT, msgsnd(q->id, m, len, flags));
}

int q_send_until(const struct queue *q, const struct message *m, size_t len, uint64_t until)
{
	struct timespec ts = { until / 1000000000, until % 1000000000 };

	return sent(q, m, len, q->nonblock, mq_timedsend(q->id, m->text, len, m->tag, &ts));
}

static ssize_t received(const struct queue *q, const struct message *m, bool nonblock, ssize_t ret,
			bool copy)
{
	struct edge *e = edge_of(q, ROLE_READ);
	int err = errno;

	/* A copy takes nothing: an operation of no bytes, and the bytes looked at beside it. */
	edge__count(e, nonblock, copy && ret > 0 ? 0 : ret, err);
	if (ret >= 0 && copy)
		__atomic_fetch_add(&e->peeked, ret, __ATOMIC_RELAXED);
	if (ret >= 0 && !copy)
		edge__tag(e, m->tag);
	errno = err;
	return ret;
}

/* Only where it is plain which message is next: then it is the only one. */
static uint64_t size_of_next(const struct queue *q)
{
	struct msqid_ds ds;

	die_if(msgctl(q->id, IPC_STAT, &ds), "IPC_STAT: %s", strerror(errno));
	die_if(ds.msg_qnum != 1, "MSG_NOERROR on a queue of %lu messages",
	       (unsigned long)ds.msg_qnum);
	return ds.__msg_cbytes;
}

ssize_t q_receive(const struct queue *q, struct message *m, size_t len, long select, int flags)
{
	uint64_t whole = 0;
	unsigned int priority;
	ssize_t n;

	if (q->posix) {
		n = mq_receive(q->id, m->text, len, &priority);
		if (n >= 0)
			m->tag = priority;
		return received(q, m, q->nonblock, n, false);
	}
	if (flags & MSG_NOERROR)
		whole = size_of_next(q);
	n = msgrcv(q->id, m, len, select, flags);
	if (n >= 0 && whole > (uint64_t)n)
		arena->chans[q->chan].truncated += whole - n;
	return received(q, m, flags & IPC_NOWAIT, n, flags & MSG_COPY);
}

ssize_t q_receive_until(const struct queue *q, struct message *m, size_t len, uint64_t until)
{
	struct timespec ts = { until / 1000000000, until % 1000000000 };
	unsigned int priority;
	ssize_t n = mq_timedreceive(q->id, m->text, len, &priority, &ts);

	if (n >= 0)
		m->tag = priority;
	return received(q, m, q->nonblock, n, false);
}

int q_notify(const struct queue *q, const struct sigevent *ev)
{
	int ret = mq_notify(q->id, ev), err = errno;

	edge__count(edge_of(q, ROLE_WAIT), false, ret, err);
	errno = err;
	return ret;
}

long q_send_nr(const struct queue *q)
{
	return q->posix ? SYS_mq_timedsend : SYS_msgsnd;
}

long q_receive_nr(const struct queue *q)
{
	return q->posix ? SYS_mq_timedreceive : SYS_msgrcv;
}

/* ---- the queues ---- */

static void note_bound(struct queue *q)
{
	struct chan *c = &arena->chans[q->chan];
	struct mq_attr attr;
	struct msqid_ds ds;

	if (q->posix) {
		die_if(mq_getattr(q->id, &attr), "mq_getattr: %s", strerror(errno));
		c->capacity = attr.mq_maxmsg * attr.mq_msgsize;
		c->capacity_messages = attr.mq_maxmsg;
	} else {
		die_if(msgctl(q->id, IPC_STAT, &ds), "IPC_STAT: %s", strerror(errno));
		c->capacity = ds.msg_qbytes;
	}
}

/* Ids count per ipc namespace: which one this is, is part of what the queue is. */
static uint64_t ipc_namespace(void)
{
	struct stat st;

	die_if(stat("/proc/self/ns/ipc", &st), "stat: %s", strerror(errno));
	return st.st_ino;
}

/* A key that nobody has, which is not easily found by chance. */
static key_t free_key(void)
{
	key_t key = proc__pid(0) << 8 | 1 << 30;

	while (msgget(key, 0) >= 0 || errno != ENOENT)
		key++;
	return key;
}

static void make_sysv(struct queue *q, const char *name, key_t key)
{
	struct chan *c;

	q->id = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
	if (q->id < 0 && (errno == ENOSYS || errno == ENOSPC))
		skip("msgget: %s", strerror(errno));
	die_if(q->id < 0, "msgget: %s", strerror(errno));
	q->chan = chan__add(name, "msg", 0, q->id);
	c = &arena->chans[q->chan];
	c->ns = ipc_namespace();
	c->key = key == IPC_PRIVATE ? UNKNOWN : key;
	c->remove = 1;
}

static void set_bound(const struct queue *q, uint64_t bound)
{
	struct msqid_ds ds;

	die_if(msgctl(q->id, IPC_STAT, &ds), "IPC_STAT: %s", strerror(errno));
	ds.msg_qbytes = bound;
	die_if(msgctl(q->id, IPC_SET, &ds), "IPC_SET: %s", strerror(errno));
}

static void make_posix(struct queue *q, const char *name, const char *path, struct mq_attr attr,
		       int flags)
{
	q->posix = true;
	q->nonblock = flags & O_NONBLOCK;
	q->id = mq_open(path, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &attr);
	/* Without CAP_SYS_RESOURCE, a few short messages is all there is. */
	if (q->id < 0 && (errno == ENOSYS || errno == EINVAL || errno == EMFILE))
		skip("mq_open of %ld messages: %s", attr.mq_maxmsg, strerror(errno));
	die_if(q->id < 0, "mq_open: %s", strerror(errno));
	q->chan = chan__new(name, "mq", q->id, path);
}

void q_make(struct queue *q, bool posix, const char *name, uint64_t bound, uint64_t size, int flags)
{
	struct mq_attr attr = { .mq_maxmsg = bound ? bound : 10, .mq_msgsize = size ? size : 8192 };
	char path[64];

	*q = (struct queue){ 0 };
	if (posix) {
		snprintf(path, sizeof(path), "/workload-%d-%s", proc__pid(0), name);
		make_posix(q, name, path, attr, flags);
	} else {
		make_sysv(q, name, free_key());
		if (bound)
			set_bound(q, bound);
	}
	note_bound(q);
}

void q_make_private(struct queue *q, const char *name)
{
	*q = (struct queue){ 0 };
	make_sysv(q, name, IPC_PRIVATE);
	note_bound(q);
}

void q_make_again(struct queue *q, const char *name, const struct queue *old)
{
	struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = 8192 };
	const struct chan *c = &arena->chans[old->chan];

	*q = (struct queue){ 0 };
	if (old->posix)
		make_posix(q, name, c->path, attr, 0);
	else
		make_sysv(q, name, c->key);
	note_bound(q);
}

void q_open(struct queue *q, int chan, bool posix, int flags)
{
	const struct chan *c = &arena->chans[chan];

	*q = (struct queue){ .posix = posix, .chan = chan, .nonblock = flags & O_NONBLOCK };
	q->id = posix               ? mq_open(c->path, flags)
		: c->key != UNKNOWN ? msgget(c->key, 0)
				    : (int)c->ino;
	die_if(q->id < 0, "%s: %s", posix ? c->path : "msgget", strerror(errno));
}

void q_close(struct queue *q)
{
	if (q->posix)
		mq_close(q->id);
	q->id = -1;
}

void q_remove(const struct queue *q)
{
	struct chan *c = &arena->chans[q->chan];

	if (q->posix) {
		die_if(mq_unlink(c->path), "mq_unlink: %s", strerror(errno));
	} else {
		die_if(msgctl(q->id, IPC_RMID, NULL), "IPC_RMID: %s", strerror(errno));
		c->remove = 0;
	}
}

/* QSIZE is the only place where a POSIX queue says its bytes. This read is no receipt. */
static uint64_t posix_fill(const struct queue *q, uint64_t *messages)
{
	struct mq_attr attr;
	char text[128] = "";
	unsigned long bytes;
	char path[32];
	int fd;

	die_if(mq_getattr(q->id, &attr), "mq_getattr: %s", strerror(errno));
	*messages = attr.mq_curmsgs;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", q->id);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	die_if(fd < 0 || read(fd, text, sizeof(text) - 1) <= 0, "%s: %s", path, strerror(errno));
	close(fd);
	die_if(sscanf(text, "QSIZE:%lu", &bytes) != 1, "no QSIZE in %s", text);
	return bytes;
}

static uint64_t fill(const struct queue *q, uint64_t *messages)
{
	struct msqid_ds ds;

	if (q->posix)
		return posix_fill(q, messages);
	die_if(msgctl(q->id, IPC_STAT, &ds), "IPC_STAT: %s", strerror(errno));
	*messages = ds.msg_qnum;
	return ds.__msg_cbytes;
}

void q_mark_left(const struct queue *q)
{
	uint64_t messages;

	arena->chans[q->chan].leftover += fill(q, &messages);
}

uint64_t q_mark_fill(const struct queue *q)
{
	struct chan *c = &arena->chans[q->chan];
	uint64_t messages, bytes = fill(q, &messages);

	if ((int64_t)bytes > c->highwater)
		c->highwater = bytes;
	if ((int64_t)messages > c->highwater_messages)
		c->highwater_messages = messages;
	return bytes;
}

uint64_t q_messages(const struct queue *q)
{
	uint64_t messages;

	fill(q, &messages);
	return messages;
}
