"""A file that an earlier run wrote, or was killed while writing, is continued; no other file is changed."""

import csv
import dataclasses
import io
import json

import pytest

from image_gateway_client.answers import parse_answer
from image_gateway_client.errors import Problem
from image_gateway_client.records import JobItem, Record, columns, from_document, from_row, to_document, to_row
from image_gateway_client.resume import OutputError, csv_line, read_csv, read_jsonl

CAT = {"class": "cat", "class_id": 3, "score": 0.75}
DOG = {"class": "dog, hot", "class_id": 5, "score": 0.25}
SHARED = {"model": {"name": "pets", "version": 2}, "request_id": "r-1"}
ANSWER = parse_answer({**CAT, "predictions": [CAT, DOG], **SHARED})
PRESENT = parse_answer({**CAT, "predictions": [CAT], "classes": [CAT, DOG], **SHARED})
PROBLEM = Problem("/problems/x", "Damaged", 'Cut "off",\nat the end.', 422, "r-2", {"limit": 3})
LOCAL = Problem("about:blank", "The image cannot be read", "No such file or directory: x")
NAMES = ["plain.png", 'with "quotes", commas.png', "with\nline end.png", "döner.png", "caf\udce9.png", ""]
OUTCOMES = [ANSWER, PROBLEM, PRESENT, LOCAL]
ROWS = [(name, outcome) for name in NAMES for outcome in OUTCOMES]


def jsonl(rows):
    text = "".join(json.dumps(to_document(*row), ensure_ascii=False) + "\n" for row in rows)
    return text.encode("utf-8", "backslashreplace")


def table(rows, top_k=2):
    return b"".join(map(csv_line, [columns(top_k), *(to_row(*row, top_k) for row in rows)]))


def read_table(data):
    return read_csv(data, 2)


FORMS = pytest.mark.parametrize(("write", "read"), [(jsonl, read_jsonl), (table, read_table)])


def test_the_json_of_an_answer_equals_that_of_the_gateway():
    cat, dog = ({**item, "label": item["class"]} for item in (CAT, DOG))
    assert to_document("x", ANSWER) == {"image": "x", "kind": "prediction", **cat, "predictions": [cat, dog], **SHARED}
    first = ["image", "kind", "class", "label", "class_id", "score", "predictions"]
    assert list(to_document("x", ANSWER)) == [*first, *SHARED]
    assert to_document("x", PRESENT)["classes"] == [cat, dog]
    assert to_document("x", PROBLEM)["kind"] == "problem"
    assert to_document("x", PROBLEM)["problem"] == {
        "type": "/problems/x",
        "title": "Damaged",
        "status": 422,
        "detail": PROBLEM.detail,
        "limit": 3,
        "request_id": "r-2",
    }
    assert list(to_document("x", LOCAL)["problem"]) == ["type", "title", "detail"]


def test_the_row_of_an_answer_has_a_cell_for_every_column():
    about = ["classes", "model", "version", "problem", "detail", "confident"]
    assert columns(1) == ["image", "class", "class_id", "score", *about]
    assert columns(3)[4:8] == ["class_2", "score_2", "class_3", "score_3"]
    assert to_row("x", ANSWER, 3) == ["x", "cat", 3, 0.75, "dog, hot", 0.25, "", "", "", "pets", 2, "", "", ""]
    assert to_row("x", PRESENT, 1) == ["x", "cat", 3, 0.75, "cat; dog, hot", "pets", 2, "", "", ""]
    assert to_row("x", PROBLEM, 1) == ["x", "", "", "", "", "", "", "Damaged", PROBLEM.detail, ""]
    assert to_row("x", dataclasses.replace(ANSWER, confident=True), 1)[-1] == "true"


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_written_outcome_is_read_back(outcome):
    recorded = Record("x", None) if isinstance(outcome, Problem) else Record("x", "pets", 2)
    assert from_document(to_document("x", outcome)) == recorded
    assert from_row([str(cell) for cell in to_row("x", outcome, 2)], 2) == recorded


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_result_of_a_job_is_read_back_with_its_place(outcome):
    item = JobItem("j-1", 7, "x")
    recorded = Record(item, None) if isinstance(outcome, Problem) else Record(item, "pets", 2)

    assert recorded.is_finished(None, None)
    assert list(to_document(item, outcome))[:3] == ["job", "index", "image"]
    assert columns(2, of_job=True) == ["job", "index", *columns(2)]
    assert from_document(to_document(item, outcome), of_job=True) == recorded
    assert from_row([str(cell) for cell in to_row(item, outcome, 2)], 2, of_job=True) == recorded


