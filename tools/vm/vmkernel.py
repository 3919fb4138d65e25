"""The kernels of the VMs: fetched as Debian packages, unpacked into a cache, never installed.

The cache holds one folder per kernel, complete or absent:
    KERNEL/release      the version, as uname -r says
    KERNEL/vmlinuz
    KERNEL/lib/modules/RELEASE/
"""

import contextlib
import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
METAPACKAGES = {
    "6.1": "linux-image-cloud-amd64",
    "6.12": "linux-image-6.12-cloud-amd64",
}
APT_OPTIONS = ["-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30"]


class SetupFailed(Exception):
    """The VM could not be prepared: nothing is known about the command."""


def cache_dir():
    return os.path.abspath(os.environ.get("IPCTRACE_VM_CACHE") or
                           os.path.join(TREE, "build", "vm"))


def run_tool(argv, **options):
    """The standard output of a host program, or SetupFailed with the last line of its complaint."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, **options)
    except OSError as error:
        raise SetupFailed(f"cannot run {argv[0]}: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise SetupFailed(f"{' '.join(argv[:2])} failed: {lines[-1]}")
    return done.stdout


class Kernel:
    def __init__(self, name):
        self.name = name
        self.dir = os.path.join(cache_dir(), name)

    def is_fetched(self):
        return os.path.exists(os.path.join(self.dir, "release"))

    def has_index(self):
        return os.path.exists(os.path.join(self.module_dir, "modules.dep"))

    @property
    def release(self):
        with open(os.path.join(self.dir, "release"), encoding="ascii") as file:
            return file.read().strip()

    @property
    def image(self):
        return os.path.join(self.dir, "vmlinuz")

    @property
    def module_dir(self):
        return os.path.join(self.dir, "lib", "modules", self.release)


@contextlib.contextmanager
def cache_lock():
    """Two runners may find the cache empty at once: the second waits and finds it full."""
    os.makedirs(cache_dir(), exist_ok=True)
    with open(os.path.join(cache_dir(), "lock"), "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def package_of(metapackage):
    """The package with the kernel itself, whose name changes with each of Debian's updates."""
    found = re.search(r"^\s*Depends: (linux-image-\S+)",
                      run_tool(["apt-cache", "depends", metapackage]), re.MULTILINE)
    if not found:
        raise SetupFailed(f"package {metapackage} names no kernel")
    return found.group(1)


def download(metapackage, folder):
    package = package_of(metapackage)
    run_tool(["apt-get", *APT_OPTIONS, "download", package], cwd=folder)
    debs = [name for name in os.listdir(folder) if name.endswith(".deb")]
    if len(debs) != 1:
        raise SetupFailed(f"apt-get download {package} left {len(debs)} packages")
    return os.path.join(folder, debs[0])


def download_fresh(metapackage, folder):
    """Package lists that are old name files that the server has no more: then update, once."""
    try:
        return download(metapackage, folder)
    except SetupFailed:
        run_tool(["apt-get", *APT_OPTIONS, "update"])
        return download(metapackage, folder)


def unpack(deb, folder):
    """Makes the folder of the cache from a package; returns that folder."""
    raw = os.path.join(folder, "raw")
    run_tool(["dpkg", "-x", deb, raw])
    modules = next((path for path in ("lib/modules", "usr/lib/modules")
                    if os.path.isdir(os.path.join(raw, path))), None)
    if not modules:
        raise SetupFailed(f"{os.path.basename(deb)} holds no modules")
    release = os.listdir(os.path.join(raw, modules))[0]
    ready = os.path.join(folder, "ready")
    os.makedirs(os.path.join(ready, "lib"))
    os.rename(os.path.join(raw, modules), os.path.join(ready, "lib", "modules"))
    os.rename(os.path.join(raw, "boot", "vmlinuz-" + release), os.path.join(ready, "vmlinuz"))
    with open(os.path.join(ready, "release"), "w", encoding="ascii") as file:
        file.write(release + "\n")
    return ready


def fetch_into(kernel):
    metapackage = METAPACKAGES[kernel.name]
    with tempfile.TemporaryDirectory(prefix="fetch.", dir=cache_dir()) as folder:
        try:
            deb = download_fresh(metapackage, folder)
        except SetupFailed as error:
            raise SetupFailed(f"kernel {kernel.name} (package {metapackage}) "
                              f"is not to be had: {error}") from error
        shutil.rmtree(kernel.dir, ignore_errors=True)
        os.rename(unpack(deb, folder), kernel.dir)


def index_modules(kernel):
    """Only modprobe in the guest wants the index: not having kmod is no reason to stop."""
    if not kernel.has_index() and shutil.which("depmod"):
        run_tool(["depmod", "-b", kernel.dir, kernel.release])


def fetch(name):
    """Fills the cache for one kernel unless it is there. Returns the Kernel."""
    kernel = Kernel(name)
    with cache_lock():
        if not kernel.is_fetched():
            fetch_into(kernel)
        index_modules(kernel)
    return kernel


def module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def read_module(path):
    """The bytes of a module, uncompressed: decompressing is slow under emulation."""
    with (lzma.open if path.endswith(".xz") else open)(path, "rb") as file:
        return file.read()


def module_depends(content):
    """What the section .modinfo says. The unpacked package has no modules.dep to ask."""
    found = re.search(rb"\0depends=([^\0]*)\0", content)
    names = found.group(1).decode("ascii") if found else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def load_order(kernel, wanted):
    """[(name, bytes)] of the modules to load, dependencies first, without those built in."""
    with open(os.path.join(kernel.module_dir, "modules.builtin"), encoding="ascii") as file:
        builtin = {module_name(line.strip()) for line in file}
    files = {}
    for folder, _, names in os.walk(kernel.module_dir):
        files.update({module_name(name): os.path.join(folder, name)
                      for name in names if ".ko" in name})
    order = {}

    def add(name):
        if name in builtin or name in order:
            return
        if name not in files:
            raise SetupFailed(f"kernel {kernel.release} has no module {name}")
        content = read_module(files[name])
        for other in module_depends(content):
            add(other)
        order[name] = content

    for name in wanted:
        add(name.replace("-", "_"))
    return list(order.items())


def build_init():
    """The guest's first process, compiled when its source changed. Returns its path."""
    source = os.path.join(TREE, "tools", "vm", "init.c")
    with open(source, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:16]
    path = os.path.join(cache_dir(), "init-" + digest)
    if not os.path.exists(path):
        os.makedirs(cache_dir(), exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="init.", dir=cache_dir()) as folder:
            built = os.path.join(folder, "init")
            run_tool(["cc", "-static", "-O2", "-Wall", "-Wextra", "-o", built, source])
            os.rename(built, path)
    return path


def cpio_entry(name, mode, content, inode):
    path = name.encode() + b"\0"
    fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0]
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return b"".join([header, b"\0" * (-len(header) % 4), content, b"\0" * (-len(content) % 4)])


def cpio(entries):
    """An initramfs: [(path, mode, bytes)] in the format "newc", not compressed."""
    archive = [cpio_entry(name, mode, content, number)
               for number, (name, mode, content) in enumerate(entries, 1)]
    archive.append(cpio_entry("TRAILER!!!", 0, b"", 0))
    return b"".join(archive)
