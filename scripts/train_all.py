"""Trains every run of a recipe in turn, evaluates each, and writes the comparison. Killed, the same command goes on.

A recipe is a TOML file of scripts/recipes: `[options]` of every run and a table a run, in the words of
`edge train fit`; `seeds` makes each run several, NAME-seed0 and so on; `[restored]` names runs that are made again from
shipped weights; `align = true` measures each run after alignment, too. With --keep each evaluation is kept in a file of
its own, and a run whose file is there is not trained again, wherever it was trained: the recipe may take several days
on several machines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge.errors import EdgeError, InputError
from edge.files import check_writable, write_whole
from extras import needs

RECIPES = Path(__file__).parent / "recipes"


@needs("train")
def main() -> int:
    """Run a recipe as the command line says."""
    known = sorted(path.stem for path in RECIPES.glob("*.toml"))
    parser = argparse.ArgumentParser(prog="scripts/train-all", description=__doc__)
    parser.add_argument("recipe", help=f"one of {', '.join(known)}, or a TOML file")
    parser.add_argument("data", help="the labelled faces, such as fer2013.zip or what edge train pack wrote")
    parser.add_argument("--votes", help="FER+'s csv of votes, for recipes that use it")
    parser.add_argument("--aligned", help="what edge train align wrote of DATA, for recipes that use it")
    parser.add_argument(
        "--only", nargs="+", metavar="RUN", help="these runs alone; the comparison waits for the others"
    )
    parser.add_argument("--keep", metavar="DIR", help="keep each run's evaluation there, and do what is kept no more")
    parser.add_argument("--out", default="comparison", help="folder for the comparison (default: comparison)")
    given = parser.parse_args()
    from train.runs import home, load_toml

    path = RECIPES / f"{given.recipe}.toml" if given.recipe in known else Path(given.recipe)
    try:
        recipe = load_toml(path)
        runs = commands(recipe, {"votes": given.votes, "aligned": given.aligned})
        for folder in (given.keep, None if given.only else given.out):
            if folder is not None:  # before the long work
                check_writable(Path(folder))
    except EdgeError as error:
        parser.error(str(error))
    restored = recipe.get("restored", {})
    unknown = set(given.only or ()) - {*runs, *restored}
    if unknown:
        parser.error(f"no run {', '.join(sorted(unknown))} in {path.name}: it has {', '.join([*restored, *runs])}")
    evaluate = ["--pictures", "none", *(["--align"] if recipe.get("align") else [])]
    for name, options in {**dict.fromkeys(restored), **runs}.items():
        kept = Path(given.keep) / f"{name}.json" if given.keep else None
        wanted = [restored[name]] if options is None else [Path(each).name for each in options]
        if given.only and name not in given.only and options is not None:
            continue
        if options is None:  # the others learn from it
            edge("train", "restore", str(RECIPES.parents[1] / restored[name]), "--name", name, "--data", given.data)
        if kept is not None and _is_kept(kept, wanted):
            continue
        if options is not None:
            edge("train", "fit", given.data, "--name", name, *options)
        edge("train", "evaluate", name, *evaluate)
        if kept is not None:
            _keep(kept, wanted, home() / "runs" / name / "evaluation" / "metrics.json")
    if not given.only:
        compared = recipe.get("compare", [*restored, *runs])
        sources = [str(Path(given.keep) / f"{name}.json") for name in compared] if given.keep else compared
        edge("train", "compare", *sources, "--out", given.out)
    return 0


def _is_kept(path: Path, wanted: list[str]) -> bool:
    """Return whether an evaluation is kept of a run as the recipe has it now."""
    try:
        return bool(json.loads(path.read_text())["recipe"] == wanted)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _keep(path: Path, wanted: list[str], metrics: Path) -> None:
    """Keep an evaluation, with what the recipe asked for."""
    kept = {"recipe": wanted, **json.loads(metrics.read_text())}
    write_whole(path, (json.dumps(kept, indent=1) + "\n").encode())


def commands(recipe: dict[str, Any], named: dict[str, str | None]) -> dict[str, list[str]]:
    """Return each run's options for `edge train fit`, by the run's name, in the recipe's order.

    Args:
        recipe: what the TOML file holds.
        named: what stands for `{votes}` and `{aligned}`; an option of which nothing is known is left out.

    Raises:
        InputError: it is no recipe.
    """
    tables, shared, seeds = recipe.get("runs"), recipe.get("options", {}), recipe.get("seeds", [None])
    whole = isinstance(tables, dict) and isinstance(seeds, list) and bool(tables)
    if not whole or not all(isinstance(table, dict) for table in (shared, *tables.values())):
        raise InputError(
            "the recipe has no [runs.NAME] tables with options of edge train fit, or its seeds are no list"
        )
    runs = {}
    for name, own in tables.items():
        settings = {**shared, **own}
        for seed in seeds:
            wanted = settings if seed is None else {**settings, "seed": seed}
            runs[name if seed is None else f"{name}-seed{seed}"] = _options(wanted, named)
    return runs


def _options(settings: dict[str, Any], named: dict[str, str | None]) -> list[str]:
    options = []
    for key, value in settings.items():
        for each in value if isinstance(value, list) else [value]:
            text = str(each)
            if isinstance(each, str) and text.startswith("{"):
                if text.strip("{}") not in named:
                    raise InputError(f"{key} = {text!r}: a recipe may name {', '.join(f'{{{n}}}' for n in named)}")
                if named[text.strip("{}")] is None:
                    continue
                text = str(named[text.strip("{}")])
            if isinstance(each, dict):
                raise InputError(f"{key}: a table is no option of edge train fit")
            if each is not False:
                options += [f"--{key.replace('_', '-')}", *([] if each is True else [text])]
    return options


def edge(*arguments: str) -> None:
    """Run `edge …` as a person would; stop everything where it fails."""
    print("edge", *arguments, file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "edge.cli", *arguments], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
