"""One boot of one VM: shares, QEMU, and the verdict on what came of the command."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import vmkernel
from vmkernel import SetupFailed

PANIC, HANG, NO_VERDICT, SPLAT, SETUP_FAILED = 120, 121, 122, 123, 124

QEMU = "qemu-system-x86_64"
# virtiofsd is no command: each distribution has its own folder for it.
VIRTIOFSD_DIRS = ["/usr/lib/qemu", "/usr/libexec", "/usr/lib"]
# Without these the guest has no root; the kernels differ in which of them are built in.
BOOT_MODULES = ["virtio_pci", "virtiofs"]
# Where init.c mounts a tmpfs, and so hides what the host has there.
HIDDEN_DIRS = ("/tmp/", "/var/tmp/", "/run/", "/dev/shm/")

SHARE_IN_GUEST = "/run/ipctrace-vm/share"
GUEST_PATH = "/run/ipctrace-vm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# panic=-1 with QEMU's -no-reboot turns a panic into an exit. The watchdogs are slower than a
# starved emulator, whose pauses look like lockups. Page-table isolation and retpolines cost an
# emulator a third of its speed and are nothing to test here.
COMMAND_LINE = ("console=ttyS0 loglevel=5 panic=-1 log_buf_len=4M mitigations=off "
                "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 "
                "random.trust_cpu=on no_timer_check")

SPLAT_LINE = re.compile(
    r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^]]*\])? "
    r"((?:WARNING: |BUG: |kernel BUG at|Oops|general protection fault|UBSAN: |watchdog: BUG: |"
    r"rcu: INFO: |INFO: |list_(?:add|del) corruption|unregister_netdevice: waiting).*)",
    re.MULTILINE)
PANIC_LINE = re.compile(r"Kernel panic - not syncing.*")
# TAINT_BAD_PAGE, _DIE, _WARN, _SOFTLOCKUP: a splat that has left the log still shows here.
SPLAT_TAINTS = {5: "bad page", 7: "oops", 9: "warning", 14: "soft lockup"}


def debug_exit(value):
    """QEMU's exit status for a value written to isa-debug-exit."""
    return (value << 1 | 1) & 0xff


