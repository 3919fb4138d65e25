/* SPDX-License-Identifier: BSD-2-Clause */
/* Regular files that are replaced, copied, and made again under their names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "data.h"
#include "sync.h"

static int chan; /* the only one, or the first */

enum { WRITTEN, TAKEN, UNLOCKED };

/* ---- a new file takes the place of the old one, under the name that others read ---- */

static void replace(const char *from, const char *to)
{
	if (arg_is("how", "rename"))
		must(!rename(from, to), "rename");
	else if (arg_is("how", "renameat2"))
		must(!renameat2(AT_FDCWD, from, AT_FDCWD, to, 0), "renameat2");
	else
		must((!unlink(to) || errno == ENOENT) && !link(from, to) && !unlink(from), "link");
}

static void replacer(void *arg)
{
	char tmp[PATH_MAX + 16], file[PATH_MAX + 16];
	struct end e;

	(void)arg;
	snprintf(file, sizeof(file), "%s/file", tmpdir());
	for (unsigned int i = 0; i < arg_num("times"); i++) {
		int f = data__file("file.tmp");

		snprintf(tmp, sizeof(tmp), "%s", arena->chans[f].path);
		memory__open(&e, f, O_WRONLY);
		data__write(&e, NULL);
		close(e.fd);
		*strstr(arena->chans[f].path, ".tmp") = '\0';
		replace(tmp, file);
		turn__pass(WRITTEN);
		turn__await(TAKEN, (i + 1) * arg_num("readers"));
	}
}

/* Keeps it open, so that no inode's number is used again. */
static void follower(void *arg)
{
	struct end e;

	(void)arg;
	for (unsigned int i = 0; i < arg_num("times"); i++) {
		turn__await(WRITTEN, i + 1);
		memory__open(&e, arena->nr_chans - 1, O_RDONLY);
		data__read(&e, arg_num("chunk"), true, NULL);
		turn__pass(TAKEN);
	}
}

static void run_rename(void)
{
	tmpdir();
	proc__spawn("writer", replacer, NULL);
	for (unsigned int i = 0; i < arg_num("readers"); i++)
		proc__spawnf(follower, NULL, "r%u", i);
	procs__join();
	memory__unlink(arena->nr_chans - 1);
}

/* ---- copied from file to file ---- */

static void source(void *arg)
{
	struct end e;

	(void)arg;
	memory__open(&e, chan, O_WRONLY);
	data__write(&e, NULL);
	turn__pass(WRITTEN);
}

static ssize_t copy_some(const struct end *in, const struct end *out, size_t n)
{
	if (arg_is("how", "copy_file_range"))
		return x_copy_file_range(in, out, n);
	if (arg_is("how", "sendfile"))
		return x_sendfile(out, in, n);
	return x_read(in, data__buffer(), n);
}

static void copier(void *arg)
{
	struct end in, out;
	uint64_t got = 0;
	ssize_t n;

	(void)arg;
	memory__open(&in, chan, O_RDONLY);
	memory__open(&out, chan + 1, O_WRONLY);
	turn__await(WRITTEN, 1);
	while ((n = copy_some(&in, &out, arg_num("chunk")))) {
		must(n > 0, arg_str("how"));
		if (arg_is("how", "read"))
			must(x_write(&out, data__buffer(), n) == n, "write");
		got += n;
	}
	flow__add(1, self, chan, got, false);
	turn__pass(TAKEN);
}

static void sink(void *arg)
{
	uint64_t got = 0;
	struct end e;
	ssize_t n;

	(void)arg;
	memory__open(&e, chan + 1, O_RDONLY);
	turn__await(TAKEN, 1);
	while ((n = x_read(&e, data__buffer(), arg_num("chunk"))) > 0)
		got += n;
	die_if(got != arg_num("bytes"), "the copy is not whole");
	flow__add(2, self, chan + 1, got, false);
}

