from pathlib import Path

import pytest

from tools import compile_protos

MESSAGE = 'syntax = "proto3"; package p; message M { string name = 1; }'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a repository with one proto source and no generated file."""
    folder = tmp_path / compile_protos.PROTOS
    folder.mkdir(parents=True)
    (folder / "m.proto").write_text(MESSAGE)
    return tmp_path


def test_the_repository_is_up_to_date():
    assert len(list((compile_protos.ROOT / compile_protos.PROTOS).glob("*.proto"))) >= 2
    assert compile_protos.outdated(compile_protos.compile_protos()) == []


def test_writing_makes_the_generated_files_equal(root: Path):
    orphan = root / compile_protos.PROTOS / "old_pb2.py"
    orphan.write_text("")
    compiled = compile_protos.compile_protos(root)
    assert compile_protos.outdated(compiled, root) == [
        "no longer needed: model_server/protos/old_pb2.py",
        "outdated: model_server/protos/m_pb2.py",
        "outdated: model_server/protos/m_pb2.pyi",
    ]

    compile_protos.write(compiled, root)

    assert compile_protos.outdated(compiled, root) == []
    assert not orphan.exists()


def test_an_invalid_source_is_named(root: Path):
    (root / compile_protos.PROTOS / "m.proto").write_text("nonsense")

    with pytest.raises(SystemExit, match=r"protoc failed on model_server/protos/m\.proto"):
        compile_protos.compile_protos(root)


def test_check_changes_nothing_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(compile_protos, "compile_protos", dict)
    monkeypatch.setattr(compile_protos, "outdated", lambda _: ["outdated: health_pb2.py"])
    monkeypatch.setattr(compile_protos, "write", lambda _: pytest.fail("--check must not write"))
    monkeypatch.setattr("sys.argv", ["compile_protos", "--check"])

    assert compile_protos.main() == 1

    out, err = capsys.readouterr()
    assert "outdated: health_pb2.py" in out
    assert "python -m tools.compile_protos" in err
