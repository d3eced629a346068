"""What a decoder process may use: limits that the kernel keeps, and that an unprivileged process cannot lift again.

- **Memory**: for each file, the address space may grow by what decoding needs by its header (`RLIMIT_AS`).
- **Time**: for each file, so many seconds of processor time (`RLIMIT_CPU`) and of the clock (`ITIMER_REAL`); then the
  kernel ends the process.
- **Files and network**: no further file descriptor can be opened (`RLIMIT_NOFILE`), so neither a file nor a socket, and
  no file can be written (`RLIMIT_FSIZE`).
- **System calls**: a filter permits computing, and reading and writing of what is open. Everything else fails with
  EPERM. It needs Linux and libseccomp.
"""

import contextlib
import errno
import math
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CLONE_THREAD = 0x10000
"""The flag of the system call `clone` that starts a thread and not a process."""
_MEMORY_PAGES = Path("/proc/self/statm")
_NICENESS = 10
_GRACE_S = 0.5
"""Time after which the process ends by itself if it was not killed at the deadline."""

# What the decoders, the allocator, the interpreter and the socket need.
_SYSTEM_CALLS = (
    *("read", "write", "readv", "writev", "pread64", "recvfrom", "recvmsg", "sendto", "sendmsg", "poll", "ppoll"),
    *("brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise"),
    *("futex", "futex_time64", "sched_yield", "sched_getaffinity", "getpid", "gettid", "getrandom"),
    *("rseq", "set_robust_list"),  # a new thread
    *("clock_gettime", "clock_gettime64", "gettimeofday", "times", "getrusage", "sysinfo"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("setitimer", "getrlimit", "ugetrlimit", "setrlimit", "fcntl", "ioctl", "fstat", "newfstatat", "lseek", "close"),
    *("exit", "exit_group"),
)


class Sandbox:
    """Limits on this process, set up once; each file then gets a share of its own.

    Args:
        max_memory_bytes: How much the address space may ever grow from now on; a file may be permitted less.
    """

    def __init__(self, *, max_memory_bytes: int) -> None:
        # A file that takes long must not slow down the requests that the gateway answers itself.
        os.nice(_NICENESS)
        # It stays open: once the limits are set, nothing can be opened any more.
        self._statm = os.open(_MEMORY_PAGES, os.O_RDONLY) if _MEMORY_PAGES.exists() else None
        if self._statm is not None:
            most = self._address_space_bytes() + max_memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        self.filters_system_calls = _filter_system_calls()
        for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
            resource.setrlimit(limit, (0, 0))

    @contextlib.contextmanager
    def share(self, *, memory_bytes: int, time_s: float) -> Iterator[None]:
        """Limit what is used inside: growth of the address space in bytes, and seconds."""
        _, max_cpu_s = resource.getrlimit(resource.RLIMIT_CPU)
        cpu_s = int(time.process_time()) + 1 + math.ceil(time_s)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, max_cpu_s))
        signal.setitimer(signal.ITIMER_REAL, time_s + _GRACE_S)
        try:
            with self._limited_address_space(memory_bytes):
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @contextlib.contextmanager
    def _limited_address_space(self, growth_bytes: int) -> Iterator[None]:
        if self._statm is None:
            yield
            return
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (min(self._address_space_bytes() + growth_bytes, most), most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def _address_space_bytes(self) -> int:
        assert self._statm is not None  # noqa: S101  # for the type checker
        return int(os.pread(self._statm, 64, 0).split()[0]) * resource.getpagesize()


def _filter_system_calls() -> bool:
    """Permit only `_SYSTEM_CALLS` from now on; return whether this system can do that."""
    try:
        import pyseccomp  # type: ignore[import-untyped]  # noqa: PLC0415  # only on Linux, and it needs libseccomp
    except (ImportError, RuntimeError, OSError):
        return False
    permitted = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    itself = {"tgkill": os.getpid(), "prlimit64": 0}  # both could reach another process
    rules: list[tuple[Any, ...]] = [(pyseccomp.ALLOW, name) for name in _SYSTEM_CALLS]
    rules += [(pyseccomp.ALLOW, name, pyseccomp.Arg(0, pyseccomp.EQ, process)) for name, process in itself.items()]
    # libde265 needs a thread. A filter cannot look into the arguments of clone3; without it, glibc falls back to clone.
    is_thread = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)
    rules += [(pyseccomp.ALLOW, "clone", is_thread), (pyseccomp.ERRNO(errno.ENOSYS), "clone3")]
    for rule in rules:
        with contextlib.suppress(ValueError, OSError):  # another architecture has other calls
            permitted.add_rule(*rule)
    try:
        permitted.load()
    except OSError:  # the container forbids it
        return False
    return True
