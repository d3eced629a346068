"""The output on the terminal and in files, and which existing files are replaced or continued."""

import json
import os
import pty
import stat
import sys
from pathlib import Path

import pytest

from image_gateway_client.answers import parse_answer
from image_gateway_client.errors import Problem
from image_gateway_client.outputs import RESUMABLE, Format, choose_format, open_output
from image_gateway_client.resume import OutputError

CAT = {"class": "cat", "class_id": 3, "score": 0.75}
ANSWER = parse_answer({**CAT, "predictions": [CAT], "model": {"name": "pets", "version": 2}, "request_id": "r-1"})
UNSURE = parse_answer(
    {**CAT, "confident": False, "predictions": [CAT], "model": {"name": "pets", "version": 2}, "request_id": "r-1"}
)
NOTHING_PRESENT = parse_answer(
    {**CAT, "predictions": [CAT], "classes": [], "model": {"name": "pets", "version": 2}, "request_id": "r-1"}
)
PROBLEM = Problem("/problems/x", "Damaged", "Cut off.", 422)


class StoppedError(Exception):
    """Ends a run early."""


def write(path, form, rows, *, model=None, version=None, top_k=1, stop=False):
    """Write as a run does; return the images that it need not classify again."""
    with open_output(path, form, top_k, model, version=version) as output:
        for row in rows:
            output.writer.write(*row)
        if stop:
            raise StoppedError
    return output.finished


def test_lines_of_json_on_the_standard_output(capsys):
    write(None, Format.JSONL, [("a", ANSWER), ("ü", PROBLEM), ("c", UNSURE)])
    first, second, third = capsys.readouterr().out.splitlines()
    assert json.loads(first)["class"] == "cat"
    assert "confident" not in json.loads(first)
    assert json.loads(second)["problem"]["status"] == 422
    assert '"ü"' in second
    assert json.loads(third)["confident"] is False


@pytest.mark.parametrize("rows", [[], [("a", ANSWER)], [("a", ANSWER), ("b", PROBLEM), ("c", ANSWER)]])
def test_json_is_one_list(capsys, rows):
    write(None, Format.JSON, rows)
    assert [item["image"] for item in json.loads(capsys.readouterr().out)] == [name for name, _ in rows]


def test_csv_has_its_header_once(capsys):
    write(None, Format.CSV, [("a", ANSWER), ("b", PROBLEM), ("c", UNSURE)])
    assert capsys.readouterr().out.splitlines() == [
        "image,class,class_id,score,classes,model,version,problem,detail,confident",
        "a,cat,3,0.75,,pets,2,,,",
        "b,,,,,,,Damaged,Cut off.,",
        "c,cat,3,0.75,,pets,2,,,false",
    ]


def test_a_piped_table_shows_complete_names(capsys):
    long_name = "folder/" * 60 + "a.png"
    write(None, Format.TABLE, [(long_name, ANSWER), ("b[red].png", PROBLEM), ("c", NOTHING_PRESENT), ("d", UNSURE)])
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [long_name, "cat", "75.0%"] in shown
    assert ["b[red].png", "Damaged:", "Cut", "off."] in shown
    assert ["c", "none", "above", "the", "threshold"] in shown
    assert ["d", "not", "sure,", "perhaps", "cat", "75.0%"] in shown


def test_names_cannot_control_the_terminal(capsys):
    write(None, Format.TABLE, [("a\x1b[2J\x07\n.png", ANSWER), ("caf\udce9", ANSWER)])
    shown = capsys.readouterr().out
    assert "a\N{REPLACEMENT CHARACTER}[2J" in shown
    assert not set("\x1b\x07") & set(shown)


