import pytest

from tools.lighthouse.__main__ import list_findings, read_scores

AUDITS = {
    "contrast": {"title": "Texts have contrast", "score": 0},
    "speed": {"title": "The page is fast", "score": 0.82},
    "names": {"title": "Buttons have names", "score": 1},
    "manual": {"title": "Check by hand", "score": None},
    "hint": {"title": "A hint without a weight", "score": 0},
}


def category(score, *audits):
    return {"score": score, "auditRefs": [{"id": name, "weight": weight} for name, weight in audits]}


@pytest.fixture
def report():
    return {
        "audits": AUDITS,
        "categories": {
            "performance": category(0.95, ("speed", 30)),
            "accessibility": category(0.82, ("contrast", 7), ("names", 10), ("manual", 1), ("hint", 0)),
            "best-practices": category(None, ("names", 1)),
        },
    }


def test_scores_are_percentages(report):
    assert read_scores(report) == {"performance": 95, "accessibility": 82, "best-practices": 0}


def test_only_what_lowers_a_score_is_listed(report):
    assert list(list_findings(report)) == [
        "performance: The page is fast (0.82)",
        "accessibility: Texts have contrast (0.00)",
    ]
