from pathlib import Path

import pytest
import yaml

from gateway.http.problems import HTTP_PROBLEMS, INTERNAL, PROBLEMS
from gateway.settings import Settings
from tools import document

TEMPLATE = document.NGINX_TEMPLATE.read_text(encoding="utf-8")

NGINX = """
    map $status $problem_type {
        default about:blank;
        404 /problems/not-found;
        503 /problems/gateway-unavailable;
    }
    map $status $problem_title {
        default "Request failed";
        404 "Not Found";
        503 "The gateway is not available";
    }
    map $status $problem_detail {
        default "nginx could not.";
        404 "Nothing is served at this path.";
        503 "No answer within ${NGINX_READ_TIMEOUT_S} s.";
    }
    map $status:$upstream_addr $response_type {
        default $problem_type;
        "~^[0-9]+:(.*, )?gateway$" /problems/overloaded;
    }
    map $status:$upstream_addr $response_title {
        default $problem_title;
        "~^[0-9]+:(.*, )?gateway$" "More requests than can be answered";
    }
    map $status:$upstream_addr $response_detail {
        default $problem_detail;
        "~^[0-9]+:(.*, )?gateway$" "Wait.";
    }
"""


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]


def test_the_documents_in_the_repository_are_up_to_date():
    documents = document.documents()
    assert documents
    for path, text in documents.items():
        assert (document.ROOT / path).read_text(encoding="utf-8") == text, "python -m tools.document"


def test_every_setting_is_documented_below_a_heading_with_its_meaning():
    text = document.settings_document()
    listed = {row[0]: row for row in rows(text)}
    for name, field in Settings.model_fields.items():
        assert listed[f"`GATEWAY_{name.upper()}`"][3] == field.description
    assert set(document.GROUPS) <= set(Settings.model_fields)
    assert next(iter(document.GROUPS)) == next(iter(Settings.model_fields))
    assert all(f"\n## {heading}\n" in text for heading in document.GROUPS.values())


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("bind", "text", "`127.0.0.1:8000`"),
        ("workers", "whole number from 1 to 64", ""),
        ("models_config", "path", "`serving_models/models.config`"),
        ("models_poll_s", "number above 0 to 60", "`1.0`"),
        ("default_model", "text", ""),
        ("fetch_enabled", "`true`, `false`", "`true`"),
        ("fetch_max_redirects", "whole number from 0 to 10", "`3`"),
        ("fetch_allowed_hosts", "list", ""),
        ("log_level", "`debug`, `info`, `warning`, `error`", "`info`"),
    ],
)
def test_values_and_default_of_a_setting_are_described(name: str, value: str, default: str):
    field = Settings.model_fields[name]
    assert (document.describe_values(field), document.format_default(field)) == (value, default)


def test_every_problem_is_documented():
    listed = {row[1].strip("`"): row for row in rows(document.problems_document(TEMPLATE))}
    for problem in (*PROBLEMS.values(), *HTTP_PROBLEMS.values(), INTERNAL):
        row = listed[problem.type_uri]
        assert row[0] == str(problem.status)
        assert row[2] == problem.title
        assert row[3]
    nginx_types = document.nginx_map(TEMPLATE, "problem_type").values()
    assert nginx_types
    for type_uri in nginx_types:
        assert "nginx" in listed[type_uri][5]


def test_problems_of_nginx_are_read_from_its_configuration():
    not_found, unavailable, overloaded = document.nginx_rows(NGINX)
    assert (not_found.status, not_found.type_uri, not_found.title) == (404, "/problems/not-found", "Not Found")
    assert unavailable.title == "The gateway is not available"
    assert (overloaded.status, overloaded.type_uri, overloaded.title) == (
        503,
        "/problems/overloaded",
        "More requests than can be answered",
    )
    text = document.problems_document(NGINX)
    assert "| 404 | `/problems/not-found` | Not Found |" in text
    assert "| The gateway is not available |" in text
    assert "| Retry after the number of seconds in Retry-After. | nginx |" in text


def test_a_type_with_two_titles_is_an_error():
    with pytest.raises(SystemExit, match=r"/problems/not-found is 404 'Not Found' in the gateway, 404 'Gone' in nginx"):
        document.problems_document(NGINX.replace('"Not Found"', '"Gone"'))


def test_a_configuration_without_the_maps_is_an_error():
    with pytest.raises(SystemExit, match=r"no map of \$status to \$problem_type"):
        document.problems_document("")
    with pytest.raises(SystemExit, match=r"no map of \$status:\$upstream_addr to \$response_title"):
        document.problems_document(NGINX.replace("$response_title", "$other"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(document, "ROOT", tmp_path)
    (tmp_path / document.PROMETHEUS_RULE).parent.mkdir(parents=True)
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    return tmp_path / "docs" / "reference"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["document", *arguments])
    return document.main()


def test_check_fails_and_changes_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "--check") == 1
    assert list(repository.iterdir()) == []
    out, err = capsys.readouterr()
    assert "missing: docs/reference/settings.md" in out
    assert "python -m tools.document" in err

    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0
    assert "up to date" in capsys.readouterr().out

    (repository / "problems.md").write_text("old")
    assert run(monkeypatch, "--check") == 1
    assert (repository / "problems.md").read_text() == "old"


def test_the_prometheus_rule_has_the_whole_file():
    rule = yaml.safe_load(document.prometheus_rule("# why\ngroups:\n  - name: a\n    rules: []\n"))
    assert (rule["kind"], rule["spec"]) == ("PrometheusRule", {"groups": [{"name": "a", "rules": []}]})
