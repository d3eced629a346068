import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import PREFIX, Settings, SettingsError


def test_defaults_need_no_environment():
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.bind == "127.0.0.1:8000"
    assert settings.tfs_target == "127.0.0.1:8500"
    assert settings.models_config == Path("serving_models/models.config")
    assert settings.default_model is None
    assert settings.max_body_bytes == 10 * 1024 * 1024
    assert settings.fetch_enabled
    assert settings.fetch_allowed_hosts == ()
    assert settings.log_json
    assert 1 <= settings.workers <= 8
    assert settings.model_deadline_s <= settings.request_deadline_s <= settings.worker_timeout_s


VALUES = [
    ("BIND", "unix:/run/gateway.sock", "unix:/run/gateway.sock"),
    ("WORKERS", "3", 3),
    ("THREADS", " 16 ", 16),
    ("MODELS_CONFIG", "/models/models.config", Path("/models/models.config")),
    ("MODELS", "digits, cifar10 ,", ("digits", "cifar10")),
    ("MODELS", "", ()),
    ("DEFAULT_MODEL", "cifar10", "cifar10"),
    ("MODEL_DEADLINE_S", "0.5", 0.5),
    ("MAX_BODY_BYTES", "2048", 2048),
    ("FETCH_MAX_REDIRECTS", "0", 0),
    ("FETCH_ALLOWED_HOSTS", "camera.local:8080,photos.local", ("camera.local:8080", "photos.local")),
    ("CORS_ORIGINS", "https://app.example,http://localhost:3000", ("https://app.example", "http://localhost:3000")),
    ("CORS_ORIGINS", "*", ("*",)),
    ("LOG_LEVEL", "debug", "debug"),
    ("ROOT_PATH", "/gw/", "/gw"),
    ("ROOT_PATH", "/", ""),
]


def test_each_kind_of_value_is_read():
    for variable, text, value in VALUES:
        settings = Settings.from_env({f"GATEWAY_{variable}": text})
        assert getattr(settings, variable.lower()) == value, (variable, text)


def test_booleans_have_several_forms():
    for text in ("true", "True", "1", "yes", "on"):
        assert Settings.from_env({"GATEWAY_FETCH_ENABLED": text}).fetch_enabled is True, text
    for text in ("false", "False", "0", "no", "off"):
        assert Settings.from_env({"GATEWAY_LOG_JSON": text}).log_json is False, text


INVALID = [
    ("WORKERS", ""),
    ("WORKERS", "0"),
    ("WORKERS", "65"),
    ("WORKERS", "many"),
    ("WORKERS", "2.5"),
    ("THREADS", "-1"),
    ("REQUEST_DEADLINE_S", "0"),
    ("REQUEST_DEADLINE_S", "10s"),
    ("MODEL_DEADLINE_S", "nan"),
    ("HEALTH_DEADLINE_S", "inf"),
    ("MODELS_POLL_S", "61"),
    ("MAX_BODY_BYTES", "10MB"),
    ("MAX_BODY_BYTES", "1023"),
    ("FETCH_MAX_REDIRECTS", "11"),
    ("FETCH_ENABLED", "maybe"),
    ("FETCH_ENABLED", ""),
    ("LOG_JSON", "2"),
    ("CORS_ORIGINS", "app.example"),
    ("CORS_ORIGINS", "https://app.example/"),
    ("CORS_ORIGINS", "https://App.example"),
    ("CORS_ORIGINS", "https://*.example,"),
    ("LOG_LEVEL", "verbose"),
    ("ROOT_PATH", "gw"),
    ("ROOT_PATH", "/gw/../x"),
    ("ROOT_PATH", "//host"),
    ("ROOT_PATH", "https://host/gw"),
]


def test_an_invalid_value_is_refused_with_its_variable():
    for variable, text in INVALID:
        with pytest.raises(SettingsError, match=re.escape(f"GATEWAY_{variable}={text!r}: ")):
            Settings.from_env({f"GATEWAY_{variable}": text, "GATEWAY_BIND": "127.0.0.1:1"})


def test_an_invalid_boolean_gets_a_message_with_the_accepted_values():
    with pytest.raises(SettingsError, match="true or false"):
        Settings.from_env({"GATEWAY_FETCH_ENABLED": "maybe"})


def test_a_message_says_in_plain_words_what_is_expected():
    for variable, text, message in (
        ("WORKERS", "many", "GATEWAY_WORKERS='many': expected a whole number"),
        ("WORKERS", "0", "GATEWAY_WORKERS='0': expected at least 1"),
        ("TRUSTED_PROXIES", "17", "GATEWAY_TRUSTED_PROXIES='17': expected at most 16"),
        ("REQUEST_DEADLINE_S", "10s", "GATEWAY_REQUEST_DEADLINE_S='10s': expected a number"),
        ("FETCH_PORTS", "http", "GATEWAY_FETCH_PORTS='http': expected a whole number"),
        ("FETCH_PORTS", "", "GATEWAY_FETCH_PORTS='': expected at least one value"),
        ("RATE_LIMIT", "many", "GATEWAY_RATE_LIMIT='many': expected one or more limits"),
    ):
        with pytest.raises(SettingsError, match=f"^{re.escape(message)}"):
            Settings.from_env({f"GATEWAY_{variable}": text})


