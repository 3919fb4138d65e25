/*
 * The first process of the guest: sets the machine up, runs one command, reports its status.
 *
 * It is the only program in the initramfs, linked statically. What to do comes from the file
 * /plan that the runner puts beside it: NUL-terminated strings, the first byte says what each is:
 *   N nonce   M module file   B path to show again under /tmp, /run, ..   D modprobe directory
 *   E NAME=VALUE   C working directory   A argument of the command
 *
 * The verdict goes out three ways that must agree (see verdict() in guest.py): a status file on
 * the writable share, a line on the serial port, and the value written to isa-debug-exit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define DEBUG_EXIT_PORT 0xf4
#define DEBUG_EXIT_FAILED 1
#define DEBUG_EXIT_STATUS(status) (0x40 | ((status)&0x3f))
#define MAX_LIST 1024
#define GUEST_DIR "/run/ipctrace-vm"
#define SHARE_DIR GUEST_DIR "/share"

struct plan {
	const char *nonce;
	const char *modprobe_dir;
	const char *cwd;
	char *modules[MAX_LIST];
	char *binds[MAX_LIST];
	char *env[MAX_LIST];
	char *args[MAX_LIST];
};

struct mount_row {
	const char *source, *target, *type, *options;
	unsigned long flags;
	int optional;
};

static struct plan plan;
/* What a failure of this program means to the runner; changes once the command has started. */
static const char *stage = "setup-failed";

/* Speak on the serial port without the kernel's own messages in the middle of the line. */
static void serial_line(const char *format, ...)
{
	char text[512];
	va_list args;
	int fd, len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len >= (int)sizeof(text))
		len = sizeof(text) - 1;

	klogctl(6 /* SYSLOG_ACTION_CONSOLE_OFF */, NULL, 0);
	fd = open("/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	dprintf(fd, "\nipctrace-vm %s %.*s\n", plan.nonce ? plan.nonce : "-", len, text);
	tcdrain(fd);
	close(fd);
}

static void __attribute__((noreturn)) power_off(int debug_exit)
{
	if (ioperm(DEBUG_EXIT_PORT, 1, 1) == 0)
		outb(debug_exit, DEBUG_EXIT_PORT);
	reboot(RB_AUTOBOOT); /* not reached under QEMU: its exit 0 then is a disagreement */
	for (;;)
		pause();
}

static void __attribute__((noreturn)) fail(const char *what, const char *object)
{
	serial_line("%s: %s %s: %s", stage, what, object, strerror(errno));
	power_off(DEBUG_EXIT_FAILED);
}

static void list_add(char **list, char *value)
{
	int i;

	for (i = 0; list[i]; i++)
		;
	if (i == MAX_LIST - 1) {
		errno = E2BIG;
		fail("reading", "/plan");
	}
	list[i] = value;
}

static void plan_string(char *string)
{
	char *value = string + 1;

	switch (string[0]) {
	case 'N':
		plan.nonce = value;
		break;
	case 'D':
		plan.modprobe_dir = value;
		break;
	case 'C':
		plan.cwd = value;
		break;
	case 'M':
		list_add(plan.modules, value);
		break;
	case 'B':
		list_add(plan.binds, value);
		break;
	case 'E':
		list_add(plan.env, value);
		break;
	case 'A':
		list_add(plan.args, value);
		break;
	}
}

