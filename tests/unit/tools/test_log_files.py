import json

import pytest

from tools.log_files import LogReader, find_start_failure, tail, to_text


@pytest.fixture
def log(tmp_path):
    return tmp_path / "program.log"


def add(log, text):
    with log.open("a", encoding="utf-8") as file:
        file.write(text)


def test_only_new_and_complete_lines_are_read(log):
    reader = LogReader(log)
    assert list(reader.read()) == []

    add(log, "one\ntwo\nthr")
    assert list(reader.read()) == [b"one\n", b"two\n"]

    add(log, "ee\n")
    assert list(reader.read()) == [b"three\n"]
    assert list(reader.read()) == []


def test_a_log_that_was_emptied_is_read_from_its_start(log):
    add(log, "one\ntwo\n")
    reader = LogReader(log)
    reader.skip()

    log.write_text("new\n")

    assert list(reader.read()) == [b"new\n"]


def test_what_is_there_already_can_be_left_out(log):
    add(log, "one\n")
    reader = LogReader(log)
    reader.skip()

    add(log, "two\n")

    assert list(reader.read()) == [b"two\n"]


def test_a_line_of_json_is_text_with_its_values_and_errors():
    line = {
        "timestamp": "2026-12-01T10:20:30.123Z",
        "level": "error",
        "logger": "gateway",
        "event": "unexpected_error",
        "path": "/a\x1b[31m\nb",
        "exception": [{"exc_type": "KeyError", "exc_value": "'x'", "frames": [{"name": "view"}]}],
    }

    text = to_text(json.dumps(line))

    assert text == r"10:20:30 error unexpected_error path=/a\x1b[31m\nb KeyError: 'x'"


@pytest.mark.parametrize("line", ["nginx: [emerg] bind() failed", "[1, 2]", '{"no": "event"}'])
def test_other_lines_are_as_they_are(line):
    assert to_text(line) == line


def test_a_long_line_is_shortened():
    assert len(to_text("x" * 10_000)) < 500


def test_the_tail_of_an_empty_log_says_so(log):
    log.touch()
    assert tail(log) == "    (empty)\n"


def test_the_tail_of_a_log_may_have_bytes_that_are_not_text(log):
    log.write_bytes(b"\xff\xfe broken\n")
    assert "broken" in tail(log)


def test_the_tail_is_the_last_lines(log):
    add(log, "".join(f"line {number}\n" for number in range(100_000)))

    assert tail(log, 2) == "    line 99998\n    line 99999\n"


def test_the_last_critical_line_says_why_a_program_could_not_start(log):
    add(log, '{"level": "info", "event": "starting"}\nTraceback\n')
    assert find_start_failure(log) is None

    add(log, '{"level": "critical", "event": "Failed to start server. Error: no file"}\n')
    assert find_start_failure(log) == "Failed to start server. Error: no file"

    add(log, "2026/12/01 01:13:16 [emerg] 30279#30279: bind() to 192.0.2.1:80 failed\n")
    assert find_start_failure(log) == "bind() to 192.0.2.1:80 failed"

    add(log, '{"level": "critical", "event": "start_failed", "reason": "GATEWAY_X is wrong."}\n')
    add(log, '{"level": "info", "event": "stopping"}\n')
    assert find_start_failure(log) == "GATEWAY_X is wrong."
