"""SavedModel files on TensorFlow's runtime, in this process."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from model_server.errors import (
    Code,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServingError,
)
from model_server.memory import MemoryBudget
from tfs_api.protos import saved_model_pb2

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from model_server.runtime.savedmodel import SavedModel, SessionOptions  # noqa: E402  # needs TensorFlow

MEBIBYTE = 2**20
DTYPES = (
    "float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "bool", "complex64", "complex128",
)  # fmt: skip


def load(path, **options):
    return SavedModel(path, SessionOptions(**options))


@pytest.fixture(scope="module")
def model(saved_model):
    return load(saved_model / "1")


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """Load a model that returns tensors of each type unchanged, and looks up lines of a text file in its assets."""
    path = tmp_path_factory.mktemp("echo") / "1"
    words = path.parent / "words.txt"
    words.write_text("zero\none\n")
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
        ),
        "?",
    )
    signatures = {
        "word": tf.function(lambda i: {"out": module.table.lookup(i)}, [tf.TensorSpec([None], tf.int64, "v")])
    }
    for dtype in (*DTYPES, "string", "bfloat16"):
        spec = tf.TensorSpec(None, dtype, "v")
        signatures[dtype] = tf.function(lambda v: {"out": tf.identity(v)}, [spec])
    module.functions = signatures
    tf.saved_model.save(module, str(path), signatures=signatures)
    words.unlink()
    return load(path)


def run(model, signature="serving_default", timeout_s=None, **inputs):
    outputs = list(model.signatures[signature].outputs)
    return model.run(signature, inputs, outputs, timeout_s)


def test_a_signature_is_computed(model, half_plus):
    outputs = run(model, x=np.float32([1, 2, 5]))
    np.testing.assert_array_equal(outputs["y"], half_plus([1, 2, 5]))


def test_signatures_are_those_of_the_file(model):
    assert set(model.signatures) == {
        "serving_default", "convolve", "length", "pick", "slow", "count", "__saved_model_init_op",
    }  # fmt: skip
    assert model.signatures["serving_default"].inputs["x"].name == "serving_default_x:0"


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 1, 2)])
def test_every_type_round_trips(echo, shape):
    for dtype in DTYPES:
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        out = run(echo, dtype, v=array)["out"]
        assert (out.dtype, out.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(out, array, err_msg=dtype)


@pytest.mark.parametrize("strings", [b"a\0\0", [b"a", b"\xff\0"], [], [[b""], [b"b"]]])
def test_strings_round_trip(echo, strings):
    array = np.array(strings, object)
    out = run(echo, "string", v=array)["out"]
    assert (out.dtype, out.shape, out.tolist()) == (array.dtype, array.shape, array.tolist())


def test_bfloat16_round_trips(echo):
    array = np.array([1.5, -2], tf.bfloat16.as_numpy_dtype)
    out = run(echo, "bfloat16", v=array)["out"]
    assert out.dtype == array.dtype
    np.testing.assert_array_equal(out, array)


def test_arrays_of_any_memory_layout_are_accepted(model, half_plus):
    array = np.arange(10, dtype=np.float32)[::-2]
    np.testing.assert_array_equal(run(model, x=array)["y"], half_plus(array))
    read_only = np.frombuffer(np.float32([1, 2]).tobytes(), np.float32)
    np.testing.assert_array_equal(run(model, x=read_only)["y"], half_plus([1, 2]))


def test_assets_of_a_model_are_found(echo):
    assert run(echo, "word", v=np.int64([1, 0, 7]))["out"].tolist() == [b"one", b"zero", b"?"]


def test_variables_keep_their_values_between_calls(model):
    first = run(model, "count", step=np.float32([1]))["count"]
    assert run(model, "count", step=np.float32([1, 2]))["count"] == first + 3


def test_two_loads_do_not_share_variables(saved_model):
    one, two = load(saved_model / "1"), load(saved_model / "1")
    run(one, "count", step=np.float32([5]))
    assert run(two, "count", step=np.float32([1]))["count"] == 1
    one.close()
    assert run(two, "count", step=np.float32([1]))["count"] == 2
    two.close()


def test_a_wrong_type_is_refused(model):
    with pytest.raises(ServingError, match="Expects arg\\[0\\] to be float but int32 is provided") as failure:
        run(model, x=np.int32([1]))
    assert failure.value.code is Code.INVALID_ARGUMENT


def test_the_shape_of_a_harmless_model_is_not_checked(echo):
    assert run(echo, "float32", v=np.zeros((1, 2, 3, 4, 5), np.float32))["out"].shape == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("shape", [(), (64,), (1, 64), (1, 8, 8), (1, 8, 8, 1, 1)])
def test_a_wrong_rank_does_not_reach_a_convolution(model, shape):
    with pytest.raises(InvalidArgumentError, match=r"input image must have 4 dimensions, as in \[\?,8,8,1\]"):
        run(model, "convolve", image=np.zeros(shape, np.float32))


def test_an_init_op_cannot_be_run_as_a_signature(model):
    with pytest.raises(ServingError, match=r"Node 'NoOp' .* does not have output 0") as failure:
        run(model, "__saved_model_init_op")
    assert failure.value.code is Code.OUT_OF_RANGE


def test_a_computation_stops_at_its_time_limit(model):
    started_s = time.monotonic()
    with pytest.raises(ServingError) as late:
        run(model, "slow", timeout_s=0.05, rounds=np.int32([10**9]))
    assert late.value.code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - started_s < 20


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_a_time_limit_of_zero_or_less_fails_at_once(model, timeout_s):
    with pytest.raises(DeadlineExceededError):
        run(model, timeout_s=timeout_s, x=np.float32([1]))


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"should have a file called `saved_model\.pb`"):
        load(tmp_path)


def test_a_version_that_is_not_a_directory_is_refused(tmp_path):
    (tmp_path / "7").write_text("")
    with pytest.raises(FailedPreconditionError, match="Not a directory"):
        load(tmp_path / "7")


def test_a_file_that_is_not_a_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"this is not a SavedModel")
    with pytest.raises(DataLossError, match=r"Can't parse .*/saved_model.pb as binary proto"):
        load(tmp_path)


def test_a_saved_model_may_be_in_text_form(saved_model, tmp_path, half_plus):
    shutil.copytree(saved_model / "1", tmp_path / "1")
    binary = tmp_path / "1" / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(binary.read_bytes())
    binary.with_suffix(".pbtxt").write_text(text_format.MessageToString(message))
    binary.unlink()

    loaded = load(tmp_path / "1")

    assert run(loaded, x=np.float32([1]))["y"].tolist() == half_plus([1], 2.0).tolist()


def test_a_text_file_that_is_not_a_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pbtxt").write_text("this is not a SavedModel")
    with pytest.raises(DataLossError, match=r"Can't parse .*/saved_model.pbtxt as text proto"):
        load(tmp_path)


def change(saved_model, tmp_path, edit):
    """Copy a model with a changed MetaGraphDef."""
    shutil.copytree(saved_model / "1", tmp_path / "1")
    file = tmp_path / "1" / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    edit(message.meta_graphs[0])
    file.write_bytes(message.SerializeToString())
    return tmp_path / "1"


def test_the_graph_with_the_requested_tags_is_loaded(saved_model, tmp_path):
    path = change(saved_model, tmp_path, lambda meta: meta.meta_info_def.tags.__setitem__(0, "train"))
    with pytest.raises(NotFoundError, match=r"Could not find meta graph def matching supplied tags: \{ serve \}"):
        load(path)
    assert run(load(path, tags=("train",)), x=np.float32([1]))["y"] == 2.5


def test_an_unknown_operation_is_refused(saved_model, tmp_path):
    path = change(saved_model, tmp_path, lambda meta: meta.graph_def.node.add(name="x", op="NoSuchOperation"))
    with pytest.raises(ServingError, match="NoSuchOperation"):
        load(path)


def test_corrupted_variables_are_refused(saved_model, tmp_path):
    shutil.copytree(saved_model / "1", tmp_path / "1")
    (data,) = Path(tmp_path, "1", "variables").glob("variables.data*")
    data.write_bytes(b"short")
    with pytest.raises(ServingError):
        load(tmp_path / "1")


def test_missing_variables_fail_at_the_request(saved_model, tmp_path):
    shutil.copytree(saved_model / "1", tmp_path / "1", ignore=shutil.ignore_patterns("variables*"))
    model = load(tmp_path / "1")
    with pytest.raises(ServingError, match="Could not find variable"):
        run(model, x=np.float32([1]))


def test_a_signature_of_tensorflow_1_is_computed(tmp_path):
    """A graph written by a TF1 program has no restore op and no init signature."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        y = x * 3.0
    with tf.compat.v1.Session(graph=graph) as session:
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "1"))
        info = tf.compat.v1.saved_model.utils.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(y)}, "predict")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    assert run(load(tmp_path / "1"), x=np.float32([2]))["y"] == 6


