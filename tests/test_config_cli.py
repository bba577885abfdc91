"""`edge config init` and `edge config check` as a person types them, and what the file is made of."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from edge.cli import call
from edge.config import CameraConfig, Config, load_config
from edge.config import text as config_text
from edge.config.settings import EXAMPLE
from edge.config.text import REQUIRED, Key, keys_of, template, toml


def uncommented(text: str) -> str:
    """The file with every default's # taken away, but for what is not set and for tables that may stand often."""
    kept: list[str] = []
    in_array = False
    for block in text.split("\n\n"):
        in_array = "[[" in block or (in_array and "\n[" not in block)
        left = in_array or "Not set; an example:" in block.replace("\n# ", " ")
        kept.append(block if left else re.sub(r"(?m)^#(?=\w+ = )", "", block))
    return "\n\n".join(kept)


def test_a_file_as_written_changes_nothing_nor_does_it_with_every_default_spelled_out(tmp_path: Path) -> None:
    assert call(["config", "init", str(tmp_path / "edge.toml")]) == 0
    text = (tmp_path / "edge.toml").read_text()
    assert load_config(tmp_path / "edge.toml") == Config()
    spelled = uncommented(text)
    assert len(re.findall(r"(?m)^\w+ = ", spelled)) > 5
    (tmp_path / "edge.toml").write_text(spelled)
    assert load_config(tmp_path / "edge.toml") == Config()


def test_every_key_is_there_and_explained() -> None:
    text = template()

    def look(kind: Any) -> None:
        for key in keys_of(kind):
            assert key.about, f"{kind.__name__}.{key.name} has no docstring"
            if key.table:
                look(key.kind)
            else:
                assert re.search(rf"(?m)^# .*\n#{key.name} = ", text), key.name

    look(Config)
    assert len(keys_of(Config)) == len(fields(Config))
    assert max(map(len, text.splitlines())) <= config_text.WIDTH


def test_what_is_set_stands_uncommented(tmp_path: Path) -> None:
    settings = {"device": "hall", "camera": [{"source": "0"}, {"source": "1", "name": "b"}], "track": {"keep": 2.0}}
    (tmp_path / "edge.toml").write_text(template({**settings, "camera": settings["camera"][:1]}))  # type: ignore[index]
    config = load_config(tmp_path / "edge.toml")
    assert (config.device, config.camera, config.track.keep) == ("hall", (CameraConfig("0"),), 2.0)
    assert template(settings).count("\n[[camera]]\n") == 2


def unset(kind: Any, table: str = "", *, array: bool = False) -> list[tuple[str, bool, Key]]:
    """Every key whose line in the template is an example: its table, whether that is an array, and the key."""
    found = [] if table == "" and array else [(table, array, key) for key in keys_of(kind) if key.example is not None]
    for key in keys_of(kind):
        if key.table:
            found += unset(key.kind, key.name, array=key.table == "[[]]")
    return found


TOGETHER = {"width": "height", "height": "width", "password_file": "username", "ca_file": "broker"}
"""What a key is not set without."""

NETWORK = {"username", "password_file"}
"""Keys of a camera that is a URL."""


def test_every_key_without_a_default_has_an_example_of_its_own() -> None:
    def look(kind: Any) -> None:
        for key in keys_of(kind):
            if key.table:
                look(key.kind)
            else:
                assert (key.example is not None) == (key.default in (None, REQUIRED)), key.name

    look(Config)
    assert "null" not in template()
    assert not re.search(r'(?m)^#\w+ = ("")?$', template())
    assert len(unset(Config)) > 12


