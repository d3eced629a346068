import dataclasses
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    ModelContractError,
    ModelFailedError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelUnavailableError,
    VersionGoneError,
    VersionNotFoundError,
)
from gateway.model_client.protocol import Array, Signature, TensorSpec
from gateway.models.configured import ConfiguredModels
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.observability import metrics
from tests.support.fake_model_server import (
    CHECK_CALLS,
    INSPECTION_CALLS,
    FakeModelServer,
    FakeVersion,
    classifier,
    constant,
)
from tests.support.waiting import LONG_S, ends_soon, until
from vision.card import Card, OutputSpec
from vision.probes import NAMES

MakeRegistry = Callable[..., ModelRegistry]


@pytest.fixture
def configured() -> list[str]:
    """Return the names of the configured models; a test may change them."""
    return ["pets", "weather"]


@pytest.fixture
def make_registry(server: FakeModelServer, configured: list[str], tmp_path: Path) -> Iterator[MakeRegistry]:
    """Return a function that creates registries over the fake server; they are closed after the test."""
    registries = []

    def make_registry(default: str | None = None, status_deadline_s: float = 1) -> ModelRegistry:
        registry = ModelRegistry(
            server,
            ConfiguredModels(lambda: {name: tuple(server.labels.get(name, ())) for name in configured}),
            default=default,
            cards_dir=tmp_path,
            status_deadline_s=status_deadline_s,
        )
        registries.append(registry)
        return registry

    yield make_registry
    for registry in registries:
        registry.close()


@pytest.fixture
def registry(make_registry: MakeRegistry) -> ModelRegistry:
    return make_registry()


@pytest.fixture
def working(card: Card) -> FakeVersion:
    return classifier(card, constant(1, 0, 0))


@pytest.fixture
def broken() -> FakeVersion:
    """Return a version that cannot be used."""
    return FakeVersion({}, {})


# Models


def test_a_model_without_a_version_is_refused_with_what_is_wrong_in_its_folder(
    server: FakeModelServer, tmp_path: Path, deadline: Deadline
):
    (tmp_path / "pets" / "v1").mkdir(parents=True)
    (tmp_path / "pets" / "v1" / "saved_model.pb").touch()
    config = tmp_path / "models.config"
    entry = f'name: "pets" base_path: "{tmp_path / "pets"}" model_platform: "tensorflow"'
    config.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    registry = ModelRegistry(
        server, ConfiguredModels.from_file(config), cards_dir=tmp_path, status_deadline_s=deadline.remaining_s()
    )
    server.models.clear()

    with pytest.raises(ModelUnavailableError) as caught:
        registry.current("pets", deadline=deadline)

    assert caught.value.detail == (
        f"The model server has no version of pets ready: {tmp_path}/pets/v1 is not named like a version, by a whole "
        f"number. Rename it to {tmp_path}/pets/1."
    )


def test_the_names_are_those_configured_now(registry: ModelRegistry, configured: list[str]):
    assert registry.names == ("pets", "weather")

    configured.append("digits")

    assert registry.names == ("pets", "weather", "digits")


def test_the_first_configured_model_is_the_default(make_registry: MakeRegistry, configured: list[str]):
    assert make_registry().default == "pets"
    assert make_registry(default="weather").default == "weather"
    configured.clear()
    with pytest.raises(ModelNotFoundError, match="No model is served"):
        _ = make_registry().default


