"""Pages about problems: `/problems` lists the types, and each type URI opens what it means and what to do."""

import difflib
import html
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NotRequired, TypedDict

from flask import Blueprint, Response, json, render_template, request
from werkzeug.exceptions import NotFound

from gateway.http.hints import quote
from gateway.http.pages import finish_page
from gateway.http.problems import Problem, make_document
from gateway.openapi.problem_causes import CAUSES, Cause
from gateway.openapi.problems import FIELD, FIELD_PROBLEMS, all_problems
from gateway.openapi.schemas import Schema

CODE = re.compile(r"`([^`]+)`|\b((?:GATEWAY|NGINX)_[A-Z_]+)\b")
MAX_SIMILAR_LENGTH = 64
"""Limit on names that are compared with those of the problems, which takes time in proportion to their lengths."""
GROUPS = {"The request has to change": range(400, 500), "The service cannot answer": range(500, 600)}
"""Headings of the list, with the statuses below each."""
REQUEST_ID = "4f1c6f5e0c1b4c2c9a7e0d5b8f3a2e10"


class ProblemType(TypedDict):
    """What a page says about a problem; the same as JSON.

    Attributes:
        type: The type URI.
        title: What went wrong.
        status: HTTP status code.
        meaning: When it occurs.
        reasons: What usually leads to it, the most frequent first.
        advice: What the caller can do about it.
        members: Description of each member that only this problem has, by name.
        condition: What has to be so before the request leads to it; absent if nothing has to.
        request: A command that leads to it; absent if no request does so by itself.
        example: A problem document; the response to the request, if there is one.
    """

    type: str
    title: str
    status: int
    meaning: str
    reasons: Sequence[str]
    advice: str
    members: NotRequired[Mapping[str, str]]
    condition: NotRequired[str]
    request: NotRequired[str]
    example: Mapping[str, Any]


def register(pages: Blueprint) -> None:
    """Add the routes to the blueprint of the pages: as HTML, or as JSON for clients that accept no HTML but JSON."""
    pages.add_app_template_filter(_mark_code, "marked")

    @cache
    def types() -> dict[str, ProblemType]:
        return {problem.slug: entry for problem, entry in _problem_types()}

    @cache
    def list_page() -> str:
        groups = [
            (heading, [entry for entry in types().values() if entry["status"] in statuses])
            for heading, statuses in GROUPS.items()
        ]
        return render_template("problem_list.html", root="./", groups=groups)

    @cache
    def page(slug: str) -> str:
        problem = types()[slug]
        example = json.dumps(problem["example"], indent=2)
        return render_template("problem.html", root="../", problem=problem, example=example)

    @pages.get("/problems", strict_slashes=True)
    def problem_list() -> Response:
        return _respond({"problems": list(types().values())}) if _wants_json() else _respond(list_page())

    @pages.get("/problems/<slug>", strict_slashes=True)
    def problem(slug: str) -> Response:
        if slug not in types():
            near = difflib.get_close_matches(slug, types(), n=1) if len(slug) <= MAX_SIMILAR_LENGTH else []
            root = request.root_path.rstrip("/")
            advice = (
                f"Did you mean {root}/problems/{near[0]}?" if near else f"`GET {root}/problems` lists the problems."
            )
            raise NotFound(f"There is no problem {quote(slug)}. {advice}")
        return _respond(types()[slug]) if _wants_json() else _respond(page(slug))


def _wants_json() -> bool:
    accept = request.environ.get("HTTP_ACCEPT", "")  # werkzeug's parser reads more than is needed here
    return "json" in accept and "html" not in accept


def _respond(content: str | Mapping[str, Any]) -> Response:
    is_page = isinstance(content, str)
    body = content if is_page else json.dumps(content)
    response = Response(body, mimetype="text/html" if is_page else "application/json")
    response.headers["Vary"] = "Accept"
    return finish_page(response)


def _problem_types() -> list[tuple[Problem, ProblemType]]:
    by_status = sorted(all_problems().items(), key=lambda item: (item[0].status, item[0].slug))
    return [(problem, _problem_type(problem, own_members)) for problem, own_members in by_status]


def _problem_type(problem: Problem, own_members: Mapping[str, Schema]) -> ProblemType:
    cause = CAUSES[problem.slug]
    has_field = problem in FIELD_PROBLEMS and (not cause.detail or "field" in cause.members)
    described = dict(own_members) | ({"field": FIELD} if has_field else {})
    entry: ProblemType = {
        "type": problem.type_uri,
        "title": problem.title,
        "status": problem.status,
        "meaning": problem.meaning,
        "reasons": cause.reasons,
        "advice": problem.advice,
        "example": _example(problem, described, cause),
    }
    if described:
        entry["members"] = {name: member["description"] for name, member in described.items()}
    if cause.condition:
        entry["condition"] = cause.condition
    if cause.request:
        entry["request"] = cause.request
    return entry


def _example(problem: Problem, members: Mapping[str, Schema], cause: Cause) -> dict[str, Any]:
    values = {name: member["examples"][0] for name, member in members.items()} | dict(cause.members)
    return make_document(problem, cause.detail or problem.meaning, values) | {"request_id": REQUEST_ID}


def _mark_code(text: str) -> str:
    """Return text as HTML, with names of settings and what is between backticks as code."""
    return CODE.sub(lambda match: f"<code>{match[1] or match[2]}</code>", html.escape(text))
