"""Programs that are started, watched and stopped together, in the background and under a supervisor."""

import functools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.processes import is_running
from tests.support.waiting import until
from tools.stack import ProgramEndedError, Signals, Stack, StopRequestedError, Supervisor

ROOT = Path(__file__).parents[3]
PATIENCE_S = 20

ENDS_ON_SIGNAL = """
import signal, sys
def end(number, frame):
    print("ended by", signal.Signals(number).name)
    sys.exit()
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGQUIT, end)
print("up")
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
while True:
    signal.pause()
"""
# A master with one worker, like gunicorn and nginx; it prints the worker's process id.
WITH_WORKER = """
import os, signal
worker = os.fork()
if worker == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
print("up", worker)
{master}
"""


def worker_of(log):
    return int(log.read_text(encoding="utf-8").split()[1])


@pytest.fixture(params=[Stack, Supervisor])
def make_stack(request):
    return request.param


def test_a_program_is_stopped_by_its_own_signal_and_its_output_is_in_its_log(make_stack, logs, make_program, printed):
    with make_stack(logs) as stack:
        stack.start(make_program("quits", ENDS_ON_SIGNAL, stop_signal=signal.SIGQUIT))
        stack.wait_until(lambda: printed("quits", "up"), PATIENCE_S)

    assert printed("quits", "ended by SIGQUIT")


def test_programs_are_stopped_in_reverse_order(make_stack, logs, make_program, printed, tmp_path):
    records_its_end = ENDS_ON_SIGNAL.replace("sys.exit()", "open('order', 'a').write(__file__[-4]); sys.exit()")
    with make_stack(logs) as stack:
        for name in "abc":
            stack.start(make_program(name, records_its_end))
        stack.wait_until(lambda: all(printed(name, "up") for name in "abc"), PATIENCE_S)

    assert (tmp_path / "order").read_text() == "cba"


def test_a_log_of_an_earlier_run_is_replaced(logs, make_program, printed):
    (logs / "program.log").write_text("from an earlier run\n")
    with Stack(logs) as stack:
        stack.start(make_program("program", ENDS_ON_SIGNAL))
        stack.wait_until(lambda: printed("program", "up"), PATIENCE_S)

    assert not printed("program", "earlier")


def test_the_log_of_a_restarted_program_is_continued(logs, make_program, printed):
    with Stack(logs) as stack:
        for number in (1, 2):
            stack.start(make_program("program", f"print('start', {number}, flush=True)\n{ENDS_ON_SIGNAL}"))
            stack.wait_until(lambda: printed("program", f"start {number}\nup"), PATIENCE_S)  # noqa: B023
            stack.end("program", signal.SIGTERM)

    assert printed("program", "start 1\nup\nended by SIGTERM\nstart 2\nup\nended by SIGTERM\n")


def test_an_unexpected_end_is_reported_with_the_status_and_the_end_of_the_log(make_stack, logs, make_program):
    text = "import sys\nfor i in range(100): print('line', i)\nsys.exit('no such model')"
    with make_stack(logs) as stack:
        stack.start(make_program("steady", ENDS_ON_SIGNAL))
        stack.start(make_program("breaks", text))
        with pytest.raises(ProgramEndedError) as caught:
            stack.wait_until(lambda: False, PATIENCE_S)

    message = str(caught.value)
    assert message.startswith(f"breaks ended with exit status 1. The end of {logs}/breaks.log:\n")
    assert "    line 99\n    no such model\n" in message
    assert "line 50" not in message


def test_a_program_that_says_why_it_cannot_start_is_quoted_instead_of_its_log(make_stack, logs, make_program):
    line = '{"level": "critical", "event": "start_failed", "reason": "GATEWAY_X is wrong."}'
    with make_stack(logs) as stack:
        stack.start(make_program("gateway", f"print({line!r}, flush=True)\nraise SystemExit(4)"))
        with pytest.raises(ProgramEndedError) as caught:
            stack.wait_until(lambda: False, PATIENCE_S)

    assert str(caught.value) == "gateway: GATEWAY_X is wrong."


def test_without_a_log_folder_programs_print_to_standard_error(make_program, capfd):
    with Supervisor(None) as stack:
        stack.start(make_program("breaks", "import sys\nprint('out')\nsys.exit('no such model')"))
        with pytest.raises(ProgramEndedError) as caught:
            stack.run()

    assert str(caught.value) == "breaks ended with exit status 1. Its output is above."
    assert capfd.readouterr().err == "out\nno such model\n"


