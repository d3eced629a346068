from pathlib import Path

import pytest
from google.protobuf import text_format

from model_server.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from model_server.versions.repository import (
    All,
    Latest,
    Specific,
    fingerprint,
    missing_part,
    read_base_path,
    read_config_file,
    read_reload_request,
    scan,
)
from tfs_api.protos import model_server_config_pb2


def config_file(tmp_path, text):
    file = tmp_path / "models.config"
    file.write_text(text)
    return file


def model(extra="", name="m"):
    return f'config {{ name: "{name}" base_path: "/models/m" model_platform: "tensorflow" {extra} }}'


def read_one(tmp_path, extra):
    (config,) = read_config_file(config_file(tmp_path, f"model_config_list {{ {model(extra)} }}"))
    return config


@pytest.mark.parametrize(
    ("extra", "policy"),
    [
        ("", Latest(1)),
        ("model_version_policy { latest { num_versions: 2 } }", Latest(2)),
        ("model_version_policy { all {} }", All()),
        ("model_version_policy { specific { versions: 1 versions: 3 } }", Specific(frozenset({1, 3}))),
    ],
)
def test_policies_are_read(tmp_path, extra, policy):
    assert read_one(tmp_path, extra).policy == policy


def test_labels_are_read(tmp_path):
    assert read_one(tmp_path, 'version_labels { key: "stable" value: 1 }').labels == {"stable": 1}


def test_several_models_and_comments(tmp_path):
    text = f"# two models\nmodel_config_list {{ {model()} {model(name='n')} }}"
    assert [config.name for config in read_config_file(config_file(tmp_path, text))] == ["m", "n"]


def test_a_configuration_with_too_many_models_is_refused(tmp_path):
    text = f"model_config_list {{ {' '.join(model(name=f'm{number}') for number in range(1001))} }}"

    with pytest.raises(InvalidArgumentError, match="The configuration lists 1001 models; at most 1000 are accepted"):
        read_config_file(config_file(tmp_path, text))


def test_an_empty_list_of_models_is_valid(tmp_path):
    assert read_config_file(config_file(tmp_path, "model_config_list { }")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("this is { not a config", "Invalid protobuf file: '.*models.config': 1:1"),
        (f"model_config_list {{ {model()} {model()} }}", "Illegal to list model m multiple times"),
        ('model_config_list { config { name: "m" base_path: "/m" } }', "model name is m"),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_platform: "pytorch" } }',
            "Model m requests unsupported platform pytorch",
        ),
        ('custom_model_config { type_url: "x" }', "custom_model_config is not supported"),
    ],
)
def test_invalid_configurations_are_refused(tmp_path, text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        read_config_file(config_file(tmp_path, text))


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"missing\.config; No such file or directory"):
        read_config_file(tmp_path / "missing.config")


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Latest(), {10}),
        (Latest(2), {2, 10}),
        (Latest(0), {10}),
        (Latest(9), {1, 2, 10}),
        (All(), {1, 2, 10}),
        (Specific(frozenset({2, 7})), {2}),
    ],
)
def test_policies_choose_versions(policy, chosen):
    assert policy.choose(frozenset({1, 2, 10})) == chosen


def test_policies_choose_nothing_from_an_empty_set():
    assert {policy.choose(frozenset()) for policy in (Latest(), All(), Specific(frozenset({1})))} == {frozenset()}


