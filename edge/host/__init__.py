"""The device that the kit runs on: watchdog, health, governor, metrics, logs, doctor, service, the page for aiming."""