def die_with_parent(argv):
    """Even a runner that is killed with SIGKILL leaves no emulator running."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def mount_of(path):
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def find_virtiofsd():
    path = shutil.which("virtiofsd", path=os.pathsep.join(VIRTIOFSD_DIRS + [os.environ["PATH"]]))
    if not path:
        raise SetupFailed("no virtiofsd here (Debian: package qemu-system-common)")
    return path


def check_host():
    if os.geteuid() != 0:
        raise SetupFailed("only root can share the machine's root with a VM")
    if os.uname().machine != "x86_64":
        raise SetupFailed(f"no VM for {os.uname().machine}, only for x86_64")
    if not shutil.which(QEMU):
        raise SetupFailed(f"no {QEMU} here (Debian: package qemu-system-x86)")


class Guest:
    """Use as a context manager: leaving it ends the processes and removes the files."""

    def __init__(self, options):
        self.options = options
        self.nonce = secrets.token_hex(8)
        self.daemons = []
        self.qemu = None
        self.dir = None

    def __enter__(self):
        # The sockets' paths must fit in 108 bytes.
        self.dir = tempfile.mkdtemp(prefix="ipctrace-vm.")
        for name in ("root", "share", "share/results"):
            os.mkdir(os.path.join(self.dir, name))
        return self

    def __exit__(self, *_):
        for process in [self.qemu, *self.daemons]:
            if process:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    # Preparation

    def shown_paths(self, kernel):
        """What the guest must see wherever it lies: the source tree and the modules."""
        return [os.path.realpath(path) for path in (vmkernel.TREE, kernel.dir)]

    def plan(self, kernel, module_names):
        environment = {
            "PATH": GUEST_PATH, "HOME": "/run/home", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
            "TERM": "dumb", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh",
            "IPCTRACE_RESULTS": SHARE_IN_GUEST + "/results", "IPCTRACE_VM": kernel.name,
        }
        strings = ["N" + self.nonce, "C" + os.path.realpath(vmkernel.TREE)]
        strings += [f"M/modules/{name}.ko" for name in module_names]
        strings += ["B" + path for path in self.shown_paths(kernel)
                    if path.startswith(HIDDEN_DIRS)]
        if kernel.has_index():
            strings.append("D" + os.path.realpath(kernel.dir))
        strings += [f"E{name}={value}" for name, value in environment.items()]
        strings += ["A" + argument for argument in self.options.command]
        return b"".join(os.fsencode(string) + b"\0" for string in strings)

    def write_initramfs(self, kernel):
        modules = vmkernel.load_order(kernel, BOOT_MODULES + self.options.module)
        with open(vmkernel.build_init(), "rb") as file:
            init = file.read()
        entries = [("init", 0o100755, init),
                   ("plan", 0o100600, self.plan(kernel, [name for name, _ in modules])),
                   ("modules", 0o040755, b"")]
        entries += [(f"modules/{name}.ko", 0o100600, content) for name, content in modules]
        with open(self.path("initramfs"), "wb") as file:
            file.write(vmkernel.cpio(entries))

    # Processes

    def start_virtiofsd(self, name, cache, script, arguments):
        """Serves the folder `name`, after `script` mounted what belongs into it.

        The mounts are made in a mount namespace of its own: they end with the process, and the
        host never sees them. In that namespace a chroot is all the sandbox that is needed, and
        unlike virtiofsd's own namespaces it takes no second process that could stay behind.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path(name + ".socket"))
        listener.listen(1)
        shell = script + '\nexec "$virtiofsd" -f --fd="$fd" -o source="$folder" ' \
            '-o sandbox=chroot -o log_level=err -o no_posix_lock -o cache="$cache"'
        with listener, open(self.path(name + ".log"), "wb") as log:
            self.daemons.append(subprocess.Popen(
                die_with_parent(["unshare", "--mount", "--propagation", "private",
                                 "sh", "-euc", shell, "sh", *arguments]),
                env={**os.environ, "virtiofsd": find_virtiofsd(), "folder": self.path(name),
                     "fd": str(listener.fileno()), "cache": cache},
                pass_fds=[listener.fileno()], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def start_shares(self, kernel):
        # The guest is root and could lift a flag of its own: the bind mount it cannot change.
        # What changes on the host meanwhile it may miss (cache=always): programs start four times
        # as fast for that.
        mounts = sorted({mount_of(path) for path in self.shown_paths(kernel)} | {"/"})
        self.start_virtiofsd("root", "always", '''
            for mount in "$@"; do mount --bind "$mount" "$folder$mount"; done
            for mount in "$@"; do mount -o remount,bind,ro "$folder$mount"; done''', mounts)
        self.start_virtiofsd("share", "auto", 'for results in "$@"; do mount --bind "$results" '
                             '"$folder/results"; done',
                             [self.options.results] if self.options.results else [])

    def start_qemu(self, kernel):
        memory = f"{self.options.memory}M"
        # One thread for both processors: with one each, a processor may run code that the other one is
        # just patching, and the guest dies of an int3 when tracepoints are switched on and off.
        argv = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-M", "pc", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2",
                "-m", memory, "-numa", "node,memdev=memory",
                "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
                "-serial", "file:" + self.path("console"),
                "-kernel", kernel.image, "-initrd", self.path("initramfs"),
                "-append", COMMAND_LINE]
        for name in ("root", "share"):
            argv += ["-chardev", f"socket,id={name},path={self.path(name)}.socket",
                     "-device", f"vhost-user-fs-pci,chardev={name},tag=ipctrace-{name}"]
        with open(self.path("qemu.log"), "wb") as log:
            self.qemu = subprocess.Popen(die_with_parent(argv), start_new_session=True,
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    # The run

    def stream(self, sources):
        """Passes on what came since the last time."""
        for source in sources:
            with contextlib.suppress(FileNotFoundError), open(source["path"], "rb") as file:
                file.seek(source["offset"])
                data = file.read()
                source["offset"] += len(data)
                source["to"].buffer.write(data)
                source["to"].flush()

    def wait(self):
        """Streams the output until QEMU ends. Returns its exit status, or None at the deadline."""
        sources = [{"path": self.path("share", "output"), "to": sys.stdout, "offset": 0}]
        if self.options.verbose:
            sources.append({"path": self.path("console"), "to": sys.stderr, "offset": 0})
        deadline = time.monotonic() + self.options.deadline
        while self.qemu.poll() is None and time.monotonic() < deadline:
            # Without its root a guest only hangs. QEMU, when it ends, ends the daemons too.
            if any(daemon.poll() is not None for daemon in self.daemons):
                deadline = min(deadline, time.monotonic() + 2)
            self.stream(sources)
            time.sleep(0.03)
        self.stream(sources)
        return self.qemu.poll()

    def save_logs(self):
        for name in ("console", "share/dmesg"):
            if self.options.results and os.path.exists(self.path(name)):
                target = f"vm-{os.path.basename(name)}.log"
                shutil.copyfile(self.path(name), os.path.join(self.options.results, target))

    def run(self):
        """Boots, waits, judges. Returns (exit status, line for stderr or None)."""
        check_host()
        kernel = vmkernel.fetch(self.options.kernel)
        self.write_initramfs(kernel)
        self.start_shares(kernel)
        self.start_qemu(kernel)
        qemu_exit = self.wait()
        self.save_logs()
        return self.verdict(qemu_exit)

    # The verdict

    def splat(self):
        """The first line of what the kernel complained about, or None."""
        for log in (read_text(self.path("share", "dmesg")), read_text(self.path("console"))):
            found = SPLAT_LINE.search(log.replace("\r", ""))
            if found:
                return found.group(1)
        taint = int(read_text(self.path("share", "tainted")) or 0)
        names = [name for bit, name in SPLAT_TAINTS.items() if taint >> bit & 1]
        return f"taint flags: {', '.join(names)}" if names else None

    def host_failure(self, qemu_exit):
        """What went wrong outside of the guest, or None."""
        for name, daemon in (("root", self.daemons[0]), ("share", self.daemons[1])):
            if daemon.poll() not in (None, 0):
                return self.last_words(f"virtiofsd ({name})", name + ".log", daemon.poll())
        if qemu_exit is not None and (qemu_exit == 1 or qemu_exit < 0):
            return self.last_words(QEMU, "qemu.log", qemu_exit)
        return None

    def last_words(self, name, log, status):
        lines = read_text(self.path(log)).strip().splitlines() or ["no message"]
        return f"{name} ended with {status}: {lines[-1]}"

    def reports(self, qemu_exit):
        """The status as each of the three ways tells it; None where it tells nothing."""
        in_file = re.fullmatch(rf"{self.nonce} (\d+)\n", read_text(self.path("share", "status")))
        on_serial = re.search(rf"^ipctrace-vm {self.nonce} status (\d+)\r?$",
                              read_text(self.path("console")), re.MULTILINE)
        return (int(in_file.group(1)) if in_file else None,
                int(on_serial.group(1)) if on_serial else None, qemu_exit)

    def verdict(self, qemu_exit):
        console = read_text(self.path("console")).replace("\r", "")
        splat = self.splat()
        after = f" (and the kernel: {splat})" if splat else ""
        panic = PANIC_LINE.search(console)
        if panic:
            return PANIC, panic.group()
        confession = re.search(rf"^ipctrace-vm (?:{self.nonce}|-) (setup|report)-failed: (.*)",
                               console, re.MULTILINE)
        if confession:
            code = SETUP_FAILED if confession.group(1) == "setup" else NO_VERDICT
            return code, f"the guest failed at {confession.group(2)}{after}"
        failed = self.host_failure(qemu_exit)
        if failed:
            return SETUP_FAILED, failed + after
        if qemu_exit is None:
            begun = os.path.exists(self.path("share", "output"))
            what = "the command did not end" if begun else "the guest did not boot"
            return HANG, f"{what} within {self.options.deadline:g} s{after}"
        in_file, on_serial, _ = self.reports(qemu_exit)
        agreed = in_file is not None and in_file == on_serial and \
            qemu_exit == debug_exit(0x40 | in_file & 0x3f)
        if not agreed:
            return NO_VERDICT, (f"no status to trust: file says {in_file}, serial line "
                                f"{on_serial}, QEMU exit {qemu_exit}{after}")
        if splat:
            return SPLAT, f"{splat} (the command's status was {in_file})"
        return in_file, None
