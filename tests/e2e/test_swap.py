"""A new version of a model takes over while requests keep coming; none of them fails."""

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.stack import ROOT, running
from tests.support.waiting import until

CONNECTIONS = 8

pytestmark = pytest.mark.timeout(600)  # it ends after so many answers, however long a busy machine needs for them


def test_swap_under_load_of_eight_connections(tmp_path, golden):
    digits = tmp_path / "models" / "digits"
    shutil.copytree(ROOT / "serving_models" / "digits" / "1", digits / "1")
    config = tmp_path / "models" / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{digits}" model_platform: "tensorflow" }} }}'
    )
    done = threading.Event()
    answered: Counter[tuple[int, int | None, bool]] = Counter()

    def keep_asking(url, worker):
        with requests.Session() as session:
            while not done.is_set():
                data, label, _ = golden[worker]
                batch = 1 + worker % 3
                response = session.post(url, files=[("image", data)] * batch, timeout=15)
                answer = response.json()
                version = answer["model"]["version"] if response.ok else None
                results = answer.get("results", [answer])
                right = [result.get("class") for result in results] == [label] * batch
                answered[response.status_code, version, right] += 1

    with running(tmp_path / "run", models_config=config) as stack, ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            asking = [pool.submit(keep_asking, stack.predict_url, worker) for worker in range(CONNECTIONS)]
            until(lambda: answered.total() > 100, within_s=120, what="100 answers by version 1")
            shutil.copytree(digits / "1", digits / "2")
            until(lambda: answered[200, 2, True] > 200, within_s=240, what="200 answers by version 2")
            only_new = requests.post(stack.predict_url, files={"image": golden[0][0]}, timeout=15).json()
        finally:
            done.set()
        for future in asking:
            future.result()
        (state,) = [
            item
            for item in requests.get(f"http://127.0.0.1:{stack.ports.rest}/v1/models/digits", timeout=5).json()[
                "model_version_status"
            ]
            if item["version"] == "1"
        ]
    assert answered.keys() == {(200, 1, True), (200, 2, True)}
    assert only_new["model"]["version"] == 2
    assert state["state"] in {"UNLOADING", "END"}
