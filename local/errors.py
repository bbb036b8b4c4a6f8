"""What can go wrong on the laptop; each message says what to do."""


class LocalError(Exception):
    """Base of everything the laptop stack raises on purpose."""


class PortInUseError(LocalError):
    """Something else listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use; choose another: make demo PORT={port + 1}")


class WrongAnswerError(LocalError):
    """The API did not answer as it should."""
