"""Parse the answers of the gateway, and refuse documents of another form."""

import base64

import pytest

from image_gateway_client.answers import (
    Explanation,
    Health,
    ModelVersion,
    Prediction,
    VersionState,
    parse_answer,
    parse_batch,
    parse_model,
    parse_models,
    parse_ready,
)
from image_gateway_client.errors import Problem, UnexpectedAnswerError

CAT = {"class": "cat", "class_id": 3, "score": 0.75}
DOG = {"class": "dog", "class_id": 5, "score": 0.25}
MODEL = {"name": "pets", "version": 2}
DOCUMENT = {**CAT, "predictions": [CAT, DOG], "model": MODEL, "request_id": "r-1"}
DAMAGED = {"type": "/problems/unreadable-image", "title": "Damaged", "status": 422, "detail": "Cut off."}


def test_every_member_of_an_answer_is_parsed():
    answer = parse_answer(DOCUMENT)
    assert (answer.label, answer.class_id, answer.score) == ("cat", 3, 0.75)
    assert answer.predictions == (Prediction("cat", 3, 0.75), Prediction("dog", 5, 0.25))
    assert (answer.classes, answer.explanation) == (None, None)
    assert (answer.model, answer.request_id) == (ModelVersion("pets", 2), "r-1")
    assert hash(answer) == hash(parse_answer(DOCUMENT))


def test_an_answer_may_say_whether_it_is_confident():
    assert parse_answer(DOCUMENT).confident is None
    assert parse_answer({**DOCUMENT, "confident": True}).confident is True
    assert parse_answer({**DOCUMENT, "confident": False}).confident is False
    assert parse_answer({**DOCUMENT, "confident": None}).confident is None


def test_a_multi_label_answer_has_its_classes_even_if_there_are_none():
    assert parse_answer({**DOCUMENT, "classes": [CAT]}).classes == (Prediction("cat", 3, 0.75),)
    assert parse_answer({**DOCUMENT, "classes": []}).classes == ()


def test_the_name_of_a_class_is_its_label_or_in_older_gateways_its_class():
    cat, dog = {"label": "cat", "class_id": 3, "score": 0.75}, {**DOG, "label": "dog"}
    new = {**cat, "predictions": [cat, dog], "classes": [cat], "model": MODEL, "request_id": "r-1"}
    newer = {**new, "explanation": {"label": "cat", "class_id": 3, "heatmap": [[0.5]]}}

    assert parse_answer(new).predictions == parse_answer(DOCUMENT).predictions
    assert (parse_answer(newer).label, parse_answer(newer).explanation.label) == ("cat", "cat")
    assert [item.label for item in parse_batch({"results": [new], "model": MODEL, "request_id": "r"}, 1)] == ["cat"]


def test_a_problem_may_have_a_member_label():
    problem = {"type": "/problems/version-not-found", "title": "No", "status": 404, "label": "stable"}

    (parsed,) = parse_batch({"results": [problem], "model": MODEL, "request_id": "r", "answered": 0, "failed": 1}, 1)

    assert (parsed.status, parsed.members) == (404, {"label": "stable"})


def test_unknown_members_are_ignored():
    assert parse_answer({**DOCUMENT, "colour": "red", "model": {**MODEL, "label": "x"}}) == parse_answer(DOCUMENT)


def test_a_heat_map_is_a_png_or_numbers():
    shown = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    drawn = parse_answer({**DOCUMENT, "explanation": {"class": "cat", "class_id": 3, "heatmap": shown}})
    assert drawn.explanation == Explanation("cat", 3, b"\x89PNG", None)
    raw = {"class": "cat", "class_id": 3, "heatmap": [[0, 0.5], [1, 0.25]], "height": 2, "width": 2}
    assert parse_answer({**DOCUMENT, "explanation": raw}).explanation == Explanation(
        "cat", 3, None, ((0.0, 0.5), (1.0, 0.25))
    )


