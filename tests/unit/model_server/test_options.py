from dataclasses import fields

import pytest

from model_server.options import WITHOUT_EFFECT, FlagError, Options, parse, usage


def test_defaults_are_those_of_the_real_server():
    options = parse([]).options
    assert (options.port, options.rest_api_port, options.model_name) == (8500, 0, "default")
    assert (options.file_system_poll_wait_seconds, options.enable_model_warmup) == (1, True)
    assert options.grpc_max_threads == options.rest_api_num_threads
    assert options.grpc_max_threads % 4 == 0


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--port=1234", "port", 1234),
        ("--port=-1", "port", -1),
        ("--model_base_path=/models/a=b", "model_base_path", "/models/a=b"),
        ("--model_name=", "model_name", ""),
        ("--enable_model_warmup=false", "enable_model_warmup", False),
        ("--enable_model_warmup=0", "enable_model_warmup", False),
        ("--enable_model_warmup=True", "enable_model_warmup", True),
        ("--version", "version", True),
    ],
)
def test_values(argument, name, value):
    assert getattr(parse([argument]).options, name) == value


def test_the_last_of_two_values_wins():
    assert parse(["--port=1", "--port=2"]).options.port == 2


@pytest.mark.parametrize("argument", ["--port=abc", "--port=", "--port=1.5", "--enable_model_warmup=yes"])
def test_values_of_the_wrong_type_are_refused(argument):
    with pytest.raises(FlagError, match=r"Couldn't interpret value .* for flag (port|enable_model_warmup)"):
        parse([argument])


def test_ignored_and_unknown_flags_are_listed_separately():
    line = parse(["--enable_profiler", "--use_alts_credentials", "--nope=1", "port=3", "--port", "-h"])
    assert line.ignored == ("--enable_profiler", "--use_alts_credentials")
    assert line.unknown == ("--nope=1", "port=3", "--port", "-h")
    assert line.options == Options()


def test_no_flag_is_in_both_lists():
    assert not WITHOUT_EFFECT & {option.name for option in fields(Options)}


def test_usage_names_every_flag():
    text = usage()
    for name in {option.name for option in fields(Options)} | WITHOUT_EFFECT:
        assert f"--{name}" in text
