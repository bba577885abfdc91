"""Events: what goes out for one face at one moment, its number, its JSON Schema."""

from edge.events.event import Event, EventMaker, new_stream, schema

__all__ = ["Event", "EventMaker", "new_stream", "schema"]
