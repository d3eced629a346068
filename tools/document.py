"""Generate docs/reference/settings.md, docs/reference/problems.md and the Prometheus rules for Kubernetes.

    python -m tools.document           # write them
    python -m tools.document --check   # exit 1 and name what differs

Settings come from the fields of `gateway.settings.Settings`. Problems come from the gateway's table, which its pages
below /problems show too; nginx/nginx.conf.template must agree with it. The PrometheusRule has the rules of alerts.yml.
"""

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.http.problems import Problem
from gateway.openapi.problems import NGINX_PROBLEMS, all_problems
from gateway.settings import PREFIX, Settings
from tools import generated_files

ROOT = Path(__file__).parents[1]
NGINX_TEMPLATE = ROOT / "nginx" / "nginx.conf.template"
ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yml"
PROMETHEUS_RULE = Path("deploy/kubernetes/overlays/monitoring/prometheus-rule.yaml")

GROUPS = {
    "bind": "Processes",
    "tfs_target": "Model server and models",
    "request_deadline_s": "Time",
    "max_body_bytes": "Limits",
    "fetch_enabled": "Images by URL",
    "cache": "Cache",
    "redis_url": "Redis",
    "jobs": "Jobs",
    "sagemaker": "Platforms",
    "compatible_apis": "Other clients",
    "cors_origins": "Browsers",
    "api_keys_file": "Access",
    "metrics_max_classes": "Metrics",
    "log_level": "Log",
}
"""Headings, by the first setting below each."""

SETTINGS_INTRODUCTION = """\
# Settings

The gateway reads these environment variables when it starts. It refuses to start with an invalid value, or with a
variable that begins with `GATEWAY_` and is not listed here. Values of names that end in `_S` are seconds, those of
names that end in `_BYTES` are bytes. Lists are separated by commas. nginx has a few further variables, in
`nginx/defaults.env`.
"""

PROBLEMS_INTRODUCTION = """\
# Problems

Every error is answered as `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)):

```json
{
  "type": "/problems/body-too-large",
  "title": "Too many bytes",
  "status": 413,
  "detail": "The body is 11.3 MB; at most 10 MB is accepted. Send a smaller image.",
  "max_bytes": 10485760,
  "request_id": "4f1c6f5e0c1b4c2c9a7e0d5b8f3a2e10"
}
```

Programs should check `type`, which is stable. It opens as a page of the service, such as
`http://localhost:8080/problems/body-too-large`. `/problems` lists all of them. A client that accepts only JSON gets
both as JSON.

`detail` describes this occurrence for people, and further members such as `max_bytes`, `max_pixels` and `accepted`
contain its facts. `field`, if there is one, says what of the request to change: a JSON pointer such as
`/instances/2/url`, or the name of a form part, query parameter or header. The operator can find `request_id` in the
log. Responses with status 429 or 503 have a `Retry-After` header, in seconds. All other errors have the type
`about:blank`, which adds nothing to the status.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One problem type in the document, and which program answers with it."""

    problem: Problem
    source: str


class NginxRow(NamedTuple):
    """One problem type in nginx's configuration."""

    type_uri: str
    status: int
    title: str


def settings_document() -> str:
    """Return the text of docs/reference/settings.md."""
    parts = [SETTINGS_INTRODUCTION.rstrip()]
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            parts += [f"\n## {GROUPS[name]}\n", "| Variable | Value | Default | Meaning |", "|---|---|---|---|"]
        parts.append(
            table_row(
                f"`{PREFIX}{name.upper()}`", describe_values(field), format_default(field), field.description or ""
            )
        )
    return "\n".join(parts) + "\n"


