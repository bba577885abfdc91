"""What keeps the run well on its device, and says how it is: watchdog, health, governor, metrics, logs."""
