"""A local stack over a copy of one committed model, so that versions, labels and files can be tampered with."""

import shutil
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import requests

from tools.committed_models import newest_version
from tools.local_stack import LOCALHOST, START_S, Host, LocalStack, status

MODEL = "digits"
CONFIG = """model_config_list {{ config {{
  name: "{name}" base_path: "{base}" model_platform: "tensorflow"
  model_version_policy {{ all {{}} }}
  version_labels {{ key: "stable" value: 1 }}
}} }}
"""


class DrillStack(LocalStack):
    """A stack that serves a copy of `digits` in version 1, with the label `stable`.

    Args:
        folder: Empty folder for the copy, the configuration and the logs.
        hosts: Where the model servers run that the gateway uses in turn. One more, `spare`, is unknown to the gateway.
        environment: Settings of the gateway.

    Attributes:
        models: Folder of the models.
        base: Folder of the model's versions.
        spare: Number of the spare model server.
    """

    # By default the model server retries a broken version for five minutes before it reports it.
    model_server_flags = ("--max_num_load_retries=0",)

    def __init__(
        self, folder: Path, *, hosts: Sequence[Host] = (LOCALHOST,), environment: Mapping[str, str] | None = None
    ) -> None:
        self.models = folder / "models"
        self.base = self.models / MODEL
        self.base.mkdir(parents=True)
        shutil.copytree(newest_version(MODEL), self.base / "1")
        config = self.models / "models.config"
        config.write_text(CONFIG.format(name=MODEL, base=self.base), encoding="utf-8")
        self.spare = len(hosts)
        super().__init__(folder, models_config=config, environment=environment, hosts=hosts, spares=1)

    @property
    def golden(self) -> Path:
        """Folder of the model's golden images."""
        return self.base / "1" / "assets.extra" / "golden"

    def serves(self, number: int = 0) -> bool:
        """Return whether a model server serves the model, according to its REST API."""
        return status(f"{self.rest_url(number)}/v1/models/{MODEL}") == HTTPStatus.OK

    def calls(self, number: int) -> float:
        """Return the number of calls to a model server, from its metrics; under load, a call carries several images."""
        url = f"{self.rest_url(number)}/monitoring/prometheus/metrics"
        lines = requests.get(url, timeout=START_S).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(":tensorflow:serving:request_count{"))
