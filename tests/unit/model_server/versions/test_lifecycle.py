import logging
import shutil
import threading

import pytest

from model_server.errors import Code, DataLossError, NotFoundError
from model_server.versions import repository
from model_server.versions.lifecycle import LoadRetryPolicy, Model, State, VersionStatus
from model_server.versions.repository import All, Latest, ModelConfig, Specific

LATEST = Latest()
START, LOADING, AVAILABLE, END = State.START, State.LOADING, State.AVAILABLE, State.END


class Loader:
    """Makes fake servables from directories; a file `broken` or `bug` makes a load fail."""

    def __init__(self, servable_class):
        self._servable_class = servable_class
        self.loaded = {}
        self.statuses_while_loading = []
        self.model = None

    def __call__(self, name, version, path):
        self.statuses_while_loading.append(self.model.statuses())
        if (path / "broken").exists():
            raise DataLossError(f"{name} {version} is broken")
        if (path / "bug").exists():
            raise ZeroDivisionError("bug")
        self.loaded[version] = self._servable_class()
        return self.loaded[version]


@pytest.fixture
def loader(servable_class):
    return Loader(servable_class)


@pytest.fixture
def make_model(tmp_path, loader):
    def make(policy=LATEST, retries=0, interval_s=0.0, *, after_changes=False):
        retry_policy = LoadRetryPolicy(retries, interval_s, after_changes=after_changes)
        loader.model = Model(ModelConfig("m", tmp_path, policy), loader, retry_policy)
        return loader.model

    return make


@pytest.fixture
def model(make_model):
    return make_model()


def add(tmp_path, version, *files):
    directory = tmp_path / str(version)
    directory.mkdir(exist_ok=True)
    for name in ("saved_model.pb", *files):
        (directory / name).write_text("")


def states(model):
    return [(status.version, status.state) for status in model.statuses()]


def reconcile(model, times=2):
    for _ in range(times):
        model.reconcile()


def latest(model):
    with model.lease(None) as (version, _):
        return version


def test_a_version_is_loaded_when_two_polls_find_the_same_files(model, tmp_path, loader):
    add(tmp_path, 1)
    model.reconcile()
    assert states(model) == [(1, START)]
    add(tmp_path, 1, "more")
    model.reconcile()
    assert states(model) == [(1, LOADING)]
    assert loader.loaded == {}
    model.reconcile()
    assert states(model) == [(1, AVAILABLE)]
    assert loader.statuses_while_loading == [[VersionStatus(1, LOADING)]]


def test_a_version_of_old_files_is_loaded_at_the_first_poll(model, tmp_path, loader, monkeypatch):
    monkeypatch.setattr(repository, "SETTLED_AGE_S", 0.0)
    add(tmp_path, 1)

    model.reconcile()

    assert states(model) == [(1, AVAILABLE)]
    assert loader.statuses_while_loading == [[VersionStatus(1, LOADING)]]


def test_an_incomplete_version_is_logged_once_and_loaded_when_complete(make_model, tmp_path, caplog):
    model = make_model(retries=1, interval_s=1000.0)
    (tmp_path / "1").mkdir()
    with caplog.at_level(logging.WARNING):
        reconcile(model, 5)
    assert states(model) == [(1, LOADING)]
    assert not model.is_settled
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [f"Version 1 of model m is not complete: {tmp_path}/1/saved_model.pb is missing"]
    add(tmp_path, 1)
    reconcile(model)
    assert states(model) == [(1, AVAILABLE)]
    assert model.is_settled


def test_a_version_still_incomplete_after_all_retries_is_loaded(make_model, tmp_path, loader):
    model = make_model(retries=2)
    (tmp_path / "1").mkdir()
    reconcile(model, 3)
    assert loader.loaded == {}
    reconcile(model, 1)
    assert 1 in loader.loaded


def test_a_version_is_retried_as_often_as_configured(make_model, tmp_path, loader):
    model = make_model(retries=2)
    add(tmp_path, 1, "broken")
    reconcile(model, 3)
    assert len(loader.statuses_while_loading) == 2
    assert states(model) == [(1, LOADING)]
    reconcile(model, 3)
    assert len(loader.statuses_while_loading) == 3
    assert model.statuses() == [VersionStatus(1, END, Code.DATA_LOSS, "m 1 is broken")] == model.failures()
    assert model.is_settled


