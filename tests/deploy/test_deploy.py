"""The files of deployment agree with the service, with the command line and with each other."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sidestep.cli.commands.serve import TOKEN
from sidestep.cli.main import command_named
from sidestep.service import app
from sidestep.service.metrics import Metrics
from sidestep.service.recommending import RecommendApp
from sidestep.service.scheduler import BatchReport

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "sidestep.service").read_text()
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")
YAML = sorted(path for path in FILES if path.suffix in (".yaml", ".yml"))

OF_PROMETHEUS = {"up"}
"""Metrics that Prometheus makes itself."""


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((DEPLOY / "grafana" / "sidestep.json").read_text())


@pytest.fixture(scope="module")
def alerts():
    [group] = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return group["rules"]


@pytest.fixture(scope="module")
def expressions(dashboard, alerts):
    """Every expression of the dashboard and of the alerts."""
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in alerts)]


@pytest.fixture(scope="module")
def exported():
    """The labels of every sample that the service exports, by name, after a request and a batch."""
    metrics = Metrics()
    metrics.requests.labels(route="/v1/recommend", status=200).inc()
    metrics.request_seconds.labels(route="/v1/recommend").observe(0.1)
    metrics.degraded.labels(way="popularity").inc()
    metrics.of_batch(BatchReport(size=3, rung=0, seconds=0.1, waited_s=0.01))
    families = text_string_to_metric_families(metrics.text().decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def instructions(name):
    """The arguments of an instruction of the Dockerfile, of all stages, with its lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", joined, flags=re.MULTILINE)


def started(words):
    """The values of the options of `sidestep serve`; a word that is none is refused."""
    return command_named("serve").make_context("serve", list(words)).params


def of_image():
    """The command line of the image."""
    [entry], [more] = instructions("ENTRYPOINT"), instructions("CMD")
    return [*json.loads(entry), *json.loads(more)]


def of_unit():
    [line] = re.findall(r"^ExecStart=(.+)$", UNIT, flags=re.MULTILINE)
    return shlex.split(line)


def of_compose(compose):
    entry = json.loads(instructions("ENTRYPOINT")[0])
    given = {"WORKERS": "1", "BUNDLE": "shop"}
    words = [
        re.sub(r"\$\{(\w+)[^}]*\}", lambda found: given[found[1]], word)
        for word in compose["services"]["sidestep"]["command"]
    ]
    return [*entry, *words]


@pytest.mark.parametrize("file", YAML, ids=lambda path: path.name)
def test_yaml_files_are_read_as_mappings(file):
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_the_command_line_of_the_image_is_understood():
    name, command, *words = of_image()
    assert (name, command) == ("sidestep", "serve")
    given = started(words)
    assert given["host"] == "0.0.0.0"
    assert [str(given["port"])] == instructions("EXPOSE")
    assert f"127.0.0.1:{given['port']}/readyz" in instructions("HEALTHCHECK")[0]
    volumes = json.loads(instructions("VOLUME")[0])
    for path in (given["bundle"], given["state"]):
        assert any(Path(volume) in path.parents for volume in volumes)


def test_the_command_line_of_compose_is_understood(compose):
    name, command, *words = of_compose(compose)
    assert (name, command) == ("sidestep", "serve")
    given = started(words)
    service = compose["services"]["sidestep"]
    assert f"127.0.0.1:8000:{given['port']}" in service["ports"]
    places = {
        volume.rpartition("}")[2].removesuffix(":ro").split(":")[-1]
        for volume in service["volumes"]
    }
    assert {str(given["bundle"].parent), str(given["state"].parent)} == places


def test_the_command_line_of_the_unit_is_understood():
    program, command, *words = of_unit()
    assert (Path(program).name, command) == ("sidestep", "serve")
    environment = {"BUNDLES": "/srv/bundles", "BUNDLE": "shop", "WORKERS": "2"}
    filled = [re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], word) for word in words]
    given = started(filled)
    assert given["workers"] == 2
    assert given["host"] == "127.0.0.1"
    assert given["state"].parent == Path("/var/lib/sidestep")
    assert "StateDirectory=sidestep\n" in UNIT