def describe_values(field: FieldInfo) -> str:
    """Describe the values of a setting."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list"
    if annotation is bool:
        return "`true`, `false`"
    kinds: Mapping[Any, str] = {
        int: "whole number",
        float: "number",
        Path: "path",
        Path | None: "path",
    }
    return " ".join([kinds.get(annotation, "text"), *describe_limits(field.metadata)])


def describe_limits(metadata: Sequence[Any]) -> Iterator[str]:
    """Describe the limits of a number."""
    for attribute, words in (("gt", "above"), ("ge", "from"), ("le", "to")):
        for constraint in metadata:
            if hasattr(constraint, attribute):
                yield f"{words} {getattr(constraint, attribute)}"


def format_default(field: FieldInfo) -> str:
    """Return a default as it would be set; empty if there is none or the description states it."""
    default = field.default
    if default in {None, ()} or field.default_factory is not None:
        return ""
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def problems_document(template: str) -> str:
    """Return the text of docs/reference/problems.md.

    Args:
        template: nginx's configuration.

    Raises:
        SystemExit: nginx and the gateway use a type with different titles or statuses.
    """
    rows = sorted(problem_rows(template), key=lambda row: (row.problem.status, row.problem.type_uri))
    table = [
        table_row(
            str(row.problem.status),
            f"`{row.problem.type_uri}`",
            row.problem.title,
            mark_settings(row.problem.meaning),
            mark_settings(row.problem.advice),
            row.source,
        )
        for row in rows
    ]
    head = [
        PROBLEMS_INTRODUCTION,
        "| Status | Type | Title | When | What to do | From |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *table]) + "\n"


def problem_rows(template: str) -> list[Row]:
    """Return every problem with its own type."""
    rows = {problem.type_uri: Row(problem, "gateway") for problem in all_problems()}
    for type_uri, status, title in nginx_rows(template):
        problem = rows[type_uri].problem
        if (problem.status, problem.title) != (status, title):
            raise SystemExit(
                f"{type_uri} is {problem.status} {problem.title!r} in the gateway, {status} {title!r} in nginx"
            )
        rows[type_uri] = Row(problem, "nginx" if problem in NGINX_PROBLEMS else "gateway, nginx")
    return list(rows.values())


def nginx_rows(template: str) -> Iterator[NginxRow]:
    """Read nginx's own problems from the maps in its configuration."""
    types, titles = (nginx_map(template, f"problem_{part}") for part in ("type", "title"))
    for status, type_uri in types.items():
        yield NginxRow(type_uri, int(status), titles[status])
    # The answer if nginx has no gateway left below its limit of requests.
    type_uri, title = (nginx_overload_text(template, part) for part in ("type", "title"))
    yield NginxRow(type_uri, HTTPStatus.SERVICE_UNAVAILABLE, title)


def nginx_overload_text(template: str, part: str) -> str:
    """Return the text for an overloaded gateway from `map $status:$upstream_addr $response_PART { ... }`."""
    pattern = rf'map \$status:\$upstream_addr \$response_{part} \{{[^}}]*"~[^"]*" "?([^"]+?)"?;'
    match = re.search(pattern, template)
    if match is None:
        raise SystemExit(f"{NGINX_TEMPLATE.name} has no map of $status:$upstream_addr to $response_{part}")
    return match[1]


def nginx_map(template: str, variable: str) -> Mapping[str, str]:
    """Return the entries of `map $status $VARIABLE { ... }`, without the default."""
    match = re.search(rf"map \$status \${variable} \{{\n(.*?)\n    \}}", template, re.DOTALL)
    if match is None:
        raise SystemExit(f"{NGINX_TEMPLATE.name} has no map of $status to ${variable}")
    return {status: text.strip('"') for status, text in re.findall(r"^\s*(\d{3}) (.+);$", match[1], re.MULTILINE)}


def mark_settings(text: str) -> str:
    """Put the names of settings in backticks."""
    return re.sub(r"\b((?:GATEWAY|NGINX)_[A-Z_]+)\b", r"`\1`", text)


def table_row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def prometheus_rule(alerts: str) -> str:
    """Return the object that passes Prometheus' rules to its operator on Kubernetes."""
    head = "# Generated from deploy/monitoring/alerts.yml by `python -m tools.document`.\n"
    head += "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: image-gateway}\nspec:\n"
    return head + textwrap.indent(alerts, "  ")


def documents() -> dict[Path, str]:
    """Return all generated files by path relative to the repository."""
    return {
        Path("docs/reference/settings.md"): settings_document(),
        Path("docs/reference/problems.md"): problems_document(NGINX_TEMPLATE.read_text(encoding="utf-8")),
        PROMETHEUS_RULE: prometheus_rule(ALERTS.read_text(encoding="utf-8")),
    }


def main() -> int:
    """Write or check; return the exit status."""
    check = generated_files.parse_check("tools.document", __doc__)
    expected = {path: text.encode() for path, text in documents().items()}
    return generated_files.update("tools.document", expected, ROOT, check=check)


if __name__ == "__main__":
    sys.exit(main())
