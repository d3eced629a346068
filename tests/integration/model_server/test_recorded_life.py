"""The life cycle of versions as recorded from tensorflow_model_server 2.20, repeated with real SavedModels.

The server runs in this process without ports: tests call the REST app and `reload` directly. It polls directories every
50 ms; the recorded server did so every second.
"""

import contextlib
import importlib.util
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format

from model_server.__main__ import main, make_loader, manager_config, model_configs
from model_server.dataplane import DataPlane, ModelSpec
from model_server.errors import ServingError
from model_server.monitoring import Metrics, Monitoring
from model_server.options import parse
from model_server.rest.app import Request, RestApp
from model_server.versions.manager import ModelManager
from model_server.versions.repository import read_reload_request
from tfs_api.protos import model_server_config_pb2

SHARED = Path(__file__).parents[3] / "../shared/tfs_groundtruth"

if not SHARED.is_dir():
    pytest.skip("../shared/tfs_groundtruth is not here", allow_module_level=True)

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

RECORDED = {case["id"]: case for case in map(json.loads, (SHARED / "lifecycle.jsonl").read_text().splitlines())}
FAST = ("--max_num_load_retries=1", "--load_retry_interval_micros=50000")


class PortlessServer:
    """A server without ports."""

    def __init__(self, *flags):
        options = parse(flags).options
        config = manager_config(options)
        config = replace(config, poll_interval_s=config.poll_interval_s and 0.05)
        self.models = ModelManager(model_configs(options), make_loader(options, None, Metrics()), config)
        self.plane = DataPlane(self.models)
        self._app = RestApp(self.plane, Monitoring(Metrics()), timeout_s=30)
        self.models.start()

    def wait_until_available(self):
        assert self.models.wait_until_available()
        return self

    def get(self, path):
        response = self._app.respond(Request("GET", f"/v1/models/{path}"))
        document = json.loads(response.body)
        if response.status != 200:
            return [response.status, document["error"]]
        return [
            [int(status["version"]), status["state"], status["status"]["error_code"], status["status"]["error_message"]]
            for status in document["model_version_status"]
        ]

    def predict(self, path):
        response = self._app.respond(Request("POST", f"/v1/models/{path}:predict", {}, b'{"instances": [1.0]}'))
        document = json.loads(response.body)
        return [response.status, document.get("predictions", document.get("error"))]

    def reload(self, text, timeout_s):
        """Return the response to a HandleReloadConfigRequest in the form of the recording."""
        message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        try:
            self.plane.reload(read_reload_request(message), timeout_s)
        except ServingError as error:
            return {"code": error.code.name, "details": error.message}
        return {"code": "OK", "response": {"status": {}}}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Build the recorded models that these tests use."""
    spec = importlib.util.spec_from_file_location("make_models", SHARED / "make_models.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    root = tmp_path_factory.mktemp("models")
    for path, addend in (("half_plus_two/1", 2), ("versions/1", 1), ("versions/2", 2), ("versions/3", 3)):
        make.half_plus_n(str(root / path), addend)
    make.counter(str(root / "counter/1"))
    increment = make.predict_log("incr")
    for name, records in (
        ("counter_warm", [increment] * 3),
        ("counter_warm_unknown_signature", [increment, make.predict_log("nope")]),
        ("counter_warm_too_many", [increment] * 1001),
        ("counter_warm_garbage", []),
    ):
        shutil.copytree(root / "counter", root / name)
        make.warm_up(str(root / name / "1"), records)
    (root / "counter_warm_garbage/1/assets.extra/tf_serving_warmup_requests").write_bytes(
        b"this is not a TFRecord file"
    )
    shutil.copytree(root / "half_plus_two", root / "bad_no_variables")
    shutil.rmtree(root / "bad_no_variables/1/variables")
    shutil.copytree(root / "half_plus_two", root / "bad_tags")
    make.edit(str(root / "bad_tags/1"), lambda meta: meta.meta_info_def.tags.__setitem__(0, "train"))
    (root / "bad_empty/1").mkdir(parents=True)
    (root / "bad_garbage/1").mkdir(parents=True)
    (root / "bad_garbage/1/saved_model.pb").write_bytes(b"this is not a SavedModel")
    return root


@pytest.fixture
def run(tmp_path):
    """Return the folder of one experiment, with the base path `base/m`."""
    (tmp_path / "base/m").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def as_recorded(models, run):
    """Return a function that puts this run's paths into a recording."""

    def substitute(value):
        text = json.dumps(value).replace("{MODELS}", str(models)).replace("{RUN}", str(run))
        return json.loads(text)

    return substitute


