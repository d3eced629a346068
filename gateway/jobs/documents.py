"""Jobs and their results as JSON and CSV."""

import csv
import io
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from gateway.jobs import schemas
from gateway.jobs.records import ItemResult, Job

PATH = "/api/v1/jobs"
COLUMNS = ("index", "name", "class", "class_id", "score", "confident", "problem", "detail", "classes")
FORMULAS = re.compile("^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))(?= *[=+\\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet would begin a formula (OWASP, CSV injection): at a sign, which may be of full width, at the start
of a cell or after what may end one."""


def make_document(job: Job, root: str) -> schemas.Job:
    """Return a job as the API shows it.

    Args:
        job: The job.
        root: Path below which the gateway is published.
    """
    document: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "total": job.total,
        "answered": job.answered,
        "failed": job.failed,
        "model": _model(job),
    }
    for name in ("created", "started", "finished", "expires"):
        moment = getattr(job, name)
        if moment is not None:
            document[name] = _format_time(moment)
    document["results"] = f"{root}{PATH}/{job.id}/results"
    if job.problem is not None:
        document["problem"] = job.problem
    if job.webhook is not None:
        document["webhook"] = {"url": job.request.webhook_url, "status": job.webhook}
    return cast("schemas.Job", {**document, "request_id": job.request.request_id})


def make_lines(results: Iterable[ItemResult]) -> str:
    """Return results as JSON lines."""
    return "".join(f"{_line(result)}\n" for result in results)


def make_csv(results: Iterable[ItemResult], *, header: bool) -> str:
    """Return results as CSV (RFC 4180), with or without the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(COLUMNS)
    for result in results:
        document = json.loads(result.document)
        writer.writerow([result.index, *(_cell(value) for value in _row(result, document))])
    return text.getvalue()


def _model(job: Job) -> schemas.JobModel:
    name = job.model or job.request.model
    version = job.request.version if job.version is None else job.version
    model: schemas.JobModel = {}
    if name is not None:
        model["name"] = name
    if version is not None:
        model["version"] = version
    return model


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(result: ItemResult) -> str:
    """Return one line. The document is a JSON object already, whose members are put behind the first ones."""
    name = f'"name": {json.dumps(result.name, ensure_ascii=False)}, ' if result.name else ""
    return f'{{"index": {result.index}, {name}{result.document[1:]}'


def _row(result: ItemResult, document: dict[str, Any]) -> list[object]:
    if result.is_failed:
        return [result.name, "", "", "", "", document["type"], document["detail"], ""]
    confident = document.get("confident")
    classes = "; ".join(f"{item['label']} {item['score']}" for item in document.get("classes", ()))
    return [
        *(result.name, document["class"], document["class_id"], document["score"]),
        *("" if confident is None else str(confident).lower(), "", "", classes),
    ]


def _cell(value: object) -> object:
    """Return a value of which no spreadsheet makes a formula."""
    return FORMULAS.sub("'", value) if isinstance(value, str) else value
