"""The files of serving/: they parse as what they are for, and agree with the code and with each other.

What is not shown here: that a Docker daemon, a Kubernetes cluster, Prometheus, Grafana and TensorFlow Serving do with them
what they should. Where `tensorflow_model_server` or `kubectl` is on the PATH, they are asked.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
import tiny_model
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from paths import ROOT
from scripted_server import TIMEOUT, drawings

from qdfast.cli.arguments import parser
from qdfast.client import Client

yaml = pytest.importorskip("yaml")
pytest.importorskip("tensorflow_serving")
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from tensorflow_serving.config import model_server_config_pb2  # noqa: E402

from qdfast.serve.batching_config import read_parameters  # noqa: E402
from qdfast.serve.server import Server  # noqa: E402

SERVING = ROOT / "serving"
MODEL, GRPC_PORT, HTTP_PORT = "doodles", 8500, 8501
BINARY = "tensorflow_model_server"

# The time series that release 2.20 has in `/monitoring/prometheus/metrics`, by name, each with its labels. In request_count
# are the calls of all methods, also the status calls by REST that probes make; request_latency has those that succeeded.
TENSORFLOW_SERVING: dict[str, list[dict[str, str]]] = {
    ":tensorflow:serving:request_count": [
        {"model_name": MODEL, "status": status} for status in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE")
    ],
    ":tensorflow:serving:request_latency": [
        {"model_name": MODEL, "API": "Predict", "entrypoint": "GRPC"},
        {"model_name": MODEL, "API": "predict", "entrypoint": "REST"},
    ],
    ":tensorflow:serving:batching_session:queuing_latency": [{"thread_pool_name": "batch_threads"}],
    ":tensorflow:serving:batching_session:processed_batch_size": [{}],
}


def read(name: str) -> str:
    return (SERVING / name).read_text()


def documents(directory: str) -> dict[str, dict[str, Any]]:
    """The manifests of a directory by kind."""
    files = sorted((SERVING / "kubernetes" / directory).glob("*.yaml"))
    manifests = [d for f in files if f.name != "kustomization.yaml" for d in yaml.safe_load_all(f.read_text())]
    assert len({d["kind"] for d in manifests}) == len(manifests)
    return {d["kind"]: d for d in manifests}


@pytest.fixture(scope="module")
def embedded() -> dict[str, dict[str, Any]]:
    return documents("embedded")


def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


def container(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    one: dict[str, Any]
    (one,) = pod(manifests)["containers"]
    return one


def entrypoints() -> dict[str, list[str]]:
    """The command of each target of the Dockerfile."""
    text = read("Dockerfile").replace("\\\n", "")
    stages = re.split(r"^FROM \S+ AS (\S+)$", text, flags=re.MULTILINE)[1:]
    found = {
        name: re.search(r"^ENTRYPOINT (.*)$", body, re.MULTILINE)
        for name, body in zip(stages[::2], stages[1::2], strict=True)
    }
    return {name: json.loads(match[1]) for name, match in found.items() if match}


def flags(command: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in command if word.startswith("--"))}


def preparation(spec: dict[str, Any]) -> int:
    """Seconds that preStop takes."""
    name, seconds = spec["lifecycle"]["preStop"]["exec"]["command"]
    assert name == "sleep"
    return int(seconds)


# ---- configuration of TensorFlow Serving ----


def test_models_config() -> None:
    config = text_format.Parse(read("models.config"), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (MODEL, f"/models/{MODEL}", "tensorflow")


def monitoring_config() -> Any:
    """An empty MonitoringConfig, which tensorflow-serving-api is shipped without."""
    file = descriptor_pb2.FileDescriptorProto(name="monitoring_config.proto", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto
    prometheus, config = (file.message_type.add(name=name) for name in ("PrometheusConfig", "MonitoringConfig"))
    prometheus.field.add(name="enable", number=1, type=kind.TYPE_BOOL, label=kind.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    nested = config.field.add(name="prometheus_config", number=1, type=kind.TYPE_MESSAGE, label=kind.LABEL_OPTIONAL)
    nested.type_name = "PrometheusConfig"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("MonitoringConfig"))()


def test_monitoring_config(embedded: dict[str, dict[str, Any]]) -> None:
    config = text_format.Parse(read("monitoring.config"), monitoring_config()).prometheus_config
    assert config.enable
    assert config.path == embedded["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]


def test_batching_config_configures_either_server() -> None:
    parameters = read_parameters(SERVING / "batching.config")
    # TensorFlow Serving refuses requests of more rows than a batch has; the client sends up to so many.
    with Client(model=MODEL) as client:
        assert parameters.max_batch_size >= client.max_batch
    assert parameters.rows_per_batch == 64
    # With padding, TensorFlow Serving ends when a request has tensors of another rank than those it is batched with.
    assert not parameters.pad_variable_length_inputs


def test_tensorflow_serving_runs_without_batching(compose: dict[str, Any]) -> None:
    """Without padding it would fail batches of requests of different lengths, which drawings have."""
    assert not [flag for flag in all_tensorflow_serving_flags(compose) if "batching" in flag]


def test_tensorflow_serving_is_started_as_by_qdfast_serve(compose: dict[str, Any]) -> None:
    from qdfast.serve.tf_serving_process import GRPC_FLAGS

    overlay = flags(container(documents("tensorflow-serving"))["args"])
    image = flags(entrypoints()["tensorflow-serving"])
    for given in (flags(compose["command"]), image, image | overlay):
        assert "--allow_version_labels_for_unavailable_models" in given
        for flag in GRPC_FLAGS:
            name, _, value = flag.partition("=")
            assert value in given[name].split(",")


# ---- Docker ----


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))["services"]["serving"]
    return service


def test_compose(compose: dict[str, Any]) -> None:
    given = flags(compose["command"])
    assert (given["--port"], given["--rest_api_port"]) == (str(GRPC_PORT), str(HTTP_PORT))
    assert compose["ports"] == [f"127.0.0.1:{port}:{port}" for port in (GRPC_PORT, HTTP_PORT)]
    assert all(volume.endswith(":ro") for volume in compose["volumes"])
    mounted = {flag: Path(value) for flag, value in given.items() if flag.endswith("_file")}
    assert len(mounted) == 2
    assert all(path.parent == Path("/config") and (SERVING / path.name).exists() for path in mounted.values())
    assert f"FROM {compose['image']} AS tensorflow-serving" in read("Dockerfile")


@pytest.mark.parametrize(("answer", "healthy"), [("AVAILABLE", True), ("LOADING", False), (None, False)])
def test_the_health_check_of_compose(compose: dict[str, Any], answer: str | None, healthy: bool) -> None:
    class Status(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version_status": [{"version": "1", "state": answer}]}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Status)
    port = server.server_address[1]
    if answer is None:
        server.server_close()
    else:
        Thread(target=server.serve_forever, daemon=True).start()
    kind, *command = compose["healthcheck"]["test"]
    assert kind == "CMD"
    assert command[-1].count(str(HTTP_PORT)) == 1
    command[-1] = command[-1].replace(str(HTTP_PORT), str(port))
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT)
    assert (done.returncode == 0) is healthy
    assert asked == ([] if answer is None else [f"/v1/models/{MODEL}"])
    if answer is not None:
        server.shutdown()
        server.server_close()


def test_the_images_are_built_from_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", read("Dockerfile"), re.MULTILINE)
    sources = [source for line in copied for source in line.split() if source != "${MODEL}"]
    assert sources
    assert all(list(ROOT.glob(source)) for source in sources)
    ignored = read("Dockerfile.dockerignore").split()
    assert not {source.partition("/")[0] for source in sources} & set(ignored)


def test_the_embedded_server_takes_the_flags_of_the_image(embedded: dict[str, dict[str, Any]]) -> None:
    program, *arguments = entrypoints()["embedded"] + container(embedded)["args"]
    assert program == "qdfast"
    options = parser().parse_args(arguments)
    assert (options.command, options.model_dir, options.host) == ("serve", Path(f"/models/{MODEL}"), "0.0.0.0")
    assert (options.port, options.metrics_port) == (GRPC_PORT, HTTP_PORT)
    assert preparation(container(embedded)) + options.grace < pod(embedded)["terminationGracePeriodSeconds"]


def all_tensorflow_serving_flags(compose: dict[str, Any]) -> set[str]:
    overlay = container(documents("tensorflow-serving"))
    return set(flags(compose["command"]) | flags(entrypoints()["tensorflow-serving"] + overlay["args"]))


def test_both_ways_to_run_tensorflow_serving_agree(compose: dict[str, Any]) -> None:
    assert entrypoints()["tensorflow-serving"][0] == compose["entrypoint"][0] == BINARY
    image = flags(entrypoints()["tensorflow-serving"])
    assert image.items() <= flags(compose["command"]).items()


@pytest.mark.skipif(shutil.which(BINARY) is None, reason=f"no {BINARY} on the PATH")
def test_tensorflow_serving_knows_the_flags(compose: dict[str, Any]) -> None:
    done = subprocess.run([BINARY, "--help"], capture_output=True, text=True, timeout=TIMEOUT)
    known = set(re.findall(r"--\w+", done.stdout + done.stderr))
    assert all_tensorflow_serving_flags(compose) <= known


# ---- Kubernetes ----


FILES = [f for f in sorted((SERVING / "kubernetes" / "embedded").glob("*.yaml")) if f.name != "kustomization.yaml"]
BY_KUSTOMIZE = [
    pytest.param(
        SERVING / "kubernetes" / name,
        marks=pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on the PATH"),
    )
    for name in ("embedded", "tensorflow-serving")
]


@pytest.mark.parametrize("source", [*FILES, *BY_KUSTOMIZE], ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_takes(source: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    if source.is_dir():
        text = subprocess.run(["kubectl", "kustomize", source], capture_output=True, text=True, check=True).stdout
    else:
        text = source.read_text()
    found = list(yaml.safe_load_all(text))
    assert found
    for manifest in found:
        validate.validate(manifest, "1.30", strict=True)


def test_every_manifest_is_applied() -> None:
    for name in ("embedded", "tensorflow-serving"):
        directory = SERVING / "kubernetes" / name
        kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
        named = {*kustomization["resources"], *(p["path"] for p in kustomization.get("patches", ()) if "path" in p)}
        assert all((directory / entry).exists() for entry in named)
        assert {f.name for f in directory.glob("*.yaml")} - {"kustomization.yaml"} <= named


def test_manifests_agree(embedded: dict[str, dict[str, Any]]) -> None:
    deployment, service = embedded["Deployment"], embedded["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert embedded["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = embedded["HorizontalPodAutoscaler"]["spec"]
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": MODEL}
    # Two, else the budget would let a drained node take the only one.
    assert scaled["minReplicas"] > embedded["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert "replicas" not in deployment["spec"]
    ports = {port["name"]: port["containerPort"] for port in container(embedded)["ports"]}
    assert ports == {"grpc": GRPC_PORT, "metrics": HTTP_PORT}
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"], service["spec"]["clusterIP"]) == (GRPC_PORT, "grpc", "None")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(HTTP_PORT)


def test_tensorflow_serving_outlives_its_connections() -> None:
    overlay = documents("tensorflow-serving")
    (age,) = re.findall(r"grpc\.max_connection_age_ms=(\d+)", " ".join(container(overlay)["args"]))
    names_are_cached, jitter = 30, 1.1
    assert preparation(container(overlay)) > names_are_cached + jitter * int(age) / 1000
    assert pod(overlay)["terminationGracePeriodSeconds"] > preparation(container(overlay))
    for probe in ("startupProbe", "readinessProbe"):
        assert container(overlay)[probe]["httpGet"] == {"port": HTTP_PORT, "path": f"/v1/models/{MODEL}"}


# ---- the embedded server, asked as the manifests say ----


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model_dir = tmp_path_factory.mktemp("models") / MODEL
    model_dir.mkdir()
    tiny_model.write_model(model_dir)
    with Server(model_dir, metrics_port=0) as s:
        with Client(f"127.0.0.1:{s.port}", model=MODEL, timeout=TIMEOUT) as client:
            client.predict(drawings())
        yield s


@pytest.mark.slow
def test_the_probes_find_it_serving(server: Server, embedded: dict[str, dict[str, Any]]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for probe in ("startupProbe", "readinessProbe"):
            wanted = container(embedded)[probe]["grpc"]
            assert wanted["port"] == GRPC_PORT
            request = health_pb2.HealthCheckRequest(service=wanted["service"])
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def exported(server: Server, embedded: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """The labels of every time series, by name, that Prometheus gets at the path in the manifests."""
    path = embedded["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    with urlopen(f"http://127.0.0.1:{server.metrics_port}{path}", timeout=TIMEOUT) as page:
        lines = [line for line in page.read().decode().splitlines() if not line.startswith("#")]
    series: dict[str, set[str]] = {}
    for line in lines:
        match = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? \S+", line)
        assert match is not None, line
        name, labels = match.groups()
        series.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return series


def require_series(query: str, exported: dict[str, set[str]], given: set[str]) -> None:
    """That every time series of a PromQL query is one of ours or TensorFlow Serving's, and has the labels asked for."""
    found = re.findall(r"(qdfast_\w+|:[\w:]+)(?:\{(.*?)\})?", query)
    assert found, query
    for name, selector in found:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        series = TENSORFLOW_SERVING.get(name) or TENSORFLOW_SERVING.get(base)
        labels = exported.get(name) or (None if series is None else set[str]().union(*series))
        assert labels is not None or name in {**exported, **TENSORFLOW_SERVING}, name
        assert set(re.findall(r"(\w+)(?:=|!)", selector or "")) <= (labels or set()) | given, query


