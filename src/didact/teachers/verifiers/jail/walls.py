"""The walls of the sandbox: the rights that a process drops, permanently, before it runs untrusted code.

Four layers, each by the kernel's own means, none of which needs a privilege: resource limits; Landlock (files are read
and written only below named directories, no signals leave the sandbox); a seccomp filter (no sockets, no processes, no
signals, no changes of files' owners, modes and times); and, if namespaces are permitted, an empty network, a small
private disk in memory, and no capability over the host. Threads and children inherit them, and nothing undoes them.
"""

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Sequence

from . import syscalls

NEEDED = ("limits", "landlock", "seccomp")
"""The layers without which the sandbox counts as weak."""
DISK, ENTRIES = 16 << 20, 256
"""Limits of the working directory, in bytes and in files; without limits, it is not writable."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER = 1, 4, 22, 36
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC, _CLONE_NEWNS = 0x10000000, 0x40000000, 0x08000000, 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 18
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Landlock's rights: read a file, list a directory; all that make or change something (bits of ABI 1 to 5).
_READ = (1 << 2) | (1 << 3)
_WRITE = sum(1 << bit for bit in (1, 4, 5, 7, 8, 13, 14))
_OF_FILES = (1 << 1) | (1 << 2) | (1 << 14)  # the rights that apply to a single file
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that they can be killed."""
    if sys.platform.startswith("linux"):
        _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave() -> list[str]:
    """Enter new namespaces, as far as that is permitted.

    The disk is a tmpfs over the working directory, which disappears with the last process. The kernel limits it to
    `DISK` bytes and `ENTRIES` files and directories.

    Returns:
        The available ones of `network` (an empty one) and `disk` (a private one).
    """
    if not sys.platform.startswith("linux"):
        return []
    libc, owner, group = _libc(), os.getuid(), os.getgid()
    apart = _CLONE_NEWNET | _CLONE_NEWIPC
    for flags in (_CLONE_NEWUSER | apart | _CLONE_NEWNS, apart | _CLONE_NEWNS, _CLONE_NEWUSER | apart):
        if libc.unshare(flags) == 0:
            mapped = not flags & _CLONE_NEWUSER or _keep_identity(owner, group)
            mounted = bool(flags & _CLONE_NEWNS) and mapped and _mount(libc)
            return ["network", *(["disk"] * mounted)]
    return []


def _keep_identity(owner: int, group: int) -> bool:
    """Keep user and group in the new user namespace; without them, no files can be created."""
    maps = {"setgroups": "deny", "uid_map": f"{owner} {owner} 1", "gid_map": f"{group} {group} 1"}
    try:
        for name, words in maps.items():
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - pathlib is slow to import
                file.write(words)
    except OSError:
        return False
    return True


def _mount(libc: ctypes.CDLL) -> bool:
    """Mount a small private tmpfs over the working directory."""
    place = os.getcwd()  # noqa: PTH109
    size = f"size={DISK},nr_inodes={ENTRIES},mode=700".encode()
    if libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) or libc.mount(
        b"tmpfs", place.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, size
    ):
        return False
    os.chdir(place)
    return True


def confine(
    *, readable: Sequence[str], writable: Sequence[str], seconds: float, memory: int, processes: bool = False
) -> list[str]:
    """Drop every right that running a program does not need, irrevocably.

    Args:
        readable: directories and files that may be read, with everything below.
        writable: directories in which files may be read, created, changed and removed.
        seconds: of processor time.
        memory: bytes of address space.
        processes: whether children may still be started; the seccomp filter, or the hook where a layer is missing,
            must then be installed in each of them.

    Returns:
        The active layers: of `limits`, `landlock`, `seccomp`; `hook` where one of the others is missing.
    """
    layers = ["limits"]
    _limit(seconds, memory)
    if sys.platform.startswith("linux"):
        _drop_privileges()
        layers += ["landlock"] * _landlock(readable, writable)
        layers += ["seccomp"] * (processes or seal())
    if any(layer not in layers for layer in NEEDED):
        layers.append("hook")
        if not processes:
            hook(writable)
    return layers


def _limit(seconds: float, memory: int) -> None:
    cpu = int(seconds) + 1
    limits = [
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory),
    ]
    for which, value in limits:
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (value, value))
        except (ValueError, OSError):  # macOS has no limit of the address space
            continue


def _drop_privileges() -> None:
    libc = _libc()
    for capability in range(64):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("=Ii", 0x20080522, 0)
    libc.capset(ctypes.create_string_buffer(header), ctypes.create_string_buffer(24))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def _landlock(readable: Sequence[str], writable: Sequence[str]) -> bool:
    """Hide the file system except for these paths; False if the kernel has no Landlock."""
    libc = _libc()
    abi = libc.syscall(444, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return False
    handled = _RIGHTS[min(abi, 5)]
    # Fields of the kernel's struct: file rights, network rights (ABI 4), scopes: abstract sockets, signals (ABI 6).
    fields = [handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0][: 1 + (abi >= 4) + (abi >= 6)]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(444, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    allowed = [(path, _READ) for path in readable] + [(path, _READ | _WRITE) for path in (*writable, os.devnull)]
    done = all(_allow(libc, ruleset, path, rights & handled) for path, rights in allowed)
    done = done and libc.syscall(446, ruleset, 0) == 0
    os.close(ruleset)
    return done


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> bool:
    try:
        place = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        return True  # what isn't there needs no leave
    rights = rights if os.path.isdir(path) else rights & _OF_FILES  # noqa: PTH112 - pathlib is slow to import
    rule = struct.pack("=Qi", rights, place)
    added = libc.syscall(445, ruleset, 1, rule, 0) == 0
    os.close(place)
    return added


def seal() -> bool:
    """Install the seccomp filter in this process; False if the kernel or the processor has none.

    From then on: no sockets, no new processes or programs, no signals, no tracing, no changes of files' owners, modes
    and times, and no system call that is newer than this filter.
    """
    machine = os.uname().machine
    if machine not in _AUDIT:
        return False
    program = ctypes.create_string_buffer(syscalls.program(machine, _AUDIT[machine]))
    pointer = struct.pack("@HP", (len(program) - 1) // 8, ctypes.addressof(program))
    return _libc().prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(pointer), 0, 0) == 0


def hook(writable: Sequence[str]) -> None:
    """The weak fallback: Python's own audit events. Code that reaches C (ctypes, a bug) bypasses it."""
    forbidden = ("socket.", "subprocess.", "ctypes.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
    changing = ("os.kill", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate", "os.utime", "os.setxattr")
    moving = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "shutil.")
    inside = tuple(path.rstrip("/") + "/" for path in writable)
    absolute = os.path.abspath

    def refuse(event: str, args: tuple) -> None:
        if event.startswith(forbidden + changing):
            raise PermissionError(f"{event} is not allowed in the sandbox")
        writes = event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event.startswith(moving)) and not absolute(str(args[0])).startswith(inside):
            raise PermissionError("files outside the working directory are not to be changed in the sandbox")

    sys.addaudithook(refuse)


def readable_by_python() -> list[str]:
    """The standard library, the shared libraries it loads, and the harmless devices."""
    library = [*filter(None, sys.path), sys.base_prefix + "/lib"]
    shared = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"]
    return [*library, *shared, "/etc/ld.so.cache", "/dev/urandom", "/dev/random"]
