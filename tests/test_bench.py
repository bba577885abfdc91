"""`edge bench`: real runs in real processes, the choice that `edge run` takes, what a machine says of itself."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from test_tflite import needs_runtime, written

from edge.errors import InputError
from edge.machine import cores, decode_throttled, describe_machine, peak_memory, processor
from edge.measure.bench import (
    Bench,
    Failure,
    Row,
    choose,
    measure,
    measure_files,
    save_choice,
    shipped,
    thread_counts,
)
from edge.measure.bench_show import COLUMNS, aligned, show
from edge.measure.bench_worker import ROUNDS, loop, rounds
from edge.model import DEFAULT_MODEL, load_model
from edge.model.choice import Choice, load_chosen, read_choice, write_choice

SHORT = 0.2
"""Seconds to measure where only the way is tested: each row then has one crop a round."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that no choice of this machine's user comes in."""
    folder = tmp_path / "home"
    monkeypatch.setenv("EMOTION_EDGE_HOME", str(folder))
    return folder


def row(file: str = "a.onnx", threads: int = 1, p50: float = 1.0, name: str = "lite0", parent: str = "p") -> Row:
    """A row of which the speed matters."""
    return Row(
        file, "onnxruntime 1.31.1", threads, f"{name}-int8@1234", name, "ab", parent,
        load_ms=90, first_ms=3, p50_ms=p50, p95_ms=2 * p50, per_second_1=1000 / p50, per_second_8=1200, peak_mb=91,
    )  # fmt: skip


def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edge.cli", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


# Which row wins


@pytest.mark.parametrize(
    ("rows", "winner"),
    [
        ([], None),
        ([row("a.onnx", p50=2), row("b.tflite", p50=1)], 1),
        ([row("a.onnx", p50=1, name="other"), row("b.onnx", p50=0.1)], 0),
        ([row("a.onnx", p50=1, parent="q"), row("b.onnx", p50=0.1)], 0),
        ([row("a.onnx", p50=0.1, name="other"), row(str(DEFAULT_MODEL), p50=3), row("b.tflite", p50=2)], 2),
        ([row(threads=1, p50=1.04), row(threads=2, p50=1.0)], 0),
        ([row(threads=1, p50=1.2), row(threads=2, p50=1.03), row(threads=4, p50=1.0)], 1),
    ],
    ids=["none", "fastest", "another name", "another parent", "what ships first", "a draw", "a draw of three"],
)
def test_the_fastest_form_of_one_model_wins(rows: list[Row], winner: int | None) -> None:
    assert choose(rows) is (None if winner is None else rows[winner])


# Measuring


def test_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="no model file to measure"):
        measure([], [1], SHORT)


def test_turns_count_what_the_clock_says() -> None:
    """A clock that goes on by a millisecond a look: each run takes one, and a turn's time says how many there are."""
    ticks = itertools.count()
    shares: list[float] = []
    file = {"file": str(DEFAULT_MODEL), "runtime": "onnxruntime", "threads": 1}
    seconds = ROUNDS * 2 * 0.005  # five milliseconds a turn: three crops and two batches
    result = rounds([file, file], seconds, shares.append, clock=lambda: next(ticks) / 1000)
    for figures in result:
        assert figures == pytest.approx({"p50_ms": 1, "p95_ms": 1, "per_second_1": 1000, "per_second_8": 8000})
    assert shares == [pytest.approx(turn / (2 * ROUNDS)) for turn in range(1, 2 * ROUNDS + 1)]
    assert next(ticks) in range(2 * 2 * ROUNDS * 5, 2 * 2 * ROUNDS * 7 + 1)  # a sum of floats may ask for one more


def test_files_are_measured_as_their_figures_say() -> None:
    shares: list[float] = []
    rows = measure_files([DEFAULT_MODEL], [2, 1, 1], SHORT, shares.append)
    assert [(r["file"], r["threads"]) for r in rows] == [(DEFAULT_MODEL.name, 1), (DEFAULT_MODEL.name, 2)]
    for found in rows:
        assert set(found) == {"file", "runtime", "threads", "first_ms", "p50_ms", "p95_ms", "peak_mb"}
        assert found["runtime"] == load_model().runtime
        assert 0 < found["p50_ms"] <= found["p95_ms"]
        assert found["first_ms"] > 0
        # Python, numpy, OpenCV and ONNX Runtime take some 60 MiB, the model its 4 MB
        assert 40 < found["peak_mb"] < 400
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_memory_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    ballast = bytearray(b"x") * (300 << 20)
    code = "from edge.machine import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert peak_memory() > len(ballast) / 2**20
    assert float(done.stdout) < len(ballast) / 2**20


