// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Descriptors that are passed over unix sockets, and credentials: in the control data of messages,
 * which lies in user memory when a call has returned, on both sides. The numbers there are of
 * descriptors that the process has, so that their files are found. And those that one process takes
 * from another, pidfd_getfd(): that is not asked.
 */
#include "call.bpf.h"
#include "chan.bpf.h"

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define SCM_MAX_FD 253
#define CONTROL_RUNS 16
#define CONTROL_STEPS (1 << 19) /* more than a call of 1024 messages can need */

/* Messages with control data, one behind the other, that the current call has moved. */
struct control_run {
	__u64 msgs; /* in user memory; 0: no messages, but a descriptor */
	__u32 n; /* so many; its number */
	__u32 edge; /* row */
};

struct control_walk {
	__u64 at, end; /* in user memory: what is left of the message's control data */
	__u64 fds;
	__u32 n; /* so many numbers are left there */
	__u32 edge, fd_edge; /* rows: of the message, of the descriptors */
	__u32 run, msg; /* the next message */
	__u32 _pad;
};

/*
 * start: zero, but for all that the verifier knows. Before Linux 6.7 (ab5cfac139ab, "bpf: verify
 * callbacks as if they are called unknown number of times") it looks at a loop's first round only, and
 * takes what is known to be zero then for zero in all, and what depends on it for dead.
 */
struct control_notes {
	__u32 nr;
	__u32 _pad;
	struct control_walk start;
	struct control_run run[CONTROL_RUNS];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct control_notes);
} control_notes SEC(".maps");

/* Mostly empty, and so without room of its own until it is needed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PASSES);
	__type(key, struct pass_key);
	__type(value, struct pass_val);
} passes SEC(".maps");

/* What new rows of them are made in. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pass_val);
} pass_scratch SEC(".maps");

static __always_inline struct control_notes *control_of_me(bool make)
{
	return bpf_task_storage_get(&control_notes, bpf_get_current_task_btf(), 0,
				    make ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
}

/*
 * A message was sent or received over that edge; msg: its header in user memory. If it has control
 * data it is left to on_passed, as most have none; 1: it was.
 */
int control_noted(__u32 edge, __u64 msg)
{
	__u64 at = 0, len = 0;
	struct control_notes *n;
	struct control_run *run;

	if (MSG_FIELD(at, msg, msg_hdr.msg_control) ||
	    MSG_FIELD(len, msg, msg_hdr.msg_controllen) || !at || !len)
		return 0;
	n = control_of_me(true);
	if (!n)
		return 0;
	run = &n->run[(n->nr - 1) % CONTROL_RUNS];
	if (n->nr && run->edge == edge && run->msgs + run->n * sizeof(struct mmsghdr) == msg) {
		run->n++;
		return 1;
	}
	if (n->nr >= CONTROL_RUNS) {
		lose(LOSS_PASSED, 1);
		return 1;
	}
	run = &n->run[n->nr++ % CONTROL_RUNS];
	run->msgs = msg;
	run->n = 1;
	run->edge = edge;
	return 1;
}

/* A descriptor of the current process that was passed over that edge without a message. */
int fd_noted(__u32 edge, __u32 fd)
{
	struct control_notes *n = control_of_me(true);
	struct control_run *run;

	if (!n || n->nr >= CONTROL_RUNS)
		return 0;
	run = &n->run[n->nr++ % CONTROL_RUNS];
	run->msgs = 0;
	run->n = fd;
	run->edge = edge;
	return 0;
}

/* --- what was passed --- */

static __always_inline __u32 passed_kind(__u64 file, __u64 inode)
{
	__u32 type = file_type(file);

	return type == S_IFREG >> 12 && inode_is_anon(inode) ? PASSED_ANON : type;
}

