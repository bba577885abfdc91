"""`edge feed`: show what the devices of a broker see."""

from __future__ import annotations

from pathlib import Path

import click

from edge.broker import parse_broker, read_credentials
from edge.terminal import STOP, say, stop_on_signals


@click.command(
    "feed",
    epilog="Examples:\n\n\b\n"
    "  edge feed --broker mqtt://localhost\n"
    "  edge feed --broker mqtts://broker.home/house/emotion --username me --password-file ~/.mqtt --ca-file ca.pem\n"
    "  edge feed --broker mqtt://localhost --max-events 100 > events.jsonl\n"
    "  edge feed --broker mqtt://localhost | jq -r 'select(.type == \"enter\") | .emotion'",
)
@click.option(
    "--broker", required=True, metavar="URL", help="mqtt://HOST[:PORT][/PREFIX], or mqtts:// for TLS. PREFIX: emotion."
)
@click.option(
    "--username", metavar="NAME", help="User name at the broker; the password comes from elsewhere, see below."
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="File whose first line is the password; without it, the environment's EDGE_MQTT_PASSWORD.",
)
@click.option(
    "--ca-file", type=click.Path(path_type=Path), help="PEM file of the authority that signed the broker's certificate."
)
@click.option("--max-events", type=click.IntRange(min=1), metavar="N", help="Stop after N events.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Stop after S seconds.")
@click.option(
    "--idle", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Stop when S seconds bring no event."
)
@click.option(
    "--fail-fast", is_flag=True, help="Exit 3 when the broker does not answer, instead of trying again for ever."
)
@click.option(
    "--json", "json_lines", is_flag=True, default=None, help="JSON lines on a terminal too; a pipe always gets them."
)
def command(
    broker: str,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    max_events: int | None,
    seconds: float | None,
    idle: float | None,
    fail_fast: bool,
    json_lines: bool | None,
) -> None:
    """Show the events of all devices under a broker's prefix as they come.

    On a terminal a live table, one row per person; in a pipe one JSON object a line. It waits for a broker that is
    away and comes back by itself. Ctrl-C ends it.
    """
    from edge.feed.show import run_feed

    stop_on_signals()
    run_feed(
        parse_broker(broker),
        credentials=read_credentials(username, password_file),
        ca_file=ca_file,
        max_events=max_events,
        seconds=seconds,
        idle=idle,
        json_lines=json_lines or None,
        fail_fast=fail_fast,
        log=say,
        stop=STOP,
    )