@pytest.fixture
def start():
    servers = []

    def start(*flags):
        servers.append(PortlessServer(*flags))
        return servers[-1]

    yield start
    for server in servers:
        server.models.close()


@pytest.fixture
def serve_m(start, run):
    """Start a server of model m."""
    return lambda *flags: start("--model_name=m", f"--model_base_path={run}/base/m", *FAST, *flags)


@pytest.fixture
def add(models, run):
    """Return a function that adds a version to model m, by default the recorded one of that number."""

    def add(version, source=None):
        copy = run / "copy"
        shutil.copytree(models / "versions" / str(source or version), copy)
        copy.rename(run / "base/m" / str(version))

    return add


def distinct_until(observe, expected, wait_for):
    """Return the sequence of distinct values up to the expected one."""
    observed = []

    def is_expected():
        value = observe()
        if not observed or observed[-1] != value:
            observed.append(value)
        return value == expected

    wait_for(is_expected, 60)
    return observed


def is_subsequence(part, whole):
    rest = iter(whole)
    return all(value in rest for value in part)


# Start-up


@pytest.mark.parametrize(
    "name",
    [
        "no-model-flags", "missing-config-file", "bad-config-file", "duplicate-model-name", "no-platform",
        "unknown-platform", "label-at-start", "batching-file-without-flag", "batching-file-bad",
    ],
)  # fmt: skip
def test_starts_that_fail_before_a_model_is_loaded(as_recorded, run, models, caplog, name):
    case = as_recorded(RECORDED[name])
    folder = run / name
    folder.mkdir()
    for file, text in (case["files"] or {}).items():
        (folder / file).write_text(text)
    flags = [flag.replace("@D", str(folder)).replace("@M", str(models)) for flag in case["args"]]
    assert main([*flags, "--port=0"]) == case["exit_code"] == 255
    # Our messages may add what to do.
    assert caplog.records[-1].getMessage().startswith(case["log"][-1])


@pytest.mark.parametrize(
    "name",
    [
        "start-bad_empty", "start-bad_garbage", "start-bad_tags", "warmup-counter_warm_unknown_signature",
        "warmup-counter_warm_garbage", "warmup-counter_warm_too_many",
    ],
)  # fmt: skip
def test_models_that_fail_to_load_fail_the_start(as_recorded, start, models, name):
    folder = name.partition("-")[2]
    server = start("--model_name=m", f"--model_base_path={models / folder}", *FAST)
    with pytest.raises(ServingError) as failure:
        server.models.wait_until_available()
    # The recorded line of bad_empty ends with a line break in its text.
    assert f"Failed to start server. Error: {failure.value}".startswith(as_recorded(RECORDED[name])["log"][-1])


def test_missing_variables_fail_only_at_the_request(start, models):
    case = RECORDED["start-bad_no_variables"]
    server = start("--model_name=m", f"--model_base_path={models}/bad_no_variables").wait_until_available()
    assert server.get("m") == case["status"]
    status, error = server.predict("m")
    assert (status, error.partition("{{function_node")[0]) == (400, case["predict"][1].partition("{{function_node")[0])


@pytest.mark.parametrize(
    "name",
    [
        "warmup-counter_warm",
        "warmup-counter_warm-enable_model_warmup-false",
        "warmup-counter_warm-num_request_iterations_for_warmup-5",
    ],
)
def test_warm_up(start, models, name):
    case = RECORDED[name]
    server = start("--model_name=m", f"--model_base_path={models}/counter_warm", *case["flags"]).wait_until_available()
    assert server.get("m") == case["states"]
    assert server.plane.predict(ModelSpec("m", signature="get"), {}).outputs["count"] == case["count"]


@pytest.mark.parametrize(
    "name", ["missing-base-path", "empty-base-path", "policy-specific-none", "policy-specific-missing"]
)
def test_starts_that_wait_log_the_reason(as_recorded, start, models, run, wait_for, caplog, name):  # noqa: PLR0917  # fixtures
    case = as_recorded(RECORDED[name])
    path = {"missing-base-path": "/does/not/exist", "empty-base-path": f"{run}/base/m"}.get(name, f"{models}/versions")
    config = run / "config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{path}" model_platform: "tensorflow" '
        f"model_version_policy {{ {case.get('policy', 'latest {}')} }} }} }}"
    )
    server = start(f"--model_config_file={config}")
    # The text after the source file's name, with this run's paths.
    messages = [
        line.partition("] ")[2].replace(f"{models}/no_version", path) for line in case["log"] if line[0] in "WE"
    ]
    expected = messages[0].removeprefix("FileSystemStoragePathSource encountered a filesystem access error: ")
    wait_for(lambda: expected in caplog.messages)
    threading.Thread(target=server.models.stop).start()
    assert not server.models.wait_until_available()
    assert server.get("m") == [404, "Could not find any versions of model m"]