/* Fills in what the file is; returns the row of its channel, if it has one. */
static __always_inline __u32 passed_what(struct pass_key *key, __u64 file)
{
	__u64 inode = PEEK_ADDR(struct file, file, f_inode), found = NO_ROW;
	struct chan_key *scratch = key_in(KEY_CALL);
	__u32 mode = PEEK(struct file, file, f_mode);
	struct chan_row *c;

	key->kind = passed_kind(file, inode);
	key->modes = (mode & FMODE_WRITE ? 1 << ROLE_WRITE : 0) |
		     (mode & FMODE_READ ? 1 << ROLE_READ : 0);
	if (key->kind == PASSED_ANON) {
		key->ino = anon_name(file); /* they share an inode */
	} else {
		key->dev = BPF_CORE_READ((struct inode *)inode, i_sb, s_dev);
		key->ino = PEEK(struct inode, inode, i_ino);
	}
	if (!scratch || chan_key_of_any(file, ROLE_READ, scratch) == MECH_NONE)
		return NO_ROW;
	found = chan_of_scratch(KEY_CALL, file, ROLE_READ, 0);
	c = chan_at(found);
	if ((__u32)found >= NO_ROOM || !c)
		return NO_ROW;
	key->what = c->id;
	key->what_end = found >> 32;
	key->modes = chan_modes(found, mode);
	return found;
}

static __always_inline void pass_name(struct pass_val *v, __u64 file)
{
	__u32 n = path_names(file + bpf_core_field_offset(struct file, f_path), v->name);

	v->name_len = n;
	v->name_cut = n >> 16;
}

/* One more of that; the row is made if there is none. rows: of the two channels. NULL: no room. */
static __always_inline struct pass_val *pass_add(const struct pass_key *key, __u64 file,
						 __u32 over_row, __u32 what_row)
{
	struct pass_val *v = bpf_map_lookup_elem(&passes, key);
	struct engine *en = the_engine();
	__u32 zero = 0;

	if (!v) {
		v = bpf_map_lookup_elem(&pass_scratch, &zero);
		if (!v || !en)
			return NULL;
		v->ops = 0;
		v->over_row = over_row;
		v->what_row = what_row;
		v->pid = v->uid = v->gid = v->name_len = v->name_cut = 0;
		if (file && !key->what && key->kind != PASSED_SOCKET)
			pass_name(v, file);
		if (!bpf_map_update_elem(&passes, key, v, BPF_NOEXIST))
			__sync_fetch_and_add(&en->passes, 1);
		v = bpf_map_lookup_elem(&passes, key);
	}
	if (v)
		__sync_fetch_and_add(&v->ops, 1);
	else
		lose(LOSS_PASSED, 1);
	return v;
}

static __always_inline bool pass_key_of(struct pass_key *key, const struct edge_row *e)
{
	__builtin_memset(key, 0, sizeof(*key));
	if (!e || !e->proc)
		return false;
	key->over = e->chan;
	key->proc = e->proc;
	key->role = e->role;
	key->end = e->end;
	return true;
}

/* One descriptor, which the current process has, was passed over that edge. */
__noinline int passed_fd(__u32 edge, __u32 fd)
{
	struct edge_row *e = edge_at(edge);
	__u32 what_row = NO_ROW;
	struct pass_key key;
	__u64 file;

	if (!pass_key_of(&key, e)) {
		lose(LOSS_PASSED, 1);
		return 0;
	}
	file = file_of(bpf_get_current_task_btf(), fd);
	key.kind = PASSED_CLOSED;
	if (file)
		what_row = passed_what(&key, file);
	pass_add(&key, file, e->chan_row, what_row);
	return 0;
}