static void read_plan(void)
{
	struct stat st;
	char *text;
	ssize_t n;
	int fd;

	fd = open("/plan", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		fail("reading", "/plan");
	text = calloc(1, (size_t)st.st_size + 1);
	n = text ? read(fd, text, st.st_size) : -1;
	if (n != st.st_size)
		fail("reading", "/plan");
	close(fd);
	/* The strings stay where they are, the plan points into this buffer for good. */
	for (char *at = text; at < text + n; at += strlen(at) + 1)
		plan_string(at);
	if (!plan.nonce || !plan.cwd || !plan.args[0]) {
		errno = EINVAL;
		fail("reading", "/plan");
	}
}

static void load_modules(void)
{
	for (char **path = plan.modules; *path; path++) {
		int fd = open(*path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			fail("loading module", *path);
		close(fd);
	}
}

static void mkdirs(const char *path)
{
	char part[PATH_MAX];

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(part, 0755);
		*slash = '/';
	}
	mkdir(part, 0755);
}

/* The host's root, below the mounts that hide parts of it. Only kept until they are made. */
#define LOWER "/lower"
#define ROOT "/root"

static const struct mount_row mounts[] = {
	{ "ipctrace-root", ROOT, "virtiofs", NULL, MS_RDONLY, 0 },
	{ ROOT, LOWER, NULL, NULL, MS_BIND, 0 },
	{ "proc", ROOT "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0 },
	{ "sysfs", ROOT "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0 },
	{ "bpf", ROOT "/sys/fs/bpf", "bpf", "mode=700", 0, 0 },
	{ "cgroup2", ROOT "/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0 },
	{ "debugfs", ROOT "/sys/kernel/debug", "debugfs", NULL, 0, 1 },
	{ "tracefs", ROOT "/sys/kernel/tracing", "tracefs", NULL, 0, 0 },
	{ "securityfs", ROOT "/sys/kernel/security", "securityfs", NULL, 0, 1 },
	{ "devtmpfs", ROOT "/dev", "devtmpfs", "mode=0755", MS_NOSUID, 0 },
	{ "devpts", ROOT "/dev/pts", "devpts", "ptmxmode=0666,mode=0620,gid=5", 0, 0 },
	{ "tmpfs", ROOT "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0 },
	{ "mqueue", ROOT "/dev/mqueue", "mqueue", NULL, 0, 0 },
	{ "tmpfs", ROOT "/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0 },
	{ "tmpfs", ROOT "/var/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0 },
	{ "tmpfs", ROOT "/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, 0 },
	{ "ipctrace-share", ROOT SHARE_DIR, "virtiofs", NULL, 0, 0 },
};

static void mount_all(void)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		const struct mount_row *row = &mounts[i];

		/* Harmless where it exists already or cannot be made: the mount will tell. */
		mkdirs(row->target);
		if (mount(row->source, row->target, row->type, row->flags, row->options) &&
		    !row->optional)
			fail("mounting", row->target);
	}
}

/* A source tree that lies under /tmp or the like is hidden by the guest's tmpfs: show it again. */
static void show_hidden(void)
{
	for (char **path = plan.binds; *path; path++) {
		char lower[PATH_MAX], target[PATH_MAX];

		snprintf(lower, sizeof(lower), LOWER "%s", *path);
		snprintf(target, sizeof(target), ROOT "%s", *path);
		mkdirs(target);
		if (mount(lower, target, NULL, MS_BIND, NULL))
			fail("binding", *path);
	}
	umount2(LOWER, MNT_DETACH);
}

static void enter_root(void)
{
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fail("entering", "the root");
}

static void write_file(const char *path, mode_t mode, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	ssize_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != len)
		fail("writing", path);
	close(fd);
}

/*
 * The unpacked kernel package is not under /lib/modules, and the root cannot be written. So
 * `modprobe`, the kernel's own calls included, goes through a wrapper that knows the place.
 */
static void set_up_modprobe(void)
{
	char text[PATH_MAX + 128];

	mkdir(GUEST_DIR "/bin", 0755);
	if (!plan.modprobe_dir)
		return;
	snprintf(text, sizeof(text),
		 "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec modprobe -d '%s' \"$@\"\n",
		 plan.modprobe_dir);
	write_file(GUEST_DIR "/bin/modprobe", 0755, text);
	write_file("/proc/sys/kernel/modprobe", 0, GUEST_DIR "/bin/modprobe");
}

static void dev_links(void)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
			fail("linking", links[i][1]);
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		fail("raising", "lo");
	close(fd);
}

static void set_limits(void)
{
	static const struct {
		int what;
		rlim_t value;
	} limits[] = {
		{ RLIMIT_MEMLOCK, RLIM_INFINITY },
		{ RLIMIT_NOFILE, 65536 },
		{ RLIMIT_CORE, 0 },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit limit = { limits[i].value, limits[i].value };

		if (setrlimit(limits[i].what, &limit))
			fail("setting", "a resource limit");
	}
}

/* Without a /dev/console in the initramfs the kernel starts init with nothing at 0, 1 and 2. */
static void open_standard_files(void)
{
	int fd;

	mkdirs("/dev");
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
		;
	close(fd);
}

static void set_up(void)
{
	open_standard_files();
	read_plan();
	load_modules();
	mount_all();
	show_hidden();
	enter_root();
	dev_links();
	set_up_modprobe();
	loopback_up();
	set_limits();
	if (sethostname("ipctrace-vm", strlen("ipctrace-vm")))
		fail("setting", "the host name");
	mkdir("/run/home", 0700);
	mkdir("/run/lock", 01777);
}

/* Never returns. 126 and 127 are what a shell says of a program that cannot be run. */
static void __attribute__((noreturn)) run_command(int out)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	close(null);
	if (chdir(plan.cwd)) {
		dprintf(2, "ipctrace-vm: cannot enter %s: %s\n", plan.cwd, strerror(errno));
		_exit(126);
	}
	clearenv();
	for (char **variable = plan.env; *variable; variable++)
		putenv(*variable);
	execvp(plan.args[0], plan.args);
	dprintf(2, "ipctrace-vm: cannot run %s: %s\n", plan.args[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void write_all(int fd, const char *data, ssize_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			fail("writing", "the command's output");
		if (n > 0) {
			data += n;
			len -= n;
		}
	}
}

/* Copies what the pipe holds now; `in` is non-blocking. Returns 0 once nobody writes any more. */
static int relay(int in, int out)
{
	char data[65536];
	ssize_t n;

	while ((n = read(in, data, sizeof(data))) > 0)
		write_all(out, data, n);
	return n < 0;
}

/* Collects orphans too. Returns 1 and the command's status when it was the command that ended. */
static int reap(pid_t command, int *status)
{
	int raw, ended = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &raw, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		ended = 1;
		*status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
	}
	return ended;
}

/*
 * The command writes to a pipe and not to the file on the share: `echo > /dev/stderr` opens
 * what is behind it anew, and would cut a regular file to nothing.
 */
static int run_and_relay(void)
{
	struct signalfd_siginfo info;
	struct pollfd polls[2] = { { .events = POLLIN }, { .events = POLLIN } };
	int ends[2], out, status = -1;
	sigset_t chld;
	pid_t command;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	polls[0].fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	out = open(SHARE_DIR "/output", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (polls[0].fd < 0 || out < 0 || pipe2(ends, O_CLOEXEC))
		fail("opening", "the command's output");
	command = fork();
	if (command < 0)
		fail("starting", plan.args[0]);
	stage = "report-failed";
	if (command == 0)
		run_command(ends[1]);
	close(ends[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	polls[1].fd = ends[0];

	while (status < 0) {
		poll(polls, 2, -1);
		if (polls[1].fd >= 0 && polls[1].revents && !relay(ends[0], out))
			polls[1].fd = -1;
		while (read(polls[0].fd, &info, sizeof(info)) > 0)
			;
		reap(command, &status);
	}
	relay(ends[0], out);
	close(out);
	return status;
}

/* What the command left running dies here, so that its exit paths are in the kernel's log too. */
static void end_leftovers(void)
{
	int raw;

	kill(-1, SIGKILL);
	while (waitpid(-1, &raw, 0) > 0 || errno == EINTR)
		;
}

static void save_kernel_log(void)
{
	int size = klogctl(10 /* SYSLOG_ACTION_SIZE_BUFFER */, NULL, 0);
	char *text = malloc(size > 0 ? size : 1);
	int len = text ? klogctl(3 /* SYSLOG_ACTION_READ_ALL */, text, size) : -1;
	char taint[32] = "";
	int fd;

	fd = open("/proc/sys/kernel/tainted", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, taint, sizeof(taint) - 1) > 0)
		write_file(SHARE_DIR "/tainted", 0600, taint);
	close(fd);
	fd = open(SHARE_DIR "/dmesg", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || len < 0)
		fail("saving", "the kernel's log");
	write_all(fd, text, len);
	close(fd);
	free(text);
}

int main(void)
{
	char line[128];
	int status;

	set_up();
	status = run_and_relay();
	end_leftovers();
	save_kernel_log();
	snprintf(line, sizeof(line), "%s %d\n", plan.nonce, status);
	write_file(SHARE_DIR "/status", 0600, line);
	sync();
	serial_line("status %d", status);
	power_off(DEBUG_EXIT_STATUS(status));
}
