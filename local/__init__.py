"""The service on one machine: a versioned bucket, CloudWatch and queues of moto, and a gateway.

Never deployed. `python -m local demo` runs everything once, `python -m local event FILE` one event.
"""


class LocalError(Exception):
    """Base of everything this package raises on purpose; the message says what to do."""


class PortInUseError(LocalError):
    """Something else listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use; choose another: make demo PORT={port + 1}")


class UnexpectedResponseError(LocalError):
    """The API or the watcher did not do what the demo expects."""