def test_an_option_that_is_none_is_noticed():
    with pytest.raises(Exception, match="--worker"):
        started(["bundle", "--worker", "2"])


def test_the_token_is_on_no_command_line(compose):
    lines = [*of_image(), *of_unit(), *of_compose(compose)]
    assert not [word for word in lines if "token" in word.lower()]
    assert TOKEN not in DOCKERFILE.replace(f"variable {TOKEN}", "")
    assert TOKEN not in UNIT
    assert compose["services"]["sidestep"]["environment"] == {TOKEN: f"${{{TOKEN}:-}}"}


def test_every_variable_stands_in_the_example_and_is_used(compose):
    example = (DEPLOY / "sidestep.env.example").read_text()
    named = re.findall(r"^(\w+)=", example, flags=re.MULTILINE)
    text = (DEPLOY / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"\$\{(\w+)\}", UNIT))
    assert set(named) == used
    secrets = [line for line in example.splitlines() if "TOKEN=" in line or "PASSWORD=" in line]
    assert [line for line in secrets if not line.endswith("=")] == []


def test_files_that_containers_read_are_there(compose):
    mounted = [
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service["volumes"]
        if volume.startswith("./")
    ]
    assert mounted
    assert [name for name in mounted if not (DEPLOY / name).is_file()] == []
    built = compose["services"]["sidestep"]["build"]
    assert (DEPLOY / built["context"] / built["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert set(built["args"]) <= {argument.partition("=")[0] for argument in instructions("ARG")}


def test_all_ports_are_open_on_this_machine_only(compose):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_containers_may_do_little(compose):
    service = compose["services"]["sidestep"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    bundles = [volume for volume in service["volumes"] if "/bundles" in volume]
    assert all(volume.endswith(":ro") for volume in bundles)


def test_the_image_ends_with_a_user_who_is_not_root():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, flags=re.MULTILINE) == ["sidestep"]
    assert last.index("USER sidestep") < last.index("ENTRYPOINT")
    assert all("-slim" in image for image in instructions("FROM"))
    assert len(instructions("FROM")) == 2


def test_what_is_copied_into_the_image_is_there_and_goes_to_the_builder():
    allowed = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        name
        for line in instructions("COPY")
        if not line.startswith("--from")
        for name in line.split()[:-1]
    }
    assert copied == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_installs_the_torch_of_the_requirements():
    [expression] = re.findall(r"sed -n '([^']+)' requirements\.txt", DOCKERFILE)
    sed = ["sed", "-n", expression, str(ROOT / "requirements.txt")]
    found = subprocess.run(sed, capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 1
    assert re.fullmatch(r"torch==[\d.]+", found[0])


@pytest.mark.parametrize(
    ("cuda", "device", "code"), [("None", "cpu", 0), ("'13.0'", "cpu", 1), ("'13.0'", "cuda", 0)]
)
def test_a_torch_with_cuda_is_refused_for_processors(tmp_path, cuda, device, code):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        f"__version__ = '9.9'\nclass version:\n    cuda = {cuda}\n"
    )
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "check_torch.py"), device],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert ("--build-arg DEVICE=cuda" in done.stderr) == bool(code)


def test_no_file_names_a_host_of_packages_or_images():
    for file in FILES:
        text = file.read_text()
        hosts = re.findall(r"https?://([^/:\s'\"]+)", text)
        assert set(hosts) <= {"127.0.0.1", "localhost", "prometheus"}, file.name
    images = re.findall(r"^\s+image: (.+)$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert len(images) == 3
    assert not [image for image in images if "." in image.partition("/")[0]]


def test_prometheus_asks_the_service_and_reads_the_alerts(compose):
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    port = started(of_image()[2:])["port"]
    assert job["static_configs"][0]["targets"] == [f"sidestep:{port}"]
    assert "sidestep" in compose["services"]
    mounted = [volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]]
    assert set(config["rule_files"]) <= set(mounted)


