"""The system calls that the sandbox refuses, as a seccomp filter (classic BPF, see seccomp(2)).

It lists the refused calls, since Python needs several hundred; all calls newer than the list are refused.
"""

import errno
import struct

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # name: (x86_64, aarch64), from the kernel's unistd headers.
    # The network; io_uring bypasses every filter.
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    # Other processes: inspecting them, signalling them, changing how they run.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # New processes and programs, and leaving the process group.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "unshare": (272, 97),
    "setns": (308, 268),
    # Changes of files that Landlock does not cover: owners, modes, times, attributes, lengths.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Memory and queues that no limit covers, or that outlive the process.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # The machine.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "syslog": (103, 116),
}
"""Refused with any arguments."""

ABSENT: dict[str, tuple[int | None, int | None]] = {"clone3": (435, 435), "openat2": (437, 437)}
"""Reported as missing, so that the C library uses the older call, whose arguments the filter can see."""

_TRUNCATING = 0o1003  # the access mode and O_TRUNC
RULES: list[tuple[str, tuple[int | None, int | None], int, int, int, bool]] = [
    # name, numbers, argument, mask, value, whether to refuse it where the masked argument equals the value (else where
    # it doesn't).
    ("clone", (56, 220), 0, 0x00010000, 0, True),  # without CLONE_THREAD it would be a process
    ("open", (2, None), 1, _TRUNCATING, 0o1000, True),  # read-only and truncating: older Landlocks let it pass
    ("openat", (257, 56), 2, _TRUNCATING, 0o1000, True),
    ("prlimit64", (302, 261), 0, 0xFFFFFFFF, 0, False),  # of other processes
    ("prctl", (157, 167), 0, 0xFFFFFFFF, 1, True),  # PR_SET_PDEATHSIG: to outlive the parent
    ("fcntl", (72, 25), 1, 0xFFFFFFFF, 8, True),  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by way of a descriptor
    ("fcntl", (72, 25), 1, 0xFFFFFFFF, 10, True),
    ("fcntl", (72, 25), 1, 0xFFFFFFFF, 15, True),
    ("ioctl", (16, 29), 1, 0xFFFFFFFF, 0x8901, True),  # FIOSETOWN, SIOCSPGRP: the same
    ("ioctl", (16, 29), 1, 0xFFFFFFFF, 0x8902, True),
    ("ioctl", (16, 29), 1, 0xFFFFFFFF, 0x5412, True),  # TIOCSTI: typing into a terminal
]

NEWEST = 450
"""The first number beyond the list."""

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def program(machine: str, audit: int) -> bytes:
    """The filter for a machine.

    Args:
        machine: `x86_64` or `aarch64`.
        audit: the kernel's number of that architecture; calls made as another one end the process.
    """
    column = ("x86_64", "aarch64").index(machine)
    refused = _step(_RETURN, _ERRNO | errno.EPERM)
    steps = [_step(_LOAD, 4), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL), _step(_LOAD, 0)]
    for numbers in NUMBERS.values():
        if (number := numbers[column]) is not None:
            steps += [_step(_EQUAL, number, 0, 1), refused]
    for numbers in ABSENT.values():
        if (number := numbers[column]) is not None:
            steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    for _, numbers, argument, mask, value, equal in RULES:
        if (number := numbers[column]) is not None:
            look = [_step(_LOAD, 16 + 8 * argument), _step(_AND, mask)]
            steps += [_step(_EQUAL, number, 0, 5), *look, _step(_EQUAL, value, *((0, 1) if equal else (1, 0))), refused]
            steps.append(_step(_LOAD, 0))
    # Also refuses x86's second numbering (x32), which starts at 2**30.
    steps += [_step(_AT_LEAST, NEWEST, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS), _step(_RETURN, _ALLOW)]
    return b"".join(steps)
