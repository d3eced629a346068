"""Requests as HTTP clients of many languages write them, byte for byte: each carries the same image.

Clients differ in the boundary and its quotes, the order and case of a part's headers, how a file name is written and
whether there is one, in lengths and encodings of parts, and in what stands at the end.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

PATH = "/api/v1/predict"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request of a client.

    Attributes:
        headers: Its headers on the body, in order.
        body: Its body.
        is_chunked: Whether the body is sent in chunks.
        version: Version of HTTP.
    """

    headers: dict[str, str]
    body: bytes
    is_chunked: bool = False
    version: str = "1.1"

    @property
    def content_type(self) -> str:
        """The media type of the body; empty if the client sends none."""
        return next((value for name, value in self.headers.items() if name.lower() == "content-type"), "")

    def encode(self) -> bytes:
        """Return the bytes on the connection."""
        length = "Transfer-Encoding: chunked" if self.is_chunked else f"Content-Length: {len(self.body)}"
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        head = "\r\n".join([f"POST {PATH} HTTP/{self.version}", "Host: gateway", *lines, length, "Connection: close"])
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.body), self.body) if self.is_chunked else self.body
        return head.encode() + b"\r\n\r\n" + body


def form(
    boundary: str, *parts: str, image: bytes, end: str = "\r\n", quotes: str = "", **options: str
) -> ClientRequest:
    """Return a multipart request.

    Args:
        boundary: The boundary.
        parts: The headers of each part, behind them a blank line and its text; `IMAGE` stands for the image.
        image: The image.
        end: What follows the last boundary.
        quotes: What stands around the boundary in the Content-Type.
        options: `header` is another name of the header Content-Type, `parameters` what precedes the boundary there.
    """
    content = b"".join(
        b"--%b\r\n%b\r\n" % (boundary.encode(), part.replace("\n", "\r\n").encode().replace(b"IMAGE", image))
        for part in parts
    )
    media_type = f"multipart/form-data; {options.get('parameters', '')}boundary={quotes}{boundary}{quotes}"
    return ClientRequest({options.get("header", "Content-Type"): media_type}, content + f"--{boundary}--{end}".encode())


def named(*headers: str) -> str:
    """Return a part with these headers whose content is the image."""
    return "\n".join([*headers, "", "IMAGE"])


DISPOSITION = 'Content-Disposition: form-data; name="image"; filename="my photo.png"'
PLAIN = 'Content-Disposition: form-data; name="image"; filename="cat.png"'
NAME_ONLY = 'Content-Disposition: form-data; name="image"'
PNG = "Content-Type: image/png"
OCTETS = "Content-Type: application/octet-stream"
TOP_K = 'Content-Disposition: form-data; name="top_k"\n\n2'
HEX_32 = "5a1ee1b2f8c64d0c9d6c2d5a7b7e9f10"


def client_requests(image: bytes) -> dict[str, ClientRequest]:
    """Return a request of each client.

    Args:
        image: A PNG; in base64 it has at least one `+`.
    """
    return {name: request for group in (browsers, scripts, compiled, others) for name, request in group(image)}