def test_grafana_finds_its_data_and_its_dashboard(compose, dashboard):
    [source] = yaml.safe_load((DEPLOY / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    assert source["url"].removeprefix("http://").partition(":")[0] in compose["services"]
    [provider] = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/sidestep.json" in mounted


def test_the_panels_of_the_dashboard_do_not_overlap(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in dashboard["panels"]
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def metrics_of(expression):
    """Names of metrics in an expression with the labels that are asked of each."""
    found = re.findall(r"\b(sidestep_\w+|up)\b(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*=", labels))) for name, labels in found]


def test_every_metric_is_one_that_the_service_exports(expressions, exported):
    for expression in expressions:
        asked = metrics_of(expression)
        assert asked, expression
        for name, labels in asked:
            if name in OF_PROMETHEUS:
                continue
            assert name in exported, expression
            assert labels <= exported[name], expression


def test_every_label_that_groups_is_one_of_its_metric(expressions, exported):
    for expression in expressions:
        for by, rest in re.findall(r"by \(([^)]+)\) \((.*)", expression):
            [(name, _), *_] = metrics_of(rest)
            assert {label.strip() for label in by.split(",")} <= exported[name], expression


def test_every_metric_of_the_service_is_on_the_dashboard(dashboard, exported):
    text = json.dumps(dashboard)
    bases = {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in exported}
    assert len(bases) == 8
    assert [name for name in bases if not re.search(rf"{name}(_|\b)", text)] == []


def test_brackets_of_expressions_are_closed(expressions):
    for expression in expressions:
        for left, right in ("()", "[]", "{}"):
            assert expression.count(left) == expression.count(right), expression
        assert expression.count('"') % 2 == 0


def test_routes_and_statuses_are_those_of_the_service(expressions):
    routes = {RecommendApp.path, *re.findall(r'@app\.get\("([^"]+)"', inspect.getsource(app))}
    asked = {route for each in expressions for route in re.findall(r'route="([^"]+)"', each)}
    assert asked == {"/v1/recommend", "/readyz"}
    assert asked <= routes
    statuses = {text for each in expressions for text in re.findall(r'status=~?"([^"]+)"', each)}
    assert {each for text in statuses for each in text.split("|")} == {"429", "500", "503"}


def test_every_alert_says_what_to_do(alerts):
    names = [rule["alert"] for rule in alerts]
    assert len(set(names)) == len(names)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "warn")
        assert rule["for"]
        assert len(rule["annotations"]["description"]) > 40


def settings_of_unit():
    """The settings of the unit by name; a setting that stands twice has its last value."""
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT, flags=re.MULTILINE))


def test_the_unit_lets_the_service_do_little():
    settings = settings_of_unit()
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "ProtectHome", "LockPersonality"):
        assert settings[name] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == ""
    assert "MemoryDenyWriteExecute" not in settings  # torch makes machine code


def systemd(tmp_path, *words):
    """An answer of `systemd-analyze` about the unit, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed, so nobody can check its unit")
    (tmp_path / "sidestep.service").write_text(UNIT.replace(of_unit()[0], "/bin/true"))
    return subprocess.run(
        ["systemd-analyze", *words, str(tmp_path / "sidestep.service")],
        capture_output=True,
        text=True,
        check=False,
    )


def test_systemd_understands_the_unit(tmp_path):
    done = systemd(tmp_path, "verify", "--man=no")
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_little_exposed(tmp_path):
    done = systemd(tmp_path, "security", "--no-pager", "--offline=true", "--threshold=25")
    if "--offline" in done.stderr:
        pytest.skip("this systemd reviews no unit that is not installed")
    assert done.returncode == 0, done.stdout[-300:]
