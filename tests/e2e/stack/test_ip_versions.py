"""The gateway and nginx on a host with IPv4 alone, IPv6 alone, or both, with the addresses that containers have."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.support.stack import ROOT
from tests.support.waiting import until
from tools import compose, nginx

PATIENCE_S = 60
NAME = f"versions{os.getpid()}"
IN_HOST = ("ip", "netns", "exec", NAME)
IPV4, IPV6 = "198.51.100.7", "fd00::10"
HOSTS = {
    "IPv4": ([f"{IPV4}/32"], [IPV4]),
    "IPv6": ([f"{IPV6}/128"], [f"[{IPV6}]"]),
    "both": ([f"{IPV4}/32", f"{IPV6}/128"], [IPV4, f"[{IPV6}]"]),
}
pytestmark = pytest.mark.skipif(
    nginx.find() is None or shutil.which("curl") is None, reason="nginx or curl is not installed"
)


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S, **options).stdout


@pytest.fixture(params=HOSTS)
def addresses(request):
    """Create a host with these IP versions; its addresses as in URLs."""
    own, in_urls = HOSTS[request.param]
    try:
        run("ip", "netns", "add", NAME)
        if request.param == "IPv4":
            run(*IN_HOST, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        run("ip", "-n", NAME, "link", "set", "lo", "up")
        for address in own:
            run("ip", "-n", NAME, "address", "add", address, "dev", "lo")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be created here: {error}")
    else:
        yield in_urls
    finally:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            run("ip", "netns", "delete", NAME)


def nginx_values():
    """Return the variables of the container, after the script that its entrypoint sources."""
    variables = {"NGINX_LISTEN": "8080", "PATH": os.environ["PATH"]}
    script = f". {ROOT}/nginx/listen-on-ipv6.envsh; env"
    lines = run(*IN_HOST, "sh", "-euc", script, env=variables).splitlines()
    return {**dict(line.split("=", 1) for line in lines if "=" in line), "NGINX_UPSTREAM": "127.0.0.1:8000"}


@pytest.fixture
def logs(addresses, tmp_path):
    """Start both programs; the logs of the gateway and of nginx."""
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(nginx.render(nginx_values()), encoding="utf-8")
    in_compose = compose.environment(compose.load(compose.BASE)["services"]["gateway"])
    settings = {
        **{name: in_compose[name] for name in ("GATEWAY_BIND", "GATEWAY_TRUSTED_PROXIES")},
        "GATEWAY_WORKERS": "1",
        "GATEWAY_MODELS": "pets",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
    }
    commands = {
        "gateway": (sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app"),
        "nginx": nginx.command(nginx.find(), configuration),
    }
    with ExitStack() as stack:
        for name, command in commands.items():
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [*IN_HOST, *command], cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        fronts = [f"http://{address}:8080/livez" for address in addresses]
        until(lambda: process.poll() is not None or all(status(url) == "200" for url in fronts), PATIENCE_S)
        yield [tmp_path / f"{name}.log" for name in commands]


def status(url):
    command = [*IN_HOST, "curl", "-gs", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_both_answer_at_every_address_and_log_it_in_its_usual_form(addresses, logs):
    for address in addresses:
        assert status(f"http://{address}:8000/api/v1/nothing") == "404"
        assert status(f"http://{address}:8080/api/v1/nothing") == "404"

    for log in logs:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if "/nothing" in line]
        clients = {line["client"] for line in lines}
        assert clients == {address.strip("[]") for address in addresses}
