"""The server's operations, independent of the protocol: predict, describe a model, report its status.

Rules and messages are those of tensorflow_serving/servables/tensorflow/predict_util.cc and its neighbours.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from model_server.errors import Code, FailedPreconditionError, InvalidArgumentError, ServingError
from model_server.servable import Array, Servable, SignatureDef
from model_server.tf_examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    Classifications,
    ExampleRunner,
    InferenceResult,
    InferenceTask,
    Regressions,
)
from model_server.versions.lifecycle import VersionStatus
from model_server.versions.repository import ModelConfig
from tfs_api.tensors import TensorError, from_tensor_proto

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The model, and optionally version, label and signature, that a request names."""

    name: str
    version: int | None = None
    """None for the label's version or the latest."""
    label: str | None = None
    signature: str = ""
    """Empty for the default signature."""


class ModelSource(Protocol):
    """Source of models; implemented by `model_server.versions.manager.ModelManager`."""

    def lease(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> AbstractContextManager[tuple[int, Servable]]:
        """Hold a version of a model while a request runs on it."""

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return the status of one version of a model, or of all."""

    def reload(self, configs: Sequence[ModelConfig], timeout_s: float | None = None) -> None:
        """Apply new configurations."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The outputs of a signature, with the version and the signature that computed them."""

    version: int
    signature: str
    outputs: Mapping[str, Array]


class DataPlane:
    """The operations over a set of models."""

    def __init__(self, models: ModelSource, *, check_method_names: bool = False) -> None:
        """Operate on `models`.

        Args:
            models: The models.
            check_method_names: Refuse a signature whose `method_name` does not match the called method.
        """
        self._models = models
        self._check_method_names = check_method_names

    def lease(self, spec: ModelSpec) -> AbstractContextManager[tuple[int, Servable]]:
        """Hold the version that `spec` names while a request runs on it.

        Raises:
            ServingError: The model, version or label is unknown.
        """
        if not spec.name:
            raise InvalidArgumentError("ModelSpec has no name specified.")
        return self._models.lease(spec.name, spec.version, spec.label)

    def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, Array],
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Run a signature.

        Args:
            spec: The model, and optionally a version or a label, and a signature.
            inputs: Arrays by input name.
            output_filter: Names of the outputs to return; empty for all.
            timeout_s: Time limit in seconds; None for no limit.

        Raises:
            ServingError: The model, version, label or signature is unknown, the inputs do not match the signature, or
                the computation fails.
        """
        with self.lease(spec) as (version, servable):
            signature = spec.signature or DEFAULT_SIGNATURE
            return Prediction(version, signature, self.run(servable, signature, inputs, output_filter, timeout_s))

    def run(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, Array],
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run a signature of a version that the caller holds by `lease`; see `predict`."""
        if self._check_method_names and signature in servable.signatures:
            _check_method_name(servable.signatures[signature])
        return run_signature(servable, signature, inputs, output_filter, timeout_s)

    def classify(
        self, spec: ModelSpec, examples: Sequence[bytes], timeout_s: float | None = None
    ) -> tuple[int, Classifications]:
        """Run a classification signature over serialised tf.Example messages.

        Returns:
            The version that was used, and the classes of each example.

        Raises:
            ServingError: The model, version or label is unknown; see also `ExampleRunner.classify`.
        """
        with self._runner(spec, examples, timeout_s) as (version, runner):
            return version, runner.classify(spec.signature or DEFAULT_SIGNATURE)

    def regress(
        self, spec: ModelSpec, examples: Sequence[bytes], timeout_s: float | None = None
    ) -> tuple[int, Regressions]:
        """Run a regression signature over serialised tf.Example messages.

        Returns:
            The version that was used, and the value of each example.

        Raises:
            ServingError: The model, version or label is unknown; see also `ExampleRunner.regress`.
        """
        with self._runner(spec, examples, timeout_s) as (version, runner):
            return version, runner.regress(spec.signature or DEFAULT_SIGNATURE)

    def multi_inference(
        self,
        tasks: Sequence[tuple[ModelSpec, str]],
        examples: Sequence[bytes],
        timeout_s: float | None = None,
    ) -> tuple[int, list[InferenceResult]]:
        """Run several signatures of one model over the same tf.Example messages.

        Args:
            tasks: Spec and method name of each task. The first task's version is used for all, as upstream.
            examples: Serialised messages.
            timeout_s: Time limit in seconds; None for no limit.

        Returns:
            The version that was used, and a result for each task.

        Raises:
            ServingError: The model, version or label is unknown; see also `ExampleRunner.infer`.
        """
        first = tasks[0][0] if tasks else ModelSpec("")
        with self._runner(first, examples, timeout_s) as (version, runner):
            return version, runner.infer(
                [InferenceTask(spec.name, spec.signature or DEFAULT_SIGNATURE, method) for spec, method in tasks]
            )

    @contextmanager
    def _runner(
        self, spec: ModelSpec, examples: Sequence[bytes], timeout_s: float | None
    ) -> Iterator[tuple[int, ExampleRunner]]:
        with self.lease(spec) as (version, servable):
            yield version, ExampleRunner(servable, examples, timeout_s, self._check_method_names)

    def signatures(self, spec: ModelSpec) -> tuple[int, Mapping[str, SignatureDef]]:
        """Return the version that `spec` names, and its signatures by name.

        Raises:
            ServingError: The model, version or label is unknown.
        """
        with self.lease(spec) as (version, servable):
            return version, servable.signatures

    def statuses(self, spec: ModelSpec) -> list[VersionStatus]:
        """Return the status of one version, or of all versions, of a model. A label is ignored, as upstream.

        Raises:
            NotFoundError: The model or version is unknown.
        """
        return self._models.statuses(spec.name, spec.version)

    def reload(self, configs: Sequence[ModelConfig], timeout_s: float | None = None) -> None:
        """Apply new configurations, and wait until new models are loaded.

        Raises:
            ServingError: A label cannot be assigned, a model fails to load, or the time is up.
        """
        self._models.reload(configs, timeout_s)


