"""Reports: one model in depth (`edge train evaluate`), and several side by side (`edge train compare`)."""
