"""Hostile requests to the services beside Predict: reflection, health, and HandleReloadConfigRequest."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2
from outcomes import Outcomes
from tensorflow_serving.apis import model_management_pb2

TIMEOUT = 60
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
REFLECTION = tuple(f"/grpc.reflection.{v}.ServerReflection/ServerReflectionInfo" for v in ("v1alpha", "v1"))
HEALTH = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List")

REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "INTERNAL", "RESOURCE_EXHAUSTED"}


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Change some bytes, or nearly none."""
    out = bytearray(data)
    for _ in range(rng.randint(0, 4)):
        at = rng.randint(0, len(out))
        match rng.randint(0, 4):
            case 0:
                out[at:at] = rng.randbytes(rng.randint(1, 8))
            case 1:
                del out[at : at + rng.randint(1, 8)]
            case 2:
                del out[at:]
            case 3:
                out += out[at:]
            case _ if out:
                out[at % len(out)] ^= 1 << rng.randint(0, 7)
    return bytes(out)


def reflect(target: str, count: int, seed: int = 0) -> Outcomes:
    """Send messages to reflection and health, alone and several in one stream."""
    rng, outcomes = random.Random(seed), Outcomes("reflection")
    good = [
        reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString(),
        reflection_pb2.ServerReflectionRequest(file_by_filename="grpc/health.proto").SerializeToString(),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="tensorflow.serving.ModelSpec"
        ).SerializeToString(),
        b"\x01",
        b"",
    ]
    with grpc.insecure_channel(target) as channel:
        while outcomes.total < count:
            method = rng.choice((*REFLECTION, *REFLECTION, *HEALTH))
            messages = [mutate(rng, rng.choice(good)) for _ in range(rng.choice((0, 1, 1, 1, 2, 5)))]
            stream = channel.stream_stream(method)(iter(messages), timeout=2 if "Watch" in method else TIMEOUT)
            outcome = _end(stream, watch="Watch" in method)
            outcomes.add(outcome, REFUSALS | {"OK"}, (method, messages))
    return outcomes


def _end(stream: Any, *, watch: bool) -> str:
    """The status of a call, read to its end; of a watch of health, to its first answer."""
    try:
        for _ in stream:
            if watch:
                stream.cancel()
                return "OK"
    except grpc.RpcError as e:
        return str(e.code().name)
    return "OK"


def reload(target: str, root: Path, model_dir: Path, count: int, *, allowed: bool, seed: int = 0) -> Outcomes:
    """Ask for other models, from everywhere. ``root``: the server's ``--allow-reload``, if ``allowed``."""
    rng = random.Random(seed)
    outcomes = Outcomes("reload, allowed" if allowed else "reload")
    places = [str(model_dir), str(model_dir / "1"), str(root), f"{root}/no", f"{root}/../..", "/", "/proc/self", "/etc"]
    places += ["/proc/self/root", "relative", "", "http://x/y", "/\0", "/" + "x" * 300, str(root / "out"), "/dev/zero"]
    refusals = {"PERMISSION_DENIED", "INTERNAL"} | (
        {"INVALID_ARGUMENT", "UNKNOWN", "FAILED_PRECONDITION", "OK"} if allowed else set()
    )
    secret = root.parent / "secret"
    secret.mkdir(exist_ok=True)
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(RELOAD)
        while outcomes.total < count:
            request = model_management_pb2.ReloadConfigRequest()
            configs = request.config.model_config_list.config
            for _ in range(rng.choice((0, 1, 1, 2, 3))):
                place = rng.choice([*places, str(secret), str(secret) + "2"])
                model = configs.add(name=rng.choice(("tiny", "a", "b\n", "", "../x")), base_path=place)
                model.model_platform = rng.choice(("tensorflow", "tensorflow", "tensorflow", "", "caffe"))
                if rng.random() < 0.2:
                    model.version_labels["x"] = rng.randint(-1, 3)
                if rng.random() < 0.2:
                    model.model_version_policy.specific.versions.extend([rng.randint(-(2**63), 2**63 - 1)])
            data = request.SerializeToString()
            error = call.future(mutate(rng, data) if rng.random() < 0.3 else data, timeout=TIMEOUT).exception()
            outcomes.add("OK" if error is None else error.code().name, refusals, request)
        _check_outside(channel, outcomes, secret, allowed)
        if allowed:
            call(_only(model_dir), timeout=TIMEOUT)
    return outcomes


def _only(model_dir: Path) -> bytes:
    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name="tiny", base_path=str(model_dir))
    config.model_platform = "tensorflow"
    return bytes(request.SerializeToString())


def _check_outside(channel: grpc.Channel, outcomes: Outcomes, secret: Path, allowed: bool) -> None:
    """What exists outside of the root is answered as what is missing there."""
    answers = set()
    for path in (secret, Path(f"{secret}2"), Path("/proc/self/cwd"), Path("/proc/self/no")):
        error = channel.unary_unary(RELOAD).future(_only(path), timeout=TIMEOUT).exception()
        answers.add("OK" if error is None else f"{error.code().name} {error.details().replace(str(path), 'PATH')}")
    told = len(answers) > 1 or not next(iter(answers)).startswith("PERMISSION_DENIED")
    outcomes.add("tells what exists" if told else "PERMISSION_DENIED", {"PERMISSION_DENIED"}, answers)
