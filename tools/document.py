"""Generate docs/settings.md, docs/problems.md and the Prometheus rules for Kubernetes.

    python -m tools.document           # write them
    python -m tools.document --check   # exit 1 and name what differs

Settings come from the fields of `gateway.settings.Settings`. Problems come from the gateway's own errors and, for
requests that never reach the gateway, from nginx/nginx.conf.template. The PrometheusRule has the rules of alerts.yml.
"""

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.http.problems import HTTP_PROBLEMS, INTERNAL, PROBLEMS
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
    "sagemaker": "Platforms",
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
names that end in `_BYTES` are bytes. Lists are separated by commas. nginx has a few variables of its own, in
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
  "detail": "The body has more than 10485760 bytes.",
  "max_bytes": 10485760,
  "request_id": "4f1c6f5e0c1b4c2c9a7e0d5b8f3a2e10"
}
```

Programs should check `type`, which is stable. `detail` describes this occurrence for people, and further members such
as `max_bytes`, `max_pixels` and `accepted` contain its facts. The operator can find `request_id` in the log. Responses
with status 429 or 503 have a `Retry-After` header, in seconds. All other errors have the type `about:blank`, which adds
nothing to the status.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One problem type in the document."""

    status: int
    type_uri: str
    title: str
    advice: str
    source: str


def settings_document() -> str:
    """Return the text of docs/settings.md."""
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
    """Return the text of docs/problems.md.

    Args:
        template: nginx's configuration.

    Raises:
        SystemExit: nginx and the gateway use a type with different titles or statuses.
    """
    rows = sorted(problem_rows(template), key=lambda row: (row.status, row.type_uri))
    table = [
        table_row(str(row.status), f"`{row.type_uri}`", row.title, mark_settings(row.advice), row.source)
        for row in rows
    ]
    head = [PROBLEMS_INTRODUCTION, "| Status | Type | Title | What to do | From |", "|---|---|---|---|---|"]
    return "\n".join([*head, *table]) + "\n"


def problem_rows(template: str) -> list[Row]:
    """Return every problem with its own type."""
    rows = {
        problem.type_uri: Row(problem.status, problem.type_uri, problem.title, problem.advice, "gateway")
        for problem in (*PROBLEMS.values(), *HTTP_PROBLEMS.values(), INTERNAL)
    }
    for row in nginx_rows(template):
        ours = rows.get(row.type_uri)
        if ours is None:
            rows[row.type_uri] = row
        elif (ours.status, ours.title) == (row.status, row.title):
            rows[row.type_uri] = Row(ours.status, ours.type_uri, ours.title, ours.advice, "gateway, nginx")
        else:
            raise SystemExit(
                f"{row.type_uri} is {ours.status} {ours.title!r} in the gateway, {row.status} {row.title!r} in nginx"
            )
    return list(rows.values())


def nginx_rows(template: str) -> Iterator[Row]:
    """Read nginx's own problems from the maps in its configuration."""
    types, titles, details = (nginx_map(template, f"problem_{part}") for part in ("type", "title", "detail"))
    for status, type_uri in types.items():
        advice = re.sub(r"\$\{(\w+)\}", r"\1", details[status])
        yield Row(int(status), type_uri, titles[status], advice, "nginx")
    # The answer if nginx has no gateway left below its limit of requests.
    type_uri, title, advice = (nginx_overload_text(template, part) for part in ("type", "title", "detail"))
    yield Row(HTTPStatus.SERVICE_UNAVAILABLE, type_uri, title, advice, "nginx")


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
        Path("docs/settings.md"): settings_document(),
        Path("docs/problems.md"): problems_document(NGINX_TEMPLATE.read_text(encoding="utf-8")),
        PROMETHEUS_RULE: prometheus_rule(ALERTS.read_text(encoding="utf-8")),
    }


def main() -> int:
    """Write or check; return the exit status."""
    check = generated_files.parse_check(__doc__)
    expected = {path: text.encode() for path, text in documents().items()}
    return generated_files.update("tools.document", expected, ROOT, check=check)


if __name__ == "__main__":
    sys.exit(main())
