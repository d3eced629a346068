"""The dashboard and the alert rules, checked without a running stack."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.monitoring import DASHBOARD, FOLDER, expressions, metric_names, panels, rules

ROOT = Path(__file__).parents[3]
PROMTOOL = shutil.which("promtool") or ""


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('absent(up{job="gateway"} == 1)', {"up"}),
        ('sum by (le, "x") (rate(a_bucket{b="c",d!~"e"}[5m])) > 0.01', {"a_bucket"}),
        ("a / on (model) group_left () (sum by (model) (b) > 0)", {"a", "b"}),
        ("x:y:share1h - x:y:share1h offset 1d", {"x:y:share1h"}),
        ('rate(:tensorflow:x_count{status!="OK"}[1m]) / 1e6 or vector(0)', {":tensorflow:x_count"}),
        ("0.5 * (a and on (model) b unless c)", {"a", "b", "c"}),
    ],
)  # fmt: skip
def test_metric_names_are_extracted_from_expressions(expression, names):
    assert metric_names(expression) == names


def test_dashboard_has_a_row_for_each_question():
    text = DASHBOARD.read_text(encoding="utf-8")

    questions = re.findall(r'"title": "([^"]*\?)"', text)

    assert questions == [
        "Is it up?",
        "How fast?",
        "What fails?",
        "Which version answers?",
        "Is the model server the bottleneck?",
        "Does it have enough CPU and memory?",
        "Is it drifting?",
    ]


def test_panels_do_not_overlap_and_fill_the_width():
    occupied = set()
    for panel in panels():
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & occupied, panel["title"]
        occupied |= cells

    assert {len([x for x, row in occupied if row == y]) for _, y in occupied} == {24}


def test_panels_use_the_provisioned_data_source():
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    uids = {entry["uid"] for entry in source["datasources"]}

    assert {panel["datasource"]["uid"] for panel in panels()} == uids == {"prometheus"}


def test_recorded_series_are_those_that_expressions_read():
    recorded_names = {rule["record"] for rule in rules() if "record" in rule}
    names = {name for _, expression in expressions() for name in metric_names(expression) if name.count(":") == 2}

    assert recorded_names
    assert {name for name in names if not name.startswith(":")} == recorded_names


def test_every_alert_has_a_severity_a_summary_a_description_and_a_runbook():
    alerts = [rule for rule in rules() if "alert" in rule]

    assert alerts
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert not [text for text in rule["annotations"].values() if not text.strip()]


def test_every_panel_says_what_it_shows():
    assert [panel["title"] for panel in panels() if not panel.get("description", "").endswith(".")] == []


def test_compose_mounts_the_files_that_configurations_name():
    compose = yaml.safe_load((ROOT / "docker-compose.monitoring.yml").read_text(encoding="utf-8"))
    mounts = dict(
        volume.split(":")[:2]
        for service in compose["services"].values()
        for volume in service["volumes"]
        if volume.startswith("./")
    )
    assert {ROOT / source for source in mounts} <= {*ROOT.glob("deploy/**/*")}
    provider = yaml.safe_load(
        (FOLDER / "grafana/provisioning/dashboards/image-gateway.yml").read_text(encoding="utf-8")
    )
    assert provider["providers"][0]["options"]["path"] in mounts.values()
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounts['./deploy/monitoring/grafana/dashboards']}/{DASHBOARD.name}"


def test_prometheus_scrapes_the_paths_and_ports_of_the_services():
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    endpoints = {
        job["job_name"]: (job.get("metrics_path", "/metrics"), job["dns_sd_configs"][0]["port"])
        for job in jobs
        if "dns_sd_configs" in job
    }
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    (command,) = services["model-server"]["command"]
    (path,) = re.findall(r'path: "(.*?)"', (ROOT / "serving_models/monitoring.config").read_text(encoding="utf-8"))
    assert "--monitoring_config_file=/serving_models/monitoring.config" in command.split()
    assert endpoints["model-server"] == (path, int(re.search(r"--rest_api_port=(\d+)", command)[1]))
    assert endpoints["gateway"] == ("/metrics", int(services["gateway"]["environment"]["GATEWAY_BIND"].split(":")[1]))


def test_the_certificate_is_probed_at_nginx_by_the_module_of_the_exporter():
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (job,) = (job for job in jobs if job["job_name"] == "certificate")
    modules = yaml.safe_load((FOLDER / "blackbox.yml").read_text(encoding="utf-8"))["modules"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]

    assert set(job["params"]["module"]) == set(modules)
    assert job["params"]["target"] == [f"nginx:{services['nginx']['ports'][0].rpartition(':')[2]}"]


# promtool


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_promtool_accepts_the_configuration_and_the_rules():
    check = subprocess.run(
        [PROMTOOL, "check", "config", FOLDER / "prometheus.yml"], capture_output=True, text=True, check=False
    )

    assert check.returncode == 0, check.stdout + check.stderr


REQUESTS = "gateway_requests_total"
PREDICT = 'route="/api/v1/predict"'
SERIES = {
    "NoGateway": [('up{job="gateway"}', "0x200")],
    "NoModelServer": [('up{job="gateway"}', "1x200")],
    "ReplicaDown": [('up{job="gateway",instance="a"}', "0x200"), ('up{job="gateway",instance="b"}', "1x200")],
    "AutoscalerAtLimit": [
        ('kube_horizontalpodautoscaler_status_desired_replicas{horizontalpodautoscaler="gateway"}', "8x200"),
        ('kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler="gateway"}', "8x200"),
    ],
    # In a test, time begins in 1970.
    "CertificateExpires": [('probe_ssl_earliest_cert_expiry{job="certificate",instance="nginx:8080"}', "1000000x200")],
    "ModelNotServed": [('gateway_model_version{model="pets"}', "0x200"), ('gateway_model_version{model="b"}', "4x200")],
    "RequestsFail": [
        (f'{REQUESTS}{{{PREDICT},status="200"}}', "0+600x200"),
        (f'{REQUESTS}{{{PREDICT},status="502"}}', "0+12x200"),
    ],
    "AnswersSlow": [
        ('gateway_request_seconds_bucket{route="/api/v1/predict",le="1"}', "0+60x200"),
        ('gateway_request_seconds_bucket{route="/api/v1/predict",le="2.5"}', "0+66x200"),
        ('gateway_request_seconds_bucket{route="/api/v1/predict",le="+Inf"}', "0+66x200"),
    ],
    "GatewayBusy": [("gateway_requests_in_progress", "15x200"), ("gateway_request_threads", "16x200")],
    "Overloaded": [(f'{REQUESTS}{{{PREDICT},status="503",outcome="model-overloaded"}}', "0+6x200")],
    "ModelServerFails": [
        (':tensorflow:serving:request_count{model_name="pets",status="OK"}', "0+600x200"),
        (':tensorflow:serving:request_count{model_name="pets",status="UNAVAILABLE"}', "0+12x200"),
    ],
    "JobsStandStill": [
        ("gateway_jobs_chunks", "3x200"),
        ('gateway_job_images_total{outcome="answered"}', "100x200"),
    ],
    "VersionsComeAndGo": [('gateway_model_version{model="pets"}', " ".join(["1", "0"] * 100))],
    # A day of dogs, then cats.
    "ClassMixShifted": [
        ('gateway_top_class_total{model="pets",class="dog"}', "0+10x1500 15000x500"),
        ('gateway_top_class_total{model="pets",class="cat"}', "0x1500 0+10x500"),
    ],
    "ScoresFell": [
        ('gateway_top_class_total{model="pets",class="dog"}', "0+10x2000"),
        ('gateway_top_score_sum{model="pets"}', "0+9x1500 13500+5x500"),
        ('gateway_top_score_count{model="pets"}', "0+10x2000"),
    ],
}
EVALUATION_TIMES = {"ClassMixShifted": "1700m", "ScoresFell": "1700m"}
HEALTHY = [
    ('kube_deployment_spec_replicas{namespace="a",deployment="gateway"}', "2x2000"),
    ('kube_deployment_status_replicas_available{namespace="a",deployment="gateway"}', "2x2000"),
    ('kube_deployment_spec_replicas{namespace="a",deployment="another"}', "2x2000"),
    ('kube_deployment_status_replicas_available{namespace="a",deployment="another"}', "0x2000"),
    ('kube_horizontalpodautoscaler_status_desired_replicas{horizontalpodautoscaler="gateway"}', "7x2000"),
    ('kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler="gateway"}', "8x2000"),
    ('probe_ssl_earliest_cert_expiry{job="certificate",instance="nginx:8080"}', "10000000x2000"),
    ('certmanager_certificate_expiration_timestamp_seconds{name="tls"}', "10000000x2000"),
    ('up{job="gateway"}', "1x2000"),
    ('up{job="model-server"}', "1x2000"),
    ('gateway_model_version{model="pets"}', "1x1000 2x1000"),
    ("gateway_jobs_chunks", "3x2000"),
    ('gateway_job_images_total{outcome="answered"}', "0+100x2000"),
    ('gateway_job_images_total{outcome="problems"}', "0x2000"),
    ("gateway_requests_in_progress", "2x2000"),
    ("gateway_request_threads", "16x2000"),
    (f'{REQUESTS}{{{PREDICT},status="200",outcome="answered"}}', "0+600x2000"),
    (f'{REQUESTS}{{{PREDICT},status="422",outcome="unreadable-image"}}', "0+600x2000"),
    (f'{REQUESTS}{{route="/readyz",status="503",outcome="model-unavailable"}}', "0+600x2000"),
    (f'{REQUESTS}{{{PREDICT},status="500",outcome="internal-error"}}', "0+1x2000"),
    ('gateway_request_seconds_bucket{route="/api/v1/predict",le="0.5"}', "0+600x2000"),
    ('gateway_request_seconds_bucket{route="/api/v1/predict",le="+Inf"}', "0+600x2000"),
    (':tensorflow:serving:request_count{model_name="pets",status="OK"}', "0+600x2000"),
    (':tensorflow:serving:request_count{model_name="pets",status="UNAVAILABLE"}', "0+1x2000"),
    ('gateway_top_class_total{model="pets",class="dog"}', "0+10x2000"),
    ('gateway_top_class_total{model="pets",class="cat"}', "0+8x1500 12000+12x500"),
    ('gateway_top_score_sum{model="pets"}', "0+9x1500 13500+8.5x500"),
    ('gateway_top_score_count{model="pets"}', "0+10x2000"),
]


OTHER_CAUSES = {
    "ReplicaDown": [
        ('kube_deployment_spec_replicas{namespace="a",deployment="model-server"}', "3x200"),
        ('kube_deployment_status_replicas_available{namespace="a",deployment="model-server"}', "2x200"),
    ],
    "CertificateExpires": [('certmanager_certificate_expiration_timestamp_seconds{name="tls"}', "1000000x200")],
}
"""Histories without which an alert would fire for a part of its condition only."""


Series = list[tuple[str, str]]


def firing_alerts(folder: Path, histories: list[tuple[Series, str, list[str]]]) -> str:
    """Evaluate the rules on histories of one value per minute; return promtool's output about alerts that fire.

    The tests expect no alert, so that promtool reports each firing alert with its labels.
    """
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series],
            "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []} for alert in alerts],
        }
        for series, at, alerts in histories
    ]
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": tests}), encoding="utf-8")
    test = subprocess.run([PROMTOOL, "test", "rules", path], capture_output=True, text=True, check=False)
    return test.stdout + test.stderr if test.returncode else ""


ALERTS = [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_every_alert_fires_on_its_own_condition(tmp_path):
    output = firing_alerts(
        tmp_path, [(series, EVALUATION_TIMES.get(alert, "60m"), [alert]) for alert, series in SERIES.items()]
    )

    assert set(re.findall(r'alertname="(\w+)"', output)) == set(ALERTS), output


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_alerts_with_two_conditions_fire_on_each(tmp_path):
    output = firing_alerts(tmp_path, [(series, "60m", [alert]) for alert, series in OTHER_CAUSES.items()])

    assert set(re.findall(r'alertname="(\w+)"', output)) == set(OTHER_CAUSES), output


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_no_alert_fires_for_a_healthy_stack(tmp_path):
    assert firing_alerts(tmp_path, [(HEALTHY, "1800m", ALERTS)]) == ""
