"""Trains every run of a recipe in turn, evaluates each, and writes the comparison. Killed, the same command goes on.

A recipe is a TOML file of scripts/recipes: `[options]` of every run and a table a run, in the words of
`edge train fit`; `seeds` makes each run several, NAME-seed0 and so on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge.errors import EdgeError, InputError
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
    parser.add_argument("--out", default="comparison", help="folder for the comparison (default: comparison)")
    given = parser.parse_args()
    from train.runs import load_toml

    path = RECIPES / f"{given.recipe}.toml" if given.recipe in known else Path(given.recipe)
    try:
        recipe = load_toml(path)
        runs = commands(recipe, {"votes": given.votes, "aligned": given.aligned})
    except EdgeError as error:
        parser.error(str(error))
    unknown = set(given.only or ()) - set(runs)
    if unknown:
        parser.error(f"no run {', '.join(sorted(unknown))} in {path.name}: it has {', '.join(runs)}")
    for name, options in runs.items():
        if not given.only or name in given.only:
            edge("train", "fit", given.data, "--name", name, *options)
            edge("train", "evaluate", name)
    if not given.only:
        edge("train", "compare", *recipe.get("compare", runs), "--out", given.out)
    return 0


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