def test_every_numbered_entry_is_a_version(tmp_path):
    for name in ("1", "002", " 3", "10", "abc", "-5", "1.5", "0x4", "²", ".5", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("")
    assert scan(tmp_path) == {number: tmp_path / name for number, name in ((1, "1"), (2, "002"), (3, " 3"))} | {
        7: tmp_path / "7",
        10: tmp_path / "10",
    }
    assert list(scan(tmp_path)) == [1, 2, 3, 7, 10]


def test_of_two_names_for_a_number_the_shortest_wins(tmp_path):
    for name in ("002", "2"):
        (tmp_path / name).mkdir()
    assert scan(tmp_path) == {2: tmp_path / "2"}


def test_a_link_is_a_version(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "4").symlink_to("target")
    assert scan(tmp_path) == {4: tmp_path / "4"}


def test_an_unreadable_base_path_is_an_error(tmp_path):
    with pytest.raises(NotFoundError, match="missing not found"):
        scan(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPreconditionError, match="file; Not a directory"):
        scan(tmp_path / "file")


def test_a_fingerprint_changes_with_files_and_their_contents(tmp_path):
    fingerprints = [fingerprint(tmp_path)]
    (tmp_path / "saved_model.pb").write_text("a")
    fingerprints.append(fingerprint(tmp_path))
    assert fingerprint(tmp_path) == fingerprints[-1]
    (tmp_path / "saved_model.pb").write_text("ab")
    fingerprints.append(fingerprint(tmp_path))
    (tmp_path / "variables").mkdir()
    fingerprints.append(fingerprint(tmp_path))
    (tmp_path / "variables" / "variables.index").write_text("")
    fingerprints.append(fingerprint(tmp_path))
    assert len(set(fingerprints)) == len(fingerprints)


def test_a_fingerprint_accepts_a_broken_link_and_a_plain_file(tmp_path):
    (tmp_path / "gone").symlink_to("nowhere")
    assert fingerprint(tmp_path) == frozenset()
    (tmp_path / "7").write_text("abc")
    assert [size for _, size, _ in fingerprint(tmp_path / "7")] == [3]


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ((), "saved_model.pb"),
        (("variables/variables.index",), "saved_model.pb"),
        (("saved_model.pb",), ""),
        (("saved_model.pbtxt",), ""),
        (("saved_model.pb", "assets/words.txt"), ""),
        (("saved_model.pb", "variables/variables.data-00000-of-00001"), "variables/variables.index"),
        (("saved_model.pb", "variables/variables.index"), "variables/variables.data-00000-of-00001"),
        (
            ("saved_model.pb", "variables/variables.index", "variables/variables.data-00001-of-00002"),
            "variables/variables.data-00000-of-00002",
        ),
        (("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"), ""),
    ],
)
def test_the_first_missing_file_of_a_saved_model_is_named(tmp_path, files, missing):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    assert missing_part(tmp_path) == missing


def test_a_tflite_model_needs_no_saved_model_if_it_is_preferred(tmp_path):
    (tmp_path / "model.tflite").write_text("")

    assert missing_part(tmp_path, prefer_tflite=True) == ""
    assert missing_part(tmp_path, prefer_tflite=False) == "saved_model.pb"


def test_an_incomplete_saved_model_is_incomplete_also_where_a_tflite_model_is_preferred(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_text("")

    assert missing_part(tmp_path, prefer_tflite=True) == "model.tflite or saved_model.pb"


def test_a_plain_file_misses_no_part(tmp_path):
    (tmp_path / "7").write_text("")
    assert missing_part(tmp_path / "7") == ""


def test_a_base_path_is_a_path_or_its_uri():
    assert read_base_path("models/m") == Path("models/m")
    assert read_base_path("file:///models/m") == Path("/models/m")


def test_a_base_path_on_another_file_system_cannot_be_scanned():
    with pytest.raises(InvalidArgumentError, match=r"Base path s3://b/m is on .*\. Only local folders are read"):
        scan(read_base_path("s3://b/m"))


def reload_request(text):
    return read_reload_request(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))


def test_a_reload_request_is_read():
    (config,) = reload_request(f"model_config_list {{ {model()} }}")
    assert (config.name, str(config.base_path)) == ("m", "/models/m")
    assert reload_request("model_config_list {}") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ServerModelConfig type not supported by HandleReloadConfigRequest"),
        ('custom_model_config { type_url: "x" }', "ServerModelConfig type not supported by HandleReloadConfigRequest"),
        (
            'model_config_list { config { name: "q" base_path: "models/q" model_platform: "tensorflow" } }',
            r"Expected model q to have an absolute path or URI; got base_path\(\)=models/q",
        ),
    ],
)
def test_invalid_reload_requests_are_refused(text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        reload_request(text)


def test_a_reload_request_without_a_platform_is_refused_with_a_warning(caplog):
    with pytest.raises(InvalidArgumentError, match="neither ModelServerConfig::model_type"):
        reload_request('model_config_list { config { name: "m" base_path: "/models/m" } }')

    (record,) = caplog.records
    assert "would apply no further configuration" in record.getMessage()


def test_a_reload_request_with_another_file_system_gives_a_warning(caplog):
    reload_request('model_config_list { config { name: "m" base_path: "s3://b/m" model_platform: "tensorflow" } }')

    (record,) = caplog.records
    assert "has the base path s3://b/m, which the released server cannot read" in record.getMessage()


def test_other_reload_requests_give_no_warning(caplog):
    reload_request('model_config_list { config { name: "m" base_path: "file:///m" model_platform: "tensorflow" } }')

    assert not caplog.records
