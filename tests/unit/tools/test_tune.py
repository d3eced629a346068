import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model_server.batching.parameters import read_parameters
from tools import tune
from tools.load import Load, Measurement, measure
from tools.tune import Setting


class Service(ThreadingHTTPServer):
    """Answers every request but each `fail_every`-th with 200, and keeps what it got."""

    daemon_threads = True

    def __init__(self, fail_every=0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fail_every, self.got, self.lock = fail_every, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.got.append((self.path, body))
            number = len(self.server.got)
        failed = self.server.fail_every and number % self.server.fail_every == 0
        self.send_response(503 if failed else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def serve():
    running = []

    def serve(**options):
        server = Service(**options)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield serve
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


LOAD = Load("/predict", [b"one", b"two"], concurrency=3, seconds=0.3)


def test_every_picture_is_sent_in_turn_and_every_answer_counted(serve):
    service = serve()
    measured = measure(service.url, LOAD)
    assert {body for _, body in service.got} == {b"one", b"two"}
    assert {path for path, _ in service.got} == {"/predict"}
    assert 0 < measured.rate * LOAD.seconds <= measured.answers == len(service.got)
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.failures == 0


def test_what_is_not_answered_with_200_has_failed(serve):
    assert measure(serve(fail_every=2).url, LOAD).failures > 0


def test_where_nobody_answers_all_fail():
    with Service() as gone:
        url = gone.url
    measured = measure(url, LOAD)
    assert measured.failures > 0
    assert measured.rate == 0


def test_with_too_few_answers_there_are_no_times(serve):
    measured = measure(serve().url, Load("/predict", [b"one"], concurrency=1, seconds=0))
    assert measured.rate == 0
    assert measured.p99_ms == float("inf")


def of(rate, p99_ms, failures=0):
    return Measurement(100, rate, p99_ms / 2, p99_ms, failures)


def test_the_fastest_within_the_target_is_chosen():
    slow, quick, late, failing = (Setting(rows, 0) for rows in (1, 8, 32, 128))
    measured = {slow: of(50, 20), quick: of(90, 99), late: of(100, 101), failing: of(200, 50, failures=1)}
    assert tune.choose(measured, 100) == quick
    assert tune.choose(measured, 10) is None


@pytest.mark.parametrize("setting", tune.SETTINGS)
def test_what_is_written_is_what_was_measured(tmp_path, setting):
    file = tmp_path / "batching.config"
    file.write_text(setting.text("A note."), encoding="utf-8")
    parameters = read_parameters(file)
    parameters.check()
    assert (parameters.rows_per_batch, parameters.batch_timeout_micros) == (setting.rows, setting.wait_us)
    assert parameters.max_batch_size == tune.MAX_BATCH_SIZE


@pytest.fixture
def run(serve, tmp_path, monkeypatch):
    """Tune a service that is restarted by a command which notes the file as it is."""
    monkeypatch.setattr(tune, "SETTINGS", (Setting(8, 0), Setting(32, 1000)))
    output, seen = tmp_path / "batching.config", tmp_path / "seen"
    output.write_text("as it was", encoding="utf-8")

    def run(*arguments, restart=f"sh -c 'cat {output} >> {seen}'", **options):
        url = serve(**options).url
        given = [f"--url={url}", f"--restart={restart}", f"--output={output}", "--seconds=0.2", "--concurrency=2"]
        return tune.main([*given, *arguments]), output.read_text(encoding="utf-8"), seen

    return run


def test_each_setting_is_served_and_the_best_stays(run, capsys):
    status, written, seen = run("--p99-ms=60000")
    assert status == 0
    assert seen.read_text(encoding="utf-8").count("max_execution_batch_size") == 2
    assert "Being measured" not in written
    assert "for cifar10" in written
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_where_none_is_quick_enough_the_file_is_as_it_was(run, capsys):
    status, written, _ = run("--p99-ms=0.0001")
    assert (status, written) == (1, "as it was")
    assert "no setting keeps 99 % of the answers within 0.0001 ms" in capsys.readouterr().err


def test_where_the_restart_fails_the_file_is_as_it_was(run, capsys):
    assert run(restart="false")[:2] == (1, "as it was")
    assert "returned non-zero" in capsys.readouterr().err


def test_a_model_without_pictures_is_told(run, capsys):
    assert run("--model=unheard")[0] == 1
    assert "no golden images" in capsys.readouterr().err


def test_a_url_needs_its_restart(capsys):
    with pytest.raises(SystemExit):
        tune.main(["--url=http://localhost:1"])
    assert "belong together" in capsys.readouterr().err


@pytest.mark.timeout(240)
def test_it_starts_a_service_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "SETTINGS", (Setting(8, 1000),))
    output = tmp_path / "batching.config"
    assert tune.main([f"--output={output}", "--model=digits", "--seconds=1", "--concurrency=2", "--p99-ms=60000"]) == 0
    assert read_parameters(output).rows_per_batch == 8