@needs_runtime
def test_both_kinds_of_file_side_by_side(tmp_path: Path) -> None:
    rows, failures = measure([DEFAULT_MODEL, written(tmp_path)], [1], SHORT)
    assert failures == []
    assert [r.name for r in rows] == [load_model(DEFAULT_MODEL).info.name] + ["tiny"] * (len(rows) - 1)
    assert {r.runtime.split()[0] for r in rows} >= {"onnxruntime"}
    assert rows[-1].runtime.split()[0] in ("ai-edge-litert", "tflite-runtime")


def test_a_file_that_cannot_be_measured_leaves_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(DEFAULT_MODEL.read_bytes()[:5000])
    rows, (failed,) = measure([broken, DEFAULT_MODEL], [1], SHORT)
    assert [Path(r.file) for r in rows] == [DEFAULT_MODEL]
    assert (failed.file, failed.threads) == (str(broken), 1)
    assert "no ONNX file" in failed.reason
    with pytest.raises(InputError, match=r"broken\.onnx in onnxruntime: .*no ONNX file"):
        measure_files([broken], [1], SHORT)
    with pytest.raises(InputError, match="no such model file"):
        measure([DEFAULT_MODEL, tmp_path / "missing.onnx"], [1], SHORT)


def children() -> list[int]:
    """Processes that this one started and that still are."""
    text = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(number) for number in text.split()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found by Linux's /proc")


@needs_proc
def test_a_process_that_dies_is_said_with_its_signal() -> None:
    """As an illegal instruction ends it, on a processor that a runtime was not built for."""

    def kill(share: float) -> None:
        if share > 0.4:  # in turns: the first share is that of the single starts
            for child in children():
                os.kill(child, signal.SIGILL)

    with pytest.raises(InputError, match="measuring in turns: the process was ended by SIGILL"):
        measure([DEFAULT_MODEL], [1], 60, kill)


@needs_proc
def test_giving_up_leaves_no_process() -> None:
    before = set(children())

    def stop(share: float) -> None:
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure([DEFAULT_MODEL], [1], 60, stop)
    assert set(children()) <= before


def test_threads_double_up_to_the_cores() -> None:
    counts = thread_counts()
    assert counts[0] == 1
    assert counts[-1] == cores()
    assert all(b <= 2 * a for a, b in itertools.pairwise(counts))


def test_what_ships_is_measured_by_default() -> None:
    assert DEFAULT_MODEL in shipped()
    assert {path.suffix for path in shipped()} <= {".onnx", ".tflite"}


# The command