def test_a_killed_program_is_reported_with_the_signal(make_stack, logs, make_program):
    with make_stack(logs) as stack:
        stack.start(make_program("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
        with pytest.raises(ProgramEndedError, match=r"killed ended by SIGKILL"):
            stack.wait_until(lambda: False, PATIENCE_S)


def test_a_program_that_restarts_is_started_again_and_does_not_end_the_others(logs, make_program, printed, monkeypatch):
    monkeypatch.setattr("tools.stack.RESTART_S", 0)
    with Stack(logs) as stack:
        stack.start(make_program("steady", ENDS_ON_SIGNAL))
        stack.start(replace(make_program("worker", ENDS_ON_SIGNAL), restarts=True))
        stack.wait_until(lambda: printed("worker", "up\n"), PATIENCE_S)
        first = stack.pids()["worker"]

        os.kill(first, signal.SIGKILL)
        stack.wait_until(lambda: stack.pids()["worker"] != first, PATIENCE_S)

        assert stack.take_notices() == ["worker ended by SIGKILL and was started again."]
        assert stack.take_notices() == []
        assert not is_running(first)


def test_a_program_that_ends_at_once_is_not_started_again_at_once(logs, make_program):
    with Stack(logs) as stack:
        stack.start(replace(make_program("worker", "print('no')"), restarts=True))
        until(lambda: not is_running(stack.pids()["worker"]), PATIENCE_S)
        first = stack.pids()["worker"]

        stack.wait(0.2)

        assert stack.pids()["worker"] == first


def test_a_missing_program_is_reported(logs, make_program, tmp_path):
    program = replace(make_program("absent", ""), command=(str(tmp_path / "none"),))
    with Stack(logs) as stack, pytest.raises(ProgramEndedError, match=r"absent could not be started: .*none"):
        stack.start(program)


def test_the_end_of_one_program_stops_the_others(make_stack, logs, make_program, printed):
    with make_stack(logs) as stack:
        stack.start(make_program("steady", ENDS_ON_SIGNAL))
        stack.wait_until(lambda: printed("steady", "up"), PATIENCE_S)
        stack.start(make_program("breaks", "raise SystemExit(3)"))
        with pytest.raises(ProgramEndedError, match="breaks ended with exit status 3"):
            stack.wait_until(lambda: False, PATIENCE_S)

    assert printed("steady", "ended by SIGTERM")


def test_a_program_that_ignores_its_signal_is_killed_with_its_workers(make_stack, logs, make_program, printed):
    master = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    with make_stack(logs) as stack:
        stack.start(make_program("stubborn", WITH_WORKER.format(master=master), stop_timeout_s=0.2))
        stack.wait_until(lambda: printed("stubborn", "up"), PATIENCE_S)

    until(lambda: not is_running(worker_of(logs / "stubborn.log")), PATIENCE_S)


def test_workers_of_a_dead_master_are_killed(make_stack, logs, make_program):
    with make_stack(logs) as stack:
        stack.start(make_program("master", WITH_WORKER.format(master="os._exit(1)")))
        with pytest.raises(ProgramEndedError):
            stack.wait_until(lambda: False, PATIENCE_S)

    until(lambda: not is_running(worker_of(logs / "master.log")), PATIENCE_S)


def test_a_program_can_be_ended_by_any_signal(logs, make_program, printed):
    with Stack(logs) as stack:
        stack.start(make_program("program", ENDS_ON_SIGNAL))
        stack.wait_until(lambda: printed("program", "up"), PATIENCE_S)

        assert stack.end("program", signal.SIGKILL) == -signal.SIGKILL
        assert stack.pids() == {}


def test_all_programs_can_be_killed_with_their_workers(logs, make_program, printed):
    with Stack(logs) as stack:
        stack.start(make_program("master", WITH_WORKER.format(master="while True: signal.pause()")))
        stack.wait_until(lambda: printed("master", "up"), PATIENCE_S)

        stack.kill()
        assert stack.pids() == {}

    until(lambda: not is_running(worker_of(logs / "master.log")), PATIENCE_S)


def test_one_program_can_be_stopped_while_others_run(logs, make_program, printed):
    with Stack(logs) as stack:
        for name in ("one", "two"):
            stack.start(make_program(name, ENDS_ON_SIGNAL))
        stack.wait_until(lambda: printed("one", "up") and printed("two", "up"), PATIENCE_S)

        stack.stop("one")

        assert printed("one", "ended by SIGTERM")
        assert is_running(stack.pids()["two"])


def test_a_condition_that_does_not_hold_in_time_is_an_error(make_stack, logs, make_program):
    with make_stack(logs) as stack:
        stack.start(make_program("slow", ENDS_ON_SIGNAL))
        with pytest.raises(TimeoutError, match="not ready after 0 s"):
            stack.wait_until(lambda: False, 0.3)


@pytest.fixture
def handle_hangup():
    """Set what SIGHUP does before the stack starts: `nohup`, which may run these tests, ignores it."""
    original = signal.getsignal(signal.SIGHUP)
    yield functools.partial(signal.signal, signal.SIGHUP)
    signal.signal(signal.SIGHUP, original)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_of_a_supervisor(logs, make_program, handle_hangup, number):
    handle_hangup(signal.SIG_DFL)

    with Supervisor(logs) as stack:
        stack.start(make_program("steady", ENDS_ON_SIGNAL))
        os.kill(os.getpid(), number)
        with pytest.raises(StopRequestedError, match=number.name):
            stack.run()


def test_a_hangup_that_nohup_ignores_does_not_end_the_wait(logs, make_program, handle_hangup):
    handle_hangup(signal.SIG_IGN)

    with Supervisor(logs) as stack:
        stack.start(make_program("steady", ENDS_ON_SIGNAL))
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequestedError, match="SIGTERM"):
            stack.run()


def test_a_second_ctrl_c_kills_the_programs(logs, make_program, printed):
    started_s = time.monotonic()
    with Supervisor(logs) as stack:
        stack.start(make_program("one", STUBBORN, stop_timeout_s=60))
        stack.start(make_program("two", STUBBORN, stop_timeout_s=60))
        stack.wait_until(lambda: printed("one", "up") and printed("two", "up"), PATIENCE_S)
        os.kill(os.getpid(), signal.SIGINT)

    assert time.monotonic() - started_s < PATIENCE_S


def test_a_repeated_sigterm_does_not_shorten_the_stop(logs, make_program, printed):
    slow_to_end = ENDS_ON_SIGNAL.replace("sys.exit()", "import time; time.sleep(0.3); print('finished'); sys.exit()")
    with Supervisor(logs) as stack:
        stack.start(make_program("slow", slow_to_end))
        stack.wait_until(lambda: printed("slow", "up"), PATIENCE_S)
        os.kill(os.getpid(), signal.SIGTERM)

    assert printed("slow", "finished")


def test_signal_handlers_are_restored():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    with Signals():
        assert signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]

    assert {number: signal.getsignal(number) for number in before} == before


