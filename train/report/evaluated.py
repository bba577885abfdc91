"""Evaluated runs, read back: from a run's folder, or from a `metrics.json` that was kept when the run is gone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.model import load_model
from edge.model.contract import ModelInfo
from train.config import FitConfig
from train.export import deployable, sha256_of, to_onnx
from train.networks import build
from train.report.arms import OVERALL, Evaluated
from train.report.command import without_paths
from train.report.cost import parameters
from train.report.subject import cached_file
from train.report.tables import VIEWS
from train.runs import Run, home


@dataclass(frozen=True)
class Costed:
    """What of a model its cost is measured on.

    Attributes:
        graph: a float ONNX file's bytes.
        parameters: learned numbers in it.
        bytes: of the file that was evaluated.
    """

    graph: bytes
    parameters: int
    bytes: int


def read_evaluated(source: str) -> Evaluated | None:
    """Return a run with its evaluation; None where it has none.

    Args:
        source: a run's name, or the path of a `metrics.json` that `edge train evaluate` wrote, under any name that ends
            in `.json`: the run itself may be gone.

    Raises:
        InputError: there is no such run or file, the evaluation is damaged, or of other weights than the run has now.
    """
    if source.endswith(".json"):
        return _parse(Path(source), None, "give a metrics.json that edge train evaluate wrote of a run")
    name = source
    run = Run(home() / "runs" / name)
    if not run.best.exists():
        raise run.missing()
    path = run.folder / "evaluation" / "metrics.json"
    if not path.exists():
        return None
    again = f"evaluate it again with edge train evaluate {name}"
    evaluated = _parse(path, name, again)
    sha = evaluated.metrics["run"]["weights_sha256"]
    if sha != sha256_of(run.best.read_bytes()) or not cached_file(run, sha).is_file():
        raise InputError(f"run {name}: its weights are not those that were evaluated; {again}")
    return evaluated


def _parse(path: Path, name: str | None, remedy: str) -> Evaluated:
    try:
        metrics = json.loads(path.read_text(), parse_constant=_refuse)
        named = str(metrics["run"]["name"]) if name is None else name
        shown = _complete(metrics["run"]["config"])
        _check_figures(metrics)
        return Evaluated(named, shown, identity_of(shown, (named,)), int(shown["seed"]), metrics, name is None)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: it is no evaluation of a run; {remedy}") from None


def costed(run: Evaluated) -> Costed:
    """Return what a run's cost is measured on: its file, or of a kept evaluation the same network with random weights,
    which takes as long as with any others.

    Raises:
        InputError: a kept evaluation is of a network that cannot be built.
    """
    if not run.kept:
        folder = Run(home() / "runs" / run.name)
        graph = cached_file(folder, run.metrics["run"]["weights_sha256"]).read_bytes()
        return Costed(graph, parameters(folder.best.read_bytes()), len(graph))
    config, labels = run.config, tuple(run.metrics["labels"])
    network = build(str(config["network"]), len(labels))
    gray = bool(run.metrics["run"]["data"].get("gray"))
    info = ModelInfo(
        name=run.name, network=str(config["network"]), precision="fp32", labels=labels,
        crop=replace(load_model().info.crop, size=int(config["size"])), gray=gray, temperature=1.0, threshold=0.0,
        trained_on="nothing", accuracy={}, licence="none", parent_sha256="0" * 64,
    )  # fmt: skip
    graph = to_onnx(deployable(network, size=info.crop.size, gray=gray, temperature=1.0), info)
    learned = sum(parameter.numel() for parameter in network.parameters())
    return Costed(graph, learned, int(run.metrics["file"]["bytes"]))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no figure")


def _check_figures(metrics: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError where an evaluation lacks what the comparison shows."""
    for key in ("model", "network", "command", "data", "data_sha256", "split"):
        if not isinstance(metrics[key], str):
            raise TypeError(key)
    labels, run = metrics["labels"], metrics["run"]
    if not labels or type(metrics["n"]) is not int or type(metrics["file"]["bytes"]) is not int:
        raise ValueError("labels, n or file")
    if not isinstance(run["weights_sha256"], str) or not isinstance(run["data"], dict):
        raise TypeError("run")
    for _, view in VIEWS:
        if view not in metrics and view != "figures":
            continue
        figures = metrics[view]
        values = [figures[key] for _, key in OVERALL] + [figures["per_class"][label]["f1"] for label in labels]
        if not all(value is None or isinstance(value, (int, float)) for value in values):
            raise TypeError(view)


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the defaults for what it does not say, as an older kit's does not."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(FitConfig(data=""))))
    return {**plain, **config}


def identity_of(config: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    """Return a configuration without the seed, and for the runs that it names theirs instead of their names.

    Args:
        config: complete.
        seen: names that stay names: of the run itself, and of those that led to it.
    """
    identity = {key: value for key, value in config.items() if key != "seed"}
    start = config["start"] or []
    identity["start"] = [_named(name, seen) for name in ([start] if isinstance(start, str) else start)]
    identity["teachers"] = [_named(name, seen) for name in config["teachers"]]
    return identity


def _named(name: str, seen: tuple[str, ...]) -> Any:
    stored = Run(home() / "runs" / name).read_config() if name not in seen else None
    return name if stored is None else identity_of(_complete(without_paths(stored)), (*seen, name))
