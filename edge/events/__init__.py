"""Events: what goes out for one face at one moment, and when, its number, minutes in figures, every JSON Schema."""

from edge.events.event import Event, EventMaker, new_stream, schema
from edge.events.policy import Policy
from edge.events.summary import Minute, Minutes

__all__ = ["Event", "EventMaker", "Minute", "Minutes", "Policy", "new_stream", "schema"]
