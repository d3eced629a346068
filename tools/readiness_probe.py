"""Wait until the stack answers, and find models that are loaded but cannot classify an image."""

import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.models.configured import ModelsConfigError
from tools.failed_models import query_statuses
from tools.models_config import find_faults, read_entries
from tools.programs import STEADY_S, Options
from tools.terminal import say

PROBE_TIMEOUT_S = 3
READY, STARTING, NO_ANSWER = "ready", "waiting for the gateway", "waiting for the programs"
GATEWAY_UNAVAILABLE = "/problems/gateway-unavailable"
# A default model that stays unusable for so long does not keep the others from being used.
UNUSABLE_S = 10.0
ADVICE = " Try again shortly."
AVAILABLE = "AVAILABLE"


class Probe:
    """Polls /readyz of the outermost program and prints each change of its answer.

    Args:
        options: Where the programs listen.
        default_model: The model that /readyz is about; None for the first one of the configuration.

    Attributes:
        last: The last answer.
        others: The models that are served although the default one cannot be used; empty if that one can.
    """

    def __init__(self, options: Options, default_model: str | None = None) -> None:
        self.last = ""
        self.others: Sequence[str] = ()
        self._options = options
        self._default_model = default_model
        self._lacks_version = False
        self._started_s = self._changed_s = time.monotonic()

    def ready(self) -> bool:
        """Poll once; return whether the stack has been ready for `STEADY_S`.

        Without the default model it is ready once that one has been unusable, and not loading, for `UNUSABLE_S`.
        """
        answer = self._poll()
        now_s = time.monotonic()
        if answer != self.last:
            say(f"{now_s - self._started_s:5.1f} s  {answer}")
            self.last, self._changed_s = answer, now_s
        steady_s = now_s - self._changed_s
        if answer in {READY, STARTING, NO_ANSWER} or steady_s < UNUSABLE_S:
            return answer == READY and steady_s >= STEADY_S
        self.others = self._find_others()
        return bool(self.others)

    def _find_others(self) -> Sequence[str]:
        """Return the models that the model server has loaded beside the default one.

        There are none while that one loads, or while the gateway does not see that it is loaded: it connects late.
        """
        try:
            names = list(read_entries(self._options.models_config))
            default = self._default_model or names[0]
            states = self._states(default)
            if states & {"START", "LOADING"} or (self._lacks_version and AVAILABLE in states):
                return ()
            return [name for name in names if name != default and AVAILABLE in self._states(name)]
        except (ModelsConfigError, OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return ()

    def _states(self, model: str) -> set[str]:
        """Return the states of a model's versions; see `query_statuses`."""
        return {status["state"] for status in query_statuses(self._options.rest_port, model)}

    def _poll(self) -> str:
        connection = connect(self._options)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        finally:
            connection.close()
        if response.status == http.HTTPStatus.OK:
            return READY
        try:
            problem = json.loads(body)
            self._lacks_version = "version" in problem.get("missing", ())
            # The advice is for callers, and so is nginx's own problem.
            return STARTING if problem["type"] == GATEWAY_UNAVAILABLE else str(problem["detail"]).removesuffix(ADVICE)
        except (ValueError, LookupError, TypeError):
            return f"status {response.status}"


def connect(options: Options) -> http.client.HTTPConnection:
    """Return a connection to the outermost program, not opened yet."""
    if options.tls_dir is None:
        return http.client.HTTPConnection(options.host, options.port, timeout=PROBE_TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # our own nginx; its certificate has the public name
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(options.host, options.port, timeout=PROBE_TIMEOUT_S, context=context)


def find_unusable_models(config: Path, default_model: str | None, gateway_port: int) -> Mapping[str, str]:
    """Return a line about each model, by name, that is not the default one and cannot classify an image.

    Versions that `train` exported were tested then, and models whose folder has a fault have been reported.
    """
    from tools.service import AccessError, NoServiceError, Service, ServiceError  # noqa: PLC0415  # OpenCV and requests would delay the start

    try:
        entries = read_entries(config)
    except ModelsConfigError:
        return {}
    default, faults = default_model or next(iter(entries)), find_faults(entries)
    service = Service(f"http://127.0.0.1:{gateway_port}", None)
    unusable = {}
    for name, folder in entries.folders.items():
        if name == default or name in faults or any(folder.path.glob("*/assets.extra/card.json")):
            continue
        try:
            service.await_model(name, timeout_s=0)
        except (AccessError, NoServiceError):
            break
        except ServiceError as error:
            unusable[name] = str(error)
    return unusable
