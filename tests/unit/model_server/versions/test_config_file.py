import threading

import pytest

from model_server.errors import FailedPreconditionError
from model_server.versions.config_file import ConfigFilePoller

ONE_MODEL = 'model_config_list { config { name: "m" base_path: "rel/m" model_platform: "tensorflow" } }'


class Target:
    """Records the configurations that it receives, and raises the queued errors."""

    def __init__(self):
        self.received = []
        self.errors = []
        self.changed = threading.Condition()

    def reload(self, configs):
        with self.changed:
            self.received.append([config.name for config in configs])
            self.changed.notify_all()
        if self.errors:
            raise self.errors.pop(0)

    def wait_for(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 20)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "models.config"
    file.write_text(ONE_MODEL)
    return file


@pytest.fixture
def target():
    return Target()


def test_the_file_is_applied_at_each_poll_until_stop(file, target):
    poller = ConfigFilePoller(file, target.reload, 0.01)
    target.errors = [ZeroDivisionError("a bug does not end it")]
    poller.start()
    target.wait_for(lambda: len(target.received) > 2)
    assert target.received[0] == ["m"]
    file.write_text(ONE_MODEL.replace('"m"', '"n"'))
    target.wait_for(lambda: target.received[-1] == ["n"])
    poller.stop()


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "model_config_list { }"])
def test_a_file_without_models_is_logged_once_and_changes_nothing(file, target, caplog, text):
    poller = ConfigFilePoller(file, target.reload, 1)
    file.write_text(text)

    poller.poll()
    poller.poll()

    assert target.received == []
    (record,) = caplog.records
    assert record.getMessage().endswith(f"{file} lists no models; those that are served stay")


def test_an_invalid_file_is_logged_once_and_changes_nothing(file, target, caplog):
    poller = ConfigFilePoller(file, target.reload, 1)
    file.write_text("broken")
    poller.poll()
    poller.poll()
    file.unlink()
    poller.poll()
    file.write_text(ONE_MODEL)
    target.errors = [FailedPreconditionError("no such version")]
    poller.poll()
    poller.poll()
    messages = [record.getMessage() for record in caplog.records]
    assert target.received == [["m"], ["m"]]
    assert [message.removeprefix("Failed to reload from ModelServerConfig file: ")[:23] for message in messages] == [
        "Invalid protobuf file: ",
        f"{file}; No such file"[:23],
        "no such version",
    ]
