from pathlib import Path

import pytest

from tools import compile_protos, generated_files

MESSAGE = 'syntax = "proto3"; package p; message M { string name = 1; }'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a repository with one proto source and no generated file."""
    folder = tmp_path / compile_protos.PROTOS
    folder.mkdir(parents=True)
    (folder / "m.proto").write_text(MESSAGE)
    return tmp_path


def differences(root: Path) -> list[str]:
    return generated_files.differences(compile_protos.compile_protos(root), root, compile_protos.existing_files(root))


def test_the_repository_is_up_to_date():
    assert len(list((compile_protos.ROOT / compile_protos.PROTOS).glob("*.proto"))) >= 2
    assert differences(compile_protos.ROOT) == []


def test_generated_files_are_compared_with_their_sources(root: Path):
    orphan = root / compile_protos.PROTOS / "old_pb2.py"
    orphan.write_text("")

    assert differences(root) == [
        "missing: model_server/protos/m_pb2.py",
        "missing: model_server/protos/m_pb2.pyi",
        "no longer needed: model_server/protos/old_pb2.py",
    ]


def test_an_invalid_source_is_named(root: Path):
    (root / compile_protos.PROTOS / "m.proto").write_text("nonsense")

    with pytest.raises(SystemExit, match=r"protoc failed on model_server/protos/m\.proto"):
        compile_protos.compile_protos(root)


def test_check_changes_nothing_and_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    compiled = compile_protos.compile_protos(root)
    monkeypatch.setattr(compile_protos, "ROOT", root)
    monkeypatch.setattr(compile_protos, "compile_protos", lambda: compiled)
    monkeypatch.setattr(compile_protos, "existing_files", list)
    monkeypatch.setattr("sys.argv", ["compile_protos", "--check"])

    assert compile_protos.main() == 1
    assert list(root.rglob("*_pb2*")) == []
    out, err = capsys.readouterr()
    assert "missing: model_server/protos/m_pb2.py" in out
    assert "python -m tools.compile_protos" in err

    monkeypatch.setattr("sys.argv", ["compile_protos"])
    assert compile_protos.main() == 0
    assert {file.relative_to(root): file.read_bytes() for file in root.rglob("*_pb2*")} == compiled
