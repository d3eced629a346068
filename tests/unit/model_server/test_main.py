import socket
import threading

import pytest

from model_server.__main__ import _channel_arguments, _grpc_addresses, check_ports, main, make_batching, model_configs
from model_server.errors import FailedPreconditionError, InvalidArgumentError
from model_server.options import Options


@pytest.fixture
def used_port():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # noqa: S104  # the server binds the same address
        listener.listen()
        yield listener.getsockname()[1]


def test_a_single_model(tmp_path):
    (config,) = model_configs(Options(model_name="m", model_base_path=str(tmp_path)))
    assert (config.name, config.base_path, config.labels) == ("m", tmp_path, {})


def test_the_configuration_file_takes_precedence_over_a_single_model(tmp_path):
    file = tmp_path / "models.config"
    file.write_text('model_config_list { config { name: "n" base_path: "rel/n" model_platform: "tensorflow" } }')
    (config,) = model_configs(Options(model_config_file=str(file), model_base_path="/ignored"))
    assert (config.name, str(config.base_path)) == ("n", "rel/n")


def test_flags_without_a_model_are_refused():
    with pytest.raises(
        InvalidArgumentError,
        match=r"Both server_options\.model_base_path and .* are empty!",
    ):
        model_configs(Options())


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_a_port_in_use_is_reported_with_its_flag(used_port, flag):
    options = Options(**{"port": 0, "rest_api_port": 0, flag: used_port})
    with pytest.raises(FailedPreconditionError, match=rf"port {used_port} \(--{flag}\) cannot be used: Address"):
        check_ports(options)


def test_one_port_cannot_serve_both(used_port):
    with pytest.raises(InvalidArgumentError, match="--rest_api_port cannot be same as --port"):
        check_ports(Options(port=used_port, rest_api_port=used_port))


def test_disabled_ports_are_not_checked():
    check_ports(Options(port=0, rest_api_port=0))


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        (Options(port=1), ["0.0.0.0:1"]),
        (Options(port=0), []),
        (Options(port=1, grpc_socket_path="/s"), ["0.0.0.0:1", "unix:/s"]),
    ],
)
def test_grpc_addresses(options, addresses):
    assert _grpc_addresses(options) == addresses


def test_channel_arguments():
    assert _channel_arguments("") == []
    assert _channel_arguments("grpc.a=1,grpc.b=-2,grpc.c=x") == [("grpc.a", 1), ("grpc.b", -2), ("grpc.c", "x")]


def test_batching_is_off_by_default(tmp_path):
    assert make_batching(Options(enable_per_model_batching_parameters=True)) is None
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size: 4")
    with pytest.raises(InvalidArgumentError) as failure:
        make_batching(Options(batching_parameters_file=str(file)))
    assert failure.value.message == (
        "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
    )


def test_batching_needs_no_file(wait_for):
    before = set(threading.enumerate())
    make_batching(Options(enable_batching=True)).close()
    wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 4", "Invalid protobuf file: '.*batching.config': 1:17"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
    ],
)
def test_invalid_batching_parameters_are_refused(tmp_path, text, message):
    file = tmp_path / "batching.config"
    file.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        make_batching(Options(enable_batching=True, batching_parameters_file=str(file)))


def test_version(capsys):
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["TensorFlow ModelServer: 2.20.0 (embedded stand-in)", "TensorFlow Library: 2.20.0"]


def test_help(capsys):
    assert main(["--help"]) == 255
    assert capsys.readouterr().out.startswith("usage: ")


def test_a_wrong_value_shows_the_usage(capsys):
    assert main(["--port=x"]) == 255
    error = capsys.readouterr().err
    assert error.startswith("Couldn't interpret value x for flag port")
    assert "usage: python -m model_server" in error


def test_more_interpreters_per_pool_are_warned_of(caplog):
    main(["--num_tflite_interpreters_per_pool=2"])

    assert caplog.messages[0].startswith("--num_tflite_interpreters_per_pool=2 counts as 1")


def test_a_failed_start_is_logged(caplog, capsys):
    assert main(["--no_such_flag", "--enable_profiler"]) == 255
    assert "usage: " in capsys.readouterr().err
    messages = [record.getMessage() for record in caplog.records]
    assert messages[:2] == ["unknown argument: --no_such_flag", "--enable_profiler has no effect here"]
    assert messages[2].startswith("Failed to start server. Error: INVALID_ARGUMENT: Both")
