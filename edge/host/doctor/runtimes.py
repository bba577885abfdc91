"""The parts that read faces: is the model file whole, and does each runtime run here?"""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

from edge.config import DetectConfig
from edge.host.doctor.check import Check
from edge.host.doctor.trial import attempt
from edge.interpreter import RUNTIMES

AGAIN = "install the kit again: pip install --force-reinstall --no-deps emotion-edge"


def whole(model: str | None) -> Check:
    """Hold the model file against what the installation says of it.

    Args:
        model: the model file; None for the one that ships with the kit.
    """
    from edge.model import DEFAULT_MODEL

    path = Path(model) if model else DEFAULT_MODEL
    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        todo = "name a model file that is there, or leave model away" if model else AGAIN
        return Check("model file", "fail", f"{path}: {error.strerror}", todo)
    recorded = recorded_sha256(path)
    found = f"{path.name}, {path.stat().st_size / 1e6:.1f} MB, sha256 {digest.hex()[:12]}"
    if recorded is not None and recorded != digest:
        return Check("model file", "fail", f"{found}: it is not the file that was installed", AGAIN)
    return Check("model file", "ok", found + (", as installed" if recorded else ""))


def recorded_sha256(path: Path, package: str = "emotion-edge") -> bytes | None:
    """Return the sha256 that pip recorded of a package's file; None where it recorded none."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        return None
    for file in listed:
        if file.name == path.name and file.hash is not None and Path(str(file.locate())).resolve() == path.resolve():
            return base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4))
    return None


def classifier(model: str | None) -> Check:
    """Run the model file once, in a process of its own."""
    trial = attempt("classify", file=str(Path(model).absolute()) if model else None)
    if trial.found is not None:
        return Check("model", "ok", trial.found)
    if trial.error == "died of SIGILL":
        todo = "this runtime does not fit this processor: install another version, pip install onnxruntime==1.20.1"
    else:
        todo = 'look into it with "edge model show"' if model else AGAIN
    return Check("model", "fail", trial.error, todo)


def tflite() -> Check:
    """Import each TFLite runtime that is installed; none is needed for ONNX files."""
    found: list[str] = []
    for package, module in RUNTIMES.items():
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
        trial = attempt("interpreter", module=module)
        if trial.found is None:
            return Check(
                "TFLite", "warn", f"{found[-1]}: {trial.error}", f"pip install --upgrade {package}, or uninstall"
            )
    if not found:
        return Check("TFLite", "skipped", "no runtime is installed; only .tflite files need one")
    return Check("TFLite", "ok", ", ".join(found))


def metrics(port: int | None) -> Check:
    """Whether what serves metrics to Prometheus is installed, where the configuration asks for it."""
    from edge.host.metrics import missing

    if port is None:
        return Check("metrics", "skipped", "no health.metrics_port is set")
    if missing() is not None:
        found = "health.metrics_port is set, and prometheus_client is not installed: edge run goes on without metrics"
        return Check("metrics", "warn", found, 'pip install "emotion-edge[metrics]"')
    return Check("metrics", "ok", f"port {port}")


def detector(settings: DetectConfig) -> Check:
    """Run the detector once, in a process of its own."""
    trial = attempt(
        "detect", detector=settings.detector, min_face=settings.min_face, threads=settings.threads,
        yunet_model=settings.yunet_model,
    )  # fmt: skip
    if trial.found is None:
        return Check("detector", "fail", trial.error, f"name another detector under [detect], or {AGAIN}")
    return Check("detector", "ok", trial.found)