def browsers(image: bytes) -> Iterator[tuple[str, ClientRequest]]:
    """Yield what browsers and JavaScript send."""
    webkit = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    yield "Chrome, FormData", form(webkit, named(DISPOSITION, PNG), TOP_K, image=image)
    yield "Safari, FormData", form("----WebKitFormBoundaryqTqJIxvkWFYqvP5s", named(DISPOSITION, PNG), image=image)
    empty_file = f'Content-Disposition: form-data; name="file"; filename=""\n{OCTETS}\n\n'
    yield "Chrome, a form with an empty file field", form(webkit, named(DISPOSITION, PNG), empty_file, image=image)
    unicode = 'Content-Disposition: form-data; name="image"; filename="schön %22写真%22.png"'
    gecko = "----geckoformboundary6f1c3a0f0d1b4e55b0ef1b5e0a6a1c27"
    yield "Firefox, FormData", form(gecko, named(unicode, PNG), image=image)
    old_firefox = "---------------------------9051914041544843365972754266"
    yield "Firefox before 2024", form(old_firefox, TOP_K, named(DISPOSITION, PNG), image=image)
    yield "fetch of a Blob", ClientRequest({"Content-Type": "image/png"}, image)
    yield "fetch of an ArrayBuffer", ClientRequest({}, image)
    blob = 'Content-Disposition: form-data; name="image"; filename="blob"'
    undici = "----formdata-undici-064212846212"
    yield "Node fetch, FormData", form(undici, named(blob, PNG), image=image, end="", header="content-type")
    axios = "axios-1.7.2-boundary-Pn3vX0sVYc9GUVzYdNfgkdrBm"
    yield "axios in Node, FormData", form(axios, named(PLAIN, PNG), image=image, end="\r\n\r\n")
    form_data = "--------------------------515890814546601021194782"
    yield "axios in Node, form-data", form(form_data, named(PLAIN, PNG), image=image)
    text = base64.b64encode(image).decode()
    yield "fetch of JSON", ClientRequest({"Content-Type": "application/json"}, json.dumps({"image": text}).encode())
    data_uri = json.dumps({"image": f"data:image/png;base64,{text}"}).encode()
    yield "FileReader and axios", ClientRequest({"Content-Type": "application/json;charset=UTF-8"}, data_uri)
    parameters = urlencode({"image": f"data:image/png;base64,{text}"}).encode()
    yield "URLSearchParams", ClientRequest({"Content-Type": f"{FORM};charset=UTF-8"}, parameters)
    yield "jQuery, base64 as it is", ClientRequest({"Content-Type": f"{FORM}; charset=UTF-8"}, f"image={text}".encode())
    native = 'content-disposition: form-data; name="image"; filename="cat.png"; filename*=utf-8\'\'cat.png'
    yield "React Native", form("boundaryZ2xhc3M4MTcxNjU3", named(native, "content-type: image/png"), image=image)
    yield "Postman", form("--------------------------878475293487126457801238", named(PLAIN, PNG), image=image)
    yield "Insomnia", form("X-INSOMNIA-BOUNDARY", named(PLAIN, PNG), image=image)


def scripts(image: bytes) -> Iterator[tuple[str, ClientRequest]]:
    """Yield what curl and clients in Python, PHP, Ruby and PowerShell send."""
    text = base64.b64encode(image).decode()
    yield "curl -F", form("------------------------d74496d66958873e", named(PLAIN, PNG), image=image)
    encoded = f"{PLAIN}\n{PNG}\nContent-Transfer-Encoding: base64\n\n{base64.encodebytes(image).decode().rstrip()}"
    yield "curl -F with encoder=base64", form("------------------------KkFQ1nC5sGl6pdTJrh2Nf3", encoded, image=image)
    yield "curl -F without @", form("------------------------d74496d66958873e", f"{NAME_ONLY}\n\n{text}", image=image)
    yield (
        "curl -F with <",
        form(
            "------------------------d74496d66958873e",
            'Content-Disposition: form-data; name="image"\n\nIMAGE',
            image=image,
        ),
    )
    yield "curl --data-binary", ClientRequest({"Content-Type": FORM}, image)
    yield "curl --data-binary and a type", ClientRequest({"Content-Type": "image/png"}, image)
    lines = base64.encodebytes(image).decode()
    yield "curl -d with base64", ClientRequest({"Content-Type": FORM}, f"image={lines}".encode())
    yield "curl --data-urlencode", ClientRequest({"Content-Type": FORM}, f"image={quote(lines, safe='')}".encode())
    yield "curl -d with JSON", ClientRequest({"Content-Type": FORM}, json.dumps({"image": text}).encode())
    yield "curl --json", ClientRequest({"Content-Type": "application/json"}, json.dumps({"image": lines}).encode())
    yield "wget --post-file", ClientRequest({"Content-Type": FORM}, image)
    yield "HTTPie", form(HEX_32, named(PLAIN, PNG), image=image)
    yield "requests", form(HEX_32, named(PLAIN), image=image)
    old = "Content-Disposition: form-data; name=\"image\"; filename*=utf-8''sch%C3%B6n.png"
    yield "requests with urllib3 1", form(HEX_32, named(old), image=image)
    yield "requests without a file name", form(HEX_32, named(NAME_ONLY, PNG), image=image)
    yield "requests, data=", ClientRequest({}, image)
    yield "requests, json=", ClientRequest({"Content-Type": "application/json"}, json.dumps({"image": text}).encode())
    yield "httpx", form(HEX_32, named(PLAIN, PNG), image=image)
    star = f"{PLAIN}; filename*=utf-8''cat.png"
    yield "aiohttp", form(HEX_32, named(PNG, star), image=image)
    yield "aiohttp, data=", ClientRequest({"Content-Type": "application/octet-stream"}, image)
    yield "urllib", ClientRequest({"Content-Type": FORM}, image)
    mime = f"Content-Type: image/png\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n{PLAIN}\n\n{lines}"
    yield "Python's email package", form("===============7330845974216740156==", mime, image=image, quotes='"')
    yield "PHP, CURLFile", form("------------------------c3d0a7f6d1b8a5e2", named(PLAIN, PNG), image=image)
    sized = f"Content-Length: {len(image)}"
    yield "PHP, Guzzle", form("0f4d9a1c3b2e5d6f7a8b9c0d1e2f3a4b5c6d7e8f", named(PLAIN, sized, PNG), image=image)
    yield "Ruby, Net::HTTP", form("-vTvH9uVt8vWy3hBZ0Wnkhw", named(PLAIN, OCTETS), image=image)
    ruby = "-----------RubyMultipartPost-2f3c8e1a0b9d7c6e5f4a3b2c1d0e9f8a"
    binary = "Content-Transfer-Encoding: binary"
    yield "Ruby, Faraday", form(ruby, named(PLAIN, sized, PNG, binary), image=image)
    yield "Perl, LWP", form("xYzZY", named(PLAIN, PNG), image=image)
    dotnet = "Content-Disposition: form-data; name=image; filename=cat.png; filename*=utf-8''cat.png"
    guid = "a1d2c3b4-5e6f-4a7b-8c9d-0e1f2a3b4c5d"
    yield "PowerShell -Form", form(guid, named(dotnet, OCTETS), image=image, quotes='"')
    yield "PowerShell -InFile", ClientRequest({"Content-Type": FORM}, image)
    yield "R, httr", form("------------------------8e1f5c2b7a9d3046", named(PLAIN, PNG), image=image)
    yield "boto3, InvokeEndpoint", ClientRequest({"Content-Type": "application/x-image"}, image)
    yield "an object of S3, sent on", ClientRequest({"Content-Type": "binary/octet-stream"}, image)