def test_an_unknown_model_is_refused_with_the_configured_ones(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    for target in (ModelTarget("birds"), ModelTarget("birds", version=1), ModelTarget("birds", label="stable")):
        with pytest.raises(ModelNotFoundError, match=r"No model named 'birds' is served\. Served: pets, weather\."):
            registry.resolve(target, deadline=deadline)
    assert not server.calls


def test_a_model_removed_from_the_configuration_is_refused_at_once(
    registry: ModelRegistry, both: FakeModelServer, configured: list[str], deadline: Deadline
):
    targets = [ModelTarget("pets"), ModelTarget("pets", version=1), ModelTarget("pets", label="stable")]
    for target in targets:
        assert registry.resolve(target, deadline=deadline).name == "pets"

    configured.remove("pets")
    calls = both.calls.copy()

    for target in targets:
        with pytest.raises(ModelNotFoundError, match=r"No model named 'pets' is served\. Served: weather\."):
            registry.resolve(target, deadline=deadline)
    for query in (registry.current, registry.refresh, registry.version_statuses, registry.labels):
        with pytest.raises(ModelNotFoundError):
            query("pets", deadline=deadline)
    assert registry.names == ("weather",)
    assert both.calls == calls


def test_a_configured_model_that_is_not_served_is_not_available(registry: ModelRegistry, deadline: Deadline):
    with pytest.raises(ModelUnavailableError, match="no version of weather ready"):
        registry.current("weather", deadline=deadline)


# The version that answers


def test_a_version_is_inspected_once(registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline):
    served = registry.current("pets", deadline=deadline)
    assert (served.version, served.card) == (1, card)
    calls = server.calls.copy()

    assert registry.current("pets", deadline=deadline) is served
    assert server.calls == calls


def test_concurrent_first_requests_share_one_inspected_version(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    starts = metrics.VERSION_STARTS.labels("pets", 1)
    count = starts._value.get()
    together = threading.Barrier(2)
    server.before["version_statuses"] = lambda: together.wait(10) and None  # both have found nothing in memory

    with ThreadPoolExecutor(2) as pool:
        requests = [pool.submit(registry.resolve, ModelTarget(), deadline=deadline) for _ in range(2)]
        first, second = (request.result() for request in requests)

    assert first is second is registry.current("pets", deadline=deadline)
    assert server.calls["signatures"] == 1
    assert starts._value.get() == count + 1


def test_a_refresh_finds_a_new_version_and_its_card(
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


def test_only_a_version_that_is_available_answers(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = working
    for state in ("START", "LOADING", "UNLOADING", "END"):
        server.states = {("pets", 2): (state, "")}
        assert registry.refresh("pets", deadline=deadline).version == 1, state

        server.states["pets", 1] = (state, "")
        with pytest.raises(ModelUnavailableError):
            registry.refresh("pets", deadline=deadline)


def test_an_older_version_stands_in_for_a_broken_one(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = broken
    assert registry.current("pets", deadline=deadline).version == 1


def test_an_older_version_stands_in_for_one_without_a_readable_card(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    def fail(_: object) -> dict[str, object]:
        raise ModelFailedError("describe failed")

    server.models["pets"][2] = FakeVersion(working.signatures, {**working.compute, "describe": fail})
    assert registry.current("pets", deadline=deadline).version == 1

    del server.models["pets"][1]
    with pytest.raises(ModelFailedError, match="describe failed"):
        registry.refresh("pets", deadline=deadline)


def test_an_older_version_stands_in_for_one_unloaded_during_the_refresh(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = working
    server.before["signatures"] = lambda: server.models["pets"].pop(2, None)
    assert registry.current("pets", deadline=deadline).version == 1


def test_a_model_with_only_broken_versions_cannot_be_used(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.swap("pets", 2, broken)
    with pytest.raises(ModelContractError, match="pets version 2 has no signature"):
        registry.current("pets", deadline=deadline)


# Versions and labels in a request


@pytest.fixture
def both(server: FakeModelServer, card: Card) -> FakeModelServer:
    """Serve two versions of `pets` with different class labels: 1, under the version label `stable`, and 2."""
    renamed = dataclasses.replace(card, labels=("Katze", "Hund", "Fisch"))
    server.models["pets"][2] = classifier(renamed, constant(1, 0, 0))
    server.labels["pets"] = {"stable": 1}
    return server


def test_a_target_without_version_or_label_is_the_newest_version(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    assert both.models["pets"].keys() == {1, 2}
    assert registry.resolve(ModelTarget(), deadline=deadline) is registry.current("pets", deadline=deadline)
    assert registry.resolve(ModelTarget("pets"), deadline=deadline).version == 2


def test_each_version_has_its_own_card_and_is_inspected_once(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    old, new = (registry.resolve(ModelTarget("pets", version=version), deadline=deadline) for version in (1, 2))
    assert (old.card.labels[0], new.card.labels[0]) == ("cat", "Katze")
    calls = both.calls.copy()

    registry.refresh("pets", deadline=deadline)

    assert registry.resolve(ModelTarget("pets", version=1), deadline=deadline) is old
    assert both.calls - calls == {"version_statuses": 1}


def test_a_refresh_drops_versions_that_were_unloaded(
    registry: ModelRegistry, both: FakeModelServer, card: Card, deadline: Deadline
):
    registry.resolve(ModelTarget("pets", version=1), deadline=deadline)

    del both.models["pets"][1]
    registry.refresh("pets", deadline=deadline)

    both.models["pets"][1] = classifier(dataclasses.replace(card, labels=("x", "y", "z")), constant(1, 0, 0))
    assert registry.resolve(ModelTarget("pets", version=1), deadline=deadline).card.labels == ("x", "y", "z")


def test_a_label_is_resolved_by_the_model_server(registry: ModelRegistry, both: FakeModelServer, deadline: Deadline):
    assert registry.resolve(ModelTarget("pets", label="stable"), deadline=deadline).version == 1

    both.labels["pets"]["stable"] = 2
    assert registry.resolve(ModelTarget("pets", label="stable"), deadline=deadline).version == 2


def test_an_unknown_version_is_refused_with_the_served_ones(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    both.models["pets"][9] = both.models["pets"][1]
    both.states["pets", 9] = ("LOADING", "")

    for target, missing in (
        (ModelTarget(version=3), "No version 3 of pets is served"),
        (ModelTarget("pets", version=0), "No version 0 of pets is served"),
        (ModelTarget("pets", label="canary"), "No version labelled 'canary' of pets is served"),
    ):
        with pytest.raises(VersionNotFoundError, match=rf"{missing}\. Served: 2, 1, stable\.") as caught:
            registry.resolve(target, deadline=deadline)
        assert caught.value.members == {"versions": [2, 1], "labels": ["stable"]}, target


def test_a_broken_version_that_is_targeted_has_no_stand_in(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = broken
    with pytest.raises(ModelContractError, match="pets version 2 has no signature"):
        registry.resolve(ModelTarget("pets", version=2), deadline=deadline)


def test_labels_are_returned_with_their_versions(registry: ModelRegistry, both: FakeModelServer, deadline: Deadline):
    both.labels["pets"] |= {"canary": 2, "old": 7}  # version 7 is not served

    assert registry.labels("pets", deadline=deadline) == {"stable": 1, "canary": 2}
    assert registry.labels("weather", deadline=deadline) == {}
    with pytest.raises(ModelNotFoundError):
        registry.labels("birds", deadline=deadline)


def test_labels_cannot_be_resolved_while_the_server_is_away(
    registry: ModelRegistry, both: FakeModelServer, deadline: Deadline
):
    both.away = True
    with pytest.raises(ModelUnavailableError):
        registry.labels("pets", deadline=deadline)
    with pytest.raises(ModelUnavailableError):
        registry.resolve(ModelTarget("pets", label="stable"), deadline=deadline)


def test_the_log_says_why_a_card_cannot_be_used(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    compute = {**working.compute, "describe": lambda _: {"card": np.array([b'["not a card"]'], object)}}
    server.swap("pets", 2, FakeVersion(working.signatures, compute))

    with capture_logs() as logs, pytest.raises(ModelContractError, match="The gateway's log has the value") as raised:
        registry.refresh("pets", deadline=deadline)

    (line,) = logs
    assert line["event"] == "model_unusable"
    assert (
        line["reason"]
        == 'The card of pets version 2 cannot be used: card: expected a JSON object, found ["not a card"].'
    )
    assert "not a card" not in raised.value.detail


# Cards that change while their model is served


def write_card(folder: Path, card: Card) -> None:
    (folder / "pets").mkdir(exist_ok=True)
    (folder / "pets" / "card.json").write_text(card.to_json(), encoding="utf-8")


def test_a_card_that_comes_changes_or_goes_is_read_at_the_next_refresh(
    registry: ModelRegistry, server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    def labels() -> tuple[str, ...]:
        registry.refresh("pets", deadline=deadline)
        return registry.current("pets", deadline=deadline).card.labels

    server.swap("pets", 1, classifier(card, constant(1, 0, 0), has_card=False))
    assert labels() == ("0", "1", "2")
    unknown = registry.current("pets", deadline=deadline)

    write_card(tmp_path, card)
    assert labels() == card.labels
    assert registry.current("pets", deadline=deadline).card_digest != unknown.card_digest, "cached answers"

    renamed = dataclasses.replace(card, labels=tuple(reversed(card.labels)))
    write_card(tmp_path, renamed)
    assert labels() == renamed.labels
    assert registry.resolve(ModelTarget("pets", version=1), deadline=deadline).card == renamed

    before = server.calls["signatures"]
    assert labels() == renamed.labels
    assert server.calls["signatures"] == before, "a card that stays is not read again"

    (tmp_path / "pets" / "card.json").unlink()
    assert labels() == ("0", "1", "2")


def test_a_card_broken_while_its_model_is_served_is_refused_as_after_a_restart(
    make_registry: MakeRegistry, server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    registry = make_registry()
    server.swap("pets", 1, classifier(card, constant(1, 0, 0), has_card=False))
    write_card(tmp_path, card)
    registry.refresh("pets", deadline=deadline)

    (tmp_path / "pets" / "card.json").write_text("{", encoding="utf-8")

    details = set()
    for each in (registry, make_registry()):
        with pytest.raises(ModelContractError, match="card of pets version 1 cannot be used") as raised:
            each.refresh("pets", deadline=deadline)
        details.add(raised.value.detail)
    assert len(details) == 1

    write_card(tmp_path, card)
    assert registry.refresh("pets", deadline=deadline).card == card


def test_a_version_with_a_card_of_its_own_ignores_the_file(
    registry: ModelRegistry, card: Card, tmp_path: Path, deadline: Deadline
):
    served = registry.refresh("pets", deadline=deadline)

    write_card(tmp_path, dataclasses.replace(card, labels=("x", "y", "z")))

    assert registry.refresh("pets", deadline=deadline) is served


def test_the_old_card_is_used_until_the_new_one_has_been_checked(
    registry: ModelRegistry, server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    server.swap("pets", 1, classifier(card, constant(1, 0, 0), has_card=False))
    served = registry.refresh("pets", deadline=deadline)
    write_card(tmp_path, card)

    server.failures["predict"] = ModelOverloadedError("full")
    with pytest.raises(ModelOverloadedError):
        registry.refresh("pets", deadline=deadline)

    assert registry.current("pets", deadline=deadline) is served
    server.failures.clear()
    assert registry.refresh("pets", deadline=deadline).card == card


# The check of scores


def unchecked(registry: ModelRegistry, server: FakeModelServer, version: FakeVersion, deadline: Deadline) -> str:
    """Serve a version and return why it cannot be used."""
    server.swap("pets", max(server.models["pets"]) + 1, version)
    with pytest.raises(GatewayError) as caught:
        registry.refresh("pets", deadline=deadline)
    return caught.value.detail


def test_scores_that_are_not_probabilities_are_refused_before_a_version_answers(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    for scores, reason in (
        ((0.502, 0.502, 0.502), r"The scores of a gray image add up to 1\.506, not to 1\. If they are logits"),
        ((0.2, 0.2, 0.2), "add up to 0.600"),
        ((3.0, -1.0, -1.0), "returned scores from -1 to 3, expected probabilities from 0 to 1"),
        ((np.nan, 0.5, 0.5), "NaN or infinite"),
    ):
        assert re.search(reason, unchecked(registry, server, classifier(card, constant(*scores)), deadline)), scores


def test_the_scores_of_a_multilabel_model_need_not_add_up_to_1(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    multilabel = dataclasses.replace(card, task="multilabel")
    server.swap("pets", 2, classifier(multilabel, constant(0.9, 0.9, 0.9)))
    assert registry.refresh("pets", deadline=deadline).version == 2
    assert "expected probabilities" in unchecked(
        registry, server, classifier(multilabel, constant(1.9, 0.9, 0.9)), deadline
    )


def test_the_reason_says_what_to_write_in_which_card(
    registry: ModelRegistry, server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    logits = constant(3, -1, -1)
    (tmp_path / "pets").mkdir()

    own = unchecked(registry, server, classifier(card, logits), deadline)
    derived = unchecked(registry, server, classifier(card, logits, has_card=False), deadline)
    (tmp_path / "pets" / "card.json").write_text(card.to_json())
    written = unchecked(registry, server, classifier(card, logits, has_card=False), deadline)

    output = '"output": {"name": "probabilities", "activation": "softmax"}'
    assert f"export it again with {output} in its card" in own
    assert f"write {output} in pets/card.json" in written
    proposed = derived.partition("write pets/card.json such as ")[2].removesuffix(".")
    (tmp_path / "pets" / "card.json").write_text(proposed)
    assert registry.refresh("pets", deadline=deadline).card.output.activation == "softmax"


def by_colour(*, weight: float, bias: float) -> Callable[[Array], Array]:
    """Return one logit for an image: its mean, scaled to -1..1, times `weight`, plus `bias`."""
    return lambda images: (weight * (images.mean(axis=(1, 2, 3)) / 127.5 - 1) + bias)[:, None].astype(np.float32)


def test_logits_that_look_like_probabilities_for_gray_are_refused(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    logit = by_colour(weight=4, bias=0.3)
    binary = dataclasses.replace(card, labels=("a", "b"))
    multilabel = dataclasses.replace(card, task="multilabel")

    def one_score(version: FakeVersion) -> FakeVersion:
        output = Signature(
            version.signatures["serving_default"].inputs, {"probabilities": TensorSpec("float32", (None, 1))}
        )
        return FakeVersion({**version.signatures, "serving_default": output}, version.compute)

    def independent(images: Array) -> Array:
        second = 1 / (1 + np.exp(-logit(images)))
        return np.concatenate([np.full_like(second, 0.44), second], axis=1)

    for version, reason in (
        (one_score(classifier(binary, logit)), '"activation": "sigmoid"'),
        (classifier(multilabel, lambda images: np.repeat(logit(images), 3, axis=1)), '"activation": "sigmoid"'),
        (classifier(binary, independent), 'write "task": "multilabel" instead'),
    ):
        assert reason in unchecked(registry, server, version, deadline), reason


def test_a_slow_model_is_checked_with_few_images(registry: ModelRegistry, server: FakeModelServer, card: Card):
    sizes: list[int] = []

    def slow(images: Array) -> Array:
        sizes.append(len(images))
        object.__setattr__(deadline, "at_s", deadline.at_s - 10 * len(images))  # as if so many seconds passed
        return constant(1, 0, 0)(images)

    for available_s in (60, 600):
        deadline = Deadline.after(available_s)
        server.swap("pets", available_s, classifier(card, slow))
        registry.refresh("pets", deadline=deadline)

    assert sizes == [1, 1, 1, len(NAMES) - 1]


def test_a_version_whose_answer_contradicts_its_card_is_refused_until_the_card_changes(
    registry: ModelRegistry,
    server: FakeModelServer,
    card: Card,
    tmp_path: Path,
    deadline: Deadline,
):
    server.swap("pets", 1, classifier(card, constant(1, 0, 0), has_card=False))
    served = registry.refresh("pets", deadline=deadline)

    registry.reject(served, ModelContractError("The scores of an image add up to 2."))

    for _ in range(2):
        with pytest.raises(ModelContractError, match=r"add up to 2\."):
            registry.current("pets", deadline=deadline)
        with pytest.raises(ModelContractError, match=r"add up to 2\."):
            registry.resolve(ModelTarget("pets", version=1), deadline=deadline)
    write_card(tmp_path, card)
    assert registry.refresh("pets", deadline=deadline).card == card


def test_an_older_version_answers_while_the_scores_of_the_newest_are_refused(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    server.models["pets"][2] = classifier(card, constant(3, -1, -1))
    assert registry.refresh("pets", deadline=deadline).version == 1


def test_refused_scores_are_computed_once_until_the_card_changes(
    registry: ModelRegistry, server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    server.swap("pets", 1, classifier(card, constant(3, -1, -1), has_card=False))
    for _ in range(3):
        with pytest.raises(ModelContractError, match="logits"):
            registry.refresh("pets", deadline=deadline)
    assert server.calls["predict"] == 1

    (tmp_path / "pets").mkdir()
    with_softmax = dataclasses.replace(card, output=OutputSpec(activation="softmax"))
    (tmp_path / "pets" / "card.json").write_text(with_softmax.to_json())

    assert registry.refresh("pets", deadline=deadline).card == with_softmax
    assert server.calls["predict"] == 1 + CHECK_CALLS


def test_a_version_that_fails_its_check_is_checked_again_later(
    registry: ModelRegistry,
    server: FakeModelServer,
    working: FakeVersion,
    deadline: Deadline,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(_: object) -> dict[str, Array]:
        raise ModelFailedError("out of memory")

    def refresh() -> int:
        return registry.refresh("pets", deadline=deadline).version

    server.swap("pets", 2, FakeVersion(working.signatures, {**working.compute, "serving_default": fail}))
    for _ in range(3):
        with pytest.raises(ModelFailedError, match="out of memory"):
            refresh()
    assert server.calls["predict"] == 3 + 1  # three times its card, and once the check

    monkeypatch.setattr("gateway.models.registry.RECHECK_S", 0)
    server.swap("pets", 3, server.models["pets"][2])
    with pytest.raises(ModelFailedError, match="out of memory"):
        refresh()
    server.swap("pets", 3, working)
    assert refresh() == 3


def test_a_version_whose_check_cannot_be_made_does_not_answer(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    server.swap("pets", 1, classifier(card, constant(1, 0, 0), has_card=False))
    for error in (ModelOverloadedError("full"), DeadlineExceededError("late")):
        server.failures["predict"] = error
        with pytest.raises(type(error)):
            registry.current("pets", deadline=deadline)

    server.failures.clear()

    assert registry.current("pets", deadline=deadline).version == 1


def test_a_model_that_divides_by_contrast_is_checked_with_another_image(
    registry: ModelRegistry, server: FakeModelServer, card: Card, deadline: Deadline
):
    def scores(images: Array) -> Array:
        return constant(1, 0, 0)(images) if np.ptp(images) else constant(np.nan, 0, 0)(images)

    server.swap("pets", 2, classifier(card, scores))

    assert registry.refresh("pets", deadline=deadline).version == 2


# Outages of the model server


def test_the_current_version_is_kept_in_memory_while_the_server_is_away(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    served = registry.current("pets", deadline=deadline)

    server.away = True

    assert registry.current("pets", deadline=deadline) is served


def test_the_card_is_read_again_after_an_outage(
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


def test_an_overloaded_or_slow_server_does_not_count_as_an_outage(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline
):
    served = registry.current("pets", deadline=deadline)

    for error in (ModelOverloadedError("busy"), DeadlineExceededError("late")):
        server.failures["version_statuses"] = error
        with pytest.raises(type(error)):
            registry.refresh("pets", deadline=deadline)
        assert registry.current("pets", deadline=deadline) is served, error


def test_a_refresh_takes_no_longer_than_the_status_deadline(
    make_registry: MakeRegistry, server: FakeModelServer, deadline: Deadline
):
    server.before["version_statuses"] = lambda: threading.Event().wait(0.06)
    with pytest.raises(DeadlineExceededError):
        make_registry(status_deadline_s=0.05).refresh("pets", deadline=deadline)
    assert make_registry(status_deadline_s=5).refresh("pets", deadline=deadline)


# Replacements of a version that is unloaded during a request


def test_the_replacement_of_a_version_is_found(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)

    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2
    assert registry.current("pets", deadline=deadline).version == 2


def test_a_replacement_found_by_another_request_needs_no_refresh(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    replacement = registry.await_replacement(gone, ModelTarget(), deadline=deadline)
    calls = server.calls.copy()

    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline) is replacement
    assert server.calls == calls


def test_sixteen_requests_that_lose_their_version_share_one_refresh(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    server.calls.clear()
    together = threading.Barrier(16)

    def replace(_: int) -> int:
        together.wait()
        return registry.await_replacement(gone, ModelTarget(), deadline=deadline).version

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(replace, range(16))) == [2] * 16
    assert server.calls == {"version_statuses": 1, "signatures": 1, "predict": INSPECTION_CALLS}


def test_a_replacement_that_is_still_loading_is_awaited(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    """The old version is END and the new one LOADING until the third refresh."""
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    server.states["pets", 2] = ("LOADING", "")
    first_calls = server.calls.copy()

    def ready_at_third() -> None:
        if (server.calls - first_calls)["version_statuses"] == 3:
            server.states.clear()

    server.before["version_statuses"] = ready_at_third
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2
    assert (server.calls - first_calls)["version_statuses"] == 3


def test_a_status_that_still_lists_the_old_version_is_queried_again(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    first_calls = server.calls.copy()

    def swap_at_third() -> None:
        if (server.calls - first_calls)["version_statuses"] == 3:
            server.swap("pets", 2, working)

    server.before["version_statuses"] = swap_at_third
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2


def test_a_version_that_is_loaded_again_replaces_itself(
    registry: ModelRegistry,
    server: FakeModelServer,
    working: FakeVersion,
    deadline: Deadline,
    monkeypatch: pytest.MonkeyPatch,
):
    """The model server restarts: the version is missing for a moment, then served again under the same number."""
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", LONG_S)
    gone = registry.current("pets", deadline=deadline)
    server.models.clear()
    first_calls = server.calls.copy()

    def back_at_third() -> None:
        if (server.calls - first_calls)["version_statuses"] == 3:
            server.swap("pets", 1, working)

    server.before["version_statuses"] = back_at_third

    with ends_soon():
        replacement = registry.await_replacement(gone, ModelTarget(), deadline=deadline)

    assert replacement.version == 1
    assert replacement is not gone


def test_the_wait_for_a_replacement_is_limited(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.1)
    gone = registry.current("pets", deadline=deadline)

    started = time.monotonic()
    with ends_soon():
        replacement = registry.await_replacement(gone, ModelTarget(), deadline=deadline)
    assert replacement is gone  # the server still reports it as AVAILABLE
    assert time.monotonic() - started >= 0.1

    server.models.clear()
    started = time.monotonic()
    with ends_soon(), pytest.raises(ModelUnavailableError, match="no version of pets ready"):
        registry.await_replacement(gone, ModelTarget(), deadline=deadline)
    assert time.monotonic() - started >= 0.1


def test_the_deadline_of_the_request_ends_the_wait(
    registry: ModelRegistry, server: FakeModelServer, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", LONG_S)
    gone = registry.current("pets", deadline=deadline)
    server.models.clear()
    with ends_soon(), pytest.raises(DeadlineExceededError):
        registry.await_replacement(gone, ModelTarget(), deadline=Deadline.after(0.1))


def test_the_wait_for_another_requests_refresh_ends_at_the_deadline(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, working)
    refreshing, unblock = threading.Event(), threading.Event()

    def block() -> None:
        refreshing.set()
        unblock.wait(10)

    server.before["version_statuses"] = block

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(registry.await_replacement, gone, ModelTarget(), deadline=deadline)
        assert refreshing.wait(5)
        with pytest.raises(DeadlineExceededError):
            registry.await_replacement(gone, ModelTarget(), deadline=Deadline.after(0.05))
        unblock.set()
        assert first.result().version == 2
    assert registry.await_replacement(gone, ModelTarget(), deadline=deadline).version == 2


def test_a_broken_replacement_ends_the_wait_at_once(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)
    server.swap("pets", 2, broken)
    with pytest.raises(ModelContractError):
        registry.await_replacement(gone, ModelTarget(), deadline=deadline)


def test_a_model_removed_from_the_configuration_has_no_replacement(
    registry: ModelRegistry, server: FakeModelServer, configured: list[str], deadline: Deadline
):
    gone = registry.current("pets", deadline=deadline)

    configured.remove("pets")
    server.models.clear()

    with pytest.raises(ModelNotFoundError):
        registry.await_replacement(gone, ModelTarget(), deadline=deadline)


# Watching


def current_version(registry: ModelRegistry) -> int:
    return registry.current("pets", deadline=Deadline.after(5)).version


def test_a_watching_registry_follows_the_server(registry: ModelRegistry, server: FakeModelServer, working: FakeVersion):
    registry.watch(0.005, deadline_s=5)
    until(lambda: current_version(registry) == 1)

    server.swap("pets", 2, working)

    until(lambda: current_version(registry) == 2)


def test_the_watcher_survives_every_kind_of_error(
    registry: ModelRegistry, server: FakeModelServer, working: FakeVersion, broken: FakeVersion
):
    registry.watch(0.005, deadline_s=5)
    until(lambda: current_version(registry) == 1)
    for error in (ModelUnavailableError("away"), DeadlineExceededError("late"), VersionGoneError("gone")):
        server.failures["version_statuses"] = error
        before = server.calls["version_statuses"]
        until(lambda before=before: server.calls["version_statuses"] > before + 2)
    server.failures["version_statuses"] = RuntimeError("a bug")  # type: ignore[assignment]  # on purpose
    with capture_logs() as logs:
        until(lambda: any(line["event"] == "look_failed" for line in logs))

    server.failures.clear()
    server.swap("pets", 2, broken)
    server.swap("pets", 3, working)
    until(lambda: current_version(registry) == 3)


def test_the_watcher_pauses_between_rounds(
    registry: ModelRegistry, server: FakeModelServer, configured: list[str], monkeypatch: pytest.MonkeyPatch
):
    pauses: list[float] = []
    rounds: list[int] = []

    class RecordedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            rounds.append(server.calls["version_statuses"])
            if len(pauses) == 5:
                self.set()
            return self.is_set()

    monkeypatch.setattr(registry, "_stop", RecordedEvent())

    registry.watch(0.25, deadline_s=5)
    until(lambda: len(pauses) == 5, what="five pauses")
    registry.close()

    assert pauses == [0.25] * 5
    assert rounds == [number * len(configured) for number in (1, 2, 3, 4, 5)]


def test_a_closed_registry_does_not_watch(registry: ModelRegistry, server: FakeModelServer):
    before = set(threading.enumerate())
    registry.watch(0.005, deadline_s=5)
    until(lambda: server.calls["version_statuses"] > 2)
    (watcher,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "registry"]

    registry.close()

    assert not watcher.is_alive()


def test_a_registry_that_does_not_watch_can_be_closed(make_registry: MakeRegistry):
    make_registry().close()


# Log lines


def faults(logs: list[dict[str, object]]) -> list[object]:
    return [line["reason"] for line in logs if line["event"] == "model_unusable"]


def test_an_outage_is_logged_once_when_it_begins(registry: ModelRegistry, server: FakeModelServer, deadline: Deadline):
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


def test_a_broken_version_is_logged_once_while_an_older_one_answers(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.models["pets"][2] = broken
    with capture_logs() as logs:
        for _ in range(5):
            assert registry.refresh("pets", deadline=deadline).version == 1
    (fault,) = faults(logs)
    assert "pets version 2 has no signature serving_default" in str(fault)


def test_a_broken_model_is_logged_once(
    registry: ModelRegistry, server: FakeModelServer, broken: FakeVersion, deadline: Deadline
):
    server.swap("pets", 2, broken)
    with capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(ModelContractError):
                registry.refresh("pets", deadline=deadline)
    assert len(faults(logs)) == 1