@pytest.mark.parametrize(
    "target",
    [
        "models:8500",
        "127.0.0.1:8500",
        "[fe80::1%eth0]:8500",
        "dns:///models:8500",
        "dns:models",
        "http-proxy:8500",
        "unixbox:8500",
        "ipv4:10.0.0.1:8500,10.0.0.2:8500",
        "ipv6:[::1]:8500",
        "unix:/run/a folder/tfs.sock",
    ],
)
def test_the_model_server_is_named_as_grpc_names_it(target: str):
    assert Settings.from_env({"GATEWAY_TFS_TARGET": target}).tfs_target == target


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("http://127.0.0.1:8500", "127.0.0.1:8500"),
        ("https://models.example:9000/", "models.example:9000"),
        ("http://models:8501/v1/models/pets", "models:8500"),
        ("grpc://models", "models:8500"),
        ("models:8500/", "models:8500"),
        ("models", "models:8500"),
        ("models:850000", "models:8500"),
        ("http://[fd00::10]:8500", "[fd00::10]:8500"),
        ("::1:8500", "[::1]:8500"),
        ("", "127.0.0.1:8500"),
        ("models:99999", "models:8500"),
        ("models:0", "models:8500"),
        ("[::1]:70000", "[::1]:8500"),
        ("http:8500", "127.0.0.1:8500"),
        ("https:9000", "127.0.0.1:9000"),
        ("dns:8500", "127.0.0.1:8500"),
        ("8500", "127.0.0.1:8500"),
        ("8501", "127.0.0.1:8500"),
        (":8500", "127.0.0.1:8500"),
        ("dns:///models:99999", "127.0.0.1:8500"),
        ("ipv4:10.0.0.1:8500,10.0.0.2:0", "127.0.0.1:8500"),
        ("unix:", "unix:/run/tfs.sock"),
    ],
)
def test_another_form_of_the_model_servers_address_is_refused_with_the_right_one(target: str, meant: str):
    with pytest.raises(SettingsError, match=re.escape(f"{target!r}: expected HOST:PORT")) as refusal:
        Settings.from_env({"GATEWAY_TFS_TARGET": target})

    assert str(refusal.value).endswith(f", such as {meant}")
    assert Settings.from_env({"GATEWAY_TFS_TARGET": meant})


def test_all_invalid_values_are_reported_together():
    with pytest.raises(SettingsError, match=r"GATEWAY_WORKERS='x'.*; GATEWAY_THREADS='y'"):
        Settings.from_env({"GATEWAY_WORKERS": "x", "GATEWAY_THREADS": "y"})


@pytest.mark.parametrize(
    ("inner", "outer", "values"),
    [
        ("MODEL_DEADLINE_S", "REQUEST_DEADLINE_S", ("10.1", "10")),
        ("FETCH_DEADLINE_S", "REQUEST_DEADLINE_S", ("10.1", "10")),
        ("REQUEST_DEADLINE_S", "WORKER_TIMEOUT_S", ("31", "30")),
    ],
)
def test_a_time_that_contains_another_is_at_least_as_long(inner: str, outer: str, values: tuple[str, str]):
    environment = {f"GATEWAY_{inner}": values[0], f"GATEWAY_{outer}": values[1]}
    with pytest.raises(SettingsError, match=f"^GATEWAY_{inner} must not be greater than GATEWAY_{outer}$"):
        Settings.from_env(environment)
    assert Settings.from_env(environment | {f"GATEWAY_{inner}": values[1]})


def test_a_body_that_the_default_budget_has_no_room_for_is_refused_until_the_budget_is_set():
    environment = {"GATEWAY_MAX_BODY_BYTES": "1000000000"}

    with pytest.raises(
        SettingsError, match=r"GATEWAY_MEMORY_BUDGET_BYTES=\d+ \(the default here\).*GATEWAY_MAX_BODY_B"
    ):
        Settings.from_env(environment)
    with pytest.raises(SettingsError, match=r"GATEWAY_MEMORY_BUDGET_BYTES=1024 is too small.*GATEWAY_MAX_BODY_BYTES"):
        Settings.from_env(environment | {"GATEWAY_MEMORY_BUDGET_BYTES": "1024"})

    budget = {"GATEWAY_MEMORY_BUDGET_BYTES": "9000000000"}
    assert Settings.from_env(environment | budget).memory_budget_bytes == 9_000_000_000


