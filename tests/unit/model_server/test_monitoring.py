from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_server.errors import NotFoundError
from model_server.monitoring import BUCKETS, Counter, Histogram, Metrics, read_page_path


def lines(metric):
    return list(metric.lines())


def fail(error):
    raise error


def test_a_counter_adds_by_label_values():
    counter = Counter("c", ["a", "b"])
    counter.add("y", "1")
    counter.add("x", "1", amount=2)
    counter.add("x", "1", amount=40)
    assert lines(counter) == ['c{a="x",b="1"} 42', 'c{a="y",b="1"} 1']


def test_names_of_models_do_not_fill_the_memory():
    metrics = Metrics()
    for name in ["x" * 10_000, *map(str, range(2000))]:
        with metrics.request(name, "Predict", "GRPC"):
            pass

    page = metrics.page()

    assert page.count(":tensorflow:serving:request_count{") == 1001
    assert ':tensorflow:serving:request_count{model_name="other",status="OK"} 1001' in page


def test_label_values_are_escaped():
    counter = Counter("c", ["a"])
    counter.add('back\\slash "quoted"\nline')
    assert lines(counter) == [r'c{a="back\\slash \"quoted\"\nline"} 1']


def test_a_histogram_counts_cumulatively():
    histogram = Histogram("h", ["a"])
    for microseconds in (5, 12, 40_000, 10**10):
        histogram.observe("x", microseconds=microseconds)
    written = lines(histogram)
    assert written[:3] == ['h_bucket{a="x",le="10"} 1', 'h_bucket{a="x",le="18"} 2', 'h_bucket{a="x",le="32.4"} 2']
    assert written[14:16] == ['h_bucket{a="x",le="37481.3"} 2', 'h_bucket{a="x",le="67466.4"} 3']
    # Bounds as tensorflow_model_server writes them.
    assert [line.split('le="')[1].split('"')[0] for line in written[19:22]] == ["708235", "1.27482e+06", "2.29468e+06"]
    assert written[-4:] == [
        'h_bucket{a="x",le="1.47476e+09"} 3',
        'h_bucket{a="x",le="+Inf"} 4',
        'h_sum{a="x"} 10000040017',
        'h_count{a="x"} 4',
    ]
    assert len(written) == len(BUCKETS) + 3


def test_prometheus_can_parse_the_page():
    metrics = Metrics()
    with metrics.request("m", "Predict", "GRPC"):
        pass
    with pytest.raises(NotFoundError), metrics.request("n", "predict", "REST"):
        fail(NotFoundError("no"))
    with pytest.raises(ZeroDivisionError), metrics.request("n", "predict", "REST"):
        fail(ZeroDivisionError())
    with metrics.load(Path("/m/1")):
        pass
    with pytest.raises(NotFoundError), metrics.load(Path("/m/2")):
        fail(NotFoundError("no"))
    samples = {
        (sample.name.removesuffix("_total"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.page())
        for sample in family.samples
    }
    assert samples[":tensorflow:serving:request_count", "m", "OK"] == 1
    assert samples[":tensorflow:serving:request_count", "n", "NOT_FOUND"] == 1
    assert samples[":tensorflow:serving:request_count", "n", "INTERNAL"] == 1
    assert samples[":tensorflow:serving:request_latency_count", "m", "Predict", "GRPC"] == 1
    assert (":tensorflow:serving:request_latency_count", "n", "predict", "REST") not in samples  # good ones only
    assert samples[":tensorflow:cc:saved_model:load_attempt_count", "/m/1", "success"] == 1
    assert samples[":tensorflow:cc:saved_model:load_attempt_count", "/m/2", "fail"] == 1
    assert (":tensorflow:cc:saved_model:load_latency", "/m/1") in samples


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config { enable: true path: "/counts" }', "/counts"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { path: "/counts" }', ""),
        ("", ""),
    ],
)
def test_the_path_of_the_page_is_read(tmp_path, text, path):
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert read_page_path(file) == path