def test_files_of_earlier_releases_are_read():
    document = {"image": "x", **CAT, "predictions": [CAT], **SHARED}
    assert from_document(document) == Record("x", "pets", 2)


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a.png", "@SUM(A1)", "\ta", "\ra", "'=1", "''-a", "'a", "a=b", "'"])
def test_no_cell_is_a_formula_and_each_is_read_back(name):
    problem = Problem("/problems/x", "=1", "@x", 422)
    row = to_row(name, problem, 1)

    assert not any(str(cell).startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    assert from_row([str(cell) for cell in row], 1).image == name
    assert len({str(to_row(other, ANSWER, 1)[0]) for other in (name, f"'{name}")}) == 2


@FORMS
def test_only_a_later_result_of_the_same_image_replaces_a_problem(write, read):
    kept = [("a", ANSWER), ("b", PROBLEM), ("c", ANSWER), ("a", PRESENT), ("d", ANSWER)]
    rows = [("d", PROBLEM), *kept[:3], ("d", LOCAL), *kept[3:]]

    previous = read(write(rows))

    assert [(record.image, record.model) for record in previous.records] == [
        (name, None if outcome is PROBLEM else "pets") for name, outcome in kept
    ]
    assert previous.data == write(kept)


@FORMS
def test_a_complete_file_of_answers_is_unchanged(write, read):
    data = write([(name, ANSWER) for name in NAMES])
    assert read(data).data == data


@FORMS
def test_a_file_cut_off_at_any_byte_keeps_the_complete_rows(write, read):
    rows = [(f"{number}{name}", OUTCOMES[number % 2]) for number, name in enumerate(NAMES * 2)]
    whole = write(rows)
    ends = [len(write(rows[:count])) for count in range(len(rows) + 1)]
    for length in range(len(whole) + 1):
        complete = sum(end <= length for end in ends[1:])
        previous = read(whole[:length])
        assert [item.image for item in previous.records] == [name for name, _ in rows[:complete]], length
        if complete:
            assert previous.data == write(rows[:complete]), length
        assert read(previous.data) == previous, length


@FORMS
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xe0 a photo",
        b"\x89PNG\r\n\x1a\n a picture",
        b"# Notes\n\nImportant.\n",
        b"Important",
        b"[]\n",
        b"{}\n",
        b'{"image": 3}\n',
        b'{"image": "x"}\n',
        b'{"image": "x", "model": "pets"}\n',
        b'{"image": "x", "model": {"name": "pets", "version": 3}}\n',
        b'{"image": "x", "problem": "blurry"}\n',
        b'{"image": "x", "problem": {"type": "blurry"}}\n',
        json.dumps({**to_document("x", ANSWER), "reviewed": True}).encode() + b"\n",
        json.dumps({**to_document("x", ANSWER), "score": True}).encode() + b"\n",
        json.dumps(to_document(JobItem("j-1", 7, "x"), ANSWER)).encode() + b"\n",
        b"a,b\n1,2\n",
        b"\n",
    ],
)
def test_a_file_of_another_program_is_refused(write, read, data):
    assert write([])[:1] in {b"", b"i"}
    with pytest.raises(OutputError):
        read(data)


def test_a_file_with_other_columns_is_refused():
    with pytest.raises(OutputError, match="with this --top-k"):
        read_csv(table([("x", ANSWER)], 3), 2)
    with pytest.raises(OutputError, match="result 1 in it was not written by this command"):
        read_csv(csv_line(columns(2)) + b"x,cat\n", 2)


def test_a_file_with_a_foreign_line_is_refused():
    with pytest.raises(OutputError, match="result 2 in it"):
        read_jsonl(jsonl([("x", ANSWER)]) + b"# a remark\n" + jsonl([("y", ANSWER)]))


def test_other_programs_can_read_the_csv():
    rows = list(csv.reader(io.StringIO(table(ROWS).decode("utf-8", "surrogateescape"), newline="")))
    assert [row[0] for row in rows[1:]] == [name for name, _ in ROWS]
    assert {len(row) for row in rows} == {len(columns(2))}
    for line in jsonl(ROWS).decode("utf-8").splitlines():
        assert json.loads(line)["image"] in NAMES