def compiled(image: bytes) -> Iterator[tuple[str, ClientRequest]]:
    """Yield what clients in Go, Java, Kotlin, C#, Dart, Swift and Rust send."""
    go = form("9d1c4f5e0a7b3c2d6e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b", named(PLAIN, OCTETS), image=image)
    yield "Go, CreateFormFile", go
    yield "Go, CreateFormFile through a pipe", ClientRequest(go.headers, go.body, is_chunked=True)
    yield "Go, CreatePart without a file name", form(HEX_32, named(NAME_ONLY, PNG), image=image)
    yield "Go, bytes.Reader", ClientRequest({"Content-Type": "image/png"}, image)
    uuid = "4f2c9f0e-6b0d-4d0e-8a53-7a8d0a0a7b11"
    sized = f"Content-Length: {len(image)}"
    yield "okhttp 4", form(uuid, named(PLAIN, PNG, sized), image=image)
    yield "okhttp 5, Retrofit", form(uuid, named(PLAIN, "Content-Type: image/*"), TOP_K, image=image)
    binary = "Content-Transfer-Encoding: binary"
    apache = "kL0dVqXGm2TnYbR3s-Zu_pHc9WfAeJ1"
    yield (
        "Apache HttpClient 4",
        form(apache, named(PLAIN, OCTETS, binary), image=image, parameters="charset=ISO-8859-1; "),
    )
    latin = form(apache, named(PLAIN.replace("cat", "sch?n"), OCTETS, binary), image=image)
    yield "Apache HttpClient 4, Latin-1", ClientRequest(latin.headers, latin.body.replace(b"sch?n", b"sch\xf6n"))
    encoded_word = PLAIN.replace("cat.png", "=?UTF-8?Q?sch=C3=B6n.png?=")
    yield (
        "Spring RestTemplate",
        form("dHlWbGVlZWVlZWVlZWVlZWVl", named(encoded_word, PNG, sized), image=image, parameters="charset=UTF-8;"),
    )
    yield (
        "Java 11 HttpClient, by hand",
        form("----Java11Boundary1718", named(PLAIN, PNG), image=image, end="", header="content-type"),
    )
    yield "Java 11 HttpClient, bytes", ClientRequest({"content-type": "application/octet-stream"}, image)
    dotnet = "Content-Disposition: form-data; name=image; filename=cat.png; filename*=utf-8''cat.png"
    guid = "f0a5c1de-5bf8-4f3a-8a34-0f7a4f0b5c11"
    yield ".NET HttpClient", form(guid, named(PNG, dotnet), image=image, quotes='"')
    unnamed = "Content-Disposition: form-data; name=image"
    yield ".NET HttpClient without a file name", form(guid, named(unnamed), image=image, quotes='"')
    yield "RestSharp", form(guid, named(PNG, PLAIN), image=image, quotes='"', end="\r\n")
    dart = "dart-http-boundary-dUZxOJ.M6lqY+2vSxHk0kQGnW1cVbE7tIoP4RrN5uZaLfJ_"
    lower = PLAIN.replace("Content-Disposition", "content-disposition")
    yield "Dart, http", form(dart, named("content-type: image/png", lower), image=image, header="content-type")
    yield (
        "Dart, http without a file name",
        form(dart, named(OCTETS.lower(), NAME_ONLY.lower()), image=image, header="content-type"),
    )
    yield "Dart, dio", form("--dio-boundary-1908573219", named(lower, "content-type: image/png"), image=image)
    yield "Swift, Alamofire", form("alamofire.boundary.9c1f0a5b3e7d2c48", named(PLAIN, PNG), image=image)
    yield (
        "Swift, Alamofire with data alone",
        form("alamofire.boundary.9c1f0a5b3e7d2c48", named(NAME_ONLY), image=image),
    )
    swift = "Boundary-7E1C2A5B-53A6-4C1D-9E57-1F0B6D3F2A90"
    yield "Swift, URLSession by hand", form(swift, named(PLAIN, PNG), image=image)
    yield (
        "Rust, reqwest",
        form("b0a6f3c2d1e4f5a6-7b8c9d0e1f2a3b4c-5d6e7f8a9b0c1d2e-3f4a5b6c7d8e9f0a", named(PLAIN, PNG), image=image),
    )


