"""A SavedModel on TensorFlow's runtime.

It is loaded and run as tensorflow_model_server does it: the graph of the file in a Session, the steps of
tensorflow/cc/saved_model/loader.cc. `tf.saved_model.load` would be shorter, but answers a bad request in
other words, cannot stop at a deadline, and costs twice the time around a small model.
"""

import contextlib
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from model_server.errors import (
    Code,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
)
from model_server.runtime.graphs import has_layout_sensitive_nodes, is_simple
from model_server.runtime.tensorflow_core import (
    ConfigProto,
    Graph,
    OpError,
    RunOptions,
    Session,
    import_graph_def,
    pywrap_tf_session,
)
from model_server.servable import Array, SignatureDef
from tfs_api.protos import saved_model_pb2

_MetaGraph: TypeAlias = Any
"""Generated messages have no types."""

_LOG = logging.getLogger(__name__)

_POOL, _CALLERS_THREAD = 0, -1
_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How TensorFlow uses the machine. The first model that is loaded settles it for the process."""

    intra_op_parallelism: int = 0
    """Threads of one operation; 0 for half of the CPUs.

    TensorFlow's own choice is all of them, which costs every call the waking of threads that calls side by side, and
    those who make them, have use for.
    """
    inter_op_parallelism: int = 0
    """Operations at the same time; 0 lets TensorFlow decide."""
    tags: tuple[str, ...] = ("serve",)
    """Which of the graphs in a SavedModel to load."""


def half_of_the_cpus() -> int:
    """Return half the number of CPUs that this process may use, at least 1."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)


class SavedModel:
    """A loaded SavedModel; implements `model_server.servable.Servable`."""

    def __init__(self, path: Path, options: SessionOptions) -> None:
        """Load the model.

        Raises:
            ServingError: the files are missing or damaged, or TensorFlow cannot load them.
        """
        meta_graph = _read_meta_graph(path, options.tags)
        self.signatures: Mapping[str, SignatureDef] = dict(meta_graph.signature_def)
        self._graph = Graph()
        config = ConfigProto(
            intra_op_parallelism_threads=options.intra_op_parallelism or half_of_the_cpus(),
            inter_op_parallelism_threads=options.inter_op_parallelism,
            allow_soft_placement=True,
        )
        # TensorFlow's threads look for work in a loop before they go to sleep: more work than that of a small model.
        config.experimental.disable_thread_spinning = True
        self._session = Session(graph=self._graph, config=config)
        # For Session::Run itself. Session.run would check shapes and convert element types, which TensorFlow Serving
        # does not, and takes longer.
        self._handle = self._session._session  # noqa: SLF001
        with _tensorflow_errors():
            _import_graph(self._graph, meta_graph)
            _restore(self._session, meta_graph, path)
        self._functions = {name: _Function(self._graph, s) for name, s in self.signatures.items()}
        self._needs_exact_ranks = has_layout_sensitive_nodes(meta_graph.graph_def)
        # To hand a few operations to other threads costs more than to run them, as long as nothing else runs.
        self._caller = threading.Lock()
        self._simple = {
            name
            for name, signature in self.signatures.items()
            if not options.inter_op_parallelism
            and is_simple(meta_graph.graph_def, [info.name for info in signature.outputs.values()])
        }

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Compute outputs; see `Servable.run`."""
        function = self._functions[signature]
        if self._needs_exact_ranks:
            _check_ranks(self.signatures[signature], inputs)
        feeds = {function.inputs[alias]: array for alias, array in inputs.items()}
        fetches = [function.output(alias) for alias in outputs]
        with _tensorflow_errors(), self._pool(signature) as pool, _run_options(timeout_s, pool) as options:
            arrays = pywrap_tf_session.TF_SessionRun_wrapper(self._handle, options, feeds, fetches, [], None)
        return {alias: _as_array(array) for alias, array in zip(outputs, arrays, strict=True)}

    @contextlib.contextmanager
    def _pool(self, signature: str) -> Iterator[int]:
        """Choose whose threads shall run the operations, in the numbers of RunOptions."""
        if signature not in self._simple or not self._caller.acquire(blocking=False):
            yield _POOL
            return
        try:
            yield _CALLERS_THREAD
        finally:
            self._caller.release()

    def close(self) -> None:
        """Free the session's variables."""
        self._session.close()