def test_the_loop_runs_on_the_clip_and_everything_is_json(portrait_clip: Path) -> None:
    done = edge("bench", "--threads", "1", "--seconds", "1", "--clip", str(portrait_clip), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert {r["runtime"].split()[0] for r in found["rows"]} >= {"onnxruntime"}
    assert found["best"] in found["rows"]
    assert found["saved"] is None
    assert found["machine"]["cpu"] == processor()
    loop = found["loop"]
    assert (loop["clip"], loop["size"], loop["detector"]) == ("portrait.mp4", [640, 480], "mtcnn")
    assert loop["frames"] == loop["with_face"] >= 1  # the clip begins with the face
    for key in ("detect_ms", "classify_ms", "total_ms"):
        assert 0 < loop[key]["p50"] <= loop[key]["p95"]
    # reading a frame costs as well: the loop is no faster than its steps, the middle one taken for all
    assert loop["detect_ms"]["p50"] < loop["total_ms"]["p50"]


def test_what_cannot_be_measured_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"x")
    done = edge("bench", "--models", str(tmp_path / "broken.onnx"), "--seconds", "0.2", "--threads", "1", "--save")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "edge: no model file could be measured"
    assert read_choice() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "missing.onnx"], "missing.onnx: no such model file"),
        (["--clip", "missing.mp4"], "--clip missing.mp4: no such file"),
        (["--threads", "0"], "0 is not in the range"),
        (["--seconds", "nan"], "--seconds nan: give a number from 0.1 to 3600"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], said: str) -> None:
    done = edge("bench", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_clip_without_a_picture_ends(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(InputError):
        loop({"file": str(DEFAULT_MODEL), "runtime": None, "threads": 1}, str(tmp_path), SHORT, lambda share: None)


# What is shown


def result(rows: list[Row], **state: Any) -> Bench:
    """A measurement on a machine that tells everything."""
    known = {
        "load": 0.1, "governor": "ondemand", "mhz": 1500, "max_mhz": 1800, "temperatures": {"cpu-thermal": 48.7},
        "throttled": {"now": [], "since_start": []},
    }  # fmt: skip
    machine = {
        "cpu": "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72", "cores": 4, "memory_gib": 3.7, "os": "Debian 12",
        "kernel": "Linux 6.1 aarch64", "python": "3.11.2", "versions": {"onnxruntime": "1.31.1"}, **known,
    }  # fmt: skip
    return Bench(machine, {**known, **state}, 20, tuple(rows), (), None, choose(rows))


def test_a_table_of_nothing_is_its_heading() -> None:
    (heading,) = aligned([])
    assert heading.split() == " ".join(COLUMNS).split()


def test_heat_and_throttling_stand_beside_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    hot = {"temperatures": {"cpu-thermal": 81.2}, "throttled": {"now": ["throttled"], "since_start": ["under-voltage"]}}
    show(result([row(), row("x/a.onnx", 2, 0.5)], **hot), sys.stdout)
    shown = capsys.readouterr().out
    assert "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72, 4 cores, 3.7 GiB" in shown
    assert "before: load 0.1, governor ondemand, 1500 of 1800 MHz, cpu-thermal 49 °C, not throttled\n" in shown
    assert "cpu-thermal 81 °C, NOW throttled, since it started: under-voltage\n" in shown
    assert "   a.onnx " in shown
    assert "*  x/a.onnx " in shown
    assert "something else" not in shown


def test_a_busy_machine_and_what_failed_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = result([row()])
    failed = Failure("b.tflite", "tflite-runtime", 2, "it needs numpy 1")
    show(replace(quiet, machine={**quiet.machine, "load": 7.9}, failures=(failed,)), sys.stdout)
    shown = capsys.readouterr().out
    assert "something else kept the processor busy (load 7.9)" in shown
    assert "not measured: b.tflite in tflite-runtime, 2 threads: it needs numpy 1\n" in shown


# The machine


def planted(root: Path, files: dict[str, str]) -> Path:
    """Write files of /proc, /sys and /etc under a folder."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


PI = {
    "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n\nprocessor\t: 1\nCPU part\t: 0xd08\n\n"
    "Revision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "etc/os-release": 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48686\n",
    "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "51000\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
}
"""What a Raspberry Pi 4 tells under Debian 12."""


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    told = describe_machine(tmp_path)
    assert told["cpu"]
    assert told["cores"] >= 1
    assert (told["governor"], told["mhz"], told["max_mhz"], told["temperatures"]) == (None, None, None, {})


def test_a_raspberry_pi_is_read(tmp_path: Path) -> None:
    told = describe_machine(planted(tmp_path, PI))
    assert told["cpu"] == "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72"
    assert told["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert (told["governor"], told["mhz"], told["max_mhz"]) == ("ondemand", 1500, 1800)
    assert told["temperatures"] == {"cpu-thermal": 48.686, "cpu-thermal 1": 51.0}


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor : 0\nmodel name\t: AMD EPYC\ncpu MHz : 2596.1\n", "AMD EPYC"),
        ("CPU part\t: 0xd05\n\nCPU part\t: 0xd0b\n", "Cortex-A55 and Cortex-A76"),
        ("CPU part\t: 0xfff\n", "core 0xfff"),
        ("CPU part\t: none\nModel : Board of its own\n", "Board of its own"),
    ],
)
def test_processors_have_names(tmp_path: Path, cpuinfo: str, name: str) -> None:
    assert processor(planted(tmp_path, {"proc/cpuinfo": cpuinfo})) == name


def test_this_machine_is_described_as_json() -> None:
    told = describe_machine()
    assert json.loads(json.dumps(told)) == told
    assert told["versions"]["onnxruntime"] == load_model().runtime.split()[1]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", None),
        ('error=1 error_msg="Command not registered"', None),
        ("throttled=0x0\n", {"now": [], "since_start": []}),
        ("throttled=0x50005\n", {"now": ["under-voltage", "throttled"], "since_start": ["under-voltage", "throttled"]}),
        ("throttled=0x80000", {"now": [], "since_start": ["soft temperature limit"]}),
    ],
)
def test_what_vcgencmd_says(said: str, meant: dict[str, list[str]] | None) -> None:
    assert decode_throttled(said) == meant


# The choice


def choice(**different: Any) -> Choice:
    """The shipped model as it runs here, or what is named different."""
    model = load_model()
    held = Choice(str(DEFAULT_MODEL), model.info.sha256, model.runtime, 2, processor(), 1.0, "2026-03-01T08:13:07Z")
    return replace(held, **different)


def chosen(threads: int | None = None) -> tuple[str | None, list[str]]:
    """Return which model is loaded by choice, and what is said."""
    said: list[str] = []
    loaded = load_chosen(said.append, threads)
    return (loaded[0].info.id if loaded else None), said


def test_no_choice_says_nothing() -> None:
    assert chosen() == (None, [])


def test_a_choice_that_holds_is_taken() -> None:
    write_choice(choice())
    assert read_choice() == choice()
    shown, said = chosen()
    assert shown == load_model().info.id
    assert said == [f"model {shown} in {load_model().runtime}, threads 2: what edge bench chose"]
    assert "threads 1: what" in chosen(threads=1)[1][0]


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"processor": "Cortex-A72"}, "it was measured on Cortex-A72, this is "),
        ({"runtime": "onnxruntime 1.2.3"}, "it was measured with onnxruntime 1.2.3, here is onnxruntime "),
        ({"sha256": "0" * 64}, f"{DEFAULT_MODEL.name} is another file than the one that was measured"),
        ({"file": "/nowhere/x.onnx"}, "/nowhere/x.onnx: no such model file"),
        ({"file": "/nowhere/\0.onnx"}, "no such model file"),
        ({"file": "/" + "x" * 300 + ".onnx"}, f"{'x' * 300}.onnx: "),
    ],
)
def test_a_choice_that_does_not_hold_is_said_in_one_line(different: dict[str, Any], said: str) -> None:
    write_choice(choice(**different))
    model, (line,) = chosen()
    assert model is None
    assert said in line
    assert line.startswith("what edge bench chose does not hold: ")
    assert "\n" not in line


@needs_runtime
def test_a_choice_of_a_runtime_that_runs_no_such_file(tmp_path: Path) -> None:
    write_choice(choice(file=str(written(tmp_path)), runtime="onnxruntime 1.31.1"))
    model, (line,) = chosen()
    assert model is None
    assert "onnxruntime runs no TFLite file" in line


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"v": 2}', b'{"v": 1}', b"[" * 100_000,
        json.dumps({"v": 1, **asdict(Choice("f", "s", "r", 0, "p", 1.0, "m"))}).encode(),
        json.dumps({"v": 1, **asdict(Choice("f", "s", "r", 1, "p", 1.0, "m")), "threads": True}).encode(),
        json.dumps({"v": 1, **asdict(Choice("f", "s", "r", 1, "p", 1.0, "m")), "p50_ms": "1"}).encode(),
    ],
)  # fmt: skip
def test_a_damaged_choice_is_no_reason_to_stop(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "choice.json").write_bytes(content)
    model, (line,) = chosen()
    assert model is None
    assert "choice.json: it is" in line or "choice.json: cannot be read (it has more than 64 KiB)" in line
    with pytest.raises(InputError):
        read_choice()


def test_a_folder_in_its_place(home: Path) -> None:
    (home / "choice.json").mkdir(parents=True)
    assert chosen()[0] is None
    with pytest.raises(InputError, match="cannot be written"):
        save_choice(row(str(DEFAULT_MODEL)))


def test_what_bench_saves_is_what_run_takes(home: Path, tmp_path: Path, portrait: Path) -> None:
    """A copy under another name wins (it is alone), and `edge run` takes it until it is another file."""
    copy = tmp_path / "mine.onnx"
    shutil.copyfile(DEFAULT_MODEL, copy)
    saved = edge("bench", "--models", str(copy), "--threads=2", "--seconds=0.2", "--clip", str(portrait), "--save")
    assert saved.returncode == 0, saved.stderr
    lines = saved.stdout.splitlines()
    heading = next(index for index, line in enumerate(lines) if line.split()[:1] == ["file"])
    assert lines[heading + 1].split()[:3] == ["*", "mine.onnx", "onnxruntime"]
    assert any(line.startswith("astronaut.png, 512x512: ") for line in lines)
    assert "\x1b" not in saved.stdout
    assert saved.stderr == f'edge: {home / "choice.json"}: "edge run" takes mine.onnx from now on\n'
    stored = read_choice()
    assert stored is not None
    assert (stored.file, stored.threads, stored.processor) == (str(copy), 2, processor())
    picture = ("run", "--source", str(portrait), "--stdout")
    first = edge(*picture)
    assert first.returncode == 0, first.stderr
    assert "threads 2: what edge bench chose" in first.stderr
    named = edge(*picture, "--model", str(DEFAULT_MODEL))
    assert "bench" not in named.stderr
    copy.unlink()
    gone = edge(*picture)
    assert gone.returncode == 0
    assert "what edge bench chose does not hold: " in gone.stderr
    events = [[json.loads(line)["emotion"] for line in done.stdout.splitlines()] for done in (first, named, gone)]
    assert events == [["happy", "happy"]] * 3
