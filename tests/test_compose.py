"""docker-compose.yml and Dockerfile: no engine runs them here, so their structure is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from everyframe.pipeline.cli import build_app

TOP = {"name", "services", "volumes", "networks", "configs", "secrets", "include"}
SERVICE = {
    "image", "build", "command", "entrypoint", "environment", "env_file", "user", "volumes", "ports", "expose",
    "shm_size", "depends_on", "healthcheck", "restart", "working_dir", "networks", "configs", "secrets", "init",
    "stop_grace_period", "profiles", "tmpfs", "read_only", "cap_drop", "security_opt", "deploy", "labels", "logging",
}  # fmt: skip
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
HEALTH = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}
DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")
INSTRUCTIONS = {
    "FROM", "RUN", "CMD", "LABEL", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME", "USER", "WORKDIR", "ARG",
    "STOPSIGNAL", "HEALTHCHECK", "SHELL",
}  # fmt: skip


def filled(value: Any, given: Mapping[str, str]) -> Any:
    """As Compose puts variables in: ${NAME:-default}, ${NAME:?message where it is missing}."""
    if isinstance(value, dict):
        return {key: filled(inner, given) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, given) for inner in value]
    if not isinstance(value, str):
        return value

    def put(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if not given.get(name) and kind == "?":
            raise KeyError(text)
        return given.get(name) or text or ""

    return VARIABLE.sub(put, value)


def written(root: Path) -> dict[str, Any]:
    found = YAML(typ="safe", pure=True).load(root / "docker-compose.yml")
    assert isinstance(found, dict)
    return found


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    found = filled(written(root), {"EVERYFRAME_HTTP_TOKEN": "secret"})
    assert isinstance(found, dict)
    return found


@pytest.fixture
def dockerfile(root: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined, comments left out."""
    lines = [line for line in (root / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def test_it_knows_no_key_that_compose_does_not(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} <= TOP
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE, name
        assert ("image" in service) or ("build" in service), name
        assert set(service.get("healthcheck", {})) <= HEALTH, name
        assert service.get("restart", "no") in ("no", "always", "on-failure", "unless-stopped"), name


def test_redis_keeps_its_data(compose: dict[str, Any]) -> None:
    service = compose["services"]["redis"]
    words = service["command"]
    assert words[words.index("--appendonly") + 1] == "yes"
    assert service["volumes"] == ["redis-data:/data"]
    assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])
    health = service["healthcheck"]
    assert set(health) <= HEALTH and health["test"][0] == "CMD"
    assert all(DURATION.fullmatch(health[key]) for key in ("interval", "timeout"))


def test_names_lead_somewhere(root: Path, compose: dict[str, Any]) -> None:
    used, secrets = set(), set()
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert target.startswith("/") and mode in ([], ["ro"], ["rw"])
            if source.startswith("./docs"):
                assert (root / source).exists(), source
            elif not source.startswith((".", "/")):
                used.add(source)
        for other, how in service.get("depends_on", {}).items():
            assert other in compose["services"]
            healthy = how["condition"] == "service_healthy" and "healthcheck" in compose["services"][other]
            assert healthy or how["condition"] == "service_started"
        secrets |= set(service.get("secrets", []))
        if "build" in service:
            assert (root / service["build"] / "Dockerfile").is_file()
    assert used == set(compose["volumes"])
    assert secrets == set(compose["secrets"])


def test_ports_are_of_this_machine_and_taken_once(compose: dict[str, Any]) -> None:
    ports = [str(port).split(":") for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(host == "127.0.0.1" for host, _, _ in ports)
    assert len({port for _, port, _ in ports}) == len(ports) == 4


@pytest.mark.parametrize("name", ["everyframe", "files"])
def test_everyframe_finds_redis_and_knows_its_command(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["environment"]["REDIS_URL"].startswith("redis://redis:")
    build_app().parse_args(service["command"], exit_on_error=False, print_error=False)
    mounted = {volume.split(":")[1] for volume in service["volumes"]}
    paths = [word for word in service["command"] if word.startswith("/")]
    assert paths and all(any(path == m or path.startswith(m + "/") for m in mounted) for path in paths)
    assert service["read_only"] and service["tmpfs"] == ["/tmp"] and "/var/cache/everyframe" in mounted


def test_the_watching_container_is_kept_small_watched_and_started_again(compose: dict[str, Any]) -> None:
    service = compose["services"]["everyframe"]
    command = service["command"]
    limits = service["deploy"]["resources"]["limits"]
    assert command[command.index("--cpus") + 1] == limits["cpus"] == "2"
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert service["restart"] == "unless-stopped" and "profiles" not in service
    health = service["healthcheck"]
    assert health["test"][:3] == ["CMD", "python", "-c"]
    compile(health["test"][3], "healthcheck", "exec")
    port = command[command.index("--http") + 1].rpartition(":")[2]
    assert f"127.0.0.1:{port}/healthz" in health["test"][3] and service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert all(DURATION.fullmatch(health[key]) for key in ("interval", "timeout", "start_period"))
    assert DURATION.fullmatch(service["stop_grace_period"])


def test_no_container_runs_as_root_or_may_gain_rights(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert str(service.get("user", "")).split(":")[0] not in ("root", "0"), name
        if name != "files":
            assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
    read_only = {name for name, service in compose["services"].items() if service.get("read_only")}
    assert set(compose["services"]) - read_only == {"prometheus"}  # it gets a secret, which needs a root to write to


def test_without_a_token_nothing_starts(root: Path) -> None:
    with pytest.raises(KeyError, match=r"\.env"):
        filled(written(root), {})


def test_what_is_extra_waits_behind_a_profile(compose: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles") for name, service in compose["services"].items()}
    assert profiles == {
        "redis": None, "everyframe": None, "files": ["files"], "camera": ["example"],
        "prometheus": ["monitoring"], "grafana": ["monitoring"],
    }  # fmt: skip


def test_the_dockerfile_has_known_instructions_only(dockerfile: list[tuple[str, str]]) -> None:
    assert {word for word, _ in dockerfile} <= INSTRUCTIONS
    assert dockerfile[0] == ("FROM", "python:3.11-slim")


def test_the_image_installs_what_is_tested_and_runs_as_nobody_special(dockerfile: list[tuple[str, str]]) -> None:
    assert any("-c constraints.txt" in rest for word, rest in dockerfile if word == "RUN")
    assert [rest for word, rest in dockerfile if word == "USER"][-1] not in ("root", "0")
    environment = " ".join(rest for word, rest in dockerfile if word == "ENV")
    assert "NUMBA_CACHE_DIR=/var/cache/everyframe" in environment
    assert ("ENTRYPOINT", '["everyframe"]') in dockerfile
    volumes = " ".join(rest for word, rest in dockerfile if word == "VOLUME").split()
    made = " ".join(rest for word, rest in dockerfile if word == "RUN")
    assert all(f"{path} " in f"{made} " for path in volumes) and "/var/lib/everyframe" in volumes


def test_what_is_copied_exists_and_is_not_ignored(root: Path, dockerfile: list[tuple[str, str]]) -> None:
    kept = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in dockerfile:
        for source in rest.split()[:-1] if word == "COPY" else []:
            assert (root / source).exists(), source
            assert source in kept, f"{source} is left out by .dockerignore"
    linked = {path.readlink().name for path in (root / "src" / "everyframe").iterdir() if path.is_symlink()}
    assert linked <= kept
