import threading

import pytest

from model_server.errors import (
    Code,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
)
from model_server.versions.lifecycle import State, VersionStatus
from model_server.versions.manager import ManagerConfig, ModelManager
from model_server.versions.repository import All, ModelConfig, Specific


@pytest.fixture
def make_models(tmp_path, servable_class):
    managers = []

    def load(name, _version, _path):
        if name == "broken":
            raise DataLossError("it is broken")
        return servable_class()

    def make(*names, poll_interval_s=0.01, labels=None, labels_for_unavailable=True, wait_for_models=True):
        configs = [ModelConfig(name, tmp_path / name, All(), labels or {}) for name in names]
        manager_config = ManagerConfig(
            poll_interval_s, labels_for_unavailable=labels_for_unavailable, wait_for_models=wait_for_models
        )
        managers.append(ModelManager(configs, load, manager_config))
        return managers[-1]

    yield make
    for models in managers:
        models.close()


def add(tmp_path, name, *versions):
    for version in versions:
        directory = tmp_path / name / str(version)
        directory.mkdir(parents=True)
        (directory / "saved_model.pb").write_text("")


def is_available(models, name):
    try:
        return any(status.state is State.AVAILABLE for status in models.statuses(name))
    except NotFoundError:
        return False


def test_models_are_available_after_start(make_models, tmp_path):
    add(tmp_path, "a", 1, 2)
    add(tmp_path, "b", 7)
    models = make_models("a", "b")
    models.start()
    assert models.wait_until_available()
    for name, version in (("a", 2), ("b", 7)):
        with models.lease(name) as (leased, _):
            assert leased == version
    assert [status.version for status in models.statuses("a")] == [2, 1]
    assert [status.version for status in models.statuses("a", 1)] == [1]


def test_without_polling_existing_versions_are_still_loaded(make_models, tmp_path):
    add(tmp_path, "a", 1)
    models = make_models("a", poll_interval_s=0)
    models.start()
    assert models.wait_until_available()


def test_a_negative_interval_loads_nothing(make_models, tmp_path):
    add(tmp_path, "a", 1)
    models = make_models("a", poll_interval_s=-1)
    models.start()
    threading.Thread(target=models.stop).start()
    assert not models.wait_until_available()
    with pytest.raises(NotFoundError, match="Could not find any versions of model a"):
        models.statuses("a")


def test_versions_that_fail_to_load_fail_the_start(make_models, tmp_path):
    add(tmp_path, "a", 1)
    add(tmp_path, "broken", 1)
    models = make_models("a", "broken")
    models.start()
    with pytest.raises(ServingError) as failure:
        models.wait_until_available()
    assert str(failure.value) == (
        "UNKNOWN: 1 servable(s) did not become available: "
        "{{{name: broken version: 1} due to error: DATA_LOSS: it is broken}, }"
    )


def test_without_waiting_the_other_models_are_served(make_models, tmp_path, wait_for):
    add(tmp_path, "a", 1)
    add(tmp_path, "broken", 1)
    (tmp_path / "empty").mkdir()
    models = make_models("broken", "missing", "empty", "a", wait_for_models=False)
    models.start()

    assert models.wait_until_available()

    with models.lease("a") as (version, _):
        assert version == 1
    add(tmp_path, "missing", 1)
    wait_for(lambda: is_available(models, "missing"))


def test_without_waiting_a_missing_model_does_not_hold_up_later_changes(make_models, tmp_path):
    add(tmp_path, "a", 1)
    models = make_models(wait_for_models=False)
    models.start()

    models.reload([ModelConfig("missing", tmp_path / "missing")], timeout_s=10)
    models.reload([ModelConfig("missing", tmp_path / "missing"), ModelConfig("a", tmp_path / "a")], timeout_s=10)

    assert is_available(models, "a")


