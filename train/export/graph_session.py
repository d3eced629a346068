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
        source: Name of its input, uint8[N, H, W, C].
        widens: Whether weights have to be widened first.
    """

    def __init__(self, graph: Any, source: str, *, widens: bool) -> None:
        with tf.Graph().as_default() as imported:
            tf.graph_util.import_graph_def(graph, name="")
        config = config_pb2.ConfigProto()
        config.graph_options.place_pruned_graph = True  # one copy less
        config.graph_options.rewrite_options.optimizers.extend(OPTIMIZERS[0 if widens else 1 :])
        self._session = tf.compat.v1.Session(graph=imported, config=config)
        self._source = source
        self._calls: dict[str, Any] = {}

    def run(self, images: npt.NDArray[np.uint8], fetch: str) -> npt.NDArray[Any]:
        """Return the value of the tensor `fetch` for uint8[N, H, W, C]."""
        if fetch not in self._calls:
            self._calls[fetch] = self._session.make_callable(fetch, [self._source])
            with returning_large_blocks():  # the first call arranges the weights
                self._calls[fetch](images[:1])
        value: npt.NDArray[Any] = self._calls[fetch](images)
        return value

    def close(self) -> None:
        """Free the memory of the session."""
        self._calls.clear()
        self._session.close()