def images(rows):
    return np.zeros((rows, 8, 8, 1), np.float32)


def test_a_call_that_needs_more_memory_than_there_is_fails_before_it_is_computed(saved_model):
    model = load(saved_model / "1", memory=MemoryBudget(8 * MEBIBYTE))

    assert run(model, "convolve", image=images(4_000))["mean"].shape == (4_000,)
    for rows in (20_000, 100_000):
        with pytest.raises(ResourceExhaustedError, match=r"needs about \d+ bytes of memory; at most 8388608"):
            run(model, "convolve", image=images(rows))


def test_large_input_must_have_the_shape_of_the_signature(model):
    with pytest.raises(InvalidArgumentError, match=r"input image must have the shape \[\?,8,8,1\], but has the shape"):
        run(model, "convolve", image=np.zeros((1, 8, 20_000, 1), np.float32))


def test_a_computation_that_changes_a_variable_is_not_repeated_for_an_estimate(model):
    first = run(model, "count", step=np.zeros(1, np.float32))["count"]

    assert run(model, "count", step=np.ones(200_000, np.float32))["count"] == first + 200_000


def test_large_strings_are_computed(model):
    assert run(model, "length", data=np.array([b"x" * MEBIBYTE], object))["length"] == [MEBIBYTE]
    assert run(model, "length", data=np.full(20_000, b"x" * 32, object))["length"].tolist() == [32] * 20_000


def test_concurrent_calls_share_the_memory(saved_model):
    model = load(saved_model / "1", memory=MemoryBudget(16 * MEBIBYTE))

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: run(model, "convolve", timeout_s=60, image=images(16_000)), range(16)))

    assert [result["mean"].size for result in results] == [16_000] * 16