def without(name):
    return {key: value for key, value in DOCUMENT.items() if key != name}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "cat",
        {},
        *map(without, DOCUMENT),
        {**DOCUMENT, "predictions": 1},
        {**DOCUMENT, "predictions": [{}]},
        {**DOCUMENT, "score": "high"},
        {**DOCUMENT, "model": "pets"},
        {**DOCUMENT, "explanation": {"class": "cat", "class_id": 3, "heatmap": "data:image/png;base64,?"}},
    ],
)
def test_a_document_that_is_not_a_prediction_is_an_error(document):
    with pytest.raises(UnexpectedAnswerError, match="expected a prediction, received"):
        parse_answer(document)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"class": None}, "class is not a text"),
        ({"class_id": "three"}, "class_id is not a whole number"),
        ({"class_id": True}, "class_id is not a whole number"),
        ({"score": float("nan")}, "score is not a number"),
        ({"score": 10**400}, "score is not a number"),
        ({"score": float("inf")}, "score is not a number"),
        ({"score": None}, "score is not a number"),
        ({"predictions": [{**CAT, "score": float("nan")}]}, "score is not a number"),
        ({"model": "pets"}, "it is not an object"),
        ({"model": {"name": "pets", "version": "two"}}, "version is not a whole number"),
        ({"explanation": {"class": "cat", "class_id": 3, "heatmap": [[float("nan")]]}}, "heatmap is not a number"),
    ],
)
def test_the_error_names_the_member_in_plain_words(members, fault):
    with pytest.raises(
        UnexpectedAnswerError, match=rf"received \{{.*\({fault}\)$|received \{{.* \({fault}\)$"
    ) as refused:
        parse_answer({**DOCUMENT, **members})
    assert "Error" not in str(refused.value)


@pytest.mark.parametrize("name", ["class", "class_id", "score", "predictions", "model", "request_id"])
def test_the_error_names_a_missing_member(name):
    with pytest.raises(UnexpectedAnswerError, match=rf"\({name} is missing\)$"):
        parse_answer(without(name))


def test_each_image_of_a_batch_has_its_own_outcome_in_order():
    results = [{**CAT, "predictions": [CAT]}, DAMAGED, {**DOG, "predictions": [DOG], "request_id": "own"}]
    first, second, third = parse_batch({"results": results, "model": MODEL, "request_id": "r-2"}, 3)
    assert (first.label, first.model, first.request_id) == ("cat", ModelVersion("pets", 2), "r-2")
    assert second == Problem("/problems/unreadable-image", "Damaged", "Cut off.", 422, "r-2")
    assert (third.label, third.request_id) == ("dog", "own")


def test_a_batch_of_problems_needs_no_model():
    assert [item.status for item in parse_batch({"results": [DAMAGED], "model": None, "request_id": "r"}, 1)] == [422]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        DOCUMENT,
        {"results": [], "model": MODEL, "request_id": "r"},
        {"results": [DAMAGED] * 3, "model": MODEL, "request_id": "r"},
        {"results": [CAT, DAMAGED], "model": MODEL, "request_id": "r"},
        {"results": [1, 2], "model": MODEL, "request_id": "r"},
        {"results": [{**CAT, "predictions": []}] * 2, "request_id": "r"},
    ],
)
def test_a_document_without_a_result_for_each_image_is_an_error(document):
    with pytest.raises(UnexpectedAnswerError, match="expected the results of 2 images, received"):
        parse_batch(document, 2)


def test_models_are_parsed():
    listed = {"models": [{"name": "pets", "default": True, "available": True, "version": 2, "labels": ["cat"]}]}
    (model,) = parse_models(listed)
    assert (model.name, model.default, model.available, model.version, model.labels) == (
        "pets",
        True,
        True,
        2,
        ("cat",),
    )
    assert not model.explainable
    assert parse_model({**listed["models"][0], "explainable": True}).explainable
    away = parse_model({"name": "x", "default": False, "available": False, "reason": "x is loading."})
    assert (away.available, away.version, away.reason) == (False, None, "x is loading.")


def test_a_model_has_its_versions_and_its_card():
    versions = [
        {"version": 2, "state": "AVAILABLE", "labels": ["stable"]},
        {"version": 1, "state": "END", "reason": "unloaded"},
    ]
    model = parse_model(
        {"name": "pets", "default": True, "available": True, "versions": versions, "card": {"task": "multiclass"}}
    )
    assert model.versions == (VersionState(2, "AVAILABLE", ("stable",)), VersionState(1, "END", reason="unloaded"))
    assert model.card == {"task": "multiclass"}
    hash(model)


@pytest.mark.parametrize("document", [None, {}, {"models": None}, {"models": [{"name": "x"}]}])
def test_a_document_that_is_not_a_list_of_models_is_an_error(document):
    with pytest.raises(UnexpectedAnswerError, match="expected a list of models"):
        parse_models(document)


def test_health():
    assert parse_ready({"status": "ready", "model": MODEL}) == Health(ready=True, model=ModelVersion("pets", 2))
    with pytest.raises(UnexpectedAnswerError, match="expected the answer of /readyz"):
        parse_ready({"status": "ok"})
