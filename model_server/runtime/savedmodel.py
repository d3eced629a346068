"""A SavedModel on TensorFlow's runtime.

It is loaded and run as in tensorflow_model_server: the file's graph in a Session, with the steps of
tensorflow/cc/saved_model/loader.cc. `tf.saved_model.load` would be shorter, but its errors have other messages, it
cannot stop at a deadline, and for a small model its overhead is twice as large.
"""

import contextlib
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import text_format
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
from model_server.memory import MAX_COMPUTATION_BYTES, MemoryBudget
from model_server.options import available_cpus
from model_server.runtime.computation_memory import ComputationMemory
from model_server.runtime.graphs import changes_state, has_layout_sensitive_nodes, is_simple
from model_server.runtime.tensorflow_core import (
    ConfigProto,
    Graph,
    OpError,
    RunMetadata,
    RunOptions,
    Session,
    import_graph_def,
    pywrap_tf_session,
)
from model_server.servable import Array, SignatureDef
from model_server.versions.repository import MODEL_FILES
from tfs_api.protos import saved_model_pb2

_MetaGraph: TypeAlias = Any
"""tensorflow.MetaGraphDef; the generated messages are untyped."""

_LOG = logging.getLogger(__name__)

_SHARED_POOL, _CALLERS_THREAD = 0, -1
"""Values of RunOptions.inter_op_thread_pool."""
_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Options of a session. The thread counts of the first loaded model hold for the whole process."""

    intra_op_parallelism: int = 0
    """Threads per operation; 0 for half of the CPUs.

    TensorFlow's default is all CPUs. Then every call wakes threads on CPUs that concurrent calls, and the clients on
    the same machine, need themselves.
    """
    inter_op_parallelism: int = 0
    """Operations to run at the same time; with 0 TensorFlow decides."""
    tags: tuple[str, ...] = ("serve",)
    """Tags of the graph to load from the SavedModel."""
    memory: MemoryBudget = field(default_factory=lambda: MemoryBudget(MAX_COMPUTATION_BYTES))
    """Memory for the computations of all models."""


def half_of_the_cpus() -> int:
    """Return half the number of CPUs available to this process, at least 1."""
    return max(available_cpus() // 2, 1)


class SavedModel:
    """A loaded SavedModel; implements `model_server.servable.Servable`."""

    def __init__(self, path: Path, options: SessionOptions) -> None:
        """Load the model.

        Raises:
            ServingError: Files are missing or corrupted, or TensorFlow cannot load them.
        """
        meta_graph = _read_meta_graph(path, options.tags)
        self.signatures: Mapping[str, SignatureDef] = dict(meta_graph.signature_def)
        self._graph = Graph()
        config = ConfigProto(
            intra_op_parallelism_threads=options.intra_op_parallelism or half_of_the_cpus(),
            inter_op_parallelism_threads=options.inter_op_parallelism,
            allow_soft_placement=True,
        )
        # By default TensorFlow's threads spin before they sleep, which costs more CPU time than a small model.
        config.experimental.disable_thread_spinning = True
        self._session = Session(graph=self._graph, config=config)
        # The handle is for calling Session::Run directly. Session.run is slower, and checks shapes and converts types,
        # which TensorFlow Serving does not.
        self._handle = self._session._session  # noqa: SLF001
        with _tensorflow_errors():
            _import_graph(self._graph, meta_graph)
            _restore(self._session, meta_graph, path)
        self._functions = {name: _Function(self._graph, s) for name, s in self.signatures.items()}
        self._needs_exact_ranks = has_layout_sensitive_nodes(meta_graph.graph_def)
        # While nothing else runs, handing a few operations to other threads costs more than running them.
        self._callers_thread = threading.Lock()
        outputs = {name: [info.name for info in s.outputs.values()] for name, s in self.signatures.items()}
        self._simple_signatures = {
            name
            for name, tensors in outputs.items()
            if not options.inter_op_parallelism and is_simple(meta_graph.graph_def, tensors)
        }
        self._repeatable_signatures = {
            name for name, tensors in outputs.items() if not changes_state(meta_graph.graph_def, tensors)
        }
        self._memory = ComputationMemory(options.memory)

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Compute outputs; see `Servable.run`."""
        if self._needs_exact_ranks:
            _check_ranks(self.signatures[signature], inputs)
        trace = partial(self._trace, signature) if signature in self._repeatable_signatures else None
        with self._memory.reserve(self.signatures[signature], inputs, trace, timeout_s) as remaining_s:
            return self._compute(signature, inputs, outputs, RunOptions(timeout_in_ms=_milliseconds(remaining_s)))

    def _trace(self, signature: str, inputs: Mapping[str, Array], timeout_s: float | None) -> RunMetadata:
        """Compute all outputs and return a trace of each allocation."""
        outputs = list(self.signatures[signature].outputs)
        buffer = pywrap_tf_session.TF_NewBuffer()
        options = RunOptions(timeout_in_ms=_milliseconds(timeout_s), trace_level=RunOptions.SOFTWARE_TRACE)
        try:
            self._compute(signature, inputs, outputs, options, buffer)
            return RunMetadata.FromString(pywrap_tf_session.TF_GetBuffer(buffer))
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)

    def _compute(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: RunOptions,
        metadata: object = None,
    ) -> dict[str, Array]:
        function = self._functions[signature]
        feeds = {function.inputs[alias]: array for alias, array in inputs.items()}
        fetches = [function.output(alias) for alias in outputs]
        with _tensorflow_errors(), self._pool(signature) as pool, _options_buffer(options, pool) as buffer:
            arrays = pywrap_tf_session.TF_SessionRun_wrapper(self._handle, buffer, feeds, fetches, [], metadata)
        return {alias: _as_array(array) for alias, array in zip(outputs, arrays, strict=True)}

    @contextlib.contextmanager
    def _pool(self, signature: str) -> Iterator[int]:
        """Choose the threads that run the operations: one simple call at a time runs in its caller's thread."""
        if signature not in self._simple_signatures or not self._callers_thread.acquire(blocking=False):
            yield _SHARED_POOL
            return
        try:
            yield _CALLERS_THREAD
        finally:
            self._callers_thread.release()

    def close(self) -> None:
        """Release the session's variables."""
        self._session.close()


