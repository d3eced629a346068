import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vision.card import Card, InputSpec, OutputSpec
from vision.postprocess import (
    ClassScore,
    NotProbabilitiesError,
    at_or_above,
    class_probabilities,
    is_confident,
    to_probabilities,
    top_k,
)

# Few distinct values, so that ties are frequent.
COARSE = arrays(np.float32, st.integers(1, 40), elements=st.integers(0, 4).map(lambda n: n / 4))
ANY_FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
LOGITS = arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 8)), elements=ANY_FINITE)


def labels_for(scores: np.ndarray) -> list[str]:
    return [f"label {index}" for index in range(len(scores))]


def rank(scores: np.ndarray) -> list[int]:
    """Return indices by descending score, then by ascending index."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


# Activations


def test_probabilities_pass_through_without_activation():
    raw = np.array([[0.25, 0.75]], np.float32)

    assert to_probabilities(raw, "none") is raw


def test_softmax_of_known_logits():
    result = to_probabilities([[0.0, np.log(3)]], "softmax")

    assert result.dtype == np.float32
    assert result == pytest.approx(np.array([[0.25, 0.75]]), rel=1e-6)


def test_sigmoid_of_known_logits():
    result = to_probabilities([0.0, np.log(3), -np.log(3)], "sigmoid")

    assert result.dtype == np.float32
    assert result == pytest.approx(np.array([0.5, 0.75, 0.25]), rel=1e-6)


@given(LOGITS)
def test_softmax_never_overflows(logits):
    result = to_probabilities(logits, "softmax")

    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert result.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    best = np.take_along_axis(result, logits.argmax(axis=-1, keepdims=True), axis=-1)
    assert (best[:, 0] == result.max(axis=-1)).all()


@given(LOGITS)
def test_sigmoid_never_overflows_and_is_symmetric(logits):
    result = to_probabilities(logits, "sigmoid")

    assert result.dtype == np.float32
    assert ((result >= 0) & (result <= 1)).all()
    assert result + to_probabilities(-logits, "sigmoid") == pytest.approx(1, abs=1e-6)


def test_extreme_logits_saturate():
    assert to_probabilities([-3e38, 3e38], "softmax").tolist() == [0, 1]
    assert to_probabilities([-3e38, 3e38], "sigmoid").tolist() == [0, 1]


@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_scores_that_are_not_finite_are_rejected(activation):
    for score in (np.nan, np.inf, -np.inf, 1e300):
        with pytest.raises(ValueError, match="NaN or infinite"):
            to_probabilities([[0.1, score]], activation)


@pytest.mark.parametrize("score", [1e30, -5, 1.2, -0.2, 1.01, -0.01, 1e300, np.finfo(np.float32).max])
def test_scores_that_are_not_probabilities_are_rejected_without_activation(score):
    with pytest.raises(ValueError, match=r"NaN or infinite|from .* to .*, expected probabilities"):
        to_probabilities([[0.1, score]], "none")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_that_were_rounded_out_of_range_are_clipped(dtype):
    raw = np.array([1 + 9e-4, -9e-4, 0.5], dtype)

    result = to_probabilities(raw, "none")

    assert result.dtype == np.float32
    assert result.tolist() == [1, 0, 0.5]
    assert raw[0] > 1


@pytest.mark.parametrize("raw", [[1, 0], [True, False], [1 + 0j, 0j], ["1", "0"], np.array([b"1", b"0"], object)])
@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_scores_that_are_not_floating_point_numbers_are_rejected(raw, activation):
    with pytest.raises(ValueError, match="expected floating-point numbers"):
        to_probabilities(raw, activation)


@given(arrays(np.float32, st.integers(1, 8), elements=st.floats(width=32)))
def test_whatever_a_model_returns_becomes_probabilities_or_is_rejected(raw):
    try:
        result = to_probabilities(raw, "none")
    except ValueError:
        assert not ((raw >= 0) & (raw <= 1)).all()
    else:
        assert ((result >= 0) & (result <= 1)).all()
        assert np.abs(result - raw).max() <= 0.0011


def test_an_output_without_scores_is_rejected():
    with pytest.raises(ValueError, match="no scores"):
        to_probabilities(np.zeros((1, 0), np.float32), "softmax")


# The scores that a card describes


def test_a_card_without_a_threshold_does_not_say_whether_a_model_is_sure():
    assert is_confident(card(3), 0.99) is None


def test_a_model_is_sure_from_the_threshold_on():
    careful = card(3, abstain_below=0.7)

    assert is_confident(careful, float(np.float32(0.7))) is True
    assert is_confident(careful, 0.69) is False
    assert is_confident(careful, 0.69, confidence=0.8) is True
    assert is_confident(careful, 0.99, confidence=0.1) is False
    assert is_confident(careful, 0.99, confidence=float("nan")) is False


def card(labels: int, **members: object) -> Card:
    names = tuple(f"class {number}" for number in range(labels))
    return Card(name="m", labels=names, input=InputSpec(height=1, width=1), **members)


def test_scores_in_any_shape_are_one_probability_per_label():
    for shape in ((3,), (1, 3), (1, 1, 3), (3, 1, 1)):
        raw = np.array([0.2, 0.7, 0.1], np.float32).reshape(shape)
        assert class_probabilities(raw, card(3)).tolist() == pytest.approx([0.2, 0.7, 0.1]), shape


def test_one_score_of_two_labels_is_the_probability_of_the_second():
    logit = OutputSpec(activation="sigmoid")

    assert class_probabilities(np.float32([0.25]), card(2)).tolist() == [0.75, 0.25]
    assert class_probabilities(np.float32([np.log(3)]), card(2, output=logit)) == pytest.approx([0.25, 0.75])
    assert class_probabilities(np.float32([0.25]), card(1, task="multilabel")).tolist() == [0.25]


def test_probabilities_of_classes_that_exclude_each_other_add_up_to_1():
    for scores in ((0.502, 0.502, 0.502), (0.2, 0.2, 0.2), (0.9, 0.9)):
        raw = np.float32(scores)
        with pytest.raises(
            NotProbabilitiesError, match=r"the scores of an image add up to \d\.\d{3}, not to 1"
        ) as raised:
            class_probabilities(raw, card(len(scores)))
        assert raised.value.are_in_range
        assert class_probabilities(raw, card(len(scores), task="multilabel")).tolist() == raw.tolist()


def test_scores_out_of_range_are_logits():
    for task in ("multiclass", "multilabel"):
        with pytest.raises(NotProbabilitiesError, match=r"scores from -1 to 3, expected probabilities") as raised:
            class_probabilities(np.float32([3, -1, -1]), card(3, task=task))
        assert not raised.value.are_in_range


def test_scores_that_do_not_fit_the_card_are_rejected():
    softmax = OutputSpec(activation="softmax")
    for raw, described, reason in (
        ([0.2, 0.3, 0.5], card(2), "returned 3 scores, the card has 2"),
        ([0.5], card(3), "returned one score, the card has 3"),
        ([0.5], card(2, output=softmax), "one score, of which softmax is always 1"),
    ):
        with pytest.raises(ValueError, match=reason):
            class_probabilities(np.float32(raw), described)


def test_scores_rounded_to_8_bits_are_probabilities():
    random = np.random.default_rng(0)
    for classes in (2, 10, 1000):
        for sharpness in (0.1, 1, 4, 16):
            exact = to_probabilities(random.normal(0, sharpness, classes), "softmax")
            rounded = (np.round(exact * 256) / 256).astype(np.float32)
            assert class_probabilities(rounded, card(classes)) is not None, (classes, sharpness)


# Ranking


def test_top_k_are_labels_with_scores_in_descending_order():
    scores = np.array([0.1, 0.6, 0.3], np.float32)

    result = top_k(scores, ["cat", "dog", "owl"], 2)

    assert result == [ClassScore("dog", 1, 0.6), ClassScore("owl", 2, 0.3)]
    assert type(result[0].score) is float
    assert type(result[0].class_id) is int


@given(scores=COARSE, k=st.integers(1, 60))
def test_top_k_is_the_head_of_a_stable_sort(scores, k):
    result = top_k(scores, labels_for(scores), k)

    assert [item.class_id for item in result] == rank(scores)[:k]
    assert all(item.label == f"label {item.class_id}" for item in result)
    assert all(item.score == scores[item.class_id] for item in result)


@given(score=st.floats(0, 1, width=32))
def test_a_score_has_the_fewest_digits_that_give_the_same_float32(score):
    (result,) = top_k(np.array([score], np.float32), ["cat"], 1)

    assert np.float32(result.score) == np.float32(score)
    shortest = next(digits for digits in range(9) if np.float32(f"{score:.{digits}e}") == np.float32(score))
    assert result.score == float(f"{result.score:.{shortest}e}")


def test_negative_zero_ties_with_zero():
    scores = np.array([0.0, -0.0, 0.0], np.float32)

    assert [item.class_id for item in top_k(scores, ["a", "b", "c"], 2)] == [0, 1]


@pytest.mark.parametrize("k", [0, -1])
def test_top_k_below_one_is_rejected(k):
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        top_k(np.ones(3, np.float32), ["a", "b", "c"], k)


@given(scores=COARSE, threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_labels_at_or_above_one_threshold_are_returned(scores, threshold):
    result = at_or_above(scores, labels_for(scores), threshold)

    assert [item.class_id for item in result] == [n for n in rank(scores) if scores[n] >= threshold]


@given(st.data())
def test_labels_at_or_above_their_own_threshold_are_returned(data):
    scores = data.draw(COARSE)
    thresholds = tuple(data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(scores), max_size=len(scores))))

    result = at_or_above(scores, labels_for(scores), thresholds)

    assert [item.class_id for item in result] == [n for n in rank(scores) if scores[n] >= thresholds[n]]


@pytest.mark.parametrize("threshold", [0.7, 0.1, 0.3, 1 / 3])
def test_a_score_that_equals_the_threshold_reaches_it(threshold):
    scores = np.array([threshold], np.float32)

    assert len(at_or_above(scores, ["a"], threshold)) == 1
    assert len(at_or_above(scores, ["a"], [threshold])) == 1


def test_nothing_reaches_a_threshold_above_all():
    assert at_or_above(np.array([0.4, 0.5], np.float32), ["a", "b"], 0.6) == []


@pytest.mark.parametrize("scores", [np.zeros(2, np.float32), np.zeros((1, 3), np.float32), np.zeros((), np.float32)])
def test_different_numbers_of_labels_and_scores_are_rejected(scores):
    with pytest.raises(ValueError, match="expected 3 scores, one per label, found"):
        top_k(scores, ["a", "b", "c"], 1)
    with pytest.raises(ValueError, match="expected 3 scores, one per label, found"):
        at_or_above(scores, ["a", "b", "c"], 0.5)


def test_different_numbers_of_labels_and_thresholds_are_rejected():
    with pytest.raises(ValueError, match=r"expected one threshold or one per label \(2\), found 3"):
        at_or_above(np.zeros(2, np.float32), ["a", "b"], (0.1, 0.2, 0.3))


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_not_ranked(score):
    scores = np.array([0.5, score], np.float32)

    with pytest.raises(ValueError, match="NaN or infinite"):
        top_k(scores, ["a", "b"], 1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        at_or_above(scores, ["a", "b"], 0.5)
