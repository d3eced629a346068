import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    ModelContractError,
    ModelFailedError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelUnavailableError,
    VersionGoneError,
    VersionNotFoundError,
)
from gateway.models.configured import ConfiguredModels
from gateway.models.registry import SWAP_WAIT_S, ModelRegistry, ModelTarget
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant
from tests.support.waiting import until
from vision.card import Card

Make = Callable[..., ModelRegistry]


@pytest.fixture
def offers() -> list[str]:
    return ["pets", "weather"]


@pytest.fixture
def make(server: FakeModelServer, offers: list[str], tmp_path: Path) -> Iterator[Make]:
    """Make catalogs over the fake server; they are closed with the test."""
    made = []

    def make(default: str | None = None, status_deadline_s: float = 1) -> ModelRegistry:
        registry = ModelRegistry(
            server,
            ConfiguredModels(lambda: {name: tuple(server.labels.get(name, ())) for name in offers}),
            default=default,
            cards_dir=tmp_path,
            status_deadline_s=status_deadline_s,
        )
        made.append(registry)
        return registry

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def registry(make: Make) -> ModelRegistry:
    return make()


@pytest.fixture
def working(card: Card) -> FakeVersion:
    return classifier(card, constant(1, 0, 0))


@pytest.fixture
def broken() -> FakeVersion:
    """Have a version that cannot be used."""
    return FakeVersion({}, {})


# Which models


def test_models_are_those_offered_now(registry: ModelRegistry, offers: list[str]):
    assert registry.names == ("pets", "weather")
    offers.append("digits")
    assert registry.names == ("pets", "weather", "digits")


def test_the_first_one_is_the_default_unless_one_is_chosen(make: Make, offers: list[str]):
    assert make().default == "pets"
    assert make(default="weather").default == "weather"
    offers.clear()
    with pytest.raises(ModelNotFoundError, match="No model is served"):
        _ = make().default


