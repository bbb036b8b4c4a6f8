"""A server whose responses get lost: the client never learns that its request was carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.support.forwarding import ForwardingServer, Request, Response

How = Literal["error", "hang up", "late"]
"""What the client gets instead of the response: a 500, a closed connection, or nothing for long."""

LONG_SECONDS = 10.0


@dataclass
class Loss:
    """Responses that will be lost: those to a method at paths that end so; `times` are left."""

    method: str
    path: str
    times: int
    how: How


class LostResponses(ForwardingServer):
    """Forwards every request, and loses the responses that it is made to lose."""

    def __init__(self, behind: str) -> None:
        super().__init__(behind)
        self.losses: list[Loss] = []

    def lose(self, method: str, path: str, how: How = "error", times: int = 1) -> None:
        """Lose the next responses to a method at paths that end so."""
        self.losses.append(Loss(method, path, times, how))

    def respond(self, request: Request) -> Response | None:
        response = self.forward(request)
        match self.next_loss(request):
            case "error":
                return Response(500)
            case "hang up":
                return None
            case "late":
                self.closing.wait(LONG_SECONDS)
                return None
        return response

    def next_loss(self, request: Request) -> How | None:
        for loss in self.losses:
            if loss.times and loss.method == request.method and request.path.endswith(loss.path):
                loss.times -= 1
                return loss.how
        return None
