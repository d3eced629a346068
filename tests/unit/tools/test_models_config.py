import stat

import pytest

from gateway.models.configured import ModelsConfigError
from tools.models_config import COMMITTED_MODELS, FaultWatch, add_entry, find_faults, find_served_versions, read_entries

COMMITTED = """# Models that are served: see docs.
model_config_list {
  config {
    name: "digits"  # the first } is the default
    base_path: "serving_models/digits"
    model_platform: "tensorflow"
  }
}
# The end }
"""
ADDED = """  config {
    name: "flowers"
    base_path: "/models/flowers"
    model_platform: "tensorflow"
  }
"""


def test_the_committed_models_are_complete():
    assert not find_faults(read_entries(COMMITTED_MODELS / "models.config"))


@pytest.fixture
def config(tmp_path):
    return tmp_path / "models.config"


def test_an_entry_is_added_at_the_end_and_everything_else_stays(config):
    config.write_text(COMMITTED)

    add_entry(config, "flowers", "/models/flowers")

    before, after = COMMITTED.split("}\n# The end")
    assert config.read_text() == f"{before}{ADDED}}}\n# The end{after}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model_config_list { }",
        "model_config_list: <config: <name: 'a}' base_path: '/a' model_platform: 'tensorflow'>>",
        'model_config_list {\r\n  config { name: "\\"}" base_path: "/a" model_platform: "tensorflow" }\r\n}\r\n',
        'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } # }\n }',
        "# only a comment {\nmodel_config_list {}",
        "# only a comment {",
    ],
)
def test_every_form_of_the_file_can_be_extended(config, text):
    config.write_text(text, newline="")
    names = list(read_entries(config)) if "config " in text.replace("model_config", "") or "config:" in text else []

    add_entry(config, "模型 1", "/models/1")

    assert list(read_entries(config)) == [*names, "模型 1"]
    assert not ("\r\n" in text and "\n" in config.read_bytes().decode().replace("\r\n", ""))


def test_a_missing_file_is_created_and_readable_by_containers(config):
    add_entry(config, "flowers", "/models/flowers")

    assert config.read_text() == f"model_config_list {{\n{ADDED}}}\n"
    assert stat.S_IMODE(config.stat().st_mode) == 0o644


