"""Attack a gateway in 1 GiB of memory while honest users send photos, and compare what they notice with the targets."""

import contextlib
import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from bench.attacks import PREDICT, Address, Attack, make_attacks, post
from bench.drill_stack import DrillStack
from bench.images import photo
from bench.memory_group import MIB, MemoryGroup, limit_memory
from bench.overload import HealthProbes
from bench.services import PYTHON, make_program
from tools import ports
from tools.load_generator import OK, LoadGenerator, Send
from tools.local_stack import START_S
from tools.programs import ROOT
from tools.waiting import wait_until

MEMORY_BYTES = 1 << 30
WORKERS = 2
HOSTILE_CLIENTS, HONEST_USERS = 16, 8
HONEST_PAUSE_S = 0.5
PHOTO = (1920, 1440)
LIVEZ_PAUSE_S = 1.0
LIVEZ_MAX_S = 1.0
MIN_ANSWERED = 0.9
CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "decode"
_WATCH_PAUSE_S = 0.2


class TargetMissedError(Exception):
    """The service did not withstand the attacks; the message names the missed targets."""


class HostileStack(DrillStack):
    """A stack whose gateway is in a control group of its own, and the attackers' picture server."""

    def __init__(self, folder: Path, group: MemoryGroup) -> None:
        (self._pictures_port,) = ports.find(1)
        allowed = {"GATEWAY_FETCH_ALLOWED_HOSTS": f"127.0.0.1:{self._pictures_port}"}
        super().__init__(folder, environment={"GATEWAY_WORKERS": str(WORKERS), **allowed})
        self.gateway_prefix = group.command_prefix
        self.pictures = f"http://127.0.0.1:{self._pictures_port}"

    def start(self) -> Self:
        """Start all programs."""
        command = (*PYTHON, "bench.hostile_pictures", str(self._pictures_port))
        self._stack.start(make_program("pictures", command))
        return super().start()

    def address(self, source: str) -> Address:
        """Return the service's address for a client that has one of 127.0.0.0/8 to itself."""
        url = urlsplit(self.url)
        return Address(url.hostname or "", url.port or 0, source)


@contextlib.contextmanager
def start_stack(max_bytes: int = MEMORY_BYTES) -> Iterator[tuple[HostileStack, MemoryGroup]]:
    """Start a stack whose gateway may use `max_bytes` of memory."""
    with (
        limit_memory(max_bytes) as group,
        tempfile.TemporaryDirectory(prefix="hostile-") as folder,
        HostileStack(Path(folder), group) as stack,
    ):
        yield stack.start(), group


class HostileClients(LoadGenerator):
    """Clients that send all attacks in turn, each beginning with another one and from an address of its own."""

    def __init__(self, stack: HostileStack, attacks: Sequence[Attack]) -> None:
        self.answers: dict[str, Counter[str]] = {attack.group or attack.name: Counter() for attack in attacks}
        self._attacks = attacks
        self._stack = stack
        self._numbers = itertools.count()
        super().__init__(self._connect, users=HOSTILE_CLIENTS)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Send]:
        client = next(self._numbers)
        address = self._stack.address(f"127.0.1.{client + 1}")
        first = client * len(self._attacks) // HOSTILE_CLIENTS
        yield lambda number: self._send(address, self._attacks[(first + number - client) % len(self._attacks)])

    def _send(self, address: Address, attack: Attack) -> str:
        answer = attack.send(address)
        self.answers[attack.group or attack.name][answer] += 1
        return OK


class HonestUsers(LoadGenerator):
    """Users that send photos and small images in turn, with a pause after each answer."""

    def __init__(self, stack: HostileStack, users: int = HONEST_USERS) -> None:
        golden = sorted(stack.golden.glob("*.png"))
        self._images = [(file.read_bytes(), "image/png") for file in golden[:3]] + [(photo(*PHOTO), "image/jpeg")]
        self._stack = stack
        self._numbers = itertools.count(1)
        super().__init__(self._connect, users=users, pause_s=HONEST_PAUSE_S)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Send]:
        address = self._stack.address(f"127.0.2.{next(self._numbers)}")
        yield lambda number: self._send(address, number)

    def _send(self, address: Address, number: int) -> str:
        answer = post(address, PREDICT, *self._images[number % len(self._images)])
        return OK if answer == "200" else answer