@pytest.mark.slow
def test_autoscaling_goes_by_metrics_that_there_are(
    exported: dict[str, set[str]], embedded: dict[str, dict[str, Any]]
) -> None:
    rules = yaml.safe_load(read("kubernetes/prometheus-adapter.yaml"))["rules"]["custom"]
    for rule in rules:
        require_series(rule["seriesQuery"], exported, {"namespace", "pod"})
    made = {rule.get("name", {}).get("as") or rule["seriesQuery"].partition("{")[0] for rule in rules}
    (metric,) = embedded["HorizontalPodAutoscaler"]["spec"]["metrics"]
    patches = yaml.safe_load(read("kubernetes/tensorflow-serving/kustomization.yaml"))["patches"]
    ((patch, target),) = [yaml.safe_load(p["patch"]) for p in patches if "patch" in p]
    assert patch["path"] == "/spec/metrics/0/pods/metric/name"
    assert target["path"] == "/spec/metrics/0/pods/target/averageValue"
    assert {metric["pods"]["metric"]["name"], patch["value"]} == made


def selects(selector: str, series: dict[str, str]) -> bool:
    """Whether a selector of a query, for any model, instance, namespace and pod, selects a time series."""
    anything = {"instance": "i", "namespace": "n", "pod": "p"}
    for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
        has = (anything | series).get(label, "")
        wanted = re.sub(r"\$\w+", ".*", value)
        if (re.fullmatch(wanted, has) is not None if operator == "=~" else has == wanted) is (operator == "!="):
            return False
    return True


