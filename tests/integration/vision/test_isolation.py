"""Decoder processes: what they return, what they may use, and that no file harms another."""

import contextlib
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support import image_files as files
from tests.support.decoder_processes import decoder_pids
from tests.support.image_files import encoded
from tests.support.processes import is_running, socket_inodes, suspend
from tests.support.waiting import until
from vision import heatmap, preprocess
from vision.card import InputSpec
from vision.decode import UnreadableImageError, inspect
from vision.isolation.errors import DecoderCrashedError, DecoderUnavailableError, DecodingTimeoutError
from vision.isolation.pool import DecoderPool

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
MAX_PIXELS = 50_000_000
SPEC = InputSpec(height=24, width=32)
PHOTO = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (160, 120))
SLOW = encoded(np.zeros((6000, 6000, 3), np.uint8), ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
"""A file of a few kilobytes that takes about half a second to decode."""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and macOS does not limit address spaces")


def soon() -> float:
    return time.monotonic() + 60


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(processes=1, max_memory_bytes=512 * MIB, max_pixels=MAX_PIXELS)
    yield pool
    pool.close()


@pytest.fixture
def pids() -> Callable[[], set[int]]:
    """Return a function that lists the decoder processes which other tests have not left behind."""
    others = decoder_pids()
    return lambda: decoder_pids() - others


def load(pool: DecoderPool, data: bytes, memory_bytes: int = 256 * MIB):
    return pool.load(data, SPEC, memory_bytes=memory_bytes, deadline_s=soon())


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".gif", ".bmp", ".avif", ".tiff"])
def test_pixels_are_those_of_decoding_in_this_process(pool, extension):
    data = encoded(PHOTO, extension)

    pixels = load(pool, data)

    assert np.array_equal(pixels, preprocess.load(data, SPEC, max_pixels=MAX_PIXELS))


def test_heic_is_decoded_in_a_process(pool):
    data = (ROOT / "tests/unit/vision/heic/quadrants.heic").read_bytes()

    pixels = load(pool, data)

    assert np.array_equal(pixels, preprocess.load(data, SPEC, max_pixels=MAX_PIXELS))


@linux_only
def test_a_process_that_has_decoded_heic_decodes_nothing_else(pool, pids):
    load(pool, encoded(PHOTO, ".avif"))
    first = pids()
    load(pool, encoded(PHOTO, ".avif"))
    assert pids() == first

    load(pool, (ROOT / "tests/unit/vision/heic/quadrants.heic").read_bytes())

    until(lambda: len(pids()) == 1, 30)
    assert pids() != first


def overlapping_tiff() -> bytes:
    """Build a TIFF of 2 MB whose 450 tags all refer to the same bytes."""
    data = bytearray(files.tiff(np.zeros((800, 800, 3), np.uint8), {40_000 + number: (1,) for number in range(450)}))
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(directory + 2, directory + 2 + 12 * 450, 12):
        if struct.unpack_from("<H", data, entry)[0] >= 40_000:
            struct.pack_into("<HII", data, entry + 2, 7, 1_900_000, 8)
    return bytes(data)


def understated_avif() -> bytes:
    """Build an AVIF whose frame has 400 times the pixels that its header says."""
    payload = files.av1_payload(files.encoded(np.zeros((4_000, 4_000, 3), np.uint8), ".avif"))
    return files.avif([(b"av01", payload, [1, 2])], [files.ispe(200, 200), files.av1c()])


HIDING = {
    "tiff whose tags share the same bytes": overlapping_tiff,
    "avif of a frame that is larger than it says": understated_avif,
    "gif of codes that only reset the table": lambda: files.gif(
        (3_000, 3_000), [(0, 0, 0)] * 4, files.gif_frame_of_codes((3_000, 3_000), files.gif_codes([4] * 8) * 1_000_000)
    ),
    "tiff of a strip that inflates to 2 GB": lambda: files.tiff_directory(
        {256: (9,), 257: (9,), 258: (8,), 259: (8,), 262: (1,), 273: (16,), 277: (1,), 278: (9,), 279: (2_000_000,)},
        zlib.compress(bytes(1 << 26), 9)[:-4] * 32,
    ),
}


