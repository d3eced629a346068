import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.observability.timing import Timings


def test_stages_are_written_in_their_order_in_milliseconds():
    timings = Timings()
    timings.add("fetch", 0.5)
    timings.add("decode", 0.0012345)
    assert timings.header() == "fetch;dur=500.000, decode;dur=1.234"
    assert Timings().header() == ""


def test_what_is_measured_is_counted_also_when_it_fails():
    timings = Timings()
    with timings.measured("decode"):
        pass
    with pytest.raises(ZeroDivisionError), timings.measured("predict"):
        raise ZeroDivisionError
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}, predict;dur=\d+\.\d{3}", timings.header())


def test_times_of_many_threads_add_up():
    timings = Timings()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: timings.add("decode", 0.001), range(1000)))
    assert timings.header() == "decode;dur=1000.000"