/* Credentials, at that place in user memory, were in a message over that edge. */
__noinline int passed_credentials(__u32 edge, __u64 at)
{
	struct edge_row *e = edge_at(edge);
	struct ucred ucred = {};
	struct pass_key key;
	struct pass_val *v;

	if (!pass_key_of(&key, e) || bpf_probe_read_user(&ucred, sizeof(ucred), (void *)at)) {
		lose(LOSS_PASSED, 1);
		return 0;
	}
	key.kind = PASSED_CREDENTIALS;
	v = pass_add(&key, 0, e->chan_row, NO_ROW);
	if (!v)
		return 0;
	v->pid = ucred.pid;
	v->uid = ucred.uid;
	v->gid = ucred.gid;
	return 0;
}

/* --- through the control data --- */

static __always_inline void found_fds(struct control_walk *w, __u64 at, __u64 len)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	struct edge_row *e = edge_at(w->edge);
	__u32 n = len / sizeof(int);

	if (!ts || !e || !n || n > SCM_MAX_FD)
		return;
	w->fd_edge = edge_row_of(e->chan_row, e->end,
				 e->role == ROLE_READ ? ROLE_TAKE_FD : ROLE_PASS_FD);
	ts->seen += n;
	e = edge_at(w->fd_edge);
	if (w->fd_edge == NO_ROW || !e) {
		lose(LOSS_NO_EDGE, n);
		return;
	}
	e->ops += n;
	e->last_ns = bpf_jiffies64();
	w->fds = at;
	w->n = n;
}

static __always_inline void control_header(struct control_walk *w)
{
	struct cmsghdr h = {};
	__u64 at = w->at + sizeof(h);

	if (bpf_probe_read_user(&h, sizeof(h), (void *)w->at) || h.cmsg_len < sizeof(h) ||
	    h.cmsg_len > w->end - w->at) {
		w->at = w->end;
		return;
	}
	w->at += (h.cmsg_len + 7) & ~7ULL;
	if (h.cmsg_level != SOL_SOCKET)
		return;
	if (h.cmsg_type == SCM_RIGHTS)
		found_fds(w, at, h.cmsg_len - sizeof(h));
	else if (h.cmsg_type == SCM_CREDENTIALS && h.cmsg_len >= sizeof(h) + sizeof(struct ucred))
		passed_credentials(w->edge, at);
}

/* True: there is none. */
static __always_inline bool next_message(struct control_walk *w)
{
	struct control_notes *n = control_of_me(false);
	struct control_run *run;
	__u64 msg, len = 0;

	if (!n || w->run >= n->nr || w->run >= CONTROL_RUNS)
		return true;
	run = &n->run[w->run % CONTROL_RUNS];
	w->edge = run->edge;
	if (!run->msgs) {
		w->run++;
		passed_fd(run->edge, run->n);
		return false;
	}
	msg = run->msgs + w->msg * sizeof(struct mmsghdr);
	if (MSG_FIELD(w->at, msg, msg_hdr.msg_control) ||
	    MSG_FIELD(len, msg, msg_hdr.msg_controllen))
		len = 0;
	w->end = w->at + len;
	if (++w->msg >= run->n) {
		w->run++;
		w->msg = 0;
	}
	return false;
}

/* One descriptor, or one header, or one message: loops in loops would be too many frames for 6.1. */
static long control_step(__u32 i, struct control_walk *w)
{
	__u32 fd = 0;

	if (w->n) {
		if (bpf_probe_read_user(&fd, sizeof(fd), (void *)w->fds))
			lose(LOSS_PASSED, 1);
		else
			passed_fd(w->fd_edge, fd);
		w->fds += sizeof(int);
		w->n--;
		return 0;
	}
	if (w->at < w->end && w->end - w->at >= sizeof(struct cmsghdr)) {
		control_header(w);
		return 0;
	}
	return next_message(w);
}

/* Goes on where a call that sends or receives has noted something. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_passed, struct pt_regs *regs, long ret)
{
	struct control_notes *n = control_of_me(false);
	struct control_walk w;

	if (!n || !n->nr)
		return 0;
	w = n->start;
	bpf_loop(CONTROL_STEPS, control_step, &w, 0);
	n->nr = 0;
	return 0;
}
