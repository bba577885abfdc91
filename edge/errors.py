"""The kit's few errors. Each carries the exit code that a command ends with when a person meets it."""


class EdgeError(Exception):
    """A foreseen failure: its text is one line that names the thing and says what to do."""

    exit_code = 1


class InputError(EdgeError):
    """What was given is wrong or missing: a file, a model, a key, an option (exit code 2)."""

    exit_code = 2


class OutsideError(EdgeError):
    """The world outside did not answer: a camera, a broker, a download (exit code 3)."""

    exit_code = 3


def first_line(error: BaseException) -> str:
    """Return what a foreign error says first, at most 160 characters of it; its class's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
