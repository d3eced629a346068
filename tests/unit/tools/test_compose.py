import pytest

from tools import compose


@pytest.fixture
def read(tmp_path):
    def read(text, variables=None):
        file = tmp_path / "docker-compose.yml"
        file.write_text(text, encoding="utf-8")
        return compose.load(file, variables)

    return read


def test_a_variable_has_its_value_or_its_default(read):
    text = "a: '${TAG:-2.20.0}-${TAG:-}'"
    assert read(text) == {"a": "2.20.0-"}
    assert read(text, {"TAG": "9"}) == {"a": "9-9"}
    assert read(text, {"TAG": ""}) == {"a": "2.20.0-"}  # `:-` also replaces an empty value


def test_a_variable_without_value_and_default_is_an_error(read):
    with pytest.raises(KeyError, match="TAG"):
        read("a: ${TAG}")


def test_a_replacement_text_is_used_only_if_the_variable_has_a_value(read):
    text = "a: '8080${DIR:+ ssl}'"
    assert read(text, {"DIR": "./tls"}) == {"a": "8080 ssl"}
    assert read(text, {"DIR": ""}) == read(text) == {"a": "8080"}


def test_two_dollars_are_one_for_the_containers_shell(read):
    assert read("a: [{b: '$$NAME $${NAME:-x}'}]") == {"a": [{"b": "$NAME ${NAME:-x}"}]}


def test_merged_members_are_kept_and_reset_ones_are_empty(read):
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3, ports: !reset []}"
    assert read(text)["y"] == {"a": 1, "b": 3, "ports": []}


def test_the_base_file_comes_first():
    names = [file.name for file in compose.files()]
    assert names[0] == "docker-compose.yml"
    assert {"docker-compose.gpu.yml", "docker-compose.scale.yml", "docker-compose.redis.yml"} <= set(names[1:])


def test_a_service_gets_its_env_files_and_its_own_environment():
    service = {"env_file": ["nginx/defaults.env", {"path": ".env", "required": False}], "environment": {"A": 1}}
    values = compose.environment(service)
    assert values["A"] == "1"
    assert values["NGINX_READ_TIMEOUT_S"].isdecimal()


@pytest.mark.parametrize("file", compose.files(), ids=lambda file: file.name)
def test_only_nginx_can_be_reached_from_other_machines(file):
    services = compose.load(file)["services"]
    assert services
    for name, service in services.items():
        for port in service.get("ports", []):
            assert name == "nginx" or port.startswith("127.0.0.1:"), (name, port)


@pytest.mark.parametrize("file", compose.files(), ids=lambda file: file.name)
def test_every_container_is_restricted(file):
    services = compose.load(file)["services"]
    assert services
    for name, service in services.items():
        if "image" in service and file == compose.BASE:
            assert service["read_only"] is service["init"] is True, name
            assert service["cap_drop"] == ["ALL"]
            assert not service["image" if name in {"gateway", "worker"} else "user"].startswith("0")
            assert {"max-size", "max-file"} <= set(service["logging"]["options"])
            assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
            assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
