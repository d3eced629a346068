"""Fetches in a separate network: `unshare --net --mount python -m tests.support.inner_network`, as root.

The loopback of the network has public and private addresses, and names are resolved by a name server of the tests. The
program writes the outcome of each URL as a line of JSON: its kind, then its content or message.
"""

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import UrlFetcher
from gateway.observability.logs import configure
from tests.support.fetching import fetch_limits
from tests.support.name_server import SILENCE, NameServer
from tests.support.raw_server import RawServer, Script, Send, answer, redirect

PUBLIC, OTHER_PUBLIC = "11.22.33.44", "11.22.33.55"
PRIVATE = ("10.11.12.13", "169.254.169.254", "100.64.0.7", "172.16.0.9", "192.168.7.7", "fd12::7")
NAME_SERVER = "127.0.0.1"

ZONE = {
    "photos.test": [PUBLIC],
    "inner.test": ["10.11.12.13"],
    "metadata.test": ["169.254.169.254"],
    "carrier.test": ["100.64.0.7"],
    "both.test": [f"{PUBLIC} 10.11.12.13"],
    "both-private-first.test": [f"10.11.12.13 {PUBLIC}"],
    "rebind.test": [PUBLIC, "10.11.12.13"],
    "rebind-in-redirect.test": [PUBLIC, "10.11.12.13"],
    "rebind-to-loopback.test": [OTHER_PUBLIC, "127.0.0.1"],
    "silent.test": SILENCE,
}

URLS = [
    "http://photos.test/",
    "http://rebind.test/",
    "http://rebind.test/",
    "http://rebind-in-redirect.test/again",
    "http://rebind-to-loopback.test/",
    "http://rebind-to-loopback.test/",
    "http://inner.test/",
    "http://metadata.test/latest/meta-data/",
    "http://carrier.test/",
    "http://both.test/",
    "http://both-private-first.test/",
    "http://nothing.test/",
    "http://silent.test/",
    "http://photos.test/to-inner",
    "http://photos.test/to-metadata",
    "http://photos.test/two-steps",
    "http://photos.test/to-loopback",
    "http://photos.test/to-file",
    "http://photos.test/to-port",
    *(f"http://[{address}]/" if ":" in address else f"http://{address}/" for address in PRIVATE),
    "http://[::ffff:10.11.12.13]/",
    "http://[64:ff9b::10.11.12.13]/",
    "http://0xa.0xb0c0d/",
    "http://168496141/",
    "http://012.013.014.015/",
]

REDIRECTS = {
    "/again": "/again",
    "/to-inner": "http://inner.test/",
    "/to-metadata": "http://169.254.169.254/latest/meta-data/",
    "/two-steps": "http://photos.test/to-inner",
    "/to-loopback": "http://127.0.0.1/",
    "/to-file": "file:///etc/passwd",
    "/to-port": "http://photos.test:6379/",
}


def public(head: str, send: Send) -> None:
    path = head.split()[1]
    script: Script = redirect(REDIRECTS[path]) if path in REDIRECTS else answer(b"public")
    script(head, send)


def set_up() -> None:
    """Add the addresses to the loopback, and let the resolver use the name server of the tests."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (PUBLIC, OTHER_PUBLIC, *PRIVATE):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(f"nameserver {NAME_SERVER}\noptions timeout:5 attempts:1\n")
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
    Path(file.name).unlink()


def outcome(fetcher: UrlFetcher, url: str) -> tuple[str, str]:
    try:
        return "fetched", fetcher.fetch(url, deadline=Deadline.after(20)).decode()
    except GatewayError as error:
        return type(error).__name__, error.detail


def main() -> None:
    configure(level="error", as_json=True)
    set_up()
    names = NameServer(ZONE, host=NAME_SERVER)
    with ExitStack() as servers:
        inner = [RawServer(answer(b"secret"), host=address, port=80) for address in (*PRIVATE, "127.0.0.1")]
        for server in inner:
            servers.enter_context(server)
        for address in (PUBLIC, OTHER_PUBLIC):
            servers.enter_context(RawServer(public, host=address, port=80))
        fetcher = UrlFetcher(Destinations(), fetch_limits(deadline_s=3))
        for url in URLS:
            sys.stdout.write(json.dumps([url, *outcome(fetcher, url)]) + "\n")
        reached = [request for server in inner for request in server.requests]
        sys.stdout.write(json.dumps({"reached": reached, "lookups": names.lookups}) + "\n")


if __name__ == "__main__":
    main()
