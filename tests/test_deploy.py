"""docs/deploy: the example camera, Prometheus, Grafana and the systemd unit name things that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from boards import ClipBoard, dashcam
from prometheus_client.parser import text_string_to_metric_families as parse
from ruamel.yaml import YAML

from everyframe.pipeline.cli import build_app
from everyframe.pipeline.live.metrics import BoardCollector, make_metrics
from everyframe.pipeline.live.settings import load_settings

METRIC = re.compile(r"\beveryframe_[a-z0-9_]+")
LABEL = re.compile(r"(\w+)\s*=~?\s*\"")


def load(path: Path) -> dict[str, Any]:
    found = YAML(typ="safe", pure=True).load(path)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def deploy(root: Path) -> Path:
    return root / "docs" / "deploy"


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    services = load(root / "docker-compose.yml")["services"]
    assert isinstance(services, dict)
    return services


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Labels by metric, as /metrics gives them."""
    board = ClipBoard(dashcam(), ["yard"])
    board.step(12)
    body, _ = make_metrics(BoardCollector(board, lambda: {"yard": 0.1}))("")
    samples = [sample for family in parse(body.decode()) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


@pytest.fixture
def dashboard(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((deploy / "grafana" / "dashboards" / "everyframe.json").read_text())
    return found


def check_query(text: str, served: dict[str, set[str]]) -> set[str]:
    """Every metric is served, and every label asked of it is there. Returns the metrics."""
    names = set(METRIC.findall(text))
    assert names <= set(served) | {"everyframe"}, text
    asked = set(LABEL.findall(text)) | {
        label.strip() for part in re.findall(r"by \(([^)]*)\)", text) for label in part.split(",")
    }
    known = set().union(*(served[name] for name in names)) | {"job"}
    assert asked <= known, text
    if "histogram_quantile" in text:
        assert "le" in asked and all(name.endswith("_bucket") for name in names), text
    assert text.count("(") == text.count(")") and text.count("{") == text.count("}")
    for name in names:  # of a counter, only its change says something
        if name.endswith(("_total", "_bucket", "_sum", "_count")):
            assert re.search(rf"(rate|increase)\({name}(\{{[^}}]*\}})?\[\d+[smh]\]\)", text), text
    return names


def test_every_metric_of_the_dashboard_is_served(dashboard: dict[str, Any], served: dict[str, set[str]]) -> None:
    used = set()
    for panel in dashboard["panels"]:
        assert panel["title"] and panel["targets"]
        for target in panel["targets"]:
            found = check_query(target["expr"], served)
            assert found
            used |= found
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set().union(*(served[n] for n in found))
    variable = dashboard["templating"]["list"][0]
    assert variable["name"] == "camera" and METRIC.findall(variable["query"]["query"])[0] in served
    wanted = {"everyframe_audited_f1_low", "everyframe_price_of_error", "everyframe_spool_bytes", "everyframe_records_total"}
    assert wanted <= used


def test_panels_do_not_lie_over_each_other(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_grafana_finds_its_source_and_its_dashboard(
    deploy: Path, dashboard: dict[str, Any], compose: dict[str, Any]
) -> None:
    (source,) = load(deploy / "grafana" / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose
    used = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    (provider,) = load(deploy / "grafana" / "dashboards" / "provider.yml")["providers"]
    mounted = "/etc/grafana/provisioning"
    assert f"./docs/deploy/grafana:{mounted}:ro" in compose["grafana"]["volumes"]
    assert provider["options"]["path"] == f"{mounted}/dashboards"
    assert compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(f"{mounted}/dashboards/")


def test_prometheus_reaches_everyframe_with_its_token(deploy: Path, compose: dict[str, Any]) -> None:
    found = load(deploy / "prometheus.yml")
    (job,) = found["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    command = compose["everyframe"]["command"]
    assert target == "everyframe:" + command[command.index("--http") + 1].rpartition(":")[2]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{compose['prometheus']['secrets'][0]}"
    mounted = {volume.split(":")[1] for volume in compose["prometheus"]["volumes"]}
    assert set(found["rule_files"]) <= mounted


def test_alerts_ask_for_what_is_served(deploy: Path, served: dict[str, set[str]]) -> None:
    (group,) = load(deploy / "alerts.yml")["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) > 5
    for rule in group["rules"]:
        found = check_query(rule["expr"].replace('up{job="everyframe"}', ""), served)
        told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert told <= set().union(*(served[name] for name in found))
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_the_example_camera_is_the_one_that_is_watched(deploy: Path, compose: dict[str, Any]) -> None:
    settings = load_settings((), {}, str(deploy / "cameras.yaml"))
    (camera,) = settings.cameras
    assert camera.name == "example" and camera.labels.classes
    server = load(deploy / "mediamtx.yml")
    assert camera.url == f"rtsp://camera:8554/{next(iter(server['paths']))}" and "camera" in compose
    command = server["paths"]["example"]["runOnInit"].split()
    file = Path(command[command.index("-i") + 1])
    mounts = dict(volume.split(":")[:2] for volume in compose["camera"]["volumes"])
    assert str(file.parent) in mounts.values()
    options = [word for word in command if word.startswith("-")]
    assert {"-re", "-stream_loop", "-c"} <= set(options)


@pytest.fixture
def unit(deploy: Path) -> dict[str, list[str]]:
    lines = (deploy / "everyframe.service").read_text().splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_starts_what_exists_and_comes_back(unit: dict[str, list[str]]) -> None:
    program, *words = unit["ExecStart"][0].split()
    assert program == "/opt/everyframe/bin/everyframe"
    build_app().parse_args(words, exit_on_error=False, print_error=False)
    assert unit["Restart"] == ["always"] and unit["RestartPreventExitStatus"] == ["2"]
    assert 5 <= int(unit["TimeoutStopSec"][0]) <= 30
    folder = words[words.index("--state") + 1]
    assert folder == f"/var/lib/{unit['StateDirectory'][0]}"
    cache = f"/var/cache/{unit['CacheDirectory'][0]}"
    assert f"EVERYFRAME_CACHE={cache} " in unit["Environment"][0] and f"NUMBA_CACHE_DIR={cache}/" in unit["Environment"][0]


def test_systemd_takes_the_unit(deploy: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    text = (deploy / "everyframe.service").read_text()
    there = tmp_path / "everyframe.service"
    there.write_text(text.replace("/opt/everyframe/bin/everyframe", "/bin/true"))
    done = subprocess.run([program, "verify", str(there)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    broken = tmp_path / "broken.service"
    broken.write_text(text)  # the check can fail: this program is not here
    done = subprocess.run([program, "verify", str(broken)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    command = [program, "security", "--offline=yes", "--threshold=25", str(there)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_page_of_docs_lists_every_metric_with_its_meaning(root: Path) -> None:
    board = ClipBoard(dashcam(), ["yard"])
    board.step(12)
    page = (root / "docs" / "operations.md").read_text()
    rows = []
    for family in BoardCollector(board, lambda: {"yard": 0.1}).collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(family._labelnames)  # type: ignore[attr-defined]
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation.rstrip('.')} |")
    assert "\n".join(rows) in page
    assert page.count("| `everyframe_") == len(rows) > 30


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine: apt-get install prometheus")
    return found


def test_prometheus_itself_takes_rules_queries_and_metrics(
    deploy: Path, dashboard: dict[str, Any], promtool: str, tmp_path: Path
) -> None:
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"query:{i}", "expr": text.replace("$camera", ".*")} for i, text in enumerate(queries)]
    (tmp_path / "alerts.yml").write_text((deploy / "alerts.yml").read_text())
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    (tmp_path / "token").write_text("secret")
    config = (deploy / "prometheus.yml").read_text().replace("/run/secrets/http_token", str(tmp_path / "token"))
    config = config.replace("/etc/prometheus/alerts.yml", f"{tmp_path}/alerts.yml, {tmp_path}/queries.yml")
    (tmp_path / "prometheus.yml").write_text(config)
    board = ClipBoard(dashcam(), ["yard"])
    board.step(12)
    body, _ = make_metrics(BoardCollector(board, lambda: {"yard": 0.1}))("")
    for command, given in ((["config", str(tmp_path / "prometheus.yml")], b""), (["metrics"], body)):
        done = subprocess.run([promtool, "check", *command], input=given, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
