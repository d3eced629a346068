import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.models.configured import ConfiguredModels, ModelsConfigError
from gateway.models.folders import ModelFolder
from gateway.reloaded_file import UnreadableFileError


def models_config(*names: str) -> str:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "/models/{name}" model_platform: "tensorflow" }}\n' for name in names
    )
    return f"model_config_list {{\n{entries}}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    write(path, models_config("digits", "cifar10"))
    return path


def write(path: Path, text: str) -> None:
    """Write with a time stamp later than every one before, however coarse the clock is."""
    stamp_ns = path.stat().st_mtime_ns + 1_000_000_000 if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(stamp_ns, stamp_ns))


def test_models_keep_the_order_of_the_file(file: Path):
    assert tuple(ConfiguredModels.from_file(file).current()) == ("digits", "cifar10")


def test_the_model_servers_format_is_parsed(file: Path):
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
    assert ConfiguredModels.from_file(file).current() == {"digits": ("canary", "stable")}


def test_the_folder_of_each_model_is_known(file: Path):
    models = ConfiguredModels.from_file(file)

    assert models.folder("digits") == ModelFolder("/models/digits", Path("/models/digits"))
    assert models.folder("unknown") is None


def test_a_fixed_list_has_no_labels_and_no_folders():
    models = ConfiguredModels.from_names(["pets", "birds"])

    assert models.current() == {"pets": (), "birds": ()}
    assert models.folder("pets") is None


def test_a_changed_file_is_read_again(file: Path):
    models = ConfiguredModels.from_file(file)

    write(file, models_config("digits", "cifar10", "weather"))
    assert tuple(models.current()) == ("digits", "cifar10", "weather")

    write(file, models_config("weather"))
    assert tuple(models.current()) == ("weather",)


def test_a_file_without_models_is_refused_at_the_start(file: Path):
    for text in ("model_config_list {", "models: [digits]", models_config(), "custom_model_config {}", ""):
        write(file, text)
        with pytest.raises(ModelsConfigError, match=str(file)):
            pytest.fail(f"{text!r}: {ConfiguredModels.from_file(file).current()}")


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path):
    with pytest.raises(UnreadableFileError, match=r"none\.config cannot be read: No such file"):
        ConfiguredModels.from_file(tmp_path / "none.config")


def test_a_file_that_breaks_later_is_logged_and_its_last_models_remain(file: Path):
    models = ConfiguredModels.from_file(file)

    with capture_logs() as logs:
        write(file, "broken {")
        assert tuple(models.current()) == ("digits", "cifar10")

    assert [line["event"] for line in logs] == ["models_config_unreadable"]
    assert f"{file} is not a model server configuration" in logs[0]["reason"]