def run_signature(
    servable: Servable,
    name: str,
    inputs: Mapping[str, Array],
    output_filter: Sequence[str] = (),
    timeout_s: float | None = None,
) -> dict[str, Array]:
    """Run one signature of a loaded model; see `DataPlane.predict`.

    Raises:
        ServingError: The signature is unknown, the inputs do not match it, or the computation fails.
    """
    signature = servable.signatures.get(name)
    if signature is None:
        raise FailedPreconditionError(f'Serving signature key "{name}" not found.')
    return servable.run(name, _with_defaults(signature, inputs), _select_outputs(signature, output_filter), timeout_s)


def _check_method_name(signature: SignatureDef) -> None:
    methods = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if signature.method_name not in methods:
        raise ServingError(
            f"Expected prediction signature method_name to be one of {{{', '.join(methods)}}}. "
            f"Was: {signature.method_name}",
            Code.INTERNAL,
        )


def _with_defaults(signature: SignatureDef, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    expected, defaults = signature.inputs, signature.defaults
    if inputs.keys() == set(expected):
        return inputs
    required = set(expected) - set(defaults)
    if not len(required) <= len(inputs) <= len(expected):
        raise InvalidArgumentError(
            f"input size does not match signature: {len(inputs)}!={len(expected)} "
            f"len({_names(inputs)}) != len({_names(expected)}). "
            f"Sent extra: {_names(inputs.keys() - set(expected))}. "
            f"Missing but required: {_names(required - inputs.keys())}."
        )
    for alias, info in sorted(expected.items()):
        if alias not in inputs and alias not in defaults:
            raise InvalidArgumentError(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_names(inputs)}, or default input "
                f"alias set: {','.join(sorted(defaults))}"
            )
    if inputs.keys() - set(expected):
        valid = ",".join(sorted(inputs.keys() & set(expected)))
        raise InvalidArgumentError(
            f"Inputs contains invalid name. Used request inputs: {valid}, request input: {','.join(sorted(inputs))}"
        )
    missing = set(expected) - inputs.keys()
    try:
        return {**inputs, **{alias: from_tensor_proto(defaults[alias]) for alias in missing}}
    except TensorError as error:
        raise InvalidArgumentError(f"The default value of an input is damaged: {error}") from error


def _select_outputs(signature: SignatureDef, output_filter: Sequence[str]) -> list[str]:
    aliases = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgumentError(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_names(signature.outputs)}."
            )
        if alias in aliases:
            raise InvalidArgumentError(f"duplicate output tensor alias: {alias}")
        aliases.add(alias)
    return list(output_filter) or list(signature.outputs)


def _names(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