def _as_array(value: Any) -> Array:
    """Convert a scalar result of Session::Run, which is a numpy number or bytes, to an array."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


class _Function:
    """The tensor handles of one signature's inputs and outputs, for Session::Run."""

    def __init__(self, graph: Graph, signature: SignatureDef) -> None:
        self.inputs = {alias: _tensor_handle(graph, info.name)[0] for alias, info in signature.inputs.items()}
        self._outputs = {alias: _tensor_handle(graph, info.name) for alias, info in signature.outputs.items()}

    def output(self, alias: str) -> object:
        handle, problem = self._outputs[alias]
        if handle is None:
            raise ServingError(problem, Code.OUT_OF_RANGE)
        return handle


def _tensor_handle(graph: Graph, name: str) -> tuple[object, str]:
    """Return the handle of a tensor, or None and the reason, for example for the "output" of an init op."""
    node, _, index = name.partition(":")
    try:
        operation = graph.get_operation_by_name(node)
    except (KeyError, ValueError):
        return None, f"Tensor {name or 'without a name'} is not in the graph"
    position = int(index or 0)
    if position < len(operation.outputs):
        return operation.outputs[position]._as_tf_output(), ""  # noqa: SLF001  # see __init__
    return None, (
        f"Node '{node}' (type: '{operation.type}', num of outputs: {len(operation.outputs)}) "
        f"does not have output {position}"
    )


def _read_meta_graph(path: Path, tags: tuple[str, ...]) -> _MetaGraph:
    saved_model = _read_saved_model(path)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    raise NotFoundError(
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect available "
        "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
    )


def _read_saved_model(path: Path) -> Any:  # generated messages have no types
    """Read `saved_model.pb` or, without it, the same message as text in `saved_model.pbtxt`."""
    file = next((file for file in (path / name for name in MODEL_FILES) if file.exists()), path / MODEL_FILES[0])
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            "Specified file path does not appear to contain a SavedModel bundle "
            "(should have a file called `saved_model.pb`)"
        ) from None
    except OSError as error:
        raise FailedPreconditionError(f"{error.filename}; {error.strerror}") from error
    is_text = file.suffix == ".pbtxt"
    try:
        if is_text:
            return text_format.Parse(content, saved_model_pb2.SavedModel())
        return saved_model_pb2.SavedModel.FromString(content)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError):
        raise DataLossError(f"Can't parse {file} as {'text' if is_text else 'binary'} proto") from None


def _import_graph(graph: Graph, meta_graph: _MetaGraph) -> None:
    try:
        with graph.as_default():
            import_graph_def(meta_graph.graph_def, name="")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(str(error)) from error


def _restore(session: Session, meta_graph: _MetaGraph, path: Path) -> None:
    """Restore the variables and run the model's initialisation."""
    session._extend_graph()  # noqa: SLF001  # Session.run would do it, but `run` bypasses that
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


def _milliseconds(timeout_s: float | None) -> int:
    """Return a time limit for TensorFlow, which takes 0 as no limit.

    Raises:
        DeadlineExceededError: No time is left.
    """
    if timeout_s is not None and timeout_s <= 0:
        raise DeadlineExceededError("Deadline Exceeded")
    return math.ceil((timeout_s or 0) * 1000)


@contextlib.contextmanager
def _options_buffer(options: RunOptions, pool: int) -> Iterator[object]:
    options.inter_op_thread_pool = pool
    buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
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
