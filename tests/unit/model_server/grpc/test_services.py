"""The gRPC services over a real channel, with fake models."""

from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
import pytest

from model_server.dataplane import DataPlane
from model_server.errors import Code, ResourceExhaustedError, ServingError
from model_server.grpc.services import ConcurrencyLimit, GrpcOptions, create_server
from model_server.monitoring import Metrics
from model_server.versions.repository import ModelConfig
from tfs_api.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
    tensor_pb2,
    types_pb2,
)
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_api.tensors import from_tensor_proto, to_tensor_proto

THREADS = 4


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def address(models, metrics, tmp_path):
    address = f"unix:{tmp_path}/grpc"
    options = GrpcOptions(addresses=[address], threads=THREADS, health=True)
    server = create_server(DataPlane(models), options, metrics)
    server.start()
    yield address
    models.servable.may_finish.set()
    server.stop(None).wait()


@pytest.fixture
def channel(address):
    with grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def model_service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(name="half", **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    for alias, array in inputs.items():
        message.inputs[alias].CopyFrom(to_tensor_proto(array))
    return message


def test_predict(prediction, servable):
    response = prediction.Predict(request(x=np.float32([1, 2])))
    assert response.model_spec.name == "half"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["y"].float_val) == [2, 4]
    ((_, inputs, outputs, timeout_s),) = servable.calls
    np.testing.assert_array_equal(inputs["x"], np.float32([1, 2]))
    assert (outputs, timeout_s) == (["y"], None)


def test_the_clients_deadline_limits_the_computation(prediction, servable):
    prediction.Predict(request(x=np.float32([1])), timeout=30)
    assert 29 < servable.calls[0][3] < 31


def test_version_label_and_output_filter_are_converted(prediction):
    message = request(x=np.float32([1]))
    message.model_spec.version_label = "stable"
    message.output_filter.append("y")
    assert prediction.Predict(message).model_spec.version.value == 3
    message.model_spec.version.value = 9
    with pytest.raises(grpc.RpcError, match=r"Specific\(half, 9\)"):
        prediction.Predict(message)


def test_bfloat16_inputs_and_outputs_keep_their_type(prediction, servable):
    prediction.Predict(request(x=np.array([1.5], ml_dtypes.bfloat16)))
    assert servable.calls[0][1]["x"].dtype == ml_dtypes.bfloat16


@pytest.fixture
def over_examples(servable, signature_def):
    """Add a classification and a regression signature, both of which compute a matrix of zeros."""
    strings, floats = {"inputs": ("DT_STRING", [-1])}, ("DT_FLOAT", [-1, 1])
    servable.signatures = {
        "c": signature_def(strings, {"scores": floats}),
        "r": signature_def(strings, {"outputs": floats}),
    }
    servable.run = lambda _signature, inputs, outputs, _timeout_s: {
        alias: np.zeros((len(inputs["inputs"]), 1), np.float32) for alias in outputs
    }


def example_request(kind, signature):
    message = kind()
    message.model_spec.name, message.model_spec.signature_name = "half", signature
    message.input.example_list.examples.add()
    return message


@pytest.mark.usefixtures("over_examples")
def test_classify(prediction):
    response = prediction.Classify(example_request(classification_pb2.ClassificationRequest, "c"))
    assert [len(row.classes) for row in response.result.classifications] == [1]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (3, "c")


@pytest.mark.usefixtures("over_examples")
def test_regress(prediction):
    response = prediction.Regress(example_request(regression_pb2.RegressionRequest, "r"))
    assert [row.value for row in response.result.regressions] == [0]


@pytest.mark.usefixtures("over_examples")
def test_multi_inference(prediction):
    message = inference_pb2.MultiInferenceRequest()
    for signature, method in (("r", "regress"), ("c", "classify")):
        task = message.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half", signature
    message.input.example_list.examples.add()
    response = prediction.MultiInference(message)
    assert [result.WhichOneof("result") for result in response.results] == [
        "regression_result",
        "classification_result",
    ]


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("Predict", predict_pb2.PredictRequest),
        ("Classify", classification_pb2.ClassificationRequest),
        ("Regress", regression_pb2.RegressionRequest),
        ("GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest),
    ],
)
def test_a_request_without_a_model_spec_is_refused(prediction, method, kind):
    with pytest.raises(grpc.RpcError) as failure:
        getattr(prediction, method)(kind())
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


def test_an_invalid_tensor_is_refused(prediction):
    message = request()
    message.inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"))
    with pytest.raises(grpc.RpcError) as failure:
        prediction.Predict(message)
    assert failure.value.details() == "tensor parsing error: x"


def test_every_error_code_has_its_grpc_status(prediction, servable):
    for code in set(Code) - {Code.OK}:
        servable.error = ServingError("what happened", code)
        with pytest.raises(grpc.RpcError) as failure:
            prediction.Predict(request(x=np.float32([1])))
        assert (failure.value.code().name, failure.value.details()) == (code.name, "what happened")


def test_an_unexpected_error_is_logged_but_not_shown_to_the_client(prediction, servable, caplog):
    servable.error = ZeroDivisionError("secret")
    with pytest.raises(grpc.RpcError) as failure:
        prediction.Predict(request(x=np.float32([1])))
    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in failure.value.details()
    assert "secret" in caplog.text