@pytest.mark.parametrize("make", HIDING.values(), ids=HIDING)
def test_what_a_header_does_not_tell_is_bounded_by_the_process(pool, make):
    data = make()
    memory_bytes = preprocess.weigh(inspect(data, max_pixels=MAX_PIXELS), SPEC)
    load(pool, encoded(PHOTO, ".avif"))  # started
    start_s = time.monotonic()

    with contextlib.suppress(UnreadableImageError, DecoderCrashedError):
        load(pool, data, memory_bytes)

    assert time.monotonic() - start_s < 5
    assert memory_bytes < 400 * MIB


PREPARATIONS = {
    "drawing": InputSpec(
        height=28, width=28, color="GRAY", resize="fit_ink", interpolation="area", invert_light_background=True
    ),
    "BGR, inverted": InputSpec(height=28, width=28, color="BGR", resize="letterbox", invert_light_background=True),
    "RGB, inverted": InputSpec(height=28, width=28, invert_light_background=True),
}
LARGE = {
    "heic": (ROOT / "tests/unit/vision/heic/phone.heic").read_bytes,
    "avif": lambda: encoded(np.full((3_000, 4_000, 3), 200, np.uint8), ".avif", cv2.IMWRITE_AVIF_SPEED, 10),
}


SMOOTHING = {
    "stretch": InputSpec(height=224, width=224, color="BGR", interpolation="bicubic", antialias=True, decoding="full"),
    "center crop": InputSpec(height=224, width=224, color="BGR", resize="center_crop", resize_size=256, antialias=True),
}
SHAPES = {
    "photo": lambda: encoded(np.zeros((3_000, 4_000, 3), np.uint8), ".png"),
    "tall": lambda: encoded(np.zeros((1_000_000, 12, 3), np.uint8), ".png"),
    "long": lambda: encoded(np.zeros((900, 14_000, 3), np.uint8), ".png"),
}


LARGE_INPUTS = {
    "float32": InputSpec(height=1_024, width=1_024, dtype="float32", mean=(1, 2, 3)),
    "letterbox": InputSpec(height=1_024, width=1_024, resize="letterbox", layout="NCHW"),
    "smooth float32": InputSpec(height=1_024, width=1_024, antialias=True, dtype="float32", mean=(1, 2, 3)),
    "center crop": InputSpec(height=512, width=512, resize="center_crop", resize_size=585),
    "pixel at the centre": InputSpec(height=1_024, width=1_024, interpolation="nearest_exact", dtype="float32"),
}
SMALL = {
    "photo": lambda: encoded(np.zeros((300, 400, 3), np.uint8), ".jpg"),
    "line": lambda: encoded(np.zeros((1, 16, 3), np.uint8), ".png"),
}


@pytest.mark.parametrize(
    ("make", "spec"),
    [
        *((make, spec) for make in LARGE.values() for spec in PREPARATIONS.values()),
        *((make, spec) for make in SHAPES.values() for spec in SMOOTHING.values()),
        *((make, spec) for make in SMALL.values() for spec in LARGE_INPUTS.values()),
    ],
    ids=[
        " for ".join(names)
        for files_and_cards in ((LARGE, PREPARATIONS), (SHAPES, SMOOTHING), (SMALL, LARGE_INPUTS))
        for names in product(*files_and_cards)
    ],
)
def test_an_image_is_prepared_for_any_card_in_the_memory_of_its_weight(pool, make, spec):
    data = make()
    memory_bytes = preprocess.weigh(inspect(data, max_pixels=MAX_PIXELS), spec)

    pixels = pool.load(data, spec, memory_bytes=memory_bytes, deadline_s=soon())

    assert pixels.shape == spec.shape


def test_normalised_inputs_keep_dtype_and_layout(pool):
    spec = InputSpec(height=24, width=32, dtype="float32", layout="NCHW", mean=(1, 2, 3), std=(4, 5, 6))
    data = encoded(PHOTO, ".tiff")

    pixels = pool.load(data, spec, memory_bytes=64 * MIB, deadline_s=soon())

    assert np.array_equal(pixels, preprocess.load(data, spec, max_pixels=MAX_PIXELS))


def test_heat_maps_are_drawn_as_in_this_process(pool):
    data, heat = encoded(PHOTO, ".bmp"), np.eye(4, dtype=np.float32)

    drawing = pool.draw(data, heat, SPEC, memory_bytes=64 * MIB, deadline_s=soon())

    assert drawing == heatmap.draw(data, heat, SPEC, max_pixels=MAX_PIXELS)