def test_a_link_to_the_file_stays_a_link(config, tmp_path):
    real = tmp_path / "real.config"
    real.write_text(COMMITTED)
    config.symlink_to(real)

    add_entry(config, "flowers", "/models/flowers")

    assert config.is_symlink()
    assert "flowers" in real.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model_config_list {", "is not a model server configuration: 1:"),
        (b'custom_model_config { type_url: "x" }', "cannot be extended. Add this entry to it yourself: config { name"),
        (b"\xef\xbb\xbfmodel_config_list { }", "starts with a byte order mark. Save it as UTF-8 without one."),
        (b"\xff", "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_extended_stays_as_it_is(config, content, message):
    config.write_bytes(content)

    with pytest.raises(ModelsConfigError) as failure:
        add_entry(config, "flowers", "/models/flowers")

    assert str(failure.value).startswith(f"{config} {message}")
    assert config.read_bytes() == content


def configure(config, *names):
    config.unlink(missing_ok=True)
    for name in names:
        add_entry(config, name, str(config.parent / name))


def make_version(config, name):
    version = config.parent / name / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")


def test_only_models_with_a_fault_are_found(config):
    configure(config, "digits", "missing")
    make_version(config, "digits")

    assert list(find_faults(read_entries(config))) == ["missing"]


def test_a_model_on_another_file_system_is_not_served_here(config):
    config.write_text(entry('name: "remote" base_path: "s3://bucket/remote" model_platform: "tensorflow"'))

    faults = find_faults(read_entries(config))

    assert faults["remote"].startswith("s3://bucket/remote is on another file system; only local folders are read here")


def test_the_uri_of_a_folder_is_served_like_its_path(config):
    make_version(config, "digits")
    config.write_text(entry(f'name: "digits" base_path: "file://{config.parent}/digits" model_platform: "tensorflow"'))

    assert find_faults(read_entries(config)) == {}
    assert find_served_versions(config) == {"digits": [config.parent / "digits" / "1"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            ['name: "a" base_path: "/a" model_platform: "tensorflow"'] * 2,
            " has two entries with the name a. Rename or remove one.",
        ),
        (
            ['name: "a" base_path: "/a"'],
            ', a: Its entry in models.config lacks model_platform: "tensorflow". Add it.',
        ),
        (
            ['name: "a" base_path: "/a" model_platform: "pytorch"'],
            ', a: Its entry in models.config has model_platform: "pytorch". Write "tensorflow" instead.',
        ),
    ],
)
def test_what_the_model_server_refuses_is_an_error(config, fields, message):
    config.write_text(entry(*fields))

    with pytest.raises(ModelsConfigError) as failure:
        read_entries(config)

    assert str(failure.value) == f"{config}{message}"


def test_an_entry_without_a_name_has_a_fault(config):
    config.write_text(entry('base_path: "/a" model_platform: "tensorflow"'))

    assert FaultWatch(config).start() == [
        "A model without a name cannot be served: Its base_path is /a. Name the model in models.config."
    ]


def entry(*fields):
    return f"model_config_list {{ {' '.join(f'config {{ {text} }}' for text in fields)} }}"


def test_changes_are_reported_once_two_checks_find_them(config):
    configure(config, "digits", "missing")
    make_version(config, "digits")
    watch = FaultWatch(config)
    missing = f"missing cannot be served: The folder {config.parent}/missing does not exist. Correct base_path in"

    assert [line.startswith(missing) for line in watch.start()] == [True]
    assert watch.check() == []
    make_version(config, "missing")
    assert watch.check() == ["missing: in order now"]
    (config.parent / "digits" / "2").mkdir()  # a version that is being copied
    assert watch.check() == []
    (config.parent / "digits" / "2" / "saved_model.pb").write_bytes(b"graph")
    assert watch.check() == []
    (config.parent / "digits" / "3").touch()
    assert watch.check() == []
    assert [line.partition(":")[0] for line in watch.check()] == ["digits cannot be served"]
    assert watch.check() == []


def test_a_damaged_configuration_is_reported_while_the_models_are_served(config):
    configure(config, "digits")
    make_version(config, "digits")
    watch = FaultWatch(config)
    watch.start()

    config.write_text("model_config_list {")

    assert watch.check() == []
    (line,) = watch.check()
    assert "is not a model server configuration" in line
    assert line.endswith("The models stay as they were.")
    configure(config, "digits")
    assert watch.check() == ["models.config: in order now"]


def test_a_damaged_configuration_says_nothing_about_a_model_with_a_fault(config):
    configure(config, "digits", "missing")
    make_version(config, "digits")
    watch = FaultWatch(config)
    watch.start()

    config.write_text("model_config_list {")

    lines = [*watch.check(), *watch.check(), *watch.check()]
    assert len(lines) == 1
    assert lines[0].startswith(f"{config} is not")
    configure(config, "digits", "missing")
    assert [*watch.check(), *watch.check()] == ["models.config: in order now"]


def test_an_entry_that_is_removed_is_not_in_order(config):
    configure(config, "digits", "missing")
    make_version(config, "digits")
    watch = FaultWatch(config)
    watch.start()

    configure(config, "digits")

    assert [*watch.check(), *watch.check()] == ["missing: no longer listed"]


def test_what_the_running_programs_report_appears_once_for_each_change(config):
    configure(config, "digits", "logits")
    for name in ("digits", "logits"):
        make_version(config, name)
    failed = {"logits": "Its scores are not probabilities.", "digits": "It is slow."}
    watch = FaultWatch(config, lambda names: {name: failed[name] for name in names if name in failed})
    watch.start()
    watch.skip(["digits"])

    assert [*watch.check(), *watch.check(), *watch.check()] == [
        "logits cannot be served: Its scores are not probabilities."
    ]
    failed.clear()
    assert sorted(watch.check()) == ["digits: in order now", "logits: in order now"]
