"""Proofs: long checks whose figures are kept in docs/proofs, each with a fingerprint of the sources that it covers.

A proof is a module `scripts/proofs/NAME.py` with `COVERS`, a list of globs from the root of the checkout, and
`prove() -> dict`, which returns the figures or raises. As a pytest plugin this file lists the proofs gone stale.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench.machine import ROOT, commit, describe


def names(root: Path = ROOT) -> list[str]:
    """Names of all proofs."""
    return sorted(path.stem for path in (root / "scripts" / "proofs").glob("*.py") if not path.stem.startswith("_"))


def load(name: str, root: Path = ROOT) -> ModuleType:
    """Import a proof by its name; raises SystemExit with one line when there is none or it is incomplete."""
    path = root / "scripts" / "proofs" / f"{name}.py"
    if not path.is_file():
        raise SystemExit(f"prove: no proof {name!r}: expected one of {', '.join(names(root)) or 'none yet'}")
    spec = importlib.util.spec_from_file_location(f"proof_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        said = f"needs the package {error.name}, which is not installed: scripts/prove {name} sets up what it needs"
        raise SystemExit(f"prove: {path.name} {said}") from None
    for part in ("COVERS", "prove"):
        if not hasattr(module, part):
            raise SystemExit(f"prove: {path.name} has no {part}: a proof needs COVERS, a list of globs, and prove()")
    return module


def fingerprint(globs: list[str], root: Path = ROOT) -> str:
    """Return the sha256 over names and contents of the files that the globs name; caches of Python do not count."""
    files = {path for glob in globs for path in root.glob(glob) if path.is_file() and "__pycache__" not in path.parts}
    if not files:
        raise SystemExit(f"prove: {globs} covers no file: COVERS are globs from the root of the checkout")
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def covers(name: str, root: Path = ROOT) -> list[str]:
    """Globs of the sources that a proof covers, its own file included. Read, not run: a proof may need a package."""
    path = root / "scripts" / "proofs" / f"{name}.py"
    for line in ast.parse(path.read_text(encoding="utf-8")).body:
        match line:
            case ast.Assign(targets=[ast.Name(id="COVERS")], value=value):
                return [*ast.literal_eval(value), f"scripts/proofs/{name}.py"]
    raise SystemExit(f"prove: {path.name} has no COVERS: a proof needs COVERS, a list of globs, and prove()")


def run(name: str, root: Path = ROOT) -> dict[str, Any]:
    """Run a proof and write its record to docs/proofs; a proof that raises writes nothing."""
    sources = fingerprint(covers(name, root), root)
    start = time.monotonic()
    figures = load(name, root).prove()
    record = {
        "command": f"scripts/prove {name}",
        "commit": commit(root),
        "covers": covers(name, root),
        "sources": sources,
        "machine": describe(),
        "figures": figures,
        "seconds": round(time.monotonic() - start, 1),
    }
    path = root / "docs" / "proofs" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def stale(root: Path = ROOT) -> dict[str, str]:
    """Return the proofs that no longer stand, each with why: never run, or its sources have changed since."""
    reasons = {}
    for name in names(root):
        path = root / "docs" / "proofs" / f"{name}.json"
        if not path.is_file():
            reasons[name] = "never run"
        elif json.loads(path.read_text(encoding="utf-8"))["sources"] != fingerprint(covers(name, root), root):
            reasons[name] = "its sources have changed since"
    return reasons


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at the end of the tests which proofs to run again."""
    for name, reason in stale().items():
        terminalreporter.write_line(f"stale proof: {name} ({reason}): scripts/prove {name}")


def main() -> None:
    """Run one proof, or list the stale ones."""
    parser = argparse.ArgumentParser(prog="scripts/prove", description="Run a proof and write docs/proofs/NAME.json.")
    known = ", ".join(names()) or "none yet"
    parser.add_argument("name", nargs="?", help=f"one of: {known}")
    parser.add_argument("--stale", action="store_true", help="list the proofs whose sources have changed since")
    arguments = parser.parse_args()
    if arguments.stale == bool(arguments.name):
        parser.error(f"give the name of a proof, one of {known}; or --stale")
    if arguments.name and arguments.name not in names():
        parser.error(f"no proof {arguments.name!r}: give one of {known}")
    if arguments.stale:
        for name, reason in stale().items():
            print(f"{name}: {reason}")
        return
    record = run(arguments.name)
    print(json.dumps(record["figures"], indent=2))
    print(f"docs/proofs/{arguments.name}.json: {record['seconds']} s")


if __name__ == "__main__":
    main()