def _as_array(value: Any) -> Array:
    """Make an array of what Session::Run returns for a scalar: a numpy number, or bytes."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


class _Function:
    """The handles that Session::Run takes for the ends of one signature."""

    def __init__(self, graph: Graph, signature: SignatureDef) -> None:
        self.inputs = {alias: _end(graph, info.name)[0] for alias, info in signature.inputs.items()}
        self._outputs = {alias: _end(graph, info.name) for alias, info in signature.outputs.items()}

    def output(self, alias: str) -> object:
        handle, problem = self._outputs[alias]
        if handle is None:
            raise ServingError(problem, Code.OUT_OF_RANGE)
        return handle


def _end(graph: Graph, name: str) -> tuple[object, str]:
    """Return the handle of a tensor, or None and why there is none, as for the "output" of an init op."""
    node, _, index = name.partition(":")
    try:
        operation = graph.get_operation_by_name(node)
    except (KeyError, ValueError):
        return None, f"Tensor {name or 'without a name'} is not in the graph"
    position = int(index or 0)
    if position < len(operation.outputs):
        return operation.outputs[position]._as_tf_output(), ""  # noqa: SLF001  # as above
    return None, (
        f"Node '{node}' (type: '{operation.type}', num of outputs: {len(operation.outputs)}) "
        f"does not have output {position}"
    )


def _read_meta_graph(path: Path, tags: tuple[str, ...]) -> _MetaGraph:
    file = path / "saved_model.pb"
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            "Specified file path does not appear to contain a SavedModel bundle "
            "(should have a file called `saved_model.pb`)"
        ) from None
    except OSError as error:
        raise FailedPreconditionError(f"{error.filename}; {error.strerror}") from error
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(content)
    except DecodeError:
        raise DataLossError(f"Can't parse {file} as binary proto") from None
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    raise NotFoundError(
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect available "
        "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
    )


def _import_graph(graph: Graph, meta_graph: _MetaGraph) -> None:
    try:
        with graph.as_default():
            import_graph_def(meta_graph.graph_def, name="")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(str(error)) from error


def _restore(session: Session, meta_graph: _MetaGraph, path: Path) -> None:
    """Read the variables and run the model's own initialisation."""
    session._extend_graph()  # noqa: SLF001  # what Session.run would do, which is not called
    assets = {asset.tensor_info.name: str(path / "assets" / asset.filename) for asset in meta_graph.asset_file_def}
    saver = meta_graph.saver_def
    variables = path / "variables" / "variables"
    if saver.restore_op_name and variables.with_suffix(".index").exists():
        session.run(saver.restore_op_name, {**assets, saver.filename_tensor_name: str(variables)})
    elif saver.restore_op_name:
        _LOG.info("%s has no variables to restore", path)
    init_op = _init_op(meta_graph)
    if init_op:
        session.run(init_op, assets)


def _init_op(meta_graph: _MetaGraph) -> str | None:
    if _INIT_SIGNATURE in meta_graph.signature_def:
        return str(meta_graph.signature_def[_INIT_SIGNATURE].outputs[_INIT_SIGNATURE].name)
    for collection in _INIT_COLLECTIONS:
        if collection in meta_graph.collection_def:
            return str(meta_graph.collection_def[collection].node_list.value[0])
    return None


def _check_ranks(signature: SignatureDef, inputs: Mapping[str, Array]) -> None:
    for alias, array in inputs.items():
        shape = signature.inputs[alias].tensor_shape
        if not shape.unknown_rank and len(shape.dim) != array.ndim:
            expected = ",".join("?" if dim.size < 0 else str(dim.size) for dim in shape.dim)
            got = ",".join(map(str, array.shape))
            raise InvalidArgumentError(
                f"input {alias} must have {len(shape.dim)} dimensions, as in [{expected}], but has the shape [{got}]"
            )


@contextlib.contextmanager
def _run_options(timeout_s: float | None, pool: int) -> Iterator[object]:
    if timeout_s is not None and timeout_s <= 0:  # for TensorFlow 0 is no limit
        raise DeadlineExceededError("Deadline Exceeded")
    message = RunOptions(timeout_in_ms=math.ceil((timeout_s or 0) * 1000), inter_op_thread_pool=pool)
    buffer = pywrap_tf_session.TF_NewBufferFromString(message.SerializeToString())
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)


@contextlib.contextmanager
def _tensorflow_errors() -> Iterator[None]:
    try:
        yield
    except OpError as error:
        raise ServingError(error.message, Code(error.error_code)) from error
