"""The measurements of `python -m bench` that are repeated in every round."""

from collections.abc import Iterator

from bench import images
from bench.alternatives import onnxruntime_engine, openvino_engine
from bench.alternatives.engine import ONNX, OPENVINO_INT8_FILE
from bench.alternatives.preprocessing import by_opencv, by_pillow
from bench.external_load import HttpRequest
from bench.measure import Cell, http_cell
from bench.served_models import COMMITTED
from bench.stack_load import BATCH, CONNECTIONS, LARGE, PHOTO, StackLoad
from bench.testbed import BATCHED, OPENVINO_INT8, OURS, SAVED_MODEL, TUTORIAL, Testbed


def list_cells(testbed: Testbed) -> list[Cell]:
    """Return all measurements of a round."""
    photo, large = images.photo(*PHOTO), images.photo(*LARGE)
    ours = StackLoad(OURS, testbed.ours, testbed.folder)
    variants = [StackLoad(name, stack, testbed.folder) for name, stack in testbed.variants.items()]
    return [
        ours.photos("photo, 1", photo, 1),
        *(cell for variant in variants for cell in variant.usual_photos(photo)),
        ours.photos("12 MP, 8", large, 8),
        *(ours.committed(model) for model in COMMITTED),
        *ours.encodings(photo),
        ours.photos("batch of 32 photos, 2", photo, 2, number=BATCH),
        *ours.direct(photo),
        *_alternative_cells(testbed, photo, large),
    ]


def _alternative_cells(testbed: Testbed, photo: bytes, large: bytes) -> Iterator[Cell]:
    """Yield the measurements of the alternatives."""
    float32 = onnxruntime_engine.load(testbed.folder / ONNX, max_batch=1)
    int8 = openvino_engine.load(testbed.folder / OPENVINO_INT8_FILE, max_batch=1)
    saved_model = testbed.variants[SAVED_MODEL].model_server
    for name, service in testbed.alternatives.items():
        prepare = by_opencv if name.startswith("FastAPI") else by_pillow
        predict = int8 if name.startswith(OPENVINO_INT8) else float32
        services = (service, saved_model) if name == TUTORIAL else (service,)
        loads = [("photo", photo, connections) for connections in CONNECTIONS]
        if name == TUTORIAL:  # it passes on that the model server rejects more calls at once
            loads = loads[:1]
        if not name.endswith(BATCHED):
            loads.append(("12 MP", large, 8))
        for kind, image, connections in loads:
            expected = [f'"predictions":[{{"class_id":{predict(prepare(image))[0].argmax()},']
            request = HttpRequest(f"{service.address}/predict", *images.multipart([image]), expected)
            yield http_cell(
                name, f"{kind}, {connections}", services, request, connections=connections, folder=testbed.folder
            )