def test_metadata(prediction, servable):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "half"
    response = prediction.GetModelMetadata(message)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert dict(signatures.signature_def) == servable.signatures
    assert response.model_spec.version.value == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "foo"], "Metadata field foo is not supported"),
    ],
)
def test_unsupported_metadata_fields_are_refused(prediction, fields, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "half"
    with pytest.raises(grpc.RpcError) as failure:
        prediction.GetModelMetadata(request)
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, message)


def test_status(model_service):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "half"
    (status,) = model_service.GetModelStatus(message).model_version_status
    assert (status.version, status.state, status.HasField("status")) == (3, status.AVAILABLE, True)
    message.model_spec.name = "nope"
    with pytest.raises(grpc.RpcError) as failure:
        model_service.GetModelStatus(message)
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["tensorflow.serving.PredictionService/Nope", "foo.Bar/Baz"])
@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
def test_an_unknown_method_is_unimplemented(channel, method, kind, caplog):
    call = getattr(channel, kind)(f"/{method}")
    with pytest.raises(grpc.RpcError) as failure:
        list(call(iter([b""]), timeout=10)) if kind == "stream_stream" else call(b"", timeout=10)
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")
    assert caplog.records == []


def test_a_reload_request_passes_on_configurations_and_deadline(model_service, models):
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="m", base_path="/m", model_platform="tensorflow")
    response = model_service.HandleReloadConfigRequest(request, timeout=30)
    assert response.HasField("status")
    ((configs, timeout_s),) = models.reloads
    assert configs == (ModelConfig("m", Path("/m")),)
    assert 0 < timeout_s < 31


def test_a_reload_request_without_models_is_refused(model_service, models):
    with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported"):
        model_service.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    assert models.reloads == []


def test_health(channel):
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as failure:
        check(b"\x0a\x03abc")
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.NOT_FOUND, "service name unknown")


def test_the_health_service_is_off_by_default(models, tmp_path):
    server = create_server(DataPlane(models), GrpcOptions(addresses=[f"unix:{tmp_path}/plain"], threads=1), Metrics())
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/plain") as channel, pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
    server.stop(None).wait()


def test_requests_are_counted_by_model_and_status(prediction, metrics):
    prediction.Predict(request(x=np.float32([1])))
    with pytest.raises(grpc.RpcError):
        prediction.Predict(request("nope", x=np.float32([1])))
    with pytest.raises(grpc.RpcError):
        prediction.MultiInference(inference_pb2.MultiInferenceRequest())
    page = metrics.page()
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"} 1\n' in page
    assert ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"} 1\n' in page
    assert ':tensorflow:serving:request_count{model_name="",status="INVALID_ARGUMENT"} 1\n' in page
    assert 'request_latency_count{model_name="half",API="Predict",entrypoint="GRPC"} 1\n' in page


def test_calls_beyond_the_limit_are_refused(prediction, servable, wait_for):
    servable.may_finish.clear()
    calls = [prediction.Predict.future(request(x=np.float32([1]))) for _ in range(THREADS - 1)]
    wait_for(lambda: len(servable.calls) == THREADS - 1)
    with pytest.raises(grpc.RpcError) as failure:
        prediction.Predict(request(x=np.float32([1])), timeout=10)
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.value.details() == "Server Threadpool Exhausted"
    servable.may_finish.set()
    assert {call.code() for call in calls} == {grpc.StatusCode.OK}
    assert prediction.Predict(request(x=np.float32([1])))


def test_messages_have_no_size_limit(prediction, servable, signature_def):
    big = ("DT_UINT8", [-1])
    servable.signatures = {"serving_default": signature_def({"x": big}, {"y": big})}
    with pytest.raises(grpc.RpcError, match="larger than max"):  # the client's own limit is 4 MB, not the server's
        prediction.Predict(request(x=np.zeros(6_000_000, np.uint8)))
    assert len(servable.calls[0][1]["x"]) == 6_000_000


def test_an_address_in_use_is_an_error(models):
    server = create_server(DataPlane(models), GrpcOptions(addresses=["127.0.0.1:0"], threads=1), Metrics())
    port = server.add_insecure_port("127.0.0.1:0")
    with pytest.raises(RuntimeError, match="Failed to bind"):
        create_server(DataPlane(models), GrpcOptions(addresses=[f"127.0.0.1:{port}"], threads=1), Metrics())
    server.stop(None)


def test_a_slot_is_released_after_an_error():
    limit = ConcurrencyLimit(threads=2)

    with limit.acquire(), pytest.raises(ResourceExhaustedError), limit.acquire():
        pass
    with pytest.raises(KeyError), limit.acquire():
        raise KeyError

    with limit.acquire():
        pass


def test_one_thread_accepts_one_call():
    with ConcurrencyLimit(threads=1).acquire():
        pass


def test_a_matrix_keeps_its_shape(prediction):
    response = prediction.Predict(request(x=np.float32([[1, 2], [3, 4]])))
    np.testing.assert_array_equal(from_tensor_proto(response.outputs["y"]), [[2, 4], [6, 8]])
