import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model_server.batching.parameters import read_parameters
from tools import tune
from tools.load_generator import OK, Call, LoadResult
from tools.tune import Setting


class Service(ThreadingHTTPServer):
    """Answers every request with 200."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def service():
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def make_result(rate, latency_ms, failures=0):
    """Return a result with a number of calls per second, all with one latency."""
    outcomes = [OK] * rate + ["failed"] * failures
    return LoadResult([Call(0.0, latency_ms / 1e3, outcome) for outcome in outcomes], 1.0, len(outcomes))


def test_the_fastest_setting_within_the_target_is_chosen():
    slow, fast, late, failing = (Setting(images, 0) for images in (1, 8, 32, 128))
    results = {
        slow: make_result(50, 20),
        fast: make_result(90, 99),
        late: make_result(100, 101),
        failing: make_result(200, 50, failures=1),
    }

    assert tune.choose(results, 100) == fast
    assert tune.choose(results, 10) is None


@pytest.mark.parametrize("setting", tune.SETTINGS)
def test_the_file_has_the_setting(tmp_path, setting):
    file = tmp_path / "batching.config"
    file.write_text(setting.to_text("A note."), encoding="utf-8")

    parameters = read_parameters(file)

    parameters.check()
    assert (parameters.rows_per_batch, parameters.batch_timeout_micros) == (setting.images, setting.wait_us)
    assert parameters.max_batch_size == tune.MAX_BATCH_SIZE


@pytest.fixture
def run(service, tmp_path, monkeypatch):
    """Tune a running service; the restart command appends the current file to `history`."""
    monkeypatch.setattr(tune, "SETTINGS", (Setting(8, 0), Setting(32, 1000)))
    output, history = tmp_path / "batching.config", tmp_path / "history"
    output.write_text("original", encoding="utf-8")

    def run(*arguments, restart=f"sh -c 'cat {output} >> {history}'"):
        options = [f"--url={service.url}", f"--restart={restart}", f"--output={output}", "--seconds=0.2"]
        status = tune.main([*options, "--concurrency=2", *arguments])
        return status, output.read_text(encoding="utf-8"), history

    return run


def test_each_setting_is_measured_and_the_best_is_written(run, capsys):
    status, text, history = run("--p99-ms=60000")

    assert status == 0
    assert history.read_text(encoding="utf-8").count("max_execution_batch_size") == 2
    assert "Being measured" not in text
    assert "for cifar10" in text
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_file_is_unchanged_if_no_setting_is_fast_enough(run, capsys):
    status, text, _ = run("--p99-ms=0.0001")

    assert (status, text) == (1, "original")
    assert "no setting keeps 99 % of the answers within 0.0001 ms" in capsys.readouterr().err


def test_the_file_is_unchanged_if_the_restart_fails(run, capsys):
    assert run(restart="false")[:2] == (1, "original")
    assert "returned non-zero" in capsys.readouterr().err


def test_a_model_without_golden_images_is_an_error(run, capsys):
    assert run("--model=unheard")[0] == 1
    assert "no golden images" in capsys.readouterr().err


def test_a_url_needs_a_restart_command(capsys):
    with pytest.raises(SystemExit):
        tune.main(["--url=http://localhost:1"])
    assert "must be used together" in capsys.readouterr().err


@pytest.mark.timeout(240)
def test_without_a_url_a_service_is_started_with_and_without_batching(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune, "SETTINGS", (Setting(8, 1000),))
    output = tmp_path / "batching.config"

    status = tune.main([f"--output={output}", "--model=digits", "--seconds=1", "--concurrency=2", "--p99-ms=60000"])

    off, on, result = capsys.readouterr().out.splitlines()
    assert status == 0
    assert off.startswith("no batching: ")
    assert on.startswith("batches of up to 8, wait 1000 us: ")
    if result.startswith("Do not batch: leave BATCHING_CONFIG unset."):
        assert not output.exists()
    else:
        assert read_parameters(output).rows_per_batch == 8
