"""`edge train fit --help` shows fifty options in an order that a person can follow, and none is lost or told twice."""

from __future__ import annotations

import re

from click.testing import CliRunner

from train.cli.fit import FIT_OPTIONS, fit_command


def test_every_option_stands_in_its_section_once() -> None:
    text = CliRunner().invoke(fit_command, ["--help"]).output
    titles = [line.rstrip(":") for line in text.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert titles == ["Example", *FIT_OPTIONS, "Options"] or titles == [*FIT_OPTIONS, "Options"]
    for title, options in FIT_OPTIONS.items():
        section = text.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        assert re.findall(r"^  (--[a-z-]+)", section, re.MULTILINE) == [name for name, _ in options]
    rest = text.partition("\nOptions:\n")[2]
    assert re.findall(r"^  (?:-h, )?(--[a-z-]+)", rest, re.MULTILINE) == [
        "--name", "--threads", "--workers", "--tensorboard", "--help",
    ]  # fmt: skip
