"""The log: both forms, levels, and readers that stall, go on, or went away."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

import pytest

from edge.config import LogConfig, load_config
from edge.errors import InputError
from edge.host.logs import FORMATS, LEVELS, Log
from edge.terminal import say

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""


def written(config: LogConfig | None = None, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    """Log what is given, and return the lines that came out."""
    config, lines = config or LogConfig(), list[str]()
    with Log(config.format, config.level, write=lines.append, wall=lambda: 1772352787.4125) as log:
        for text, options in calls:
            log(text, **options)
    return lines


def configured(tmp_path: Path, text: str) -> LogConfig:
    """Read `[log]` from a file, as a person writes it."""
    (tmp_path / "edge.toml").write_text(f"[log]\n{text}\n")
    return load_config(tmp_path / "edge.toml").log


def test_nothing_said_is_nothing_written() -> None:
    assert written() == []


def test_text_is_what_say_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = "camera \x1b[2Jfront\nanswers"
    say(text)
    assert written(None, (text, {"camera": "front"})) == [capsys.readouterr().err]


def test_json_lines(tmp_path: Path) -> None:
    config = configured(tmp_path, 'format = "json"')
    lines = written(config, ("camera front\nanswers", {"camera": "front", "tries": 3, "level": "warning"}), ("ö", {}))
    assert all(line.endswith("\n") and line.count("\n") == 1 and line.isascii() for line in lines)
    assert [json.loads(line) for line in lines] == [
        {
            "ts": "2026-03-01T08:13:07.412Z", "level": "warning", "msg": "camera front\nanswers", "camera": "front",
            "tries": 3,
        },
        {"ts": "2026-03-01T08:13:07.412Z", "level": "info", "msg": "ö"},
    ]  # fmt: skip


def test_whatever_a_field_is_the_line_is_json() -> None:
    circle: list[Any] = []
    circle.append(circle)
    fields = {"ts": "no", "msg": "no", "path": Path("a/b"), "nan": float("nan")}
    for odd in ({}, {"circle": circle}, {"keys": {(1, 2): 3}}, {"lone": "\udcff"}):
        (line,) = written(LogConfig("json"), ("x", {**fields, **odd}))
        found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert (found["ts"], found["msg"], found["path"]) == ("2026-03-01T08:13:07.412Z", "x", "a/b")


@pytest.mark.parametrize("level", LEVELS)
def test_levels(tmp_path: Path, level: str) -> None:
    config = configured(tmp_path, f'level = "{level}"')
    lines = written(config, *((f"it is {each}", {"level": each}) for each in LEVELS))
    assert lines == [f"edge: it is {each}\n" for each in LEVELS[LEVELS.index(level) :]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('format = "xml"', 'log.format is "xml": expected one of text, json'),
        ('level = "loud"', 'log.level is "loud": expected one of debug, info, warning, error'),
        ("level = 3", '"log.level" is 3: expected text in quotes'),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(tmp_path, text)
    assert says in str(caught.value)


def test_the_log_itself_refuses_what_it_does_not_know() -> None:
    assert FORMATS == ("text", "json")
    with pytest.raises(InputError, match=r"log\.format is"):
        Log("xml")
    with pytest.raises(InputError, match=r"log\.level is"):
        Log("text", "loud")


def test_a_level_may_change_while_it_runs() -> None:
    lines: list[str] = []
    with Log(write=lines.append) as log:
        log("quiet", level="debug")
        log.set_level("debug")
        log("loud", level="debug")
    assert lines == ["edge: loud\n"]


def test_a_reader_that_stalls_loses_lines_and_is_told_how_many() -> None:
    lines, stalled, goes_on = list[str](), threading.Event(), threading.Event()

    def write(line: str) -> None:
        lines.append(line)
        stalled.set()
        assert goes_on.wait(PATIENCE)

    log = Log(write=write, most=3)
    log("first")
    assert stalled.wait(PATIENCE)
    for number in range(10):
        log(f"line {number}")
    assert log.dropped == 7
    goes_on.set()
    assert log.close(PATIENCE)
    assert lines == [
        "edge: first\n", "edge: 7 log lines dropped: the reader of standard error stalled\n", "edge: line 0\n",
        "edge: line 1\n", "edge: line 2\n",
    ]  # fmt: skip


def test_what_comes_after_the_end_is_no_error() -> None:
    log = Log(write=print)
    assert log.close()
    log("too late")


def test_many_threads_and_no_line_is_torn() -> None:
    lines: list[str] = []
    with Log("json", write=lines.append, most=10_000) as log:
        threads = [
            threading.Thread(target=lambda: [log("x", number=number) for number in range(500)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(json.loads(line)["number"] for line in lines) == sorted([*range(500)] * 8)


def test_standard_error_that_is_no_file_is_written_all_the_same() -> None:
    with redirect_stderr(io.StringIO()) as caught:
        with Log() as log:
            log("a line")
    assert caught.getvalue() == "edge: a line\n"


CHATTER = """
import sys
from edge.host.logs import Log

log = Log(most=100)
for number in range(20_000):
    log(f"line {number} " + "x" * 100)
written = log.close(0.2)
print(written, log.dropped > 0, flush=True)
"""


def chatter(**options: Any) -> subprocess.Popen[str]:
    """Start a process that says a great deal."""
    return subprocess.Popen([sys.executable, "-c", CHATTER], stdout=subprocess.PIPE, text=True, **options)


def test_a_pipe_that_nobody_reads_holds_up_neither_the_run_nor_its_end() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"x" * 1000):  # until it is full
            pass
    os.set_blocking(writer, True)
    try:
        with chatter(stderr=writer) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode, said) == (0, "False True\n")
    finally:
        os.close(reader)
        os.close(writer)


def test_a_reader_that_went_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with chatter(stderr=writer) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert said.startswith("True")
    finally:
        os.close(writer)


def test_standard_error_made_non_blocking_gets_every_line() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = "from edge.host.logs import Log\nwith Log(most=10**6) as log:\n    [log('x' * 99) for _ in range(5000)]\n"
    with subprocess.Popen([sys.executable, "-c", code], stderr=writer) as process:
        os.close(writer)
        with os.fdopen(reader) as file:
            lines = file.read().splitlines()
    assert process.returncode == 0
    assert lines == ["edge: " + "x" * 99] * 5000
