"""Small TensorFlow Lite files, written without TensorFlow."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from tfs_api.protos import meta_graph_pb2, types_pb2

TABLE_NAME = b"signature_defs_metadata"
TYPES = {
    name: getattr(schema.TensorType, name.upper()) for name in ("float32", "int32", "string", "resource", "variant")
}


def doubling_model(
    *, names=("x:0", "n:0", "y:0", "m:0"), table=None, second_shape=(1,), dtype="float32", table_buffer=None
):
    """Return a file that computes y = x + x for x float32[N, 2], and m = n + n for n int32[N].

    Args:
        names: Names of the tensors x, n, y and m.
        table: Content of the table of signatures; None for a file without one.
        second_shape: Shape of n and m in the file.
        dtype: Another type for x and y.
        table_buffer: Another number for the buffer of the table.
    """
    model = _empty_model()
    model.operatorCodes = [_operator_code(schema.BuiltinOperator.ADD)]
    graph = schema.SubGraphT()
    shapes_and_types = [((1, 2), dtype), (second_shape, "int32")] * 2
    graph.tensors = [_tensor(name, *rest) for name, rest in zip(names, shapes_and_types, strict=True)]
    graph.inputs, graph.outputs = [0, 1], [2, 3]
    graph.operators = [_add(0, 2), _add(1, 3)]
    model.subgraphs = [graph]
    return _with_table(model, table, table_buffer)


def string_picking_model():
    """Return a file that computes picked = words[index], with a generated signature."""
    model = _empty_model()
    model.operatorCodes = [_operator_code(schema.BuiltinOperator.GATHER)]
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("words", (1,), "string"),
        _tensor("index", (1,), "int32"),
        _tensor("picked", (1,), "string"),
    ]
    graph.inputs, graph.outputs = [0, 1], [2]
    gather = _operator([0, 1], [2])
    gather.builtinOptionsType, gather.builtinOptions = schema.BuiltinOptions.GatherOptions, schema.GatherOptionsT()
    graph.operators = [gather]
    model.subgraphs = [graph]
    return _with_table(model, None)


def filling_model(*, name="unused", dtype="float32"):
    """Return a file that computes filled = a float32 array of `size` elements, all of them `value`.

    Args:
        name: Name of an input that is not used.
        dtype: Its type.
    """
    model = _empty_model()
    model.operatorCodes = [_operator_code(schema.BuiltinOperator.FILL)]
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("size", (1,), "int32"),
        _tensor("value", (), "float32"),
        _tensor("filled", (1,), "float32"),
        _tensor(name, (1,), dtype),
    ]
    graph.inputs, graph.outputs = [0, 1, 3], [2]
    graph.operators = [_operator([0, 1], [2])]
    model.subgraphs = [graph]
    return _with_table(model, None)


def model_without_a_subgraph():
    """Return a file whose structure is valid, and on which TensorFlow Lite crashes."""
    return _with_table(_empty_model(), None)


def _empty_model():
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    return model


def _with_table(model, table, table_buffer=None):
    if table is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(table, np.uint8)
        entry = schema.MetadataT()
        entry.name, entry.buffer = TABLE_NAME, table_buffer or len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [entry]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def signature_table(messages):
    """Return a table of signatures: serialised messages, or values of other kinds, by name."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for name in sorted(messages):
            builder.Key(name)
            value = messages[name]
            if isinstance(value, bytes):
                builder.String(_Bytes(value))
            else:
                builder.Add(value)
    return bytes(builder.Finish())


def predict_signature(inputs, outputs):
    """Return a SignatureDef from alias -> (tensor name, dtype, shape)."""
    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for infos, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for alias, (name, dtype, shape) in tensors.items():
            infos[alias].name = name
            infos[alias].dtype = types_pb2.DataType.Value(f"DT_{dtype}")
            for size in shape:
                infos[alias].tensor_shape.dim.add(size=size)
    return signature


X = {"x": ("x:0", "FLOAT", (-1, 2))}
Y = {"y": ("y:0", "FLOAT", (-1, 2))}
N = {"n": ("n:0", "INT32", (-1,))}
M = {"m": ("m:0", "INT32", (-1,))}


def doubling_table():
    """Return a table with `serving_default` for x -> y, `count` for n -> m, and `both`."""
    signatures = {
        "serving_default": predict_signature(X, Y),
        "count": predict_signature(N, M),
        "both": predict_signature(X | N, Y | M),
    }
    return signature_table({name: signature.SerializeToString() for name, signature in signatures.items()})


class _Bytes(str):
    """Bytes that flexbuffers.Builder.String writes as they are, where it would encode text as UTF-8."""

    __slots__ = ("_content",)

    def __new__(cls, content):
        text = super().__new__(cls)
        text._content = content
        return text

    def encode(self, *_arguments):
        return self._content


def _operator_code(operator):
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    return code


def _tensor(name, shape, dtype):
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(errors="surrogateescape"), TYPES[dtype], 0
    tensor.shape, tensor.shapeSignature = list(shape), [-1, *shape[1:]] if shape else []
    return tensor


def _operator(sources, targets):
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = sources, targets
    return operator


def _add(source, target):
    operator = _operator([source, source], [target])
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    return operator
