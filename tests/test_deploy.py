"""The files of docs/deploy say what their readers, Docker and Ray, understand."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parent.parent / "docs" / "deploy"
_KNOWN = r"ARG|CMD|COPY|ENV|EXPOSE|FROM|HEALTHCHECK|RUN|USER|VOLUME|WORKDIR"


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile as (instruction, argument); comments gone, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().partition(" ") for line in whole.splitlines() if line.strip()]
    return [(name, argument.strip()) for name, _, argument in found]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    return instructions((DEPLOY / "Dockerfile").read_text("utf-8"))


def of(dockerfile: list[tuple[str, str]], name: str) -> list[str]:
    return [argument for found, argument in dockerfile if found == name]


def test_the_dockerfile_is_one(dockerfile: list[tuple[str, str]]) -> None:
    assert all(re.fullmatch(_KNOWN, name) for name, _ in dockerfile)
    assert dockerfile[0][0] in ("ARG", "FROM")
    stages = [shlex.split(argument) for argument in of(dockerfile, "FROM")]
    assert [stage[1:] for stage in stages] == [["AS", "build"], []]
    for name in ("RUN", "ENV", "COPY"):
        for argument in of(dockerfile, name):
            assert shlex.split(argument)  # quotes are closed
    top = Path(__file__).parent.parent
    for argument in of(dockerfile, "COPY"):
        sources = [part for part in argument.split()[:-1] if not part.startswith("--")]
        from_here = "--from" not in argument
        assert all((top / source).exists() for source in sources if from_here), argument
    for argument in [*of(dockerfile, "CMD"), of(dockerfile, "HEALTHCHECK")[0].partition("CMD ")[2]]:
        assert all(isinstance(word, str) for word in json.loads(argument))


def test_the_container_is_no_root_and_keeps_the_store(dockerfile: list[tuple[str, str]]) -> None:
    order = [name for name, _ in dockerfile]
    assert of(dockerfile, "USER") == ["cxr"] and of(dockerfile, "VOLUME") == ["/data"]
    assert "RUN" not in order[order.index("USER") :]
    assert "CXR_STORE=/data/gallery" in of(dockerfile, "ENV")[-1]
    served = json.loads(of(dockerfile, "CMD")[0])[-1]
    assert "--server.address 0.0.0.0 --server.port 8501" in served
    assert of(dockerfile, "EXPOSE") == ["8501"] and "8501" in of(dockerfile, "HEALTHCHECK")[0]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with Ray")
    found = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def validate(cluster: dict[str, Any]) -> None:
    """Hold a cluster's file against Ray's own schema."""
    spec = find_spec("ray")
    if spec is None or spec.origin is None:
        pytest.skip("Ray is not installed: pip install 'cxr-retrieval[ray]'")
    jsonschema = pytest.importorskip("jsonschema", reason="it comes with Ray")
    schema = Path(spec.origin).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(cluster, json.loads(schema.read_text("utf-8")))


def test_the_cluster_is_what_ray_asks_for(cluster: dict[str, Any]) -> None:
    validate(cluster)
    assert set(cluster["available_node_types"]) == {"head", "cpu_worker", "gpu_worker"}


def test_the_cluster_grows_of_cpu_and_gpu_nodes(cluster: dict[str, Any]) -> None:
    kinds = cluster["available_node_types"]
    assert cluster["head_node_type"] in kinds
    assert kinds["head"]["resources"]["CPU"] == 0
    for kind in ("cpu_worker", "gpu_worker"):
        assert (
            kinds[kind]["min_workers"] == 0 < kinds[kind]["max_workers"] <= cluster["max_workers"]
        )
    assert kinds["gpu_worker"]["resources"]["GPU"] == 1
    starts = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    assert cluster["provider"]["use_internal_ips"] is True


def test_a_broken_cluster_is_noticed(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="'many' is not of type"):
        validate({**cluster, "max_workers": "many"})