def test_an_unknown_model_is_told_with_those_there_are(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    with pytest.raises(ModelNotFoundError, match=r"No model named 'birds' is served\. Served: pets, weather\."):
        registry.current("birds", deadline=deadline)
    assert not server.calls


def test_a_model_offered_but_not_served_is_not_available(registry: ModelRegistry, deadline: Deadline):
    with pytest.raises(ModelUnavailableError, match="no version of weather ready"):
        registry.current("weather", deadline=deadline)


# Which version


def test_a_model_is_learnt_once(registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline):
    served = registry.current("pets", deadline=deadline)
    assert (served.version, served.card) == (1, card)
    asked = server.calls.copy()
    assert registry.current("pets", deadline=deadline) is served
    assert server.calls == asked


def test_a_look_finds_a_new_version_and_learns_its_card(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    old = registry.current("pets", deadline=deadline)
    assert registry.refresh("pets", deadline=deadline) is old
    renamed = dataclasses.replace(card, labels=("Katze", "Hund", "Fisch"))
    server.swap("pets", 2, classifier(renamed, constant(1, 0, 0)))
    new = registry.refresh("pets", deadline=deadline)
    assert (new.version, new.card) == (2, renamed)
    assert registry.current("pets", deadline=deadline) is new


def test_the_newest_of_several_versions_answers(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    server.models["pets"] |= {9: working, 10: working}
    assert registry.current("pets", deadline=deadline).version == 10


@pytest.mark.parametrize("state", ["START", "LOADING", "UNLOADING", "END"])
def test_only_a_version_that_is_available_answers(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline, state: str
):
    server.models["pets"][2] = working
    server.states["pets", 2] = (state, "")
    assert registry.current("pets", deadline=deadline).version == 1
    server.states["pets", 1] = (state, "")
    with pytest.raises(ModelUnavailableError):
        registry.refresh("pets", deadline=deadline)


def test_a_broken_newest_version_gives_way_to_an_older_one(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = broken
    assert registry.current("pets", deadline=deadline).version == 1


def test_so_does_one_that_fails_to_tell_its_card(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    def fail(_: object) -> dict[str, object]:
        raise ModelFailedError("describe failed")

    server.models["pets"][2] = FakeVersion(working.signatures, {**working.compute, "describe": fail})
    assert registry.current("pets", deadline=deadline).version == 1
    del server.models["pets"][1]
    with pytest.raises(ModelFailedError, match="describe failed"):
        registry.refresh("pets", deadline=deadline)


def test_so_does_one_that_goes_while_it_is_looked_at(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = working
    server.before["signatures"] = lambda: server.models["pets"].pop(2, None)
    assert registry.current("pets", deadline=deadline).version == 1


def test_only_broken_versions_are_told_as_such(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.swap("pets", 2, broken)
    with pytest.raises(ModelContractError, match="pets version 2 has no signature"):
        registry.current("pets", deadline=deadline)


# Versions and labels that are asked for


@pytest.fixture
def both(server: FakeModelServer, card: Card) -> FakeModelServer:
    """Serve versions 1, labelled stable, and 2 of `pets`, with labels of their own."""
    renamed = dataclasses.replace(card, labels=("Katze", "Hund", "Fisch"))
    server.models["pets"][2] = classifier(renamed, constant(1, 0, 0))
    server.labels["pets"] = {"stable": 1}
    return server


def test_without_version_or_label_the_newest_is_chosen(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    assert both.models["pets"].keys() == {1, 2}
    assert registry.resolve(ModelTarget(), deadline=deadline) is registry.current("pets", deadline=deadline)
    assert registry.resolve(ModelTarget("pets"), deadline=deadline).version == 2


def test_a_version_comes_with_its_own_card_and_is_learnt_once(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    old, new = (registry.resolve(ModelTarget("pets", version=version), deadline=deadline) for version in (1, 2))
    assert (old.card.labels[0], new.card.labels[0]) == ("cat", "Katze")
    asked = both.calls.copy()
    registry.refresh("pets", deadline=deadline)
    assert registry.resolve(ModelTarget("pets", version=1), deadline=deadline) is old
    assert both.calls - asked == {"version_statuses": 1}


def test_a_version_that_went_is_forgotten_at_the_next_look(
    registry: ModelRegistry, both: FakeModelServer, card: Card, deadline: Deadline
):
    registry.resolve(ModelTarget("pets", version=1), deadline=deadline)
    del both.models["pets"][1]
    registry.refresh("pets", deadline=deadline)
    both.models["pets"][1] = classifier(dataclasses.replace(card, labels=("x", "y", "z")), constant(1, 0, 0))
    assert registry.resolve(ModelTarget("pets", version=1), deadline=deadline).card.labels == ("x", "y", "z")


def test_a_label_leads_to_the_version_that_the_server_says(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    assert registry.resolve(ModelTarget("pets", label="stable"), deadline=deadline).version == 1
    both.labels["pets"]["stable"] = 2
    assert registry.resolve(ModelTarget("pets", label="stable"), deadline=deadline).version == 2


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (ModelTarget(version=3), "No version 3 of pets is served"),
        (ModelTarget("pets", version=0), "No version 0 of pets is served"),
        (ModelTarget("pets", label="canary"), "No version labelled 'canary' of pets is served"),
    ],
    ids=str,
)
def test_a_version_that_is_not_there_is_told_with_those_that_are(
    *, registry: ModelRegistry, both: FakeModelServer, deadline: Deadline, target: ModelTarget, named: str
):
    both.models["pets"][9] = both.models["pets"][1]
    both.states["pets", 9] = ("LOADING", "")
    with pytest.raises(VersionNotFoundError, match=rf"{named}\. Served: 2, 1, stable\.") as caught:
        registry.resolve(target, deadline=deadline)
    assert caught.value.members == {"versions": [2, 1], "labels": ["stable"]}


@pytest.mark.parametrize("target", [ModelTarget("birds", version=1), ModelTarget("birds", label="stable")], ids=str)
def test_a_version_of_an_unknown_model(registry: ModelRegistry, deadline: Deadline, target: ModelTarget):
    with pytest.raises(ModelNotFoundError, match="No model named 'birds'"):
        registry.resolve(target, deadline=deadline)


def test_a_version_that_cannot_be_used_is_told_as_such(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = broken
    with pytest.raises(ModelContractError, match="pets version 2 has no signature"):
        registry.resolve(ModelTarget("pets", version=2), deadline=deadline)


def test_labels_are_told_with_their_versions(registry: ModelRegistry, both: FakeModelServer, deadline: Deadline):
    both.labels["pets"] |= {"canary": 2, "old": 7}  # a version that is not there
    assert registry.labels("pets", deadline=deadline) == {"stable": 1, "canary": 2}
    assert registry.labels("weather", deadline=deadline) == {}
    with pytest.raises(ModelNotFoundError):
        registry.labels("birds", deadline=deadline)


def test_labels_are_not_known_while_the_server_is_away(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    both.away = True
    with pytest.raises(ModelUnavailableError):
        registry.labels("pets", deadline=deadline)
    with pytest.raises(ModelUnavailableError):
        registry.resolve(ModelTarget("pets", label="stable"), deadline=deadline)


# The server goes and comes


def test_what_is_known_answers_from_memory_while_the_server_is_away(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    served = registry.current("pets", deadline=deadline)
    server.away = True
    assert registry.current("pets", deadline=deadline) is served


def test_after_an_absence_the_card_is_learnt_anew(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    registry.current("pets", deadline=deadline)
    server.away = True
    with pytest.raises(ModelUnavailableError):
        registry.refresh("pets", deadline=deadline)
    server.away = False
    renamed = dataclasses.replace(card, labels=("x", "y", "z"))
    server.swap("pets", 1, classifier(renamed, constant(1, 0, 0)))  # another file under the same number
    assert registry.current("pets", deadline=deadline).card == renamed


@pytest.mark.parametrize("busy", [ModelOverloadedError("busy"), DeadlineExceededError("late")])
def test_a_busy_server_is_no_absence(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline, busy: ModelOverloadedError
):
    served = registry.current("pets", deadline=deadline)
    server.failures["version_statuses"] = busy
    with pytest.raises(type(busy)):
        registry.refresh("pets", deadline=deadline)
    assert registry.current("pets", deadline=deadline) is served


def test_a_look_takes_no_longer_than_it_may(make: Make, server: FakeModelServer, deadline: Deadline):
    server.before["version_statuses"] = lambda: threading.Event().wait(0.06)
    with pytest.raises(DeadlineExceededError):
        make(status_deadline_s=0.05).refresh("pets", deadline=deadline)
    assert make(status_deadline_s=5).refresh("pets", deadline=deadline)


# A version goes in the middle of a request


def test_the_successor_of_a_version_that_is_gone_is_found(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2
    assert registry.current("pets", deadline=deadline).version == 2


def test_a_successor_that_another_request_found_costs_no_look(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    found = registry.await_replacement(gone, ModelTarget(), deadline=deadline)
    asked = server.calls.copy()
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline) is found
    assert server.calls == asked


def test_sixteen_requests_that_lose_their_version_look_once(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    server.calls.clear()
    together = threading.Barrier(16)

    def lose(_: int) -> int:
        together.wait()
        return registry.await_replacement(gone, ModelTarget(), deadline=deadline).version

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lose, range(16))) == [2] * 16
    assert server.calls == {"version_statuses": 1, "signatures": 1, "predict": 1}


def test_a_successor_that_is_not_ready_yet_is_waited_for(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    """The old version is END and the new one still LOADING, until the third look."""
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    server.states["pets", 2] = ("LOADING", "")
    looks = []

    def ready_at_third() -> None:
        looks.append(1)
        if len(looks) == 3:
            server.states.clear()

    server.before["version_statuses"] = ready_at_third
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2
    assert len(looks) == 3


def test_a_status_that_still_lists_the_old_version_is_asked_again(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    looks = []

    def swap_at_third() -> None:
        looks.append(1)
        if len(looks) == 3:
            server.swap("pets", 2, working)

    server.before["version_statuses"] = swap_at_third
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2


def test_the_same_version_loaded_anew_is_its_own_successor(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    """The model server was restarted: the version is gone for a moment, then back under its number."""
    gone = registry.current("pets", deadline=deadline)
    server.models.clear()
    looks = []

    def back_at_third() -> None:
        looks.append(1)
        if len(looks) == 3:
            server.swap("pets", 1, working)

    server.before["version_statuses"] = back_at_third
    started = time.monotonic()
    found = registry.await_replacement(gone, ModelTarget(), deadline=deadline)
    assert found.version == 1
    assert found is not gone
    assert time.monotonic() - started < SWAP_WAIT_S / 2


def test_a_successor_that_never_comes_is_given_up(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.1)
    gone = registry.current("pets", deadline=deadline)
    started = time.monotonic()
    assert (
        registry.await_replacement(gone, ModelTarget(), deadline=deadline) is gone
    )  # the server still says that it serves it
    assert 0.1 <= time.monotonic() - started < 1
    server.models.clear()
    started = time.monotonic()
    with pytest.raises(ModelUnavailableError, match="no version of pets ready"):
        registry.await_replacement(gone, ModelTarget(), deadline=deadline)
    assert 0.1 <= time.monotonic() - started < 1


def test_the_requests_own_deadline_ends_the_wait_before(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.models.clear()
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        registry.await_replacement(gone, ModelTarget(), deadline=Deadline.after(0.1))
    assert time.monotonic() - started < 1


def test_the_wait_for_another_requests_look_ends_at_the_deadline(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    looking, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        looking.set()
        go_on.wait(10)

    server.before["version_statuses"] = hold
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(registry.await_replacement, gone, ModelTarget(), deadline=deadline)
        assert looking.wait(5)
        with pytest.raises(DeadlineExceededError):
            registry.await_replacement(gone, ModelTarget(), deadline=Deadline.after(0.05))
        go_on.set()
        assert first.result().version == 2
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2


def test_a_broken_successor_is_told_at_once(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, broken)
    with pytest.raises(ModelContractError):
        registry.await_replacement(gone, ModelTarget(), deadline=deadline)


def test_a_model_offered_no_more_has_no_successor(
    registry: ModelRegistry, server: FakeModelServer, offers: list[str], deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    offers.remove("pets")
    server.models.clear()
    with pytest.raises(ModelNotFoundError):
        registry.await_replacement(gone, ModelTarget(), deadline=deadline)


# Watching


def version(registry: ModelRegistry) -> int:
    return registry.current("pets", deadline=Deadline.after(5)).version


def test_a_watched_catalog_follows_the_server(registry: ModelRegistry, server: FakeModelServer, working: FakeVersion):
    registry.watch(0.005, deadline_s=5)
    until(lambda: version(registry) == 1)
    server.swap("pets", 2, working)
    until(lambda: version(registry) == 2)


def test_watching_goes_on_after_every_kind_of_trouble(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, broken: FakeVersion
):
    registry.watch(0.005, deadline_s=5)
    until(lambda: version(registry) == 1)
    for trouble in (ModelUnavailableError("away"), DeadlineExceededError("late"), VersionGoneError("gone")):
        server.failures["version_statuses"] = trouble
        before = server.calls["version_statuses"]
        until(lambda before=before: server.calls["version_statuses"] > before + 2)
    server.failures["version_statuses"] = RuntimeError("a bug")  # type: ignore[assignment]  # on purpose
    with capture_logs() as logs:
        until(lambda: any(line["event"] == "look_failed" for line in logs))
    server.failures.clear()
    server.swap("pets", 2, broken)
    server.swap("pets", 3, working)
    until(lambda: version(registry) == 3)


def test_a_closed_catalog_asks_nobody(registry: ModelRegistry, server: FakeModelServer):
    registry.watch(0.005, deadline_s=5)
    until(lambda: server.calls["version_statuses"] > 2)
    registry.close()
    assert not any(thread.name == "registry" for thread in threading.enumerate())


def test_a_catalog_that_does_not_watch_closes_too(make: Make):
    make().close()


# What the log tells


def faults(logs: list[dict[str, object]]) -> list[object]:
    return [line["reason"] for line in logs if line["event"] == "model_unusable"]


def test_a_fault_is_logged_when_it_begins(registry: ModelRegistry, server: FakeModelServer, deadline: Deadline):
    with capture_logs() as logs:
        for _ in range(2):
            registry.refresh("pets", deadline=deadline)
            server.away = True
            for _ in range(3):
                with pytest.raises(ModelUnavailableError):
                    registry.refresh("pets", deadline=deadline)
            server.away = False
    assert faults(logs) == ["away", "away"]
    assert [line["version"] for line in logs if line["event"] == "model_version_answers"] == [1, 1]


def test_a_broken_newest_version_is_logged_once_while_an_older_one_answers(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = broken
    with capture_logs() as logs:
        for _ in range(5):
            assert registry.refresh("pets", deadline=deadline).version == 1
    assert faults(logs) == ["pets version 2 has no signature serving_default."]


def test_a_broken_model_is_logged_once(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.swap("pets", 2, broken)
    with capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(ModelContractError):
                registry.refresh("pets", deadline=deadline)
    assert len(faults(logs)) == 1
