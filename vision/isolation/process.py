"""A decoder process: `python -m vision.isolation.process FD MAX_MEMORY_BYTES`, started by `DecoderPool`.

It answers the requests on its socket one after the other, and ends when the other side closes it.
"""

import gc
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from vision import heatmap, pillow_decoder, preprocess
from vision.card import InputSpec
from vision.errors import ImageError, OutOfMemoryError
from vision.isolation import wire
from vision.isolation.sandbox import Sandbox

_FUNCTIONS: Mapping[wire.Function, Callable[..., bytes]] = {
    "load": lambda data, **arguments: preprocess.load(data, **arguments).tobytes(),
    "draw": heatmap.draw,
}


def answer(call: wire.Call, timeout_s: float, data: memoryview, sandbox: Sandbox) -> tuple[int, bytes]:
    """Compute a call within its share of memory and time, which is the time that the caller waits.

    The caller kills this process at the deadline; the limit takes effect if the caller has ended.

    Returns:
        The status and the payload of the reply: the array's or the drawing's bytes, or a message.
    """
    try:
        with sandbox.share(memory_bytes=call.memory_bytes, time_s=timeout_s):
            return wire.RESULT, _FUNCTIONS[call.function](data, **call.arguments)
    except (OutOfMemoryError, MemoryError) as error:
        return wire.OUT_OF_MEMORY, _encode(str(error))
    except ImageError as error:
        return wire.IMAGE_ERROR, _encode(str(error))
    except Exception:  # noqa: BLE001  # the process that asked raises it
        return wire.FAULT, _encode(traceback.format_exc()[-wire.MAX_MESSAGE_BYTES // 2 :])


def _encode(message: str) -> bytes:
    return message.encode(errors="replace")[: wire.MAX_MESSAGE_BYTES]


def _warm_up() -> None:
    """Load what the first decoding and the first error load, while files can still be opened."""
    _, png = cv2.imencode(".png", np.zeros((2, 2, 4), np.uint16))
    for antialias in (False, True):
        preprocess.load(png.tobytes(), InputSpec(height=1, width=1, antialias=antialias), max_pixels=png.size)
    traceback.format_exception(ImageError())


def main() -> None:
    """Answer requests until the other side closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process
    connection = socket.socket(fileno=int(sys.argv[1]))
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)
    _warm_up()
    gc.freeze()
    pillow_decoder.capture_messages()  # not to be shown: a file can choose what decoders write
    sandbox = Sandbox(max_memory_bytes=int(sys.argv[2]))
    wire.send_reply(connection, wire.READY, wire.FILTERED if sandbox.filters_system_calls else wire.UNFILTERED)
    while True:
        try:
            call, timeout_s, data = wire.receive_request(connection)
        except EOFError:
            return
        wire.send_reply(connection, *answer(call, timeout_s, memoryview(data), sandbox))
        del data


if __name__ == "__main__":
    main()