static void run_copy(void)
{
	chan = data__file("from");
	data__file("to");
	proc__spawn("source", source, NULL);
	proc__spawn("copier", copier, NULL);
	proc__spawn("sink", sink, NULL);
	procs__join();
	memory__unlink(chan);
	memory__unlink(chan + 1);
}

/* ---- one name, made again and again ---- */

static void maker(void *arg)
{
	bool is_new = arg_is("how", "unlink");
	uint32_t i = (uintptr_t)arg;
	struct end e;

	turn__await(TAKEN, i);
	if (i && is_new)
		memory__unlink(arena->nr_chans - 1);
	if (is_new)
		data__file("data");
	memory__open(&e, arena->nr_chans - 1, is_new ? O_WRONLY : O_WRONLY | O_TRUNC);
	data__write(&e, NULL);
	turn__pass(WRITTEN);
}

static void watcher(void *arg)
{
	struct end e;

	(void)arg;
	for (unsigned int i = 0; i < arg_num("times"); i++) {
		turn__await(WRITTEN, i + 1);
		memory__open(&e, arena->nr_chans - 1, O_RDONLY);
		data__read(&e, arg_num("chunk"), true, NULL);
		turn__pass(TAKEN);
	}
}

static void run_again(void)
{
	tmpdir();
	if (!arg_is("how", "unlink"))
		data__file("data");
	for (uintptr_t i = 0; i < arg_num("times"); i++)
		proc__spawnf(maker, (void *)i, "w%u", (unsigned int)i);
	proc__spawn("reader", watcher, NULL);
	procs__join();
	memory__unlink(arena->nr_chans - 1);
}

/* ---- the textbooks' lock: a file that only one can make, which says who has it ---- */

static bool lock_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), f;
	char name[16];
	struct end e;

	if (fd < 0) {
		must(errno == EEXIST, "open");
		return false;
	}
	snprintf(name, sizeof(name), "f%u", arena->nr_chans);
	f = chan__new(name, "file", fd, path);
	arena->chans[f].capacity = UNKNOWN;
	end__init(&e, fd, f);
	*data__buffer() = self;
	must(x_write(&e, data__buffer(), 1) == 1, "write");
	arena->scratch[0] = f;
	return true;
}

/* Who finds it locked reads by whom, and waits until it is gone. */
static void locker(void *arg)
{
	uint32_t me = (uintptr_t)arg;
	char path[PATH_MAX + 16];
	struct end e;

	snprintf(path, sizeof(path), "%s/lock", tmpdir());
	if (me) {
		turn__await(WRITTEN, me);
		die_if(lock_file(path), "it is not locked");
		memory__open(&e, arena->scratch[0], O_RDONLY);
		data__read(&e, 16, true, NULL);
		turn__pass(TAKEN);
	}
	turn__await(UNLOCKED, me);
	die_if(!lock_file(path), "it is locked");
	turn__pass(WRITTEN);
	turn__await(TAKEN, me + 1);
	must(!unlink(path), "unlink");
	turn__pass(UNLOCKED);
	/* Kept open, so that no inode's number is used again. */
	turn__await(UNLOCKED, arg_num("procs"));
}

static void run_lockfile(void)
{
	struct end e;

	tmpdir();
	for (uintptr_t i = 0; i < arg_num("procs"); i++)
		proc__spawnf(locker, (void *)i, "p%u", (unsigned int)i);
	/* The last one's is read, too. */
	turn__await(WRITTEN, arg_num("procs"));
	memory__open(&e, arena->scratch[0], O_RDONLY);
	data__read(&e, 16, true, NULL);
	turn__pass(TAKEN);
	procs__join();
}

/* ---- somebody is told of changes, and reads what is new ---- */

static int events; /* channel */

static void changer(void *arg)
{
	uint32_t me = (uintptr_t)arg, all = arg_num("writers");
	size_t n = arg_num("chunk");
	struct end e;

	memory__open(&e, chan, O_WRONLY | O_APPEND);
	memset(data__buffer(), self, n);
	for (uint32_t i = 0; i < arg_num("lines"); i++) {
		turn__await(TAKEN, i * all + me + 1);
		must(x_write(&e, data__buffer(), n) == (ssize_t)n, "write");
		sync__made(self, events, ROLE_WRITE, 1);
		turn__pass(WRITTEN);
	}
}

