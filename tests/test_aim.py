"""`edge run --aim`'s page, over real HTTP: who sees what, for how long, and that nobody waits for it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import cv2
import numpy as np
import pytest
from mosquitto import PATIENCE, Lines
from test_capture import until

from edge.errors import InputError
from edge.host import aim_server, visits
from edge.host.aim import Aim, encode, open_aim, parse_address, parse_duration
from edge.loop import Step
from edge.values import EMOTIONS, Emotion, Face, Frame


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said() -> Lines:
    """What is said."""
    return Lines()


@pytest.fixture
def open_page(said: Lines) -> Iterator[Callable[..., Aim]]:
    """Open pages on free ports; all are closed after the test."""
    made: list[Aim] = []

    def make(**options: object) -> Aim:
        made.append(Aim(**{"seconds": 60.0, "address": "127.0.0.1:0", "say": said, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for page in made:
        page.close()


def step(value: int = 90, camera: str = "camera", size: tuple[int, int] = (320, 240)) -> Step:
    """A gray frame with one happy face in it."""
    image = np.full((size[1], size[0], 3), value, np.uint8)
    face = Face(np.array([100, 80, 200, 200], np.float32), 0.99, track=7)
    emotion = Emotion("happy", 0.9, dict.fromkeys(EMOTIONS, 1 / 7))
    return Step(Frame(image, 0, 0.0, 0.0, camera), [face], [emotion], [], {}, read=1)


def get(url: str) -> HTTPResponse:
    """Ask for a page; an answer of 4xx is an answer, too."""
    try:
        response = urllib.request.urlopen(url, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        return error  # type: ignore[return-value]
    assert isinstance(response, HTTPResponse)
    return response


@contextlib.contextmanager
def looking(page: Aim, camera: str = "camera", offered: Callable[[], Step] = step) -> Iterator[HTTPResponse]:
    """Ask for one picture while frames are offered until it came."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, f"{page.url}{camera}.jpg")
        while not asked.done():
            page.offer(offered())
            threading.Event().wait(0.005)  # a camera's pause
        yield asked.result()


# Looking


