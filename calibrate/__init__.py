"""Makes a float model small, and proves what that cost."""