@pytest.mark.parametrize("name", ["policy-latest-2", "policy-all", "policy-specific", "policy-latest-0"])
def test_policies(start, models, run, name):
    case = RECORDED[name]
    config = run / "config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{models}/versions" model_platform: "tensorflow" '
        f"model_version_policy {{ {case['policy']} }} }} }}"
    )
    server = start(f"--model_config_file={config}").wait_until_available()
    assert server.get("m") == case["states"]
    assert server.predict("m") == case["predict"]


def test_the_label_of_a_missing_version(start, models, run):
    case = RECORDED["label-of-missing-version-at-start"]
    config = run / "config"
    config.write_text(case["files"]["c"].replace("{MODELS}", str(models)))
    server = start(f"--model_config_file={config}", case["args"][1]).wait_until_available()
    assert server.predict("m/labels/stable") == RECORDED["label-of-missing-version-request"]["status"]


def test_unusual_names_of_versions(serve_m, add):
    case = RECORDED["odd-version-names-directories"]
    for name in case["entries"]:
        add(name, {"1": 1, "002": 2}.get(name, 3))
    server = serve_m().wait_until_available()
    assert server.get("m") == case["states"]
    assert server.predict("m") == case["predict"]
    assert server.predict("m/versions/2") == case["predict_2"]
    assert server.predict("m/versions/002") == case["predict_002"]


def test_a_file_with_the_name_of_a_version(as_recorded, serve_m, add, run):
    add(1)
    (run / "base/m/7").write_text("")
    with pytest.raises(ServingError) as failure:
        serve_m().models.wait_until_available()
    assert f"Failed to start server. Error: {failure.value}" == as_recorded(RECORDED["odd-version-names"])["log"][-1]


def test_the_same_number_twice(serve_m, add):
    case = RECORDED["same-number-twice"]
    add(2)
    add("002", 3)
    server = serve_m().wait_until_available()
    assert server.get("m") == case["states"]
    assert server.predict("m") == case["predict"]


def test_a_symbolic_link_is_a_version(serve_m, models, run):
    case = RECORDED["symlinked-version"]
    (run / "base/m/3").symlink_to(models / "versions/3")
    server = serve_m().wait_until_available()
    assert server.get("m") == case["states"]
    assert server.predict("m") == case["predict"]


def test_a_model_that_appears_late_is_loaded(serve_m, add):
    case = RECORDED["late-model"]
    server = serve_m()
    add(1)
    assert server.wait_until_available().get("m") == case["later"]["states"]


# Adding and removing versions


def test_hot_swaps(serve_m, add, run, wait_for):
    add(1)
    server = serve_m().wait_until_available()
    for version, name in ((2, "hot-swap-latest"), (10, "hot-swap-numeric-order")):
        case = RECORDED[name]
        add(version, min(version, 3))
        recorded = case["states_over_time"]
        observed = distinct_until(lambda: server.get("m"), recorded[-1], wait_for)
        assert is_subsequence(observed, recorded)
    assert server.predict("m") == case["predict"]
    assert server.predict("m/versions/1") == RECORDED["hot-swap-latest"]["predict_old"]
    for name, removed in (
        ("hot-swap-back", ["10"]),
        ("all-versions-removed", ["1", "2"]),
        ("base-path-removed", [""]),
    ):
        case = RECORDED[name]
        for folder in removed:
            shutil.rmtree(run / "base/m" / folder)
        wait_for(lambda case=case: server.get("m") == case["states"], 20)
        assert server.predict("m") == case["predict"]


def test_a_bad_version(as_recorded, serve_m, add, run, models, wait_for):  # noqa: PLR0917  # fixtures
    add(1)
    server = serve_m().wait_until_available()
    bad = run / "base/m/2"
    shutil.copytree(models / "bad_garbage/1", bad)
    recorded = as_recorded(RECORDED["bad-new-version"]["states_over_time"])
    assert is_subsequence(distinct_until(lambda: server.get("m"), recorded[-1], wait_for), recorded)
    assert server.predict("m") == RECORDED["bad-new-version"]["predict"]
    assert server.predict("m/versions/2") == RECORDED["bad-new-version"]["predict_bad"]
    shutil.copytree(models / "versions/2", bad, dirs_exist_ok=True)
    add(3)
    wait_for(lambda: server.get("m") == as_recorded(RECORDED["bad-new-version-next"]["states"]))
    assert server.predict("m") == RECORDED["bad-new-version-next"]["predict"]


