"""The publisher against a real Mosquitto: wills, retained values, restarts, refusals, and a caller that never waits."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from mosquitto import PATIENCE, Gate, Lines, Listener, Mosquitto, free_port

from edge.broker import BrokerAddress, Credentials
from edge.errors import InputError, OutsideError
from edge.publish import Queue, open_publisher
from edge.publish.mqtt import MqttPublisher, client_id
from edge.publish.topics import Topics

Listen = Callable[..., Listener]
NewBroker = Callable[..., Mosquitto]


@pytest.fixture
def publish() -> Iterator[Callable[..., MqttPublisher]]:
    """Make publishers with a short back-off; all are closed after the test."""
    made: list[MqttPublisher] = []

    def make(address: BrokerAddress, device: str = "hall", **options: object) -> MqttPublisher:
        made.append(MqttPublisher(address, device, **{"first_delay": 0.1, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for publisher in made:
        publisher.close(0)


def test_nothing_to_say(broker: Mosquitto, listen: Listen) -> None:
    seen = listen(broker.address)
    publisher = open_publisher(broker.address, "hall")
    publisher.start()
    assert publisher.close() == 0
    seen.wait("hall/available", ["online", "offline"])
    later = listen(broker.address)
    later.wait("hall/available", ["offline"])
    assert [(m.topic, m.retain) for m in later.messages] == [("test/emotion/hall/available", True)]


def test_close_without_start(broker: Mosquitto) -> None:
    publisher = MqttPublisher(broker.address, "hall")
    publisher.event("front", "{}")
    assert publisher.close(0) == 1


def test_events_arrive_whole_and_in_order(
    broker: Mosquitto, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    seen = listen(broker.address)
    publisher = publish(broker.address)
    publisher.start()
    payloads = [json.dumps({"seq": number, "camera": "Küche"}, ensure_ascii=False) for number in range(500)]
    for payload in payloads:
        publisher.event("Küche", payload)
    assert publisher.close(PATIENCE) == 0
    seen.wait("hall/Küche/events", payloads)
    events = [m for m in seen.messages if m.topic.endswith("/events")]
    assert {(m.topic, m.qos, m.retain) for m in events} == {("test/emotion/hall/Küche/events", 1, False)}
    seen.wait_last("available", "offline")
    assert seen.messages[-1].topic.endswith("available"), "after the last event, not before"
    assert "(p5," in broker.log.read_text().split("as edge-hall")[1].splitlines()[0], "MQTT 5 where it is spoken"


def test_retained_values_on_change_alone(
    broker: Mosquitto, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    seen = listen(broker.address)
    lines = Lines()
    publisher = publish(broker.address, log=lines)
    publisher.start()
    seen.wait("available", ["online"])
    for count in (0, 0, 1, 1, 2, 0):
        publisher.faces("front", count)
    for label in ("happy", "happy", "uncertain"):
        publisher.emotion("front", label)
    for state, moment in (("running", "1"), ("running", "2"), ("ended", "3")):
        publisher.state("front", {"v": 1, "state": state, "reason": None, "ts": moment})
    publisher.info({"v": 1, "device": "hall"})
    publisher.info({"v": 1, "device": "hall"})
    publisher.faces("back", 0)
    assert publisher.close(PATIENCE) == 0
    seen.wait_last("available", "offline")  # the last of all
    seen.wait("front/faces", ["0", "1", "2", "0"])
    seen.wait("back/faces", ["0"])
    seen.wait("front/emotion", ["happy", "uncertain"])
    assert [json.loads(p)["ts"] for p in seen.of("front/state")] == ["1", "3"]
    assert len(seen.of("hall/info")) == 1
    kept = listen(broker.address)
    kept.wait("front/faces", ["0"])
    assert all(m.retain for m in kept.messages)
    assert lines.lines == [], "nothing to tell when all is well"


def test_health_is_neither_retained_nor_kept_nor_an_event(
    broker: Mosquitto, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    seen = listen(broker.address)
    publisher = publish(broker.address)
    publisher.health({"v": 0})
    assert publisher.queue() == Queue(False, 0, 0)
    publisher.start()
    seen.wait("hall/available", ["online"])
    publisher.event("front", "{}")
    publisher.health({"v": 1})
    publisher.health({"v": 1})
    seen.wait("hall/health", ['{"v": 1}', '{"v": 1}'])
    assert publisher.queue().connected
    assert publisher.close(PATIENCE) == 0
    assert publisher.queue().depth == publisher.queue().undelivered == 0
    assert {(m.qos, m.retain) for m in seen.messages if m.topic.endswith("/health")} == {(1, False)}
    later = listen(broker.address)
    later.wait("hall/available", ["offline"])
    assert not [m for m in later.messages if m.topic.endswith("/health")]


def test_last_will_of_a_killed_process(broker: Mosquitto, listen: Listen) -> None:
    seen = listen(broker.address)
    program = (
        "import sys, threading\nfrom edge.broker import parse_broker\nfrom edge.publish.mqtt import MqttPublisher\n"
        "publisher = MqttPublisher(parse_broker(sys.argv[1]), 'hall')\npublisher.start()\nthreading.Event().wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(broker.address)])
    try:
        seen.wait("available", ["online"])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    seen.wait("available", ["online", "offline"])
    listen(broker.address).wait("available", ["offline"])


def test_a_restarted_broker_gets_all_again(
    broker: Mosquitto, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    lines = Lines()
    publisher = publish(broker.address, log=lines)
    publisher.start()
    first = listen(broker.address)
    publisher.info({"v": 1})
    publisher.faces("front", 2)
    publisher.emotion("front", "happy")
    publisher.state("front", {"v": 1, "state": "running", "reason": None, "ts": "1"})
    publisher.event("front", "before")
    first.wait("front/events", ["before"])
    first.close()

    broker.stop()  # without persistence: it forgets everything
    lines.wait("trying again")
    publisher.faces("front", 3)
    publisher.faces("front", 1)
    publisher.event("front", "during 1")
    publisher.event("front", "during 2")
    broker.start()
    seen = listen(broker.address)
    lines.wait("connected again")
    publisher.event("front", "after")
    assert publisher.close(PATIENCE) == 0
    seen.wait_last("available", "offline")
    seen.wait_last("front/events", "after")
    assert seen.of("available")[-2:] == ["online", "offline"]
    assert (seen.of("hall/info"), seen.of("front/emotion")) == (['{"v": 1}'], ["happy"])
    assert seen.of("front/faces") == ["1"], "what it was at last, not how it got there"
    assert len(seen.of("front/state")) == 1
    assert len(lines.lines) == 2, "one line for the outage, one for its end"


def test_what_a_dying_broker_did_not_acknowledge_is_sent_again(
    broker: Mosquitto, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    first = listen(broker.address)
    lines = Lines()
    publisher = publish(broker.address, log=lines)
    publisher.start()
    first.wait("available", ["online"])
    first.close()
    broker.freeze()
    payloads = [str(number) for number in range(150)]  # more than may be under way at once
    for payload in payloads:
        publisher.event("front", payload)
    deadline = time.monotonic() + PATIENCE
    while not publisher._under_way:  # it tells nobody when it has sent something
        assert time.monotonic() < deadline
        time.sleep(0.01)
    broker.kill()
    lines.wait("trying again")
    broker.log.unlink()
    broker.start()
    assert publisher.close(PATIENCE) == 0
    taken = re.findall(
        r"Received PUBLISH from edge-hall\S+ \(.*front/events', \.\.\. \((\d) bytes", broker.log.read_text()
    )
    assert taken == [str(len(payload)) for payload in payloads]


def test_one_line_however_many_tries(publish: Callable[..., MqttPublisher]) -> None:
    gate = Gate(BrokerAddress("127.0.0.1", free_port()), b"")
    lines = Lines()
    publish(gate.address, log=lines, first_delay=0.01).start()
    gate.wait_asked(10)
    gate.cut()
    assert gate.asked[:4] == [5, 4, 5, 4]
    assert len(lines.lines) == 1


def test_a_broker_that_comes_later(
    new_broker: NewBroker, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    broker = new_broker("allow_anonymous true\npersistence true")
    lines = Lines()
    publisher = publish(broker.address, log=lines)
    began = time.monotonic()
    publisher.start()
    assert time.monotonic() - began < 1, "start never waits"
    publisher.event("front", "early")
    assert "refused the connection: is it running" in lines.wait("trying again")
    broker.start()
    seen = listen(broker.address)
    lines.wait("connected again")
    publisher.event("front", "late")
    assert publisher.close(PATIENCE) == 0
    seen.wait_last("front/events", "late")
    assert len(lines.lines) == 2, "one line however many tries"


def test_a_full_queue_drops_counts_and_says_it_once(
    new_broker: NewBroker, listen: Listen, publish: Callable[..., MqttPublisher]
) -> None:
    broker = new_broker()
    lines = Lines()
    publisher = publish(broker.address, log=lines, max_queued_messages=10)
    publisher.start()
    lines.wait("trying again")
    for number in range(25):
        publisher.event("front", str(number))
    assert publisher.dropped == 15
    assert [line for line in lines.lines if "dropped" in line] == [lines.wait("10 events wait")]
    broker.start()
    lines.wait("connected again")
    assert publisher.close(PATIENCE) == 15, "those dropped were not delivered either"


def test_the_default_queue_is_bounded() -> None:
    publisher = MqttPublisher(BrokerAddress("127.0.0.1", free_port()), "hall")
    for number in range(10_001):
        publisher.event("front", str(number))
    assert publisher.dropped == 1
    assert publisher.close(0) == 10_001


def test_close_counts_what_a_dead_broker_did_not_take(broker: Mosquitto, publish: Callable[..., MqttPublisher]) -> None:
    lines = Lines()
    publisher = publish(broker.address, log=lines)
    publisher.start()
    broker.stop()
    lines.wait("trying again")
    for number in range(3):
        publisher.event("front", str(number))
    began = time.monotonic()
    assert publisher.close(60) == 3
    assert time.monotonic() - began < 5, "one more try is made at once, and then it is over"


def test_close_keeps_to_its_time_with_a_broker_that_hangs(publish: Callable[..., MqttPublisher]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        publisher = publish(BrokerAddress("127.0.0.1", mute.getsockname()[1]))
        publisher.start()
        began = time.monotonic()
        for number in range(2_000):
            publisher.event("front", str(number))
        assert time.monotonic() - began < 2, "a caller never waits for a broker"
        assert publisher.close(0.5) == 2_000
        assert time.monotonic() - began < 5


def test_fail_fast_without_a_broker() -> None:
    publisher = MqttPublisher(BrokerAddress("127.0.0.1", free_port()), "hall", fail_fast=True)
    with pytest.raises(OutsideError, match=r"broker mqtt://127\.0\.0\.1:\d+: refused the connection"):
        publisher.start()
    assert publisher.close(PATIENCE) == 0
    unknown = MqttPublisher(BrokerAddress("no-such-host.invalid"), "hall", fail_fast=True)
    with pytest.raises(OutsideError, match="cannot be reached"):
        unknown.start()
    unknown.close(0)


@pytest.fixture
def locked(new_broker: NewBroker, tmp_path: Path) -> Mosquitto:
    """A running broker that lets bob in with the password `right`."""
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("NO MOSQUITTO: mosquitto_passwd is missing")
    subprocess.run([tool, "-b", "-c", str(tmp_path / "passwords"), "bob", "right"], check=True)
    (tmp_path / "rules").write_text("user bob\ntopic read #\ntopic write test/emotion/hall/#\n")
    options = f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}\nacl_file {tmp_path / 'rules'}"
    return new_broker(options).start()


@pytest.mark.parametrize(
    ("credentials", "part"),
    [
        (None, "refused a client without a name (not authorized): give user name and password"),
        (Credentials("bob", "wrong"), 'refused user "bob" (not authorized): check user name and password'),
        (Credentials("bob"), 'refused user "bob" without a password'),
    ],
)
def test_refused_password(
    locked: Mosquitto, publish: Callable[..., MqttPublisher], credentials: Credentials | None, part: str
) -> None:
    with pytest.raises(OutsideError) as caught:
        publish(locked.address, credentials=credentials, fail_fast=True).start()
    assert part in str(caught.value)
    assert "wrong" not in str(caught.value)
    lines = Lines()
    publish(locked.address, credentials=credentials, log=lines).start()
    assert "trying again" in lines.wait(part)


def test_right_password_and_rules(locked: Mosquitto, publish: Callable[..., MqttPublisher]) -> None:
    bob = Credentials("bob", "right")
    allowed = publish(locked.address, credentials=bob, fail_fast=True)
    allowed.start()
    allowed.event("front", "{}")
    assert allowed.close(PATIENCE) == 0
    lines = Lines()
    elsewhere = publish(locked.address, "attic", credentials=bob, log=lines)
    elsewhere.start()
    elsewhere.event("front", "{}")
    elsewhere.event("front", "{}")
    assert elsewhere.close(PATIENCE) == 2, "acknowledged with a refusal is not delivered"
    assert [line for line in lines.lines if "refuses events" in line] == [lines.wait("not authorized")]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\x20\x02\x00\x01", id="as an old broker says it"),
        pytest.param(b"\x20\x03\x00\x84\x00", id="as version 5 says it"),
        pytest.param(b"", id="hangs up"),
        pytest.param(b"\x20\x02\xff\xff", id="babbles"),
    ],
)
def test_a_broker_without_version_5(
    broker: Mosquitto, listen: Listen, publish: Callable[..., MqttPublisher], answer: bytes
) -> None:
    gate = Gate(broker.address, answer)
    lines = Lines()
    publisher = publish(gate.address, fail_fast=True, log=lines)
    publisher.start()
    seen = listen(broker.address)
    publisher.event("front", "{}")
    assert publisher.close(PATIENCE) == 0
    gate.cut()
    assert gate.asked == [5, 4]
    assert lines.lines == [f"broker {gate.address.server}: connected, with MQTT 3.1.1 as this broker wants it"]
    seen.wait("front/events", ["{}"])
    seen.wait_last("available", "offline")


def test_amqtt_which_speaks_3_1_1_alone(listen: Listen, publish: Callable[..., MqttPublisher]) -> None:
    amqtt = pytest.importorskip("amqtt.broker", reason="NO AMQTT: pip install amqtt==0.12.1")
    address = BrokerAddress("127.0.0.1", free_port(), "test/emotion")
    up, down = threading.Event(), threading.Event()

    async def serve() -> None:
        bind = f"{address.host}:{address.port}"
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        embedded = amqtt.Broker({"listeners": {"default": {"type": "tcp", "bind": bind}}, "plugins": plugins})
        await embedded.start()
        up.set()
        await asyncio.get_running_loop().run_in_executor(None, down.wait, 60)
        await embedded.shutdown()

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    try:
        assert up.wait(PATIENCE)
        lines = Lines()
        publisher = publish(address, fail_fast=True, log=lines)
        publisher.start()
        seen = listen(address, protocol=paho.MQTTv311)
        for number in range(100):
            publisher.event("front", str(number))
        assert publisher.close(PATIENCE) == 0
        seen.wait("front/events", [str(number) for number in range(100)])
        seen.wait_last("available", "offline")
        assert "3.1.1" in lines.lines[0]
        seen.close()
    finally:
        down.set()
        server.join(PATIENCE)


def test_two_devices_of_one_name_are_told(broker: Mosquitto, publish: Callable[..., MqttPublisher]) -> None:
    lines = Lines()
    publish(broker.address, log=lines).start()
    broker.wait_for_log("as edge-hall")
    publish(broker.address, fail_fast=True).start()
    lines.wait("give each device a name of its own")


def test_tls(new_broker: NewBroker, listen: Listen, publish: Callable[..., MqttPublisher], tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("NO OPENSSL: no certificate can be made")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    plain = free_port()
    broker = new_broker(
        f"allow_anonymous true\ncertfile {certificate}\nkeyfile {key}\nlistener {plain} 127.0.0.1"
    ).start()
    address = BrokerAddress("127.0.0.1", broker.port, "test/emotion", tls=True)
    seen = listen(BrokerAddress("127.0.0.1", plain, "test/emotion"))
    publisher = publish(address, ca_file=certificate, fail_fast=True)
    publisher.start()
    for number in range(300):
        publisher.event("front", str(number))
    assert publisher.close(PATIENCE) == 0
    seen.wait("front/events", [str(number) for number in range(300)])

    with pytest.raises(OutsideError, match="certificate was not accepted"):
        publish(address, fail_fast=True).start()
    with pytest.raises(OutsideError, match="is this its TLS port"):
        publish(BrokerAddress("127.0.0.1", plain, "test/emotion", tls=True), fail_fast=True).start()
    with pytest.raises(OutsideError, match="with TLS or without"):
        publish(BrokerAddress("127.0.0.1", broker.port, "test/emotion"), fail_fast=True).start()


def test_ca_files_that_cannot_be_used(tmp_path: Path) -> None:
    tls = BrokerAddress("127.0.0.1", 8883, tls=True)
    (tmp_path / "empty.pem").touch()
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(InputError, match="CA file"):
            MqttPublisher(tls, "hall", ca_file=tmp_path / name)
    with pytest.raises(InputError, match="mqtts://"):
        MqttPublisher(BrokerAddress("127.0.0.1"), "hall", ca_file=tmp_path / "empty.pem")


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a\0"])
def test_names_that_are_no_topic_level(name: str) -> None:
    with pytest.raises(InputError, match="device"):
        Topics("emotion", name)
    with pytest.raises(InputError, match="camera"):
        MqttPublisher(BrokerAddress("127.0.0.1"), "hall").event(name, "{}")


def test_client_id() -> None:
    assert client_id("emotion", "hall") == client_id("emotion", "hall")
    assert client_id("emotion", "hall") != client_id("other", "hall")
    assert client_id("emotion", "hall").startswith("edge-hall-")
    assert len(client_id("emotion", "a-very-long-name-of-a-device")) <= 23


def test_a_broker_that_confirms_nothing_does_not_fill_the_memory() -> None:
    """What is retained waits once for each topic, however often it changes; events wait all of them."""
    publisher = MqttPublisher(BrokerAddress("127.0.0.1", 9, "test"), "hall")
    publisher._connected = True  # as after a CONNACK, with a thread that never gets to send
    for count in range(5_000):
        publisher.faces("front", count)
        publisher.health({"v": count})
        if count < 500:
            publisher.event("front", str(count))
    assert len(publisher._waiting) < 500 + 250
    assert [m.payload for m in publisher._waiting if m.kept] == [str(count) for count in range(500)]
    assert publisher._waiting[-2].payload == "4999"
