"""`image-gateway jobs`: many images that the gateway classifies in the background."""

import os
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from image_gateway_client.commands import options
from image_gateway_client.commands.classify import write
from image_gateway_client.console import (
    count_images,
    describe_counts,
    echo,
    echo_json,
    echoing_warnings,
    is_terminal,
    job_progress,
    print_job,
)
from image_gateway_client.endpoint import DEFAULT_URL, MAX_TIMEOUT_S
from image_gateway_client.files import resolve_stdin
from image_gateway_client.jobs.job import Job, JobResult
from image_gateway_client.jobs.plans import SUBMIT_TIMEOUT_S, WAIT_TIMEOUT_S, check_job
from image_gateway_client.jobs.uploads import check_archives
from image_gateway_client.options import JobOptions
from image_gateway_client.outputs import check_standard_output, open_output
from image_gateway_client.records import JobItem

app = typer.Typer(no_args_is_help=True, help="Classify many images in the background.")

WEBHOOK_VARIABLE = "IMAGE_GATEWAY_WEBHOOK_SECRET"
Id = Annotated[str, typer.Argument(metavar="JOB", help="Identifier of the job, as printed by submit.")]


@app.command()
def submit(  # noqa: PLR0913  # each is an option of the command line
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Files and folders, or one ZIP file, or URLs.")],
    *,
    model: options.ModelName = None,
    version: options.Version = None,
    label: options.Label = None,
    top_k: options.TopK = 1,
    threshold: options.Threshold = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="URL to which the gateway reports the end of the job.", show_default=False)
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(
            help="Secret with which it signs the report; better as a variable, see above.", show_default=False
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="Name of this job: the same command with it returns the same job.", show_default=False),
    ] = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    max_mib: options.MaxMib = 64,
    timeout: options.Timeout = SUBMIT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """Submit a job and print its identifier.

    The secret of a webhook is better in IMAGE_GATEWAY_WEBHOOK_SECRET, which other users of the machine cannot see.
    """
    check_standard_output()
    if webhook_url and webhook_secret is None:  # the variable does not ask for a webhook by itself
        webhook_secret = os.environ.get(WEBHOOK_VARIABLE)
    if (webhook_url is None) != (webhook_secret is None):
        raise typer.BadParameter(
            f"A webhook needs both --webhook-url and --webhook-secret, or {WEBHOOK_VARIABLE} instead of the latter."
        )
    selected = JobOptions(
        model=model,
        version=version,
        label=label,
        top_k=top_k,
        threshold=threshold,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
    )
    with options.as_bad_parameter():
        check_job(selected, idempotency_key)
        is_archive = check_archives(images)
    names = images if is_archive else options.list_images(images)
    with options.open_client(url, api_key, timeout, retries, max_mib=max_mib) as client:
        sources = images[0] if is_archive else [resolve_stdin(name) for name in names]
        job = client.submit_job(sources, idempotency_key=idempotency_key, timeout_s=timeout, **selected)
    echo(job.id)
    echo(f"{count_images(job.total)}. Next: image-gateway jobs wait {job.id}", to_stderr=True)


@app.command()
def status(  # noqa: PLR0913  # each is an option of the command line
    job: Id,
    *,
    as_json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """Show the state of a job."""
    check_standard_output()
    with options.open_client(url, api_key, timeout, retries) as client:
        state = client.job(job)
    if as_json:
        echo_json(asdict(state, dict_factory=_without_empty))
    else:
        print_job(state, sys.stdout)


@app.command()
def wait(  # noqa: PLR0913  # each is an option of the command line
    job: Id,
    *,
    max_wait: Annotated[
        float, typer.Option(min=0, max=MAX_TIMEOUT_S, help="Maximum seconds to wait for the end of the job.")
    ] = WAIT_TIMEOUT_S,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """Wait for the end of a job: status 0 if every image is classified, 1 if not, 2 if it does not end in time."""
    with (
        options.open_client(url, api_key, timeout, retries) as client,
        job_progress(shown=is_terminal(sys.stderr)) as on_state,
        echoing_warnings(),
    ):
        state = client.wait_for_job(job, progress=on_state, timeout_s=max_wait)
    _report(state)
    if state.status != "done" or state.failed:
        raise typer.Exit(1)


@app.command()
def results(  # noqa: PLR0913  # each is an option of the command line
    job: Id,
    *,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of classes in a row of CSV.")] = 1,
    output_format: options.OutputFormat = None,
    out: options.Out = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """Write the results that a job has now: status 0 if the job is done and every image is classified, otherwise 1."""
    output_format = options.find_format(out, output_format)
    with options.open_client(url, api_key, timeout, retries) as client:
        state = client.job(job)
        with open_output(out, output_format, top_k, None, job=state.id) as output:
            rows = ((_place(state, result), result.outcome) for result in client.job_results(state))
            write(output.writer, (row for row in rows if row[0] not in output.finished))
    if not state.is_finished:
        _report(state)
    if state.status != "done" or state.failed:
        raise typer.Exit(1)


def _place(job: Job, result: JobResult) -> JobItem:
    return JobItem(job.id, result.index, result.name or str(result.index))


@app.command()
def cancel(
    job: Id,
    *,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """Cancel a job. Its results so far stay until they expire."""
    with options.open_client(url, api_key, timeout, retries) as client:
        _report(client.cancel_job(job))


def _report(job: Job) -> None:
    reason = f" ({job.problem})" if job.problem else ""
    echo(f"job {job.id} is {job.status}{reason}: {describe_counts(job)}", to_stderr=True)


def _without_empty(members: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in members
        if value is not None and value != ""
    }