def test_without_waiting_a_model_on_another_file_system_is_left_out(make_models, tmp_path, caplog):
    add(tmp_path, "a", 1)
    remote, local = ModelConfig("remote", "s3://b/remote"), ModelConfig("a", tmp_path / "a")
    models = make_models(wait_for_models=False)
    models.start()

    models.reload([remote, local], timeout_s=10)

    assert is_available(models, "a")
    assert not is_available(models, "remote")
    assert "servable remote with error INVALID_ARGUMENT: Base path s3://b/remote is on another" in caplog.text


def test_a_model_on_another_file_system_is_not_waited_for(make_models, tmp_path):
    add(tmp_path, "a", 1)
    models = make_models()

    with pytest.raises(InvalidArgumentError, match="Base path s3://b/remote is on another file system"):
        models.reload([ModelConfig("a", tmp_path / "a"), ModelConfig("remote", "s3://b/remote")])

    with pytest.raises(NotFoundError):
        models.statuses("a")


def test_stopping_ends_the_wait_for_a_missing_model(make_models):
    models = make_models("missing")
    models.start()
    threading.Thread(target=models.stop).start()
    assert not models.wait_until_available()


def test_a_manager_without_models_is_available_at_once(make_models):
    models = make_models()
    models.start()
    assert models.wait_until_available()


def test_new_versions_are_found_by_polling(make_models, tmp_path, wait_for):
    add(tmp_path, "a", 1)
    models = make_models("a")
    models.start()
    assert models.wait_until_available()
    add(tmp_path, "a", 2)
    wait_for(lambda: [s.version for s in models.statuses("a") if s.state is State.AVAILABLE] == [2, 1])


def test_a_lease_resolves_labels(make_models, tmp_path):
    add(tmp_path, "a", 1, 2)
    models = make_models("a", labels={"stable": 1, "gone": 9})
    models.start()
    assert models.wait_until_available()
    with models.lease("a", label="stable") as (version, _):
        assert version == 1
    with pytest.raises(NotFoundError, match=r"Specific\(a, 9\)"), models.lease("a", label="gone"):
        pass
    for name, label in (("a", "other"), ("unknown", "stable"), ("a", "")):
        with pytest.raises(InvalidArgumentError, match=f"Unrecognized servable version label: {label}"):
            models.lease(name, label=label)


def test_unknown_models_and_versions_are_not_found(make_models, tmp_path):
    add(tmp_path, "a", 1)
    models = make_models("a")
    models.start()
    assert models.wait_until_available()
    with pytest.raises(NotFoundError, match=r"Servable not found for request: Latest\(b\)"):
        models.lease("b")
    with pytest.raises(NotFoundError, match=r"Servable not found for request: Specific\(b, 2\)"):
        models.lease("b", 2)
    with pytest.raises(NotFoundError, match="Could not find any versions of model b"):
        models.statuses("b")
    with pytest.raises(NotFoundError, match="Could not find version 9 of model a"):
        models.statuses("a", 9)


def test_polling_continues_after_a_failure(make_models, tmp_path, monkeypatch, caplog):
    add(tmp_path, "a", 1)
    models = make_models("a")
    (model,) = models._models.values()
    reconcile, failed = model.reconcile, threading.Event()

    def fail_once():
        if not failed.is_set():
            failed.set()
            raise OSError("disk")
        reconcile()

    monkeypatch.setattr(model, "reconcile", fail_once)
    models.start()
    assert models.wait_until_available()
    assert "Polling model a failed" in caplog.text


@pytest.fixture
def models(make_models, tmp_path):
    """Serve versions 1 and 2 of a."""
    add(tmp_path, "a", 1, 2)
    models = make_models("a", labels_for_unavailable=False)
    models.start()
    assert models.wait_until_available()
    return models


def config(tmp_path, name, policy=All(), **labels):  # noqa: B008  # a value
    return ModelConfig(name, tmp_path / name, policy, labels)


def states(models, name):
    return [(status.version, status.state) for status in models.statuses(name)]