def test_a_retry_waits_for_its_interval(make_model, tmp_path, loader):
    model = make_model(retries=2, interval_s=1000.0)
    add(tmp_path, 1, "broken")
    reconcile(model, 5)
    assert len(loader.statuses_while_loading) == 1
    (tmp_path / "1" / "broken").unlink()  # new files have a first try
    reconcile(model)
    assert states(model) == [(1, AVAILABLE)]


def test_a_version_that_failed_is_loaded_again_after_changes_if_allowed(make_model, tmp_path, loader):
    model = make_model(after_changes=True)
    add(tmp_path, 1, "broken")
    reconcile(model, 5)
    assert len(loader.statuses_while_loading) == 1
    assert states(model) == [(1, END)]

    (tmp_path / "1" / "broken").unlink()
    reconcile(model)

    assert states(model) == [(1, AVAILABLE)]


def test_a_model_is_attempted_before_all_retries_are_used_up(make_model, tmp_path):
    model = make_model(retries=2, interval_s=1000.0)
    add(tmp_path, 1, "broken")
    model.reconcile()
    assert not model.is_attempted

    model.reconcile()

    assert (model.is_attempted, model.is_settled) == (True, False)


def test_a_failed_version_that_is_removed_and_restored_is_loaded(model, tmp_path):
    add(tmp_path, 1, "broken")
    reconcile(model)
    shutil.rmtree(tmp_path / "1")
    model.reconcile()
    assert model.statuses() == [VersionStatus(1, END, Code.DATA_LOSS, "m 1 is broken")]
    add(tmp_path, 1)
    reconcile(model)
    assert states(model) == [(1, AVAILABLE)]


def test_a_file_in_place_of_a_version_cannot_be_loaded(model, tmp_path):
    (tmp_path / "7").write_text("")
    reconcile(model)
    message = (
        f"Error while attempting to reserve resources to load servable {{name: m version: 7}}: {tmp_path}/7; "
        "Not a directory"
    )
    assert model.statuses() == [VersionStatus(7, END, Code.FAILED_PRECONDITION, message)]


def test_a_new_configuration_applies_from_the_next_poll_on(model, tmp_path):
    for version in (1, 2):
        add(tmp_path, version)
    reconcile(model)
    assert model.is_settled
    model.configure(ModelConfig("m", tmp_path, LATEST))
    assert model.is_settled
    model.configure(ModelConfig("m", tmp_path, All()))
    assert not model.is_settled
    reconcile(model)
    assert model.is_settled
    assert states(model) == [(2, AVAILABLE), (1, AVAILABLE)]
    model.configure(ModelConfig("m", tmp_path, Specific(frozenset({1}))))
    reconcile(model)
    assert states(model) == [(2, END), (1, AVAILABLE)]


def test_a_model_without_configuration_still_reports_its_versions(model, tmp_path):
    add(tmp_path, 1)
    reconcile(model)
    model.configure(None)
    assert not model.is_configured
    model.reconcile()
    assert states(model) == [(1, END)]
    with pytest.raises(NotFoundError, match=r"Latest\(m\)"), model.lease(None):
        pass


@pytest.mark.parametrize(
    ("versions", "warning"),
    [
        (set(), "No specific versions requested for servable m."),
        ({7}, "Version 7 of servable m, which was requested to be served as a 'specific' version"),
    ],
)
def test_missing_specific_versions_are_logged_once(make_model, tmp_path, caplog, versions, warning):
    model = make_model(Specific(frozenset(versions)))
    add(tmp_path, 1)
    reconcile(model, 3)
    assert [message.startswith(warning) for message in caplog.messages] == [True]
    assert states(model) == []
    assert not model.is_settled


def test_a_version_removed_before_it_is_complete_ends(model, tmp_path):
    (tmp_path / "1").mkdir()
    model.reconcile()
    (tmp_path / "1").rmdir()
    model.reconcile()
    assert states(model) == [(1, END)]


def test_the_new_version_serves_before_the_old_one_is_closed(model, tmp_path, loader):
    add(tmp_path, 1)
    reconcile(model)
    add(tmp_path, 2)
    reconcile(model)
    assert states(model) == [(2, AVAILABLE), (1, END)]
    assert loader.statuses_while_loading[-1] == [VersionStatus(2, LOADING), VersionStatus(1, AVAILABLE)]
    assert loader.loaded[1].closed
    assert not loader.loaded[2].closed
    assert latest(model) == 2