def test_queries_select_time_series_that_tensorflow_serving_has() -> None:
    dashboard = json.loads(read("grafana-dashboard.json"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load(read("kubernetes/prometheus-adapter.yaml"))["rules"]["custom"]
    queries += [rule["seriesQuery"] for rule in rules]
    found = [pair for query in queries for pair in re.findall(r"(:tensorflow:[\w:]+)\{(.*?)\}", query)]
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in found} - {":tensorflow:serving:request"} == {
        name for name in TENSORFLOW_SERVING if name != ":tensorflow:serving:request_count"
    }
    for name, selector in found:
        series = TENSORFLOW_SERVING.get(name) or TENSORFLOW_SERVING[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert any(selects(selector, one) for one in series), (name, selector)


def test_requests_are_counted_without_the_probes() -> None:
    """The probes of the manifests are status calls by REST, which request_count counts as OK."""
    dashboard = json.loads(read("grafana-dashboard.json"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for selector in re.findall(r"request_count\{(.*?)\}", target["expr"]):
                assert 'status!="OK"' in selector


@pytest.mark.slow
def test_the_dashboard_shows_metrics_that_there_are(exported: dict[str, set[str]]) -> None:
    dashboard = json.loads(read("grafana-dashboard.json"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {"__rate_interval", *(variable["name"] for variable in dashboard["templating"]["list"])}
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    for query in queries:
        require_series(query, exported, {"instance"})
        assert set(re.findall(r"\$(\w+)", query)) <= variables
    assert all(panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("qdfast_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for q in queries for name in re.findall(r"qdfast_\w+", q)}
    assert shown == {name for name in ours if not name.endswith("_created")}


# ---- the README and the guide ----


def test_the_readme_names_files_and_flags_that_there_are() -> None:
    table = re.findall(r"^\| `([\w./-]+)` \|", read("README.md"), re.MULTILINE)
    assert table
    assert all((SERVING / name).exists() for name in table)
    guide = (SERVING.parent / "docs" / "how-to" / "serving.md").read_text()
    commands = re.findall(r"^qdfast (?:serve|predict|export) .*$", guide, re.MULTILINE)
    assert commands
    for line in commands:
        parser().parse_args(shlex.split(line, comments=True)[1:])