def test_an_unknown_variable_is_refused_with_the_nearest_setting():
    with pytest.raises(SettingsError, match=r"GATEWAY_WORKER is not a setting; did you mean GATEWAY_WORKERS\?"):
        Settings.from_env({"GATEWAY_WORKER": "2"})
    with pytest.raises(
        SettingsError, match=r"GATEWAY_XYZZY is not a setting; docs/reference/settings\.md lists all settings"
    ):
        Settings.from_env({"GATEWAY_XYZZY": "2"})


FOREIGN_VARIABLES = [
    "PATH",
    "TFS_TARGET",
    "IMAGE_GATEWAY_WORKERS",
    "GATEWAY_SERVICE_HOST",
    "GATEWAY_SERVICE_PORT",
    "GATEWAY_SERVICE_PORT_HTTP",
    "GATEWAY_PORT",
    "GATEWAY_PORT_8000_TCP",
    "GATEWAY_PORT_8000_TCP_ADDR",
]


def test_variables_of_other_programs_are_ignored():
    assert Settings.from_env(dict.fromkeys(FOREIGN_VARIABLES, "tcp://10.0.0.1:8000")) == Settings()


def test_a_variable_that_only_begins_like_one_of_them_is_refused():
    with pytest.raises(SettingsError, match="GATEWAY_PORTS is not a setting"):
        Settings.from_env({"GATEWAY_PORTS": "1"})


def test_settings_are_immutable():
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.workers = 2


def test_each_setting_has_a_description():
    assert len(Settings.model_fields) > 50
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name
        assert (PREFIX + name.upper()).isupper()


def test_rules_for_fetching_are_read_as_lists():
    environment = {
        "GATEWAY_FETCH_SCHEMES": "https",
        "GATEWAY_FETCH_PORTS": "443, 8443",
        "GATEWAY_FETCH_PUBLIC_HOSTS": "photos.example,*.cdn.example",
        "GATEWAY_FETCH_DENIED_HOSTS": "bad.example,203.0.113.0/24,2001:db8::/32,[::1]",
        "GATEWAY_FETCH_PROXY": "http://proxy.lan:3128",
    }
    settings = Settings.from_env(environment)
    assert (settings.fetch_schemes, settings.fetch_ports) == (("https",), (443, 8443))
    assert settings.fetch_public_hosts == ("photos.example", "*.cdn.example")
    assert len(settings.fetch_denied_hosts) == 4
    assert settings.fetch_proxy == "http://proxy.lan:3128"


INVALID_RULES = [
    ("FETCH_SCHEMES", "ftp"),
    ("FETCH_SCHEMES", ""),
    ("FETCH_PORTS", ""),
    ("FETCH_PORTS", "0"),
    ("FETCH_PORTS", "80,65536"),
    ("FETCH_PORTS", "http"),
    ("FETCH_PUBLIC_HOSTS", "https://photos.example"),
    ("FETCH_PUBLIC_HOSTS", "photos.example/x"),
    ("FETCH_PUBLIC_HOSTS", "photos.*"),
    ("FETCH_PUBLIC_HOSTS", "b\u00fccher.example"),
    ("FETCH_DENIED_HOSTS", "bad.example:80"),
    ("FETCH_DENIED_HOSTS", "203.0.113.0/99"),
    ("FETCH_CA_BUNDLE", "/nowhere/ca.pem"),
    ("FETCH_PROXY", "proxy.lan:3128"),
    ("FETCH_PROXY", "socks5://proxy.lan"),
    ("FETCH_USER_AGENT", ""),
    ("FETCH_USER_AGENT", "a\nb"),
    ("FETCH_USER_AGENT", "ö"),
    ("FETCH_MAX_URL_LENGTH", "65537"),
    ("MAX_JSON_DEPTH", "2"),
    ("MAX_JSON_VALUES", "0"),
]


def test_an_invalid_rule_for_fetching_is_refused_with_its_variable():
    for name, value in INVALID_RULES:
        with pytest.raises(SettingsError, match=f"GATEWAY_{name}="):
            Settings.from_env({f"GATEWAY_{name}": value})


@pytest.mark.parametrize(
    "url",
    ["redis", "", "http://:secret@host", "redis://:secret@host:port/0", "redis://host:99999/0", "redis://host/one"],
)
def test_a_malformed_redis_url_is_refused_without_showing_its_password(url: str):
    with pytest.raises(SettingsError, match=r"^GATEWAY_REDIS_URL: expected redis://HOST:PORT/NUMBER") as refused:
        Settings.from_env({"GATEWAY_REDIS_URL": url})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://:secret@host:6380/2", "rediss://host", "redis://[::1]:6379/0?protocol=3", "unix:///run/redis.sock"]
)
def test_the_urls_of_redis_are_accepted(url: str):
    assert Settings.from_env({"GATEWAY_REDIS_URL": url}).redis_url == url


def test_a_bundle_without_certificates_is_refused(tmp_path: Path):
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate")
    with pytest.raises(SettingsError, match=r"GATEWAY_FETCH_CA_BUNDLE=.*expected a PEM file of certificates"):
        Settings.from_env({"GATEWAY_FETCH_CA_BUNDLE": str(empty)})