def test_the_old_version_is_closed_after_its_last_request(model, tmp_path, loader, wait_for):
    add(tmp_path, 1)
    reconcile(model)
    add(tmp_path, 2)
    model.reconcile()
    with model.lease(None) as (version, _):
        assert version == 1
        thread = threading.Thread(target=model.reconcile)
        thread.start()
        wait_for(lambda: latest(model) == 2)
        assert not loader.loaded[1].closed
        assert states(model) == [(2, LOADING), (1, AVAILABLE)]
        with pytest.raises(NotFoundError, match=r"Specific\(m, 1\)"), model.lease(1):
            pass
    thread.join(10)
    assert loader.loaded[1].closed
    assert states(model) == [(2, AVAILABLE), (1, END)]


def test_closing_does_not_wait_for_requests(model, tmp_path, loader):
    add(tmp_path, 1)
    reconcile(model)
    with model.lease(1):
        model.close()
        assert not loader.loaded[1].closed  # it is still at work
    assert states(model) == [(1, END)]


def test_a_broken_version_leaves_the_old_one_and_is_not_retried(model, tmp_path, loader):
    add(tmp_path, 1)
    reconcile(model)
    add(tmp_path, 2, "broken")
    reconcile(model)
    failed = VersionStatus(2, END, Code.DATA_LOSS, "m 2 is broken")
    assert model.statuses() == [failed, VersionStatus(1, AVAILABLE)]
    assert latest(model) == 1
    (tmp_path / "2" / "broken").unlink()
    reconcile(model, 3)
    assert model.statuses()[0] == failed
    assert list(loader.loaded) == [1]
    add(tmp_path, 3)
    reconcile(model)
    assert [status.state for status in model.statuses()] == [AVAILABLE, END, END]


def test_an_unexpected_error_fails_only_its_version(model, tmp_path):
    add(tmp_path, 1)
    reconcile(model)
    add(tmp_path, 2, "bug")
    reconcile(model)
    assert model.statuses()[0] == VersionStatus(2, END, Code.INTERNAL, "bug")
    assert latest(model) == 1


def test_removed_versions_are_unloaded_and_loaded_again_when_restored(model, tmp_path, loader):
    add(tmp_path, 1)
    add(tmp_path, 2)
    reconcile(model)
    assert states(model) == [(2, AVAILABLE)]
    shutil.rmtree(tmp_path / "2")
    reconcile(model)
    assert states(model) == [(2, END), (1, AVAILABLE)]
    shutil.rmtree(tmp_path / "1")
    model.reconcile()
    assert states(model) == [(2, END), (1, END)]
    with pytest.raises(NotFoundError, match=r"Latest\(m\)"), model.lease(None):
        pass
    closed = loader.loaded[2]
    add(tmp_path, 2)
    reconcile(model)
    assert states(model) == [(2, AVAILABLE), (1, END)]
    assert loader.loaded[2] is not closed


def test_an_unreadable_base_path_unloads_nothing(model, tmp_path, caplog):
    add(tmp_path, 1)
    reconcile(model)
    shutil.rmtree(tmp_path)
    reconcile(model, 3)
    assert states(model) == [(1, AVAILABLE)]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        f"Could not find base path {tmp_path} for servable m with error NOT_FOUND: {tmp_path} not found"
    ]


def test_a_base_path_without_versions_is_logged_once(model, tmp_path, caplog):
    reconcile(model, 3)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"No versions of servable m found under base path {tmp_path}.")


def test_the_policy_all_serves_every_version(make_model, tmp_path, loader):
    model = make_model(All())
    for version in (1, 2, 10):
        add(tmp_path, version)
    reconcile(model)
    assert states(model) == [(10, AVAILABLE), (2, AVAILABLE), (1, AVAILABLE)]
    assert list(loader.loaded) == [1, 2, 10]
    assert latest(model) == 10
    with model.lease(2) as (version, servable):
        assert (version, servable) == (2, loader.loaded[2])


def test_an_error_ends_the_lease(model, tmp_path, loader):
    add(tmp_path, 1)
    reconcile(model)
    with pytest.raises(KeyError), model.lease(None):
        raise KeyError
    shutil.rmtree(tmp_path / "1")
    model.reconcile()
    assert loader.loaded[1].closed