def test_a_reload_adds_and_removes_models(models, tmp_path, wait_for):
    add(tmp_path, "b", 7)
    models.reload([config(tmp_path, "a"), config(tmp_path, "b")])
    assert states(models, "b") == [(7, State.AVAILABLE)]
    models.reload([config(tmp_path, "b")])
    wait_for(lambda: states(models, "a") == [(2, State.END), (1, State.END)])
    models.reload([config(tmp_path, "a"), config(tmp_path, "b")])
    assert states(models, "a") == [(2, State.AVAILABLE), (1, State.AVAILABLE)]
    models.reload([])
    wait_for(lambda: states(models, "b") == [(7, State.END)])


def test_a_reload_changes_a_models_policy_and_path(models, tmp_path, wait_for):
    models.reload([config(tmp_path, "a", Specific(frozenset({1})))])
    wait_for(lambda: states(models, "a") == [(2, State.END), (1, State.AVAILABLE)])
    add(tmp_path, "b", 1, 3)
    models.reload([ModelConfig("a", tmp_path / "b", All())])
    wait_for(lambda: states(models, "a")[0] == (3, State.AVAILABLE))


def test_a_reload_reports_versions_that_fail_to_load_and_can_be_repeated(models, tmp_path):
    add(tmp_path, "broken", 1)
    with pytest.raises(ServingError) as failure:
        models.reload([config(tmp_path, "a"), config(tmp_path, "broken")])
    assert str(failure.value) == (
        "UNKNOWN: 1 model(s) did not become available: "
        "{{{name: broken version: 1} due to error: DATA_LOSS: it is broken}, }"
    )
    models.reload([config(tmp_path, "a")])
    assert models.statuses("broken") == [VersionStatus(1, State.END, Code.DATA_LOSS, "it is broken")]


def test_a_reload_waits_for_the_previous_one_even_if_it_timed_out(models, tmp_path):
    for _ in range(2):
        with pytest.raises(DeadlineExceededError, match="Deadline Exceeded"):
            models.reload([config(tmp_path, "a"), config(tmp_path, "late")], timeout_s=0.05)
    with pytest.raises(DeadlineExceededError):
        models.reload([], timeout_s=0.05)
    assert states(models, "a") == [(2, State.AVAILABLE), (1, State.AVAILABLE)]
    add(tmp_path, "late", 1)
    models.reload([config(tmp_path, "late")])
    assert states(models, "late") == [(1, State.AVAILABLE)]


def test_stopping_ends_a_reload(models, tmp_path):
    threading.Thread(target=models.stop).start()
    models.reload([config(tmp_path, "late")])


def test_labels_move_only_to_loaded_versions(models, tmp_path):
    models.reload([config(tmp_path, "a", stable=1, canary=2)])
    models.reload([config(tmp_path, "a", stable=2)])
    for labels in ({"stable": 9}, {"stable": 2, "next": 9}):
        with pytest.raises(FailedPreconditionError) as failure:
            models.reload([config(tmp_path, "a", **labels)])
        assert failure.value.message == (
            "Request to assign label to version 9 of model a, which is not currently available for inference"
        )
    with models.lease("a", label="stable") as (version, _):
        assert version == 2
    for label in ("canary", "next"):
        with pytest.raises(InvalidArgumentError, match=f"Unrecognized servable version label: {label}"):
            models.lease("a", label=label)
    models.reload([config(tmp_path, "a")])
    with pytest.raises(InvalidArgumentError):
        models.lease("a", label="stable")


def test_a_new_label_may_wait_for_its_version_if_allowed(make_models, tmp_path):
    add(tmp_path, "a", 1)
    models = make_models("a")
    models.start()
    assert models.wait_until_available()
    for _ in range(2):
        models.reload([config(tmp_path, "a", next=9)])
    with pytest.raises(FailedPreconditionError):
        models.reload([config(tmp_path, "a", next=10)])


def test_labels_at_start_up_must_be_allowed(make_models):
    with pytest.raises(FailedPreconditionError, match="Request to assign label to version 1 of model m"):
        make_models("m", labels={"stable": 1}, labels_for_unavailable=False)
