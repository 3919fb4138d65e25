/* SPDX-License-Identifier: BSD-2-Clause */
/* One process reads and writes the memory of another: process_vm_readv, /proc/PID/mem. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "factory.h"
#include "vms.h"

#define READY 0 /* turn: passed by each whose memory can be used */
#define DONE 1

#define MINE 1 /* seeds of patterns */
#define THEIRS 1000

static char *mem, *buf; /* what others use; what the caller copies to and from */

struct peer {
	int owner, chan, nr;
};

/* ---- copying ---- */

/* In so many pieces of nearly the same size on each side. */
static int pieces(struct iovec *iov, char *at, size_t size, int n)
{
	for (int i = 0; i < n; i++) {
		iov[i].iov_base = at + size * i / n;
		iov[i].iov_len = size * (i + 1) / n - size * i / n;
	}
	return n;
}

static ssize_t by_call(int chan, enum role role, size_t size)
{
	struct iovec mine[16], theirs[16];
	int n = pieces(mine, buf, size, arg_num("pieces"));
	int m = pieces(theirs, mem, size, n > 1 ? n - 1 : 1);

	if (role == ROLE_READ)
		return x_vm_readv(chan, mine, n, theirs, m);
	return x_vm_writev(chan, mine, n, theirs, m);
}

static ssize_t by_file(int fd, int chan, enum role role, size_t size)
{
	ssize_t ret;

	if (arg_is("by", "seek")) {
		die_if(lseek(fd, (off_t)mem, SEEK_SET) < 0, "lseek: %s", strerror(errno));
		ret = role == ROLE_READ ? read(fd, buf, size) : write(fd, buf, size);
	} else {
		ret = role == ROLE_READ ? pread(fd, buf, size, (off_t)mem)
					: pwrite(fd, buf, size, (off_t)mem);
	}
	vm__count(chan, role, ret, errno, ret);
	return ret;
}

static int open_mem(int owner)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", vm__pid(owner));
	fd = open(path, O_RDWR | O_CLOEXEC);
	die_if(fd < 0, "%s: %s", path, strerror(errno));
	return fd;
}

static void copy(const struct peer *p, enum role role, size_t size, int fd)
{
	ssize_t ret;

	if (role == ROLE_WRITE)
		pattern__fill(buf, size, THEIRS + p->nr, 0);
	ret = fd < 0 ? by_call(p->chan, role, size) : by_file(fd, p->chan, role, size);
	die_if(ret < 0, "copy: %s", strerror(errno));
	die_if((size_t)ret != size, "copied %zd of %zu bytes", ret, size);
	if (role == ROLE_READ && arg_is("how", "read"))
		die_if(!pattern__check(buf, size, MINE, 0), "not what was there");
}

static void work(const struct peer *p)
{
	int fd = arg_is("by", "call") ? -1 : open_mem(p->owner);

	for (uint64_t i = 0; i < arg_num("count"); i++) {
		if (!arg_is("how", "write"))
			copy(p, ROLE_READ, arg_num("size"), fd);
		if (!arg_is("how", "read"))
			copy(p, ROLE_WRITE, arg_num("size"), fd);
	}
	if (fd >= 0)
		close(fd);
	turn__pass(DONE);
}

static void peer(void *arg)
{
	turn__await(READY, 1);
	work(arg);
}

static void owner(void *arg)
{
	const size_t size = arg_num("size");

	(void)arg;
	pattern__fill(mem, size, MINE, 0);
	turn__pass(READY);
	turn__await(DONE, arg_num("peers"));
	if (arg_num("peers") == 1 && !arg_is("how", "read"))
		die_if(!pattern__check(mem, size, THEIRS, 0), "not what was written");
}

static void run_copy(void)
{
	struct peer p = { 0 };

	mem = vm__memory(arg_num("size"));
	buf = xmalloc(arg_num("size"));
	die_if(arg_is("rel", "child") && arg_num("peers") != 1, "rel=child is for one peer");
	p.owner = arg_is("rel", "parent") ? 0 : proc__spawn("owner", owner, NULL);
	p.chan = vm__chan(p.owner);
	if (arg_is("rel", "child")) {
		turn__await(READY, 1);
		work(&p);
	} else {
		for (; p.nr < (int)arg_num("peers"); p.nr++)
			proc__spawnf(peer, &p, "peer%d", p.nr);
	}
	if (!p.owner)
		owner(NULL);
	procs__join();
	vm__finish();
}

/* ---- everybody reads everybody's ---- */

static void mesh_member(void *arg)
{
	const int n = arg_num("procs"), first = *(const int *)arg;
	struct iovec mine = { buf, arg_num("size") }, theirs = { mem, arg_num("size") };

	turn__await(READY, 1);
	for (int i = first; i < first + n; i++)
		for (uint64_t k = 0; i != self && k < arg_num("count"); k++)
			die_if(x_vm_readv(vm__chan(i), &mine, 1, &theirs, 1) < 0, "readv: %s",
			       strerror(errno));
	turn__pass(DONE);
	turn__await(DONE, n);
}

