"""Users who ask without a pause about pictures whose class is known, and a count of what they were told."""

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import requests

from bench.parts import START_S, wait_until

RIGHT = "answered"
WRONG = "wrong answer"
UNANSWERED = "no answer"
ANSWER_S = 30.0


class Asking:
    """Users, each a thread, from entering the context until leaving it.

    Each request has a connection of its own, so that none can be lost to a connection that was just closed.

    Args:
        url: Where they ask.
        golden: Folder with the pictures and `golden.json`.
        users: How many.

    Attributes:
        told: How many requests ended how: `RIGHT`, `WRONG`, `UNANSWERED`, or status and end of the problem's type.
        slowest_s: Longest time to an answer, by the same names.
        versions: Right answers by the model's version.
    """

    def __init__(self, url: str, golden: Path, *, users: int = 8) -> None:
        entries = json.loads((golden / "golden.json").read_text(encoding="utf-8"))["images"]
        self._pictures = [((golden / entry["file"]).read_bytes(), entry["class"]) for entry in entries]
        self._url = url
        self._done = threading.Event()
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._users = [threading.Thread(target=self._keep_asking, args=(number,)) for number in range(users)]
        self.told: Counter[str] = Counter()
        self.versions: Counter[int] = Counter()
        self.slowest_s: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Begin."""
        self.resume()
        for user in self._users:
            user.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more, and wait for the answers that are due."""
        self._done.set()
        self.resume()
        for user in self._users:
            user.join()

    def pause(self) -> None:
        """Ask nothing new; answers that are due still count."""
        self._go.clear()

    def resume(self) -> None:
        """Go on."""
        self._go.set()

    def await_answers(self, count: int) -> None:
        """Wait until so many more requests were answered rightly."""
        goal = self.told[RIGHT] + count
        wait_until(lambda: self.told[RIGHT] >= goal, START_S, f"{count} more right answers")

    def await_version(self, version: int) -> None:
        """Wait until answers of a version have come that were not asked for before now."""
        users, seen = len(self._users), self.versions[version]
        wait_until(lambda: self.versions[version] > seen + users, START_S, f"version {version} answers")

    def _keep_asking(self, number: int) -> None:
        while self._go.wait() and not self._done.is_set():
            started_s = time.monotonic()
            kind = self._ask(*self._pictures[number % len(self._pictures)])
            spent_s = time.monotonic() - started_s
            with self._lock:
                self.told[kind] += 1
                self.slowest_s[kind] = max(spent_s, self.slowest_s.get(kind, 0))

    def _ask(self, picture: bytes, right: str) -> str:
        try:
            response = requests.post(self._url, data=picture, headers={"Content-Type": "image/png"}, timeout=ANSWER_S)
            document = response.json()
        except (requests.RequestException, ValueError):
            return UNANSWERED
        if response.status_code != requests.codes.ok:
            return f"{response.status_code} {str(document.get('type')).rpartition('/')[2]}"
        if document["class"] != right:
            return WRONG
        with self._lock:
            self.versions[document["model"]["version"]] += 1
        return RIGHT
