"""The proxy between the client and the gateway, which requests takes from the environment or the system's settings."""

import ipaddress
import os
import re
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

DIRECT = {"http": "", "https": "", "all": ""}
"""The argument `proxies` of requests that overrides every proxy."""


def is_loopback(url: str) -> bool:
    """Return whether a URL is one of this machine, which no proxy reaches; browsers and Go do not ask one either."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def describe_proxy(url: str) -> str:
    """Return such as `the proxy http://10.0.0.1:3128 (from http_proxy)`; empty if a URL is reached without one."""
    proxy = "" if is_loopback(url) else select_proxy(url, get_environ_proxies(url, no_proxy=None))
    if not proxy:
        return ""
    names = (f"{urlsplit(url).scheme}_proxy", "all_proxy")
    variables = (variable for name in names for variable in (name, name.upper()))
    source = next((name for name in variables if os.environ.get(name) == proxy), "the system's settings")
    return f"the proxy {re.sub(r'//[^/]*@', '//', proxy)} (from {source})"


def direct_hint(url: str) -> str:
    """Return how to do without the proxy."""
    return f"Set no_proxy={urlsplit(url).hostname} to connect directly."