static void run_mesh(void)
{
	const int n = arg_num("procs");
	int first = arena->nr_procs;

	mem = vm__memory(arg_num("size"));
	buf = xmalloc(arg_num("size"));
	for (int i = 0; i < n; i++)
		vm__chan(proc__spawnf(mesh_member, &first, "m%d", i));
	turn__pass(READY);
	procs__join();
	vm__finish();
}

/* ---- what fails, or goes half the way ---- */

static void prey(void *arg)
{
	(void)arg;
	turn__pass(READY);
	turn__await(DONE, 1);
}

static void fail(int chan, struct iovec *mine, struct iovec *theirs, int want)
{
	const bool writes = arg_is("how", "write");
	ssize_t ret = writes ? x_vm_writev(chan, mine, 1, theirs, 1)
			     : x_vm_readv(chan, mine, 1, theirs, 1);

	die_if(ret >= 0, "copied %zd bytes", ret);
	die_if(errno != want, "copy: %s", strerror(errno));
}

static void culprit(void *arg)
{
	const struct peer *p = arg;
	const size_t size = arg_num("size");
	struct iovec mine = { buf, size }, theirs = { mem, size };

	turn__await(READY, 1);
	if (arg_is("why", "eperm"))
		die_if(setuid(65534), "setuid: %s", strerror(errno));
	if (arg_is("why", "efault"))
		theirs.iov_base = (void *)8;
	for (uint64_t i = 0; i < arg_num("count"); i++) {
		if (arg_is("why", "partial")) {
			theirs.iov_base = mem + size / 2;
			die_if(x_vm_readv(p->chan, &mine, 1, &theirs, 1) != (ssize_t)size / 2,
			       "not half of it");
		} else {
			fail(p->chan, &mine, &theirs,
			     arg_is("why", "eperm")    ? EPERM
			     : arg_is("why", "efault") ? EFAULT
						       : ESRCH);
		}
	}
	turn__pass(DONE);
}

static void run_errors(void)
{
	const size_t size = arg_num("size");
	struct peer p = { 0 };

	/* What comes after it must not be there. */
	mem = vm__memory(2 * size);
	die_if(mprotect(mem + size, size, PROT_NONE), "mprotect: %s", strerror(errno));
	buf = xmalloc(size);
	die_if(arg_is("why", "partial") && (size % 8192 || arg_is("how", "write")),
	       "why=partial reads, and its size is of even pages");
	p.owner = arg_is("why", "esrch") ? -1 : proc__spawn("owner", prey, NULL);
	p.chan = vm__chan(p.owner);
	if (p.owner < 0)
		turn__pass(READY);
	proc__spawn("peer", culprit, &p);
	procs__join();
	vm__finish();
}

#define COUNT_PARAM(value) NUM_PARAM("count", value, 1, 100000, "times that each does it")
#define SIZE_PARAM(value) NUM_PARAM("size", value, 1, 1 << 26, "bytes each time")

const struct factory vm_factories[] = {
	{
		.name = "vm-copy",
		.help = "processes read and write the memory of another one",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("5"), SIZE_PARAM("10000"),
			NUM_PARAM("peers", "1", 1, 100, "processes that do so"),
			NUM_PARAM("pieces", "1", 1, 16, "of which each copy is made"),
			{ "how", "read", "read|write|both", 0, 0, "what they do" },
			{ "by", "call", "call|mem|seek", 0, 0,
			  "process_vm_readv(), or pread() or read() of /proc/PID/mem" },
			{ "rel", "siblings", "siblings|parent|child", 0, 0,
			  "what the process with the memory is to them" },
		},
		.selftest = "how=write;how=both pieces=5;how=both by=mem;by=seek how=both peers=3;"
			    "rel=parent peers=3;rel=child how=both",
		.run = run_copy,
	}, {
		.name = "vm-mesh",
		.help = "each of several processes reads the memory of all others",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("3"), SIZE_PARAM("1000"),
			NUM_PARAM("procs", "4", 2, 40, "processes"),
		},
		.selftest = "procs=3",
		.run = run_mesh,
	}, {
		.name = "vm-errors",
		.help = "copies that fail, or stop in the middle",
		.params = {
			COMMON_PARAMS, COUNT_PARAM("3"), SIZE_PARAM("16384"),
			{ "why", "efault", "efault|esrch|eperm|partial", 0, 0,
			  "nothing there, no such process, not allowed, half of it there" },
			{ "how", "read", "read|write", 0, 0, "or process_vm_writev()" },
		},
		.selftest = "why=esrch;why=eperm how=write;why=partial;how=write",
		.run = run_errors,
	},
	{ .name = NULL }
};
