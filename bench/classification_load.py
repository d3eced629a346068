"""Users that classify golden images, and a check of every answer."""

import json
import threading
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import requests

from tools.load_generator import AWAIT_S, OK, LoadGenerator
from tools.waiting import wait_until

WRONG = "wrong answer"
UNANSWERED = "no answer"
ANSWER_TIMEOUT_S = 30.0


class ClassificationLoad(LoadGenerator):
    """Users that classify golden images while the context lasts.

    Each request has its own connection, so that none is lost on a connection that the server has just closed. The
    outcome of a call is `OK`, `WRONG`, `UNANSWERED`, or the status and the name of the problem.

    Args:
        url: URL to post to.
        golden: Folder of the images and `golden.json`.
        users: Number of users.

    Attributes:
        versions: Number of correct answers by the version of the model.
    """

    def __init__(self, url: str, golden: Path, *, users: int = 8) -> None:
        super().__init__(lambda: nullcontext(self._classify), users=users)
        entries = json.loads((golden / "golden.json").read_text(encoding="utf-8"))["images"]
        self._images = [((golden / entry["file"]).read_bytes(), entry["class"]) for entry in entries]
        self._url = url
        self._number_of_users = users
        self._lock = threading.Lock()
        self.versions: Counter[int] = Counter()

    def await_version(self, version: int) -> None:
        """Wait for answers from a version to requests that are sent from now on."""
        goal = self.versions[version] + self._number_of_users
        wait_until(lambda: self.versions[version] > goal, AWAIT_S, f"answers from version {version}")

    def _classify(self, number: int) -> str:
        image, label = self._images[number % len(self._images)]
        headers = {"Content-Type": "image/png"}
        try:
            response = requests.post(self._url, data=image, headers=headers, timeout=ANSWER_TIMEOUT_S)
            document = response.json()
        except (requests.RequestException, ValueError):
            return UNANSWERED
        if response.status_code != requests.codes.ok:
            return f"{response.status_code} {str(document.get('type')).rpartition('/')[2]}"
        if document["class"] != label:
            return WRONG
        with self._lock:
            self.versions[document["model"]["version"]] += 1
        return OK