def test_a_slow_copy(serve_m, add, run, models, wait_for):
    case = RECORDED["slow-copy"]
    add(1)
    server = serve_m("--max_num_load_retries=5", "--load_retry_interval_micros=60000000").wait_until_available()
    (run / "base/m/2").mkdir()
    wait_for(lambda: server.get("m") == case["while_empty"])
    shutil.copytree(models / "versions/2", run / "base/m/2", dirs_exist_ok=True)
    recorded = case["states_over_time"]
    assert is_subsequence(distinct_until(lambda: server.get("m"), recorded[-1], wait_for), recorded)
    assert server.predict("m") == case["predict"]


def test_replacing_the_files_of_a_version_has_no_effect(serve_m, add, run, models):
    case = RECORDED["replaced-in-place"]
    add(1)
    server = serve_m().wait_until_available()
    shutil.copytree(models / "versions/2", run / "base/m/1", dirs_exist_ok=True)
    add(0, 3)  # an older version has no effect either
    assert server.get("m") == case["states"]
    assert server.predict("m") == case["predict"]


def test_without_polling_no_new_version_is_found(serve_m, add):
    add(1)
    before = set(threading.enumerate())
    server = serve_m("--file_system_poll_wait_seconds=0").wait_until_available()
    add(2)
    (thread,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "model-m"]
    assert thread.is_alive()  # it waits for a new configuration
    assert server.get("m") == [[1, "AVAILABLE", "OK", ""]]


# Reloads


def chain(first, last, *flags):
    names = [name for name in RECORDED if name.startswith("reload-")]
    return pytest.param(names[names.index(first) : names.index(last) + 1], flags, id=first)


@pytest.fixture
def serve_r(start, run, models):
    """Start a server of all versions of m at base/r, 1 and 2, as each chain of recorded reloads began."""
    for version in ("1", "2"):
        shutil.copytree(models / "versions" / version, run / "base/r" / version)

    def serve(*flags):
        config = run / "config"
        config.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{run}/base/r" model_platform: "tensorflow" '
            "model_version_policy { all {} } } }"
        )
        return start(f"--model_config_file={config}", *FAST, *flags).wait_until_available()

    return serve


def observation(server, key, case):
    """Return a function that observes on the server what was recorded under a key."""
    model = "n" if "label" in case["id"] and '"n"' in case["config"] else "m"
    if key in ("stable", "canary", "nxt"):
        return lambda: server.predict(f"{model}/labels/{'next' if key == 'nxt' else key}")
    if key in ("states", "bad", "x") or key.endswith("_status"):
        name = {"states": "m"}.get(key, key.removesuffix("_status"))
        return lambda: server.get(name)
    return lambda: server.predict(key)


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        chain("reload-same", "reload-after-missing-base-path"),
        chain("reload-bad-model", "reload-empty-list"),
        chain("reload-duplicate", "reload-label-on-new-model"),
        chain(
            "reload-label-on-new-model-allowed",
            "reload-many-metrics",
            "--allow_version_labels_for_unavailable_models=true",
        ),
    ],
)
def test_reloads(as_recorded, serve_r, wait_for, names, flags):
    server = serve_r(*flags)
    for name in names:
        case = as_recorded(RECORDED[name])
        if name == "reload-label-on-new-model":  # at this point the real server served m again
            server = serve_r(*flags)
        times_out = case["result"]["code"] == "DEADLINE_EXCEEDED"
        assert server.reload(case["config"], 0.2 if times_out else 60) == case["result"], name
        for key in case.keys() - {"id", "what", "config", "result", "log"}:
            observe = observation(server, key, case)
            with contextlib.suppress(AssertionError):
                wait_for(lambda observe=observe, expected=case[key]: observe() == expected, 10)
            assert observe() == case[key], (name, key)


def test_a_server_of_a_single_model_can_be_reloaded(start, models, wait_for):
    case = RECORDED["reload-on-single-model-server"]
    server = start("--model_name=m", f"--model_base_path={models}/half_plus_two").wait_until_available()
    config = (
        f'model_config_list {{ config {{ name: "z" base_path: "{models}/versions" model_platform: "tensorflow" }} }}'
    )
    assert server.reload(config, 60) == case["result"]
    wait_for(lambda: server.get("m") == case["m"])
    assert server.predict("z") == [200, [3.5]]
