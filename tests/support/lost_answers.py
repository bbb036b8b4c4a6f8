"""A server whose answers get lost: the request is carried out, and the client never hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.support.forwarding import ForwardingServer, Request, Response

How = Literal["error", "hang up", "late"]
"""What the client gets instead of the answer: a 500, a closed connection, or nothing for long."""

LONG_SECONDS = 10.0


@dataclass
class Loss:
    """Answers that will be lost: those to a method at paths that end so; `times` are left."""

    method: str
    path: str
    times: int
    how: How


class LostAnswers(ForwardingServer):
    """Forwards every request, and loses the answers that it is told to lose."""

    def __init__(self, behind: str) -> None:
        super().__init__(behind)
        self.losses: list[Loss] = []

    def lose(self, method: str, path: str, how: How = "error", times: int = 1) -> None:
        """Lose the next answers to a method at paths that end so."""
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