def test_errors_of_the_file_are_those_of_vision(pool):
    with pytest.raises(UnreadableImageError, match="PNG: the file ends within"):
        load(pool, encoded(PHOTO, ".png")[:100])


@linux_only
def test_memory_beyond_the_share_of_a_file_is_refused_and_the_process_goes_on(pool, pids):
    large = encoded(np.zeros((4000, 4000, 3), np.uint8), ".png")
    load(pool, encoded(PHOTO, ".png"))
    first = pids()

    with pytest.raises(UnreadableImageError):
        load(pool, large, memory_bytes=8 * MIB)

    assert load(pool, large).shape == SPEC.shape
    assert pids() == first


@linux_only
def test_decoding_ends_at_the_deadline_and_the_next_file_is_decoded(pool, pids):
    load(pool, encoded(PHOTO, ".png"))
    first = pids()

    with pytest.raises(DecodingTimeoutError):
        pool.load(SLOW, SPEC, memory_bytes=512 * MIB, deadline_s=time.monotonic() + 0.05)

    (successor,) = until(pids)
    assert successor not in first
    assert load(pool, encoded(PHOTO, ".png")).shape == SPEC.shape
    assert pids() == {successor}


@linux_only
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGSEGV, DecoderCrashedError), (signal.SIGKILL, DecoderUnavailableError)]
)
def test_the_end_of_a_process_fails_one_file_and_those_that_wait_are_decoded_by_the_next(pool, number, error, pids):
    load(pool, encoded(PHOTO, ".png"))
    (pid,) = pids()
    suspend(pid)  # it cannot be done before the signal comes

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(load, pool, SLOW)
        until(pool._idle.empty)
        others = [threads.submit(load, pool, encoded(PHOTO, ".tiff")) for _ in range(3)]
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)

        with pytest.raises(error):
            first.result()
        assert all(other.result().shape == SPEC.shape for other in others)


def test_the_pool_knows_whether_system_calls_are_filtered(pool):
    assert pool.filters_system_calls is None

    load(pool, encoded(PHOTO, ".png"))

    assert pool.filters_system_calls in {True, False}


@linux_only
def test_a_process_that_ended_while_it_was_idle_is_replaced(pool, pids):
    load(pool, encoded(PHOTO, ".png"))
    (pid,) = pids()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid) and len([*Path(f"/proc/{pid}/task").iterdir()]) == 1, 30)  # all its threads

    assert load(pool, encoded(PHOTO, ".png")).shape == SPEC.shape


@linux_only
def test_no_process_is_free_in_time(pool, pids):
    load(pool, encoded(PHOTO, ".png"))
    (pid,) = pids()
    suspend(pid)

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(load, pool, encoded(PHOTO, ".png"))
        until(pool._idle.empty)
        with pytest.raises(DecoderUnavailableError):
            pool.load(b"", SPEC, memory_bytes=0, deadline_s=time.monotonic() + 0.01)
        os.kill(pid, signal.SIGCONT)

        assert first.result().shape == SPEC.shape


