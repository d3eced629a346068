"""A new version of a model replaces the old one under load without a failed request."""

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.stack import running
from tests.support.waiting import until
from tools.committed_models import newest_version

CONNECTIONS = 8

pytestmark = pytest.mark.timeout(600)  # the test waits for a number of responses, which may take a busy machine long


def test_no_request_fails_while_a_new_version_takes_over(tmp_path, golden):
    digits = tmp_path / "models" / "digits"
    shutil.copytree(newest_version("digits"), digits / "1")
    config = tmp_path / "models" / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{digits}" model_platform: "tensorflow" }} }}'
    )
    done = threading.Event()
    outcomes: Counter[tuple[int, int | None, bool]] = Counter()
    """Number of responses by status, version, and whether they are correct."""

    def send_until_done(url, user):
        with requests.Session() as session:
            while not done.is_set():
                data, label, _ = golden[user]
                batch = 1 + user % 3
                response = session.post(url, files=[("image", data)] * batch, timeout=15)
                document = response.json()
                version = document["model"]["version"] if response.ok else None
                results = document.get("results", [document])
                correct = [result.get("class") for result in results] == [label] * batch
                outcomes[response.status_code, version, correct] += 1

    with running(tmp_path / "run", models_config=config) as stack, ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            users = [pool.submit(send_until_done, stack.predict_url, user) for user in range(CONNECTIONS)]
            until(lambda: outcomes.total() > 100, within_s=120, what="100 responses of version 1")

            shutil.copytree(digits / "1", digits / "2")

            until(lambda: outcomes[200, 2, True] > 200, within_s=240, what="200 responses of version 2")
            last = requests.post(stack.predict_url, files={"image": golden[0][0]}, timeout=15).json()
        finally:
            done.set()
        for future in users:
            future.result()
        (state,) = [
            item
            for item in requests.get(f"http://127.0.0.1:{stack.ports.rest}/v1/models/digits", timeout=5).json()[
                "model_version_status"
            ]
            if item["version"] == "1"
        ]

    assert outcomes.keys() == {(200, 1, True), (200, 2, True)}
    assert last["model"]["version"] == 2
    assert state["state"] in {"UNLOADING", "END"}