def test_sighup_stays_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.wait(0.05) == []
    finally:
        signal.signal(signal.SIGHUP, before)


SUPERVISOR = """
import os, signal, sys
from pathlib import Path
from tools.stack import Program, Supervisor
with Supervisor(Path({logs!r})) as stack:
    stack.start(Program("child", (sys.executable, {script!r}), Path("/"), os.environ, signal.SIGTERM, 10))
    stack.wait_until(lambda: "up" in Path({log!r}).read_text(), 20)
    print("up", flush=True)
    stack.run()
"""
CHILD = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda number, frame: print("interrupted", flush=True))
print("up", os.getpid(), flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def supervisor(tmp_path, logs):
    """A supervisor in its own process and session, with one program."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    text = SUPERVISOR.format(logs=str(logs), script=str(script), log=str(logs / "child.log"))
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_ctrl_c_in_a_terminal_reaches_only_the_supervisor(supervisor, logs):
    os.killpg(supervisor.pid, signal.SIGINT)
    supervisor.wait(PATIENCE_S)

    assert "interrupted" not in (logs / "child.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a child with its parent")
def test_programs_end_when_their_supervisor_is_killed(supervisor, logs):
    child = worker_of(logs / "child.log")
    supervisor.kill()

    until(lambda: not is_running(child), PATIENCE_S)