@pytest.mark.parametrize("place", unset(Config), ids=lambda place: f"{place[0]}.{place[2].name}".lstrip("."))
def test_an_example_without_its_hash_passes_the_check(
    place: tuple[str, bool, Key], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Line by line as a reader would, with what a key is not set without, and with a camera."""
    table, array, key = place
    wanted = {key.name, TOGETHER.get(key.name, key.name)}
    lines, here = [], ""
    for line in template().splitlines():
        if header := re.fullmatch(r"#?(\[+)([\w.]+)\]+", line):
            here, line = header[2], line.removeprefix("#")
        name = re.match(r"#(\w+) = ", line)
        if here == "camera" and name and name[1] == "source":
            line = '#source = "rtsp://192.0.2.7/1"' if table == "camera" and wanted & NETWORK else line
            line = line.removeprefix("#")
        elif name and here == table and name[1] in wanted:
            line = line.removeprefix("#")
        lines.append(line)
    path = tmp_path / "edge.toml"
    path.write_text("\n".join(lines) + "\n")
    assert call(["config", "check", str(path)]) == 0, capfd.readouterr().err
    assert "nothing is wrong with it" in capfd.readouterr().err
    config: Any = load_config(path)
    held = config if not table else getattr(config, table)[0] if array else getattr(config, table)
    assert getattr(held, key.name) == key.example


@dataclass(frozen=True)
class Inner:
    """Of one kind each."""

    words: tuple[str, ...] = ("a", "b")
    """Several words."""
    share: float = 0.5
    """A share,
    told in two lines."""
    name: str | None = field(default=None, metadata={EXAMPLE: "hall"})
    """Not set."""


@dataclass(frozen=True)
class Outer:
    """Keys of every shape, as others may add them."""

    must: str
    """Has to be given."""
    undocumented: int = 3
    inner: Inner = field(default_factory=Inner)
    """A table."""
    many: tuple[Inner, ...] = ()
    """Several tables."""


def test_new_keys_and_tables_show_up_by_themselves() -> None:
    must, undocumented, inner, many = keys_of(Outer)
    assert (must.default, undocumented.about, undocumented.default) == (REQUIRED, "", 3)
    assert (inner.kind, inner.table, many.kind, many.table) == (Inner, "[]", Inner, "[[]]")
    lines = list(config_text._table(Outer, "", {}, commented=False))
    assert "# Has to be given. Must be given." in lines
    assert "# A share, told in two lines." in lines
    assert '#words = ["a", "b"]' in lines
    assert '#name = "hall"' in lines
    assert "#[[many]]" in lines


@pytest.mark.parametrize(
    ("value", "text"),
    [("", '""'), ('a"b\\c\n\x7f', '"a\\"b\\\\c\\n\\u007f"'), (True, "true"), (1, "1"), (0.5, "0.5"), (("a",), '["a"]')],
)
def test_values_as_toml(value: object, text: str, tmp_path: Path) -> None:
    from edge.config.file import read_tables

    assert toml(value) == text
    (tmp_path / "one.toml").write_text(f"key = {text}\n")
    assert read_tables(tmp_path / "one.toml")["key"] == (list(value) if isinstance(value, tuple) else value)


def test_a_file_that_is_there_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('device = "mine"\n')
    assert call(["config", "init", str(path)]) == 2
    assert path.read_text() == 'device = "mine"\n'
    assert "--force" in capfd.readouterr().err
    assert call(["config", "init", str(path), "--force"]) == 0
    assert load_config(path) == Config()
    assert call(["config", "init", str(tmp_path)]) == 2


def test_check_names_every_unknown_key_and_the_wrong_value(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("[detekt]\n[track]\nkeap = 1\n[mqtt]\nbroker = 'mqtt://a'\n")
    assert call(["config", "check", str(path)]) == 2
    said = capfd.readouterr().err
    assert 'unknown key "detekt"; did you mean "detect"?' in said
    assert 'unknown key "track.keap"; did you mean "keep"?' in said
    assert "2 unknown keys" in said
    path.write_text("[detekt]\n[track]\nkeep = 'x'\n")
    assert call(["config", "check", str(path)]) == 2
    said = capfd.readouterr().err
    assert 'did you mean "detect"?' in said
    assert "\"track.keep\" is 'x': expected a number" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mqtt]\nbroker = 'mqtt://bob:1@a'", "a URL must not hold a user or password"),
        ("[detect]\ndetector = 'mtcn'", 'no detector "mtcn"'),
        ("device = 'a/b'", 'device name "a/b"'),
        ("[[camera]]\nsource = '0'\nname = 'a+b'", 'camera name "a+b"'),
        ("[mqtt]\nbroker = 'mqtt://bob@a'\nusername = 'bob'", "a URL must not hold a user or password"),
        ("[[camera]]\nsource = 'rtsp://bob:x@h/1'\nusername = 'bob'", "it holds a user, and username is set beside it"),
        ("[[camera]]\nsource = 'rtsp://h/1'\npassword_file = 'f'", "camera.password_file is set without"),
        ("[mqtt]\nbroker = 'mqtt://a'\npassword_file = 'f'", "mqtt.password_file is set without mqtt.username"),
        ("[mqtt]\nbroker = 'mqtt://a'\nca_file = 'f'", "mqtt.ca_file is set, but broker mqtt://a:1883 is without TLS"),
    ],
)
def test_check_looks_at_names(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, says: str) -> None:
    (tmp_path / "edge.toml").write_text(text)
    assert call(["config", "check", str(tmp_path / "edge.toml")]) == 2
    said = capfd.readouterr().err
    assert says in said
    assert "edge.toml" in said


def test_check_says_what_is_missing_though_nothing_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("[track]\nkeep = 1\n")
    assert call(["config", "check", str(path)]) == 0
    said = capfd.readouterr().err
    assert "it names no camera: add a [[camera]] table" in said
    assert "nothing is wrong" not in said
    path.write_text("[[camera]]\nsource = '0'\n[health]\nmetrics_port = 9105\n")
    assert call(["config", "check", str(path)]) == 0
    assert "nothing is wrong" in capfd.readouterr().err
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert call(["config", "check", str(path)]) == 0
    said = capfd.readouterr().err
    assert 'needs the package prometheus_client: pip install "emotion-edge[metrics]"' in said
    assert "nothing is wrong" not in said


def test_check_shows_what_is_in_force(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("[[camera]]\nsource = '0'\n[track]\nkeep = 2\n")
    assert call(["config", "check", str(path), "--show"]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert 'camera[0].source = "0"' in shown
    assert 'camera[0].name = "camera"  # default' in shown
    assert "track.keep = 2.0" in shown
    assert "track.overlap = 0.3  # default" in shown
    assert "# model: not set" in shown
    assert len(shown) == count(Config)


def count(kind: Any) -> int:
    """How many values a table and those in it hold."""
    return sum(count(key.kind) if key.table else 1 for key in keys_of(kind))


def test_check_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["config", "check"]) == 2
    assert "configuration edge.toml: cannot be read" in capfd.readouterr().err
    assert call(["config", "init"]) == 0
    assert call(["config", "check"]) == 0


def test_the_service_warns_and_goes_on(tmp_path: Path) -> None:
    path, warnings = tmp_path / "edge.toml", list[str]()
    path.write_text("devise = 'x'\n[track]\nkeep = 2\nkeap = 3\n[[camera]]\nsource = '0'\nnew = 1\n[later]\nx = 1\n")
    config = load_config(path, lenient=True, warn=warnings.append)
    assert (config.track.keep, config.camera[0].source) == (2.0, "0")
    assert len(warnings) == 4
    assert 'unknown key "devise"; did you mean "device"?; it is left out' in warnings[0]
    assert all(str(path) in line for line in warnings)