def test_the_page_holds_all_that_it_needs_and_the_picture_has_its_boxes(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    shown = get(page.url)
    text = shown.read().decode()
    assert shown.status == 200
    assert not re.search(r"https?://", text)
    policy = shown.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', text))
    assert policy.count(f"'nonce-{nonce}'") == 2
    assert "{" + "nonce}" not in text
    assert 'data-name="camera"' in text
    assert shown.headers["Cache-Control"] == "no-store"
    with looking(page) as answer:
        picture = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
        assert (answer.status, answer.headers["X-Says"]) == (200, "320x240, 1 face")
    assert picture is not None
    assert picture.shape == (240, 320, 3)
    assert abs(int(picture[10, 300].mean()) - 90) < 5
    assert abs(int(picture[140, 100].mean()) - 90) > 20  # the box's edge
    assert get(f"{page.url}other.jpg").status == 404


def test_two_cameras_are_kept_apart(open_page: Callable[..., Aim]) -> None:
    page = open_page(cameras=("front door", "hall"))
    text = get(page.url).read().decode()
    assert 'data-name="front%20door"' in text
    assert "<figcaption>front door" in text
    turn = iter(range(10**6))

    def both() -> Step:
        return step(60, "front door") if next(turn) % 2 else step(200, "hall")

    for name, gray in (("front%20door", 60), ("hall", 200)):
        with looking(page, name, both) as answer:
            picture = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert abs(int(picture[10, 300].mean()) - gray) < 5


def test_a_name_of_a_camera_cannot_write_into_the_page(open_page: Callable[..., Aim]) -> None:
    text = get(open_page(cameras=('"><script>x</script>',)).url).read().decode()
    assert "<script>x" not in text


def test_nothing_is_copied_or_drawn_while_nobody_looks(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    shown = step()
    for _ in range(1000):
        page.offer(shown)
    slot = page._slots["camera"]
    assert (slot.number, slot.step, slot.encoded) == (0, None, 0)
    with looking(page) as answer:
        assert answer.status == 200
    after = (slot.number, slot.encoded)
    for _ in range(1000):
        page.offer(shown)
    assert (slot.number, slot.encoded) == after


def test_a_picture_is_copied_before_the_camera_writes_over_it(open_page: Callable[..., Aim]) -> None:
    page = open_page()

    def overwritten() -> Step:
        shown = step(90)
        page.offer(shown)
        shown.frame.image[:] = 255
        return step(90, camera="none")

    with looking(page, offered=overwritten) as answer:
        picture = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert abs(int(picture[10, 300].mean()) - 90) < 5


def test_pictures_are_paced_by_the_clock(open_page: Callable[..., Aim]) -> None:
    clock = Clock()
    page = open_page(clock=clock)
    slot = page._slots["camera"]
    slot.waiting = 1  # somebody always waits
    for _ in range(50):
        page.offer(step())
        clock.now += 0.02
    assert 9 <= slot.number <= 11  # of 50 in a second


def test_several_viewers_share_one_encoding(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(get, f"{page.url}camera.jpg") for _ in range(4)]
        while not all(one.done() for one in asked):
            page.offer(step())
            threading.Event().wait(0.005)
        assert [one.result().status for one in asked] == [200] * 4


def test_no_picture_comes(open_page: Callable[..., Aim], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.host.aim.PICTURE_SECONDS", 0.05)
    assert get(f"{open_page().url}camera.jpg").status == 204


def test_a_wide_picture_is_made_smaller() -> None:
    picture = cv2.imdecode(np.frombuffer(encode(step(size=(2560, 1440))), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (720, 1280, 3)


# Who may look


@pytest.mark.parametrize("path", ["", "camera.jpg", "wrong/", "wrong/camera.jpg", "%ff/", "../../etc/passwd"])
def test_without_the_link_nothing_is_shown(open_page: Callable[..., Aim], said: Lines, path: str) -> None:
    page = open_page()
    server = page.url.rsplit("/", 2)[0]
    answer = get(f"{server}/{path}")
    assert answer.status == 404
    assert b"<img" not in answer.read()
    said.wait("127.0.0.1 was turned away")


def test_each_page_has_a_token_of_its_own(open_page: Callable[..., Aim]) -> None:
    tokens = {open_page().url.split("/")[-2] for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 20 for token in tokens)


def test_start_access_and_end_are_said_once_a_minute_each(open_page: Callable[..., Aim], said: Lines) -> None:
    clock = Clock()
    page = open_page(clock=clock, seconds=600.0)
    assert page.url in said.lines[0]
    assert "10 min" in said.lines[0]
    assert len(said.lines) == 1  # it listens on this machine alone
    for _ in range(3):
        get(page.url)
        get(page.url.rsplit("/", 2)[0] + "/x/")
    assert said.lines[1:] == ["aim: 127.0.0.1 opened the page", "aim: 127.0.0.1 was turned away: without the link"]
    clock.now += aim_server.AGAIN_SECONDS
    get(page.url)
    assert said.lines[3:] == ["aim: 127.0.0.1 opened the page"]
    page.close()
    page.close()
    assert said.lines[4:] == ["aim: closed; 0 pictures were shown"]


def test_another_address_is_said_to_be_open_to_others(open_page: Callable[..., Aim], said: Lines) -> None:
    page = open_page(address="127.0.0.2:0")
    assert "other machines reach it" in said.lines[1]
    assert get(page.url).status == 200


@contextlib.contextmanager
def strangers(page: Aim, number: int) -> Iterator[list[socket.socket]]:
    """Connections that ask for nothing."""
    host, port = parse_address(page.url.split("/")[2])
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, port), PATIENCE)) for _ in range(number)]


def drip(connection: socket.socket, parts: Iterable[bytes], pause: float) -> None:
    """Send piece after piece, until the other end has had enough."""
    for part in parts:
        connection.sendall(part)
        threading.Event().wait(pause)


def test_strangers_who_say_nothing_do_not_lock_the_owner_out(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    with strangers(page, aim_server.MOST_CONNECTIONS + 4) as idle:
        for _ in range(20):
            assert get(page.url).status == 200
        assert idle[0].recv(1) == b""  # the oldest made room
    assert get(page.url).status == 200


def test_only_so_many_with_the_link_at_once(open_page: Callable[..., Aim]) -> None:
    """Who looks is not thrown out by one more, nor by any number of strangers."""
    page = open_page()
    slot = page._slots["camera"]
    with ThreadPoolExecutor(aim_server.MOST_CONNECTIONS) as pool:
        looking = [pool.submit(get, f"{page.url}camera.jpg") for _ in range(aim_server.MOST_CONNECTIONS)]
        until(lambda: slot.waiting == aim_server.MOST_CONNECTIONS)
        with strangers(page, 3) as idle:
            assert [one.recv(1) for one in idle] == [b""] * 3
        page.offer(step())
        assert [one.result(PATIENCE).status for one in looking] == [200] * aim_server.MOST_CONNECTIONS
    assert get(page.url).status == 200


def test_a_request_that_drips_is_cut_off_in_its_time(
    open_page: Callable[..., Aim], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "ASK_WITHIN", 0.5)
    with strangers(open_page(), 1) as (one,), pytest.raises(OSError, match=r"(?i)pipe|reset"):
        drip(one, (bytes([byte]) for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 1000), 0.05)


def test_a_request_without_an_end_is_cut_off(open_page: Callable[..., Aim]) -> None:
    lines = [b"GET / HTTP/1.1\r\n", *[b"X: " + b"x" * 997 + b"\r\n"] * (visits.LONGEST_REQUEST // 100)]
    with strangers(open_page(), 1) as (one,), pytest.raises(OSError, match=r"(?i)pipe|reset"):
        drip(one, lines, 0.001)


def test_head_is_get_without_the_body(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    host, port = parse_address(page.url.split("/")[2])
    path = "/" + page.url.split("/", 3)[3]
    connection = HTTPConnection(host, port, timeout=PATIENCE)
    lengths = []
    for method in ("GET", "HEAD", "GET"):  # on one connection: a body that is too much would be the next answer
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == 200
        lengths.append((int(answer.headers["Content-Length"]), len(answer.read())))
    connection.request("HEAD", "/wrong/")
    assert connection.getresponse().status == 404
    connection.close()
    assert lengths[0] == lengths[2]
    assert lengths[1] == (lengths[0][0], 0)


# The end


def test_it_closes_itself(open_page: Callable[..., Aim], said: Lines) -> None:
    clock = Clock()
    page = open_page(clock=clock, seconds=60.0)
    assert page.open_for == 60.0
    clock.now += 59
    assert (page.open_for, get(page.url).status) == (1.0, 200)
    clock.now += 2
    said.wait("its time is over")
    assert page.open_for == 0
    with pytest.raises(OSError, match="refused"):
        get(page.url)
    page.offer(step())  # the loop goes on


def test_who_looks_is_told_of_the_end(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, f"{page.url}camera.jpg")
        while not page._slots["camera"].waiting:
            threading.Event().wait(0.005)
        page.close()
        assert asked.result().status == 410


def test_the_port_is_free_afterwards(open_page: Callable[..., Aim]) -> None:
    page = open_page()
    address = page.url.split("/")[2]
    with pytest.raises(InputError, match="cannot be listened on"):
        open_page(address=address)
    page.close()
    assert get(open_page(address=address).url).status == 200
    assert not [thread for thread in threading.enumerate() if thread is page._thread]


# As it is asked for


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90", 90), ("45s", 45), ("1h", 3600), ("0.5m", 30)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "0", "5s", "2h", "-10m", "1d", "nan", "10 m", "9" * 30])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(InputError, match="10s to 1h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:81", ("::1", 81)), ("[::]", ("::", 8377)), ("pi", ("pi", 8377))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":80", "::1", "a b", "a:70000", "http://a", "a:x"])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        parse_address(text)


def test_the_configuration_can_lock_it_off(said: Lines) -> None:
    with pytest.raises(InputError, match="locked off"):
        open_aim("10m", None, allowed=False, cameras=("camera",), say=said)
    page = open_aim("10m", "127.0.0.1:0", allowed=True, cameras=("camera",), say=said)
    assert get(page.url).status == 200
    page.close()


def test_no_picture_is_stored(open_page: Callable[..., Aim], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = open_page()
    with looking(page) as answer:
        assert answer.status == 200
    page.close()
    assert list(tmp_path.iterdir()) == []
    assert page._slots["camera"].step is None
    assert page._slots["camera"].jpeg == b""
