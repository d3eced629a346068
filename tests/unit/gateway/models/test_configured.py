import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.models.configured import ModelsConfig, OffersError


def listing(*names: str) -> str:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "/models/{name}" model_platform: "tensorflow" }}\n' for name in names
    )
    return f"model_config_list {{\n{entries}}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    write(path, listing("digits", "cifar10"))
    return path


def write(path: Path, text: str) -> None:
    """Write with a time stamp that differs from every one before, however coarse the clock is."""
    stamp_ns = path.stat().st_mtime_ns + 1_000_000_000 if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(stamp_ns, stamp_ns))


def test_names_come_in_the_order_of_the_file(file: Path):
    assert tuple(ModelsConfig(file).offers()) == ("digits", "cifar10")


def test_the_whole_of_the_servers_own_format_is_understood(file: Path):
    write(
        file,
        """
        # what the model server reads
        model_config_list: {
          config: {
            name: 'digits', base_path: '/models/digits', model_platform: 'tensorflow'
            model_version_policy { specific { versions: 1 versions: 2 } }
            version_labels { key: 'stable' value: 1 }
            version_labels { key: 'canary' value: 2 }
          }
        }
        """,
    )
    assert ModelsConfig(file).offers() == {"digits": ("canary", "stable")}


def test_a_changed_file_is_read_again(file: Path):
    config = ModelsConfig(file)
    write(file, listing("digits", "cifar10", "weather"))
    assert tuple(config.offers()) == ("digits", "cifar10", "weather")
    write(file, listing("weather"))
    assert tuple(config.offers()) == ("weather",)


def test_an_unchanged_file_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch):
    config = ModelsConfig(file)

    def read_text(*_: object, **__: object) -> str:
        pytest.fail("read again")

    monkeypatch.setattr(Path, "read_text", read_text)
    assert tuple(config.offers()) == ("digits", "cifar10")


@pytest.mark.parametrize("text", ["model_config_list {", "models: [digits]", listing(), "custom_model_config {}", ""])
def test_what_lists_no_models_is_refused_at_the_start(file: Path, text: str):
    write(file, text)
    with pytest.raises(OffersError, match=str(file)):
        ModelsConfig(file)


def test_bytes_that_are_no_text_are_refused(file: Path):
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OffersError, match="no model server configuration"):
        ModelsConfig(file)


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path):
    with pytest.raises(OffersError, match=r"none\.config cannot be read: No such file"):
        ModelsConfig(tmp_path / "none.config")


def test_a_file_that_breaks_later_is_told_once_and_the_last_names_count(file: Path):
    config = ModelsConfig(file)
    with capture_logs() as logs:
        write(file, "broken {")
        assert [tuple(config.offers()) for _ in range(3)] == [("digits", "cifar10")] * 3
        assert len(logs) == 1
        assert logs[0]["event"] == "models_config_unreadable"
        assert str(file) in logs[0]["reason"]
        file.unlink()
        assert tuple(config.offers()) == ("digits", "cifar10")
        assert len(logs) == 2
    write(file, listing("digits"))
    assert tuple(config.offers()) == ("digits",)


def test_a_file_that_breaks_twice_is_told_twice(file: Path):
    config = ModelsConfig(file)
    with capture_logs() as logs:
        for _ in range(2):
            write(file, "broken {")
            config.offers()
            write(file, listing("digits"))
            assert tuple(config.offers()) == ("digits",)
    assert len(logs) == 2


def test_a_file_that_comes_back_unchanged_and_goes_again_is_told_twice(file: Path):
    config = ModelsConfig(file)
    away = file.with_suffix(".away")
    with capture_logs() as logs:
        for _ in range(2):
            file.rename(away)
            config.offers()
            away.rename(file)
            config.offers()
    assert len(logs) == 2
