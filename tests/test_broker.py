"""Broker URLs, topic levels and credentials: what is read, and what is refused without showing a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.broker import BrokerAddress, Credentials, check_level, parse_broker, read_credentials
from edge.errors import InputError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://localhost", BrokerAddress("localhost", 1883, "emotion", False)),
        ("mqtt://localhost/", BrokerAddress("localhost", 1883, "emotion", False)),
        ("mqtts://broker.home", BrokerAddress("broker.home", 8883, "emotion", True)),
        ("MQTT://10.0.0.1:1884/house/first-floor", BrokerAddress("10.0.0.1", 1884, "house/first-floor", False)),
        ("mqtt://[::1]", BrokerAddress("::1", 1883, "emotion", False)),
        ("mqtts://[fe80::1]:9999/a", BrokerAddress("fe80::1", 9999, "a", True)),
        ("mqtt://h/my%20home/K%C3%BCche", BrokerAddress("h", 1883, "my home/Küche", False)),
        ("mqtt://h/a%40b", BrokerAddress("h", 1883, "a@b", False)),
        ("mqtt://my_broker:65535", BrokerAddress("my_broker", 65535, "emotion", False)),
    ],
)
def test_parse(url: str, expected: BrokerAddress) -> None:
    assert parse_broker(url) == expected
    assert parse_broker(str(expected)) == expected


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "expected mqtt://HOST"),
        ("localhost:1883", "expected mqtt://HOST"),
        ("tcp://localhost", "expected mqtt://HOST"),
        ("mqtt:/localhost", "expected mqtt://HOST"),
        ("mqtt://", "names no host"),
        ("mqtt:///emotion", "names no host"),
        ("mqtt://:1883", "names no host"),
        ("mqtt://h:0", "port"),
        ("mqtt://h:65536", "port"),
        ("mqtt://h:-1", "port"),
        ("mqtt://h:", "port"),
        ("mqtt://h:18a3", "port"),
        ("mqtt://h:١٨٨٣", "port"),
        ("mqtt://::1", "brackets"),
        ("mqtt://[::g]", "IPv6"),
        ("mqtt://[::1", "brackets"),
        ("mqtt://a..b", "host"),
        ("mqtt://a b", "host"),
        ("mqtt://h#x", "host"),
        ("mqtt://" + "a" * 64, "host"),
        ("mqtt://h/a//b", "empty"),
        ("mqtt://h//a", "empty"),
        ("mqtt://h/a/", "empty"),
        ("mqtt://h/a/+/b", "+ cannot stand"),
        ("mqtt://h/#", "# cannot stand"),
        ("mqtt://h/a%2Fb/%23", "# cannot stand"),
        ("mqtt://h/a\0b", "U+0000 cannot stand"),
        ("mqtt://h/a%00b", "U+0000 cannot stand"),
        ("mqtt://h/a\nb", "U+000A cannot stand"),
        ("mqtt://h/%ff", "UTF-8"),
        ("mqtt://h/$SYS", "$"),
        ("mqtt://h/a?retain=1", "options"),
    ],
)
def test_refused(url: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_broker(url)
    line = str(caught.value)
    assert line.startswith("broker ")
    assert part in line
    assert line.isprintable(), "one line, and nothing that moves a cursor"


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://bob:s3cret@broker",
        "mqtt://bob:s3cret@broker:1883/emotion",
        "mqtts://:s3cret@broker",
        "mqtt://bob:s3/cret@broker",
        "mqtt://bob:1883/s3cret@broker",
        "mqtt://bob:s3c@ret@broker",
        "mqtt://bob:s3#cret@broker",
        "mqtt://bob:s3?cret@broker",
        "mqtt://bob:s3cret",
        "mqtt://broker?password=s3cret",
        "http://bob:s3cret@broker",
        "bob:s3cret@broker",
    ],
)
def test_no_secret_is_shown(url: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_broker(url)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_credentials_in_a_url_are_told_where_to_go() -> None:
    with pytest.raises(InputError, match=r"\*\*\*@broker.*username and password_file.*EDGE_MQTT_PASSWORD"):
        parse_broker("mqtt://bob:s3cret@broker")
    with pytest.raises(InputError, match="must not hold a user"):
        parse_broker("mqtt://bob@broker")


@pytest.mark.parametrize("name", ["front", "Küche 2", "a.b-c_d", "x" * 200])
def test_level(name: str) -> None:
    check_level(name, "camera")


@pytest.mark.parametrize("name", ["", "a/b", "+", "a#", "a\0", "a\nb", "\x1b[31m", "\u202e", " a", "x" * 201, "\ud800"])
def test_no_level(name: str) -> None:
    with pytest.raises(InputError, match="camera") as caught:
        check_level(name, "camera")
    assert str(caught.value).isprintable()


def test_credentials_hide_the_password() -> None:
    assert "s3cret" not in repr(Credentials("bob", "s3cret"))
    assert "s3cret" not in f"{Credentials('bob', 's3cret')}"


def test_read_credentials(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret \n\n")
    variable = {"EDGE_MQTT_PASSWORD": "other"}
    assert read_credentials(None, None, variable) is None
    assert read_credentials("bob", None, {}) == Credentials("bob", None)
    assert read_credentials("bob", None, variable) == Credentials("bob", "other")
    assert read_credentials("bob", file, variable) == Credentials("bob", "s3cret ")


def test_credentials_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "empty", "binary", "."):
        with pytest.raises(InputError, match="password file"):
            read_credentials("bob", tmp_path / name, {})
    with pytest.raises(InputError, match="user name"):
        read_credentials(None, tmp_path / "empty", {})
