"""`edge doctor`: looks at a device and says what to do about what is wrong. One door: `examine.examine`."""
