"""The type URI of every problem opens as a page that says what it means and what to do."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.http.pages import CONTENT_SECURITY_POLICY
from gateway.http.problems import Problem
from gateway.openapi.problem_causes import CAUSES
from gateway.openapi.problem_pages import MAX_SIMILAR_LENGTH
from gateway.openapi.problems import all_problems
from image_gateway_client.keys import hash_key, make_key

PROBLEMS = list(all_problems())


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.slug)
def test_the_type_of_a_problem_opens(client: FlaskClient, problem: Problem):
    response = client.get(problem.type_uri)
    text = " ".join(unescape(re.sub(r"<[^>]+>", "", response.text)).split())

    assert (response.status_code, response.mimetype) == (200, "text/html")
    own = (problem.title, str(problem.status), problem.type_uri, problem.meaning, problem.advice)
    for part in (*own, *CAUSES[problem.slug].reasons):
        assert part.replace("`", "") in text


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.slug)
def test_the_same_is_there_as_json_with_an_example(client: FlaskClient, problem: Problem):
    document = client.get(problem.type_uri, headers={"Accept": "application/json"}).json

    assert (document["type"], document["status"], document["title"]) == (
        problem.type_uri,
        problem.status,
        problem.title,
    )
    assert document["meaning"].endswith(".")
    assert document["example"]["type"] == problem.type_uri
    assert set(document.get("members", {})) <= set(document["example"])


def test_every_problem_has_a_cause_and_nothing_else():
    assert CAUSES.keys() == {problem.slug for problem in PROBLEMS}


def test_the_list_links_to_every_problem(client: FlaskClient):
    links = re.findall(r'href="\.(/problems/[^"]+)"', client.get("/problems").text)

    assert sorted(links) == sorted(problem.type_uri for problem in PROBLEMS)
    assert len(client.get("/problems", headers={"Accept": "application/json"}).json["problems"]) == len(PROBLEMS)


def test_the_pages_comply_with_the_policy_and_link_only_to_this_service(client: FlaskClient):
    for path in ("/problems", "/problems/bad-request"):
        response = client.get(path)
        assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", response.text)
        assert all(link.startswith(".") for link in re.findall(r'(?:src|href)="([^"]+)"', response.text))


def test_a_page_that_the_browser_has_is_not_sent_again(client: FlaskClient):
    etag = client.get("/problems/bad-request").headers["ETag"]

    response = client.get("/problems/bad-request", headers={"If-None-Match": etag})

    assert (response.status_code, response.data) == (304, b"")


def test_an_unknown_problem_names_the_nearest(client: FlaskClient):
    near = client.get("/problems/body-to-large")
    far = client.get(f"/problems/{'x' * (MAX_SIMILAR_LENGTH + 1)}")

    assert (near.status_code, far.status_code) == (404, 404)
    assert near.get_json(force=True)["detail"].endswith("Did you mean /problems/body-too-large?")
    assert far.get_json(force=True)["detail"].endswith("`GET /problems` lists the problems.")


def test_the_pages_need_no_key(make_app: Callable[..., Flask]):
    client = make_app(api_keys=(hash_key("camera", make_key("camera")),)).test_client()

    assert client.get("/api/v1/models").status_code == 401

    assert client.get("/problems/key-missing").status_code == 200
    assert client.get("/problems").status_code == 200