def test_there_is_no_table_without_outcomes(capsys):
    write(None, Format.TABLE, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("form", [Format.TABLE, Format.JSON])
def test_the_outcomes_of_a_stopped_run_are_shown(capsys, form):
    with pytest.raises(StoppedError):
        write(None, form, [("a", ANSWER)], stop=True)
    assert "cat" in capsys.readouterr().out


@pytest.mark.parametrize("form", sorted(RESUMABLE))
def test_an_existing_file_is_continued(tmp_path, form):
    path = tmp_path / "out"
    assert write(path, form, [("a", ANSWER), ("b", PROBLEM)]) == frozenset()
    with pytest.raises(StoppedError):
        write(path, form, [("c", ANSWER)], stop=True)
    with path.open("ab") as file:
        file.write(b'{"image": "d", "cl' if form is Format.JSONL else b'd,"ca')
    assert write(path, form, [("b", ANSWER), ("d", ANSWER)]) == {"a", "c"}
    assert write(path, form, []) == {"a", "b", "c", "d"}
    once = tmp_path / "once"
    write(once, form, [(name, ANSWER) for name in "acbd"])
    assert path.read_bytes() == once.read_bytes()


@pytest.mark.parametrize("form", sorted(RESUMABLE))
def test_each_result_is_in_the_file_before_the_next_is_written(tmp_path, form):
    path = tmp_path / "out"
    with open_output(path, form, 1, None) as output:
        output.writer.write("a", ANSWER)
        assert path.read_bytes().endswith(b"\n")
        assert b"cat" in path.read_bytes()


@pytest.mark.parametrize("form", sorted(RESUMABLE))
def test_results_of_another_model_do_not_count(tmp_path, form):
    path = tmp_path / "out"
    write(path, form, [("a", ANSWER)])
    assert write(path, form, [], model="birds") == frozenset()
    assert write(path, form, [], model="pets") == {"a"}
    assert b"pets" in path.read_bytes()


@pytest.mark.parametrize("form", sorted(RESUMABLE))
def test_results_of_another_version_do_not_count_if_one_is_requested(tmp_path, form):
    path = tmp_path / "out"
    write(path, form, [("a", ANSWER)])

    finished = {version: write(path, form, [], model="pets", version=version) for version in (None, 2, 3)}

    assert finished == {None: {"a"}, 2: {"a"}, 3: frozenset()}


@pytest.mark.parametrize("form", sorted(RESUMABLE))
def test_problems_stay_until_there_is_a_new_outcome(tmp_path, form):
    path, once = tmp_path / "out", tmp_path / "once"
    write(path, form, [("a", PROBLEM), ("b", PROBLEM), ("c", ANSWER)])
    before = path.read_bytes()

    with pytest.raises(StoppedError):
        write(path, form, [], stop=True)
    assert path.read_bytes() == before
    with pytest.raises(StoppedError):
        write(path, form, [("b", ANSWER)], stop=True)

    write(once, form, [("a", PROBLEM), ("c", ANSWER), ("b", ANSWER)])
    assert path.read_bytes() == once.read_bytes()
    assert sorted(tmp_path.iterdir()) == [once, path]


@pytest.mark.parametrize("form", list(Format))
def test_a_file_keeps_its_permissions(tmp_path, form):
    path = tmp_path / "out"
    write(path, form, [("a", PROBLEM)])
    path.chmod(0o600)

    write(path, form, [("a", ANSWER)])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"Damaged" not in path.read_bytes()


@pytest.mark.parametrize("form", sorted(RESUMABLE))
def test_a_file_of_another_program_is_preserved(tmp_path, form):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff a photo")
    with pytest.raises(OutputError, match=r"photo.jpg exists, and its .*Choose another file, or remove it"):
        write(path, form, [("a", ANSWER)])
    assert path.read_bytes() == b"\xff\xd8\xff a photo"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", [Format.TABLE, Format.JSON])
def test_a_complete_document_replaces_that_of_an_earlier_run(tmp_path, form):
    path = tmp_path / "out"
    write(path, form, [("older", UNSURE), ("b", PROBLEM)])
    before = path.read_bytes()

    with pytest.raises(StoppedError):
        write(path, form, [("a", ANSWER)], stop=True)
    assert path.read_bytes() == before
    write(path, form, [("a", ANSWER)])

    assert "cat" in path.read_text()
    assert "older" not in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", list(Format))
def test_files_beside_the_output_are_preserved(tmp_path, form):
    other = tmp_path / "out.part"
    other.write_bytes(b"of somebody else")

    for image in ("a", "b"):
        write(tmp_path / "out", form, [(image, ANSWER), ("c", PROBLEM)])

    assert other.read_bytes() == b"of somebody else"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out", other]


@pytest.mark.parametrize("form", [Format.TABLE, Format.JSON])
@pytest.mark.parametrize("rows", [[], [("a", ANSWER)]])
def test_an_empty_document_is_replaced(tmp_path, form, rows):
    path = tmp_path / "out"
    path.touch()

    write(path, form, [])
    write(path, form, rows)
    write(path, form, [("c", ANSWER)])

    assert "cat" in path.read_text()


FOREIGN = [
    b"hello",
    b"\xff\xd8\xff a photo",
    b"\n",
    b"[1]",
    b"{}",
    b'{"image": "x"}',
    b'[{"name": "x"}]',
    b'[{"image": "x"}]',
    b'[{"image": "x", "problem": "blurry"}]',
    b'[{"image": "x", "model": {"name": "pets"}}]',
    b"[" * 100_000,
    b"image classes",
    b"image classes\ncat\n",
    "  other   classes  \n ───────── \n".encode(),
]


@pytest.mark.parametrize("form", [Format.TABLE, Format.JSON])
@pytest.mark.parametrize("data", FOREIGN, ids=range(len(FOREIGN)))
def test_a_document_of_another_program_is_preserved(tmp_path, form, data):
    path = tmp_path / "notes"
    path.write_bytes(data)

    with pytest.raises(OutputError, match=r"notes exists, and it is not .*Choose another file, or remove it"):
        write(path, form, [("a", ANSWER)])

    assert path.read_bytes() == data


@pytest.mark.parametrize(("name", "form"), [("a.CSV", Format.CSV), ("a.ndjson", Format.JSONL), ("a.json", Format.JSON)])
def test_the_suffix_of_the_file_says_the_format(name, form):
    assert choose_format(Path(name), None) is form
    assert choose_format(Path(name), Format.TABLE) is Format.TABLE


@pytest.mark.parametrize("name", ["notes.txt", "a.xlsx", "out", ".csv", "a.csv.gz"])
def test_a_suffix_that_is_not_that_of_a_format_is_refused(name):
    with pytest.raises(ValueError, match=r"does not say which format to write\. Use one of \.csv, .* --format\.$"):
        choose_format(Path(name), None)
    assert choose_format(Path(name), Format.CSV) is Format.CSV


@pytest.mark.parametrize("form", list(Format))
def test_names_that_are_not_text_are_written(tmp_path, form):
    path = tmp_path / "out"
    write(path, form, [("caf\udce9", ANSWER), ("döner", ANSWER)])
    if form in RESUMABLE:
        assert write(path, form, []) == {"caf\udce9", "döner"}
    assert "döner".encode() in path.read_bytes()


@pytest.mark.parametrize("form", list(Format))
def test_a_link_stays_a_link(tmp_path, form):
    target, link = tmp_path / "target", tmp_path / "link"
    write(target, form, [("a", ANSWER), ("b", PROBLEM)])
    link.symlink_to(target)
    write(link, form, [("b", ANSWER)])
    assert link.is_symlink()
    assert target.read_bytes().count(b"cat") >= 1
    assert b"Damaged" not in target.read_bytes()


@pytest.mark.parametrize("form", list(Format))
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path, form):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(path, form, [("a", ANSWER)])
        assert b"cat" in os.read(reader, 65536)
        assert path.is_fifo()
    finally:
        os.close(reader)


@pytest.mark.parametrize("form", list(Format))
def test_a_pipe_without_a_name_is_written_to(form):
    reader, writer = os.pipe()
    try:
        write(Path(f"/dev/fd/{writer}"), form, [("a", ANSWER)])
        assert b"cat" in os.read(reader, 65536)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("form", [Format.JSON, *sorted(RESUMABLE)])
def test_text_from_outside_cannot_control_a_terminal(form, monkeypatch):
    control, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        write(None, form, [("a\x1b[2J\x9b31m", Problem("/problems/x", "Bad", "\x1b]0;title\x07"))])
        print("the end", file=stream, flush=True)
        shown = b""
        while b"the end" not in shown:  # a terminal may deliver each line by itself
            shown += os.read(control, 65536)
    os.close(control)

    assert not set(b"\x1b\x07\x9b") & set(shown)
    assert b"Bad" in shown


@pytest.mark.parametrize("form", list(Format))
def test_a_missing_folder_is_an_error(tmp_path, form):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "none" / "out", form, [("a", ANSWER)])