def others(image: bytes) -> Iterator[tuple[str, ClientRequest]]:
    """Yield what small devices, load generators and forms written by hand send."""
    esp32 = form(
        "RandomNerdTutorials", named(PLAIN.replace("cat.png", "esp32-cam.jpg"), "Content-Type: image/jpeg"), image=image
    )
    yield "ESP32-CAM", esp32
    simple = form("X", named('Content-Disposition: form-data; name="image"; filename="a.png"'), image=image, end="")
    yield "Arduino, by hand", simple
    yield (
        "LF only",
        ClientRequest(
            {"Content-Type": "multipart/form-data; boundary=X"},
            b'--X\nContent-Disposition: form-data; name="image"; filename="a.png"\n\n' + image + b"\n--X--\n",
        ),
    )
    yield (
        "a preamble and blanks",
        ClientRequest(
            {"Content-Type": 'Multipart/Form-Data;Boundary="X" '},
            b"a form\r\n--X \t\r\ncontent-disposition:form-data;name=image;filename=a.png\r\n\r\n"
            + image
            + b"\r\n--X-- \r\n",
        ),
    )
    lookalike = PLAIN.replace("cat.png", "--X.png")
    yield (
        "a short boundary",
        form("X", named(lookalike), 'Content-Disposition: form-data; name="top_k"\n\n2', image=image),
    )
    shift_jis = form("SJ", named(PLAIN.replace("cat", "??")), image=image)
    yield (
        "a form on a page in Shift_JIS",
        ClientRequest(shift_jis.headers, shift_jis.body.replace(b"??", "表".encode("sjis"))),
    )
    yield "ApacheBench", ClientRequest({"Content-type": "image/png"}, image, version="1.0")
    yield "MicroPython", ClientRequest({}, image, version="1.0")
    yield "k6", form("7c9e6679f7425b40de944be07fc1f9096679f7425b40de944be07fc1f909", named(PLAIN, PNG), image=image)
    json_lines = json.dumps({"instances": [{"image": base64.b64encode(image).decode()}]}, indent=2)
    yield (
        "JSON in UTF-8 with a mark",
        ClientRequest(
            {"Content-Type": "application/json"}, b"\xef\xbb\xbf" + re.sub("\n", "\r\n", json_lines).encode()
        ),
    )
    yield (
        "Jupyter, a data URI as the URL",
        ClientRequest(
            {"Content-Type": "application/json"},
            json.dumps({"image_url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}).encode(),
        ),
    )