@dataclass(slots=True)
class Watch:
    """Lists the gateway's workers, from a thread while the context lasts."""

    stack: HostileStack
    workers: set[int] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread = threading.Thread(target=self._list)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _list(self) -> None:
        while not self._stop.wait(_WATCH_PAUSE_S):
            self.workers.update(self.stack.workers())


def run(seconds: float, folders: Sequence[Path]) -> Iterator[str]:
    """Attack a stack for some time, and yield the rows of the tables.

    Args:
        seconds: Duration.
        folders: Folders of further files to send.

    Raises:
        TargetMissedError: Workers died, honest requests were refused, or /livez was late, beyond the targets.
    """
    with start_stack() as (stack, group):
        clients = HostileClients(stack, make_attacks(stack.pictures, folders))
        users = HonestUsers(stack)
        started = set(stack.workers())
        probes = HealthProbes(stack.url, ("/livez",), LIVEZ_PAUSE_S)
        with Watch(stack) as watch, probes, clients, users:
            time.sleep(seconds)
        wait_until(stack.is_ready, START_S, "the stack is ready again after the attacks")
        deaths = len(watch.workers - started)
        result = Result(seconds, group.description, group.peak_bytes(), group.kills(), deaths, clients, users, probes)
        yield from result.rows()
    yield from result.attack_rows()
    if result.misses():
        raise TargetMissedError("; ".join(result.misses()))


@dataclass(frozen=True, slots=True)
class Result:
    """What happened during the attacks."""

    seconds: float
    limit: str
    peak_bytes: int
    kills: int
    deaths: int
    clients: HostileClients
    users: HonestUsers
    probes: HealthProbes

    def rows(self) -> Iterator[str]:
        """Yield the table of the service."""
        yield "| | |"
        yield "|---|--:|"
        for name, value in self._figures().items():
            yield f"| {name} | {value} |"

    def attack_rows(self) -> Iterator[str]:
        """Yield the table of the attacks."""
        yield ""
        yield "| attack | answers |"
        yield "|---|---|"
        for name, answers in self.clients.answers.items():
            yield f"| {name} | {_counts(answers)} |"

    def misses(self) -> list[str]:
        """Return the targets that were missed."""
        misses = []
        if self.deaths or self.kills:
            misses.append(f"{self.deaths} workers died, {self.kills} processes were killed for lack of memory")
        if self._answered() < MIN_ANSWERED:
            misses.append(f"{self._answered():.1%} of the honest requests were answered, less than {MIN_ANSWERED:.0%}")
        if self.probes.failures or self.probes.slowest_s > LIVEZ_MAX_S:
            misses.append(f"/livez took {self.probes.slowest_s:.1f} s, or failed {self.probes.failures} times")
        return misses

    def _answered(self) -> float:
        counts = self.users.counts
        return counts[OK] / max(counts.total(), 1)

    def _figures(self) -> Mapping[str, str]:
        counts, latencies_s = self.users.counts, self.probes.latencies_s
        on_time = sum(latency_s <= LIVEZ_MAX_S for latency_s in latencies_s) - self.probes.failures
        return {
            "duration": f"{self.seconds:.0f} s",
            "limit on the gateway's memory": self.limit,
            "most memory in use": f"{self.peak_bytes / MIB:.0f} MiB" if self.peak_bytes else "not counted",
            "workers that died": str(self.deaths),
            "processes killed for lack of memory": str(self.kills),
            f"attacks by {HOSTILE_CLIENTS} clients": str(self.clients.counts.total()),
            f"requests of {HONEST_USERS} honest users": str(counts.total()),
            "answered": f"{self._answered():.1%}",
            "refused or failed": _counts(Counter({name: count for name, count in counts.items() if name != OK}))
            or "none",
            "slowest answer": f"{self.users.slowest_s(OK):.1f} s",
            f"/livez answered within {LIVEZ_MAX_S:.0f} s": f"{max(on_time, 0)} of {len(latencies_s)}",
            "slowest /livez": f"{self.probes.slowest_s * 1000:.0f} ms",
        }


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in counts.most_common())
