"""Compute a frozen graph with little memory."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from train.export.memory import returning_large_blocks

OPTIMIZERS = ("constfold", "remap")
"""Widen weights that are stored in fewer bits, and join convolutions with what follows. All of grappler's optimizers
take three times the memory, and save no time in a graph that is folded already."""


class GraphSession:
    """A session with one graph.

    Args:
        graph: A frozen graph.
        widens: Whether weights have to be widened first.
    """

    def __init__(self, graph: Any, *, widens: bool) -> None:
        with tf.Graph().as_default() as imported:
            tf.graph_util.import_graph_def(graph, name="")
        config = config_pb2.ConfigProto()
        config.graph_options.place_pruned_graph = True  # one copy less
        config.graph_options.rewrite_options.optimizers.extend(OPTIMIZERS[0 if widens else 1 :])
        self._session = tf.compat.v1.Session(graph=imported, config=config)
        self._calls: dict[tuple[str, str], Any] = {}

    def run(self, source: str, images: npt.NDArray[np.uint8], fetch: str) -> npt.NDArray[Any]:
        """Return the value of the tensor `fetch` if that of `source` is uint8[N, H, W, C]."""
        key = source, fetch
        if key not in self._calls:
            self._calls[key] = self._session.make_callable(fetch, [source])
            with returning_large_blocks():  # the first call arranges the weights
                self._calls[key](images[:1])
        value: npt.NDArray[Any] = self._calls[key](images)
        return value

    def close(self) -> None:
        """Free the memory of the session."""
        self._calls.clear()
        self._session.close()
