"""The dashboard and the rules, as far as files alone tell."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.monitoring import DASHBOARD, FOLDER, expressions, metric_names, panels, rules

ROOT = Path(__file__).parents[2]
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
def test_names_are_found_in_expressions(expression, names):
    assert metric_names(expression) == names


def test_there_is_a_panel_for_each_question():
    text = DASHBOARD.read_text(encoding="utf-8")
    questions = re.findall(r'"title": "([^"]*\?)"', text)
    assert questions == [
        "Is it up?",
        "How fast?",
        "What fails?",
        "Which version answers?",
        "Is the model server the bottleneck?",
        "Is it drifting?",
    ]


def test_panels_do_not_overlap_and_fill_the_width():
    taken = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {len([x for x, row in taken if row == y]) for _, y in taken} == {24}


def test_panels_ask_the_data_source_that_is_provisioned():
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    uids = {entry["uid"] for entry in source["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels()} == uids == {"prometheus"}


def test_what_is_recorded_is_read_and_what_is_read_is_recorded():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = {name for _, expression in expressions() for name in metric_names(expression) if name.count(":") == 2}
    assert recorded
    assert {name for name in read if not name.startswith(":")} == recorded


def test_every_alert_says_what_is_wrong_and_is_in_the_documentation():
    told = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    alerts = [rule for rule in rules() if "alert" in rule]
    assert alerts
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in told


def test_compose_mounts_what_the_configurations_name():
    compose = yaml.safe_load((ROOT / "docker-compose.monitoring.yml").read_text(encoding="utf-8"))
    mounted = dict(
        volume.split(":")[:2]
        for service in compose["services"].values()
        for volume in service["volumes"]
        if volume.startswith("./")
    )
    assert {ROOT / source for source in mounted} <= {*ROOT.glob("deploy/**/*")}
    provider = yaml.safe_load(
        (FOLDER / "grafana/provisioning/dashboards/image-gateway.yml").read_text(encoding="utf-8")
    )
    assert provider["providers"][0]["options"]["path"] in mounted.values()
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounted['./deploy/monitoring/grafana/dashboards']}/{DASHBOARD.name}"


def test_prometheus_scrapes_the_paths_and_ports_of_the_services():
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    asked = {job["job_name"]: (job.get("metrics_path", "/metrics"), job["dns_sd_configs"][0]["port"]) for job in jobs}
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    (command,) = services["model-server"]["command"]
    (path,) = re.findall(r'path: "(.*?)"', (ROOT / "serving_models/monitoring.config").read_text(encoding="utf-8"))
    assert "--monitoring_config_file=/serving_models/monitoring.config" in command.split()
    assert asked["model-server"] == (path, int(re.search(r"--rest_api_port=(\d+)", command)[1]))
    assert asked["gateway"] == ("/metrics", int(services["gateway"]["environment"]["GATEWAY_BIND"].split(":")[1]))


# With Prometheus' own tool


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_promtool_accepts_the_configuration_and_the_rules():
    done = subprocess.run(
        [PROMTOOL, "check", "config", FOLDER / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


REQUESTS = "gateway_requests_total"
PREDICT = 'route="/api/v1/predict"'
SERIES = {
    "NoGateway": [('up{job="gateway"}', "0x200")],
    "NoModelServer": [('up{job="gateway"}', "1x200")],
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
AT = {"ClassMixShifted": "1700m", "ScoresFell": "1700m"}
HEALTHY = [
    ('up{job="gateway"}', "1x2000"),
    ('up{job="model-server"}', "1x2000"),
    ('gateway_model_version{model="pets"}', "1x1000 2x1000"),
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


Series = list[tuple[str, str]]


def missed(folder: Path, histories: list[tuple[Series, str, list[str]]]) -> str:
    """Play histories, a value a minute, to the rules, and return what promtool says of alerts that fire at their end.

    It expects none: what fires is told with its labels, which need not be written down here then.
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
    done = subprocess.run([PROMTOOL, "test", "rules", path], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


ALERTS = [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_every_alert_fires_when_it_should(tmp_path):
    said = missed(tmp_path, [(series, AT.get(alert, "60m"), [alert]) for alert, series in SERIES.items()])
    assert set(re.findall(r'alertname="(\w+)"', said)) == set(ALERTS), said


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_no_alert_fires_while_all_is_well(tmp_path):
    assert missed(tmp_path, [(HEALTHY, "1800m", ALERTS)]) == ""
