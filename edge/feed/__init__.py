"""The feed on the receiving side: events of every device under a prefix, as they come."""