@linux_only
def test_a_process_that_cannot_be_started_is_an_error(pool):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # standard input, output and error are open
    try:
        with pytest.raises(DecoderUnavailableError):
            load(pool, encoded(PHOTO, ".png"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert load(pool, encoded(PHOTO, ".png")).shape == SPEC.shape


@linux_only
def test_a_process_inherits_neither_secrets_nor_sockets(pool, monkeypatch, pids):
    monkeypatch.setenv("GATEWAY_API_KEYS", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        load(pool, encoded(PHOTO, ".png"))
        (pid,) = pids()

        environment = Path(f"/proc/{pid}/environ").read_bytes()
        sockets = list(socket_inodes(pid))
    assert b"secret" not in environment
    assert len(sockets) == 1


@linux_only
def test_processes_end_with_the_program_that_uses_them():
    program = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from tests.integration.vision.test_isolation import PHOTO, decoder_pids, encoded, load
        from vision.isolation.pool import DecoderPool
        pool = DecoderPool(processes=1, max_memory_bytes=1 << 29, max_pixels=10**6)
        load(pool, encoded(PHOTO, ".png"))
        print(*decoder_pids(), flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as user:
        pid = int(user.stdout.readline())
        user.kill()

    until(lambda: not is_running(pid), 30)


def run_sandboxed(body: str) -> subprocess.CompletedProcess[str]:
    """Run statements in a process whose sandbox is set up, with `sandbox`, `parent` and the modules at hand."""
    program = "import ctypes, os, socket, subprocess, resource, sys\nfrom vision.isolation.sandbox import Sandbox\n"
    program += "parent, system_call = os.getppid(), ctypes.CDLL(None, use_errno=True).syscall\n"
    program += "sandbox = Sandbox(max_memory_bytes=1 << 28)\n" + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


@linux_only
@pytest.mark.parametrize(
    ("attempt", "errors"),
    [
        ("open('/etc/hostname')", {"PermissionError", "OSError"}),
        ("open('/tmp/written-by-a-decoder', 'w')", {"PermissionError", "OSError"}),
        ("socket.socket()", {"PermissionError", "OSError"}),
        ("os.pipe()", {"PermissionError", "OSError"}),
        ("os.dup(0)", {"PermissionError", "OSError"}),
        ("subprocess.run(['true'])", {"PermissionError", "OSError"}),
        ("bytearray(1 << 29)", {"MemoryError"}),
    ],
)
def test_the_sandbox_refuses_files_network_programs_and_memory(attempt, errors):
    completed = run_sandboxed(f"""
        try:
            {attempt}
        except Exception as error:
            os.write(1, type(error).__name__.encode())
    """)

    assert completed.stdout in errors


@linux_only
@pytest.mark.parametrize(
    "call",
    [
        "os.fork()",
        "os.kill(parent, 0)",
        "os.unlink('/tmp/x')",
        "resource.prlimit(parent, resource.RLIMIT_CORE)",
        pytest.param(
            "if system_call(234, parent, parent, 0): raise OSError(ctypes.get_errno(), 'tgkill')",
            marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of tgkill is that of x86-64"),
        ),
    ],
)
def test_system_calls_that_no_decoder_needs_are_refused(call):
    completed = run_sandboxed(f"""
        if not sandbox.filters_system_calls:
            os.write(1, b"unsupported")
        try:
            {call}
        except PermissionError:
            os.write(1, b"refused")
    """)

    if completed.stdout.startswith("unsupported"):
        pytest.skip("libseccomp is missing")
    assert completed.stdout == "refused", completed.stderr


@linux_only
def test_a_process_may_signal_and_limit_itself():
    completed = run_sandboxed("""
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        os.abort()
    """)

    assert completed.returncode == -signal.SIGABRT


@linux_only
@pytest.mark.parametrize("work", ["pass", "sys.stdin.read()"], ids=["busy", "idle"])
def test_time_beyond_the_share_ends_the_process(work):
    completed = run_sandboxed(f"""
        with sandbox.share(memory_bytes=1 << 20, time_s=0.2):
            while True:
                {work}
    """)

    assert completed.returncode in {-signal.SIGALRM, -signal.SIGXCPU}


@linux_only
def test_decoding_ends_in_time_although_the_program_that_asked_was_killed():
    program = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from tests.integration.vision.test_isolation import PHOTO, SLOW, SPEC, decoder_pids, encoded, load
        from vision.isolation.pool import DecoderPool
        pool = DecoderPool(processes=1, max_memory_bytes=1 << 29, max_pixels=50_000_000)
        load(pool, encoded(PHOTO, ".png"))
        print(*decoder_pids(), flush=True)
        while True:
            pool.load(SLOW, SPEC, memory_bytes=1 << 29, deadline_s=time.monotonic() + 30)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as user:
        pid = int(user.stdout.readline())
        user.kill()

    until(lambda: not is_running(pid), 60)


@linux_only
def test_a_process_that_ends_before_it_is_ready_is_not_the_fault_of_the_file():
    pool = DecoderPool(processes=1, max_memory_bytes=0, max_pixels=MAX_PIXELS)  # too little to answer anything

    with pytest.raises(DecoderUnavailableError):
        pool.load(b"x" * (1 << 20), SPEC, memory_bytes=0, deadline_s=soon())
    pool.close()
