"""Takes away from Python what macOS lacks, for every program of an environment whose first `.pth` file imports this.

The names are those that CPython has on Linux and not on macOS, by its documentation and by typeshed. `sys.platform` is
macOS', so that code which asks for the system takes its other branch, and processes are spawned instead of forked.
"""

import _socket  # `socket` takes its names from it, and is imported later
import errno
import fcntl
import mmap
import os
import re
import resource
import select
import signal
import sys
import sysconfig
import time
from types import ModuleType

MISSING = {
    os: r"sched_[gs]et\w+|sched_rr_get_interval|pidfd_open|memfd_create|eventfd\w*|posix_fadvise|posix_fallocate|"
    r"getrandom|setns|unshare|splice|copy_file_range|pipe2|fdatasync|\w+xattr|[gs]etres[ug]id|"
    r"O_(DIRECT|LARGEFILE|NOATIME|PATH|RSYNC|TMPFILE)|P_PIDFD|RTLD_DEEPBIND|SCHED_(BATCH|IDLE|RESET_ON_FORK)|"
    r"(EFD|GRND|MFD|POSIX_FADV|RWF|SPLICE_F|XATTR|CLONE)_\w+",
    select: r"epoll|EPOLL\w+|POLLMSG|POLLRDHUP",
    signal: r"SIG(CLD|POLL|PWR|RTMAX|RTMIN|STKFLT)|pidfd_send_signal|sigtimedwait|sigwaitinfo|struct_siginfo",
    _socket: r"(AF|PF)_(ALG|CAN|NETLINK|PACKET|RDS|TIPC|VSOCK|QIPCRTR)|IPPROTO_(MPTCP|UDPLITE)|IP_TRANSPARENT|"
    r"IP_BIND_ADDRESS_NO_PORT|MSG_(CMSG_CLOEXEC|CONFIRM|ERRQUEUE|FASTOPEN|MORE|NOSIGNAL)|SOCK_(CLOEXEC|NONBLOCK)|"
    r"SCM_CREDENTIALS|SO_(DOMAIN|INCOMING_CPU|MARK|PASSCRED|PASSSEC|PEERCRED|PEERSEC|PRIORITY|PROTOCOL)|"
    r"TCP_(CONGESTION|CORK|DEFER_ACCEPT|INFO|KEEPIDLE|LINGER2|QUICKACK|SYNCNT|USER_TIMEOUT|WINDOW_CLAMP)|"
    r"(ALG|CAN|NETLINK|PACKET|TIPC|UDPLITE|VMADDR)_\w+",
    errno: r"E(ADV|BADE|BADFD|BADR|CHRNG|COMM|DEADLOCK|ISNAM|KEY\w+|L2\w+|L3\w+|LIB\w+|MEDIUMTYPE|NOKEY|NOMEDIUM|NONET|"
    r"NOTUNIQ|REMCHG|REMOTEIO|RESTART|RFKILL|STRPIPE|UCLEAN|UNATCH|XFULL)",
    fcntl: r"DN_\w+|F_(ADD_SEALS|GET_SEALS|SEAL_\w+|GETPIPE_SZ|SETPIPE_SZ|GETSIG|SETSIG|NOTIFY|EXLCK|SHLCK)",
    mmap: r"MADV_(DO|DONT)(DUMP|FORK)|MADV_(HUGEPAGE|HWPOISON|MERGEABLE|NOHUGEPAGE|REMOVE|UNMERGEABLE)|"
    r"MAP_(DENYWRITE|EXECUTABLE|POPULATE|STACK)",
    resource: r"RLIMIT_(MSGQUEUE|NICE|OFILE|RTPRIO|RTTIME|SIGPENDING)|RUSAGE_THREAD|prlimit",
    time: r"CLOCK_(BOOTTIME|TAI)|pthread_getcpuclockid",
}
"""Names that macOS lacks, as a pattern for each module."""


def no_proxies() -> dict[str, object]:
    """Take the place of functions that ask macOS for its proxies."""
    return {}


for module, pattern in MISSING.items():
    for name in [name for name in dir(module) if re.fullmatch(pattern, name)]:
        delattr(module, name)
sysconfig.get_config_vars()  # kept: they are in a file that is named after the system
sys.platform = "darwin"
sys.modules["pyseccomp"] = None  # type: ignore[assignment]  # it needs Linux, and has no wheel for macOS
configuration = ModuleType("_scproxy")
configuration._get_proxies = configuration._get_proxy_settings = no_proxies  # type: ignore[attr-defined]
sys.modules["_scproxy"] = configuration