/* The events that are there: whoever has written since the last time has made them. */
static void listener(void *arg)
{
	bool dir = arg_is("watch", "directory"), blocks = arg_is("read", "asleep");
	uint32_t all = arg_num("writers"), total = all * arg_num("lines");
	struct end in, e;
	ssize_t n;

	(void)arg;
	end__init(&in, inotify_init1(IN_CLOEXEC), events);
	must(in.fd >= 0, "inotify_init1");
	must(inotify_add_watch(in.fd, dir ? tmpdir() : arena->chans[chan].path, IN_MODIFY) >= 0,
	     "inotify_add_watch");
	memory__open(&e, chan, O_RDONLY);
	for (uint32_t i = 0; i < total; i++) {
		turn__pass(TAKEN);
		if (!blocks)
			turn__await(WRITTEN, i + 1);
		n = x_read(&in, data__buffer(), 4096);
		must(n > 0, "read");
		flow__add(1 + i % all, self, events, n, true);
		/* Before it is told that the call has returned, it is not said by whom that is. */
		data__read(&e, DATA_MAX, !blocks, NULL);
		turn__await(WRITTEN, i + 1);
	}
}

static void run_inotify(void)
{
	struct chan *c;

	chan = data__file("log");
	events = chan__add("events", "file", 0, 0);
	c = &arena->chans[events];
	c->any_ino = 1;
	snprintf(c->label, sizeof(c->label), "inotify");
	for (uintptr_t i = 0; i < arg_num("writers"); i++)
		proc__spawnf(changer, (void *)i, "w%u", (unsigned int)i);
	proc__spawn("listener", listener, NULL);
	procs__join();
	memory__unlink(chan);
}

const struct factory file_life_factories[] = {
	{
		.name = "file-rename",
		.help = "a new file is put in the place of the old one, which others read",
		.params = {
			COMMON_PARAMS, DATA_PARAMS,
			PROCS_PARAM("readers", "1", "that read it"),
			PROCS_PARAM("times", "3", "it is replaced"),
			{ "how", "rename", "rename|renameat2|link", 0, 0, "call" },
		},
		.selftest = ";how=renameat2 readers=2;how=link",
		.run = run_rename,
	},
	{
		.name = "file-copy",
		.help = "a file is copied into another one, which is read",
		.params = {
			COMMON_PARAMS, DATA_PARAMS,
			{ "how", "copy_file_range", "copy_file_range|sendfile|read", 0, 0, "call" },
		},
		.selftest = ";how=sendfile;how=read",
		.run = run_copy,
	},
	{
		.name = "file-recreated",
		.help = "a file is removed and made again, or truncated, each time by another one",
		.params = {
			COMMON_PARAMS, DATA_PARAMS,
			PROCS_PARAM("times", "3", "it is written"),
			{ "how", "unlink", "unlink|truncate", 0, 0, "in between" },
		},
		.selftest = ";how=truncate",
		.run = run_again,
	},
	{
		.name = "file-lock",
		.help = "a lock file (O_EXCL), which says whose it is",
		.params = { COMMON_PARAMS, PROCS_PARAM("procs", "3", "that lock") },
		.selftest = ";procs=10",
		.run = run_lockfile,
	},
	{
		.name = "file-inotify",
		.help = "one is told of each write to a file, and reads what is new",
		.params = {
			COMMON_PARAMS,
			PROCS_PARAM("writers", "2", "by turns"),
			NUM_PARAM("lines", "10", 1, 10000, "of each"),
			NUM_PARAM("chunk", "100", 1, 65536, "bytes of one"),
			{ "watch", "file", "file|directory", 0, 0, "where it is told of" },
			{ "read", "ready", "ready|asleep", 0, 0, "when the events are read" },
		},
		.selftest = ";watch=directory read=asleep",
		.run = run_inotify,
	},
	{ 0 },
};
