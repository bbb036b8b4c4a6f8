"""Responses of AWS as they come over the wire: botocore parses them, and no socket is opened."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.loaders import Loader

CONTENT_TYPES = {
    "query": "text/xml",
    "json": "application/x-amz-json-1.0",
    "smithy-rpc-v2-cbor": "application/cbor",
}


class OneProtocol(Loader):  # type: ignore[misc]  # botocore has no types
    """Loads models as if each service spoke one protocol; boto3 chooses by its version."""

    protocol = ""

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if type_name != "service-2":
            return model
        chosen = {"protocols": [self.protocol], "protocol": self.protocol}
        return {**model, "metadata": model["metadata"] | chosen}


class Raw(io.BytesIO):
    """A body as urllib3 hands it out."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


class WireClient:
    """A client of boto3 that gets the response it is given, parsed by botocore."""

    def __init__(self, service: str, protocol: str) -> None:
        session = botocore.session.Session()
        loader = OneProtocol()
        loader.protocol = protocol
        session.register_component("data_loader", loader)
        self._protocol = protocol
        self._response: tuple[int, dict[str, str], bytes] = (500, {}, b"")
        self._client = session.create_client(
            service,
            "us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._client.meta.events.register("before-send", self._respond)

    def failing(self, code: str, status: int, headers: Mapping[str, str] | None = None) -> Any:
        """Return the client, whose every request fails as if the service had written so."""
        sent = {"content-type": CONTENT_TYPES[self._protocol], "smithy-protocol": "rpc-v2-cbor"}
        self._response = status, {**sent, **(headers or {})}, error_body(self._protocol, code)
        return self._client

    def _respond(self, request: Any, **_: Any) -> AWSResponse:
        status, headers, body = self._response
        return AWSResponse(request.url, status, headers, Raw(body))


@cache
def wire_client(service: str, protocol: str) -> WireClient:
    """Return the client of a service in one protocol; it takes botocore a while to make one."""
    return WireClient(service, protocol)


def error_body(protocol: str, code: str, message: str = "because") -> bytes:
    """Return an error in the form of a protocol."""
    if protocol == "query":
        error = f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
        text = f"<ErrorResponse><Error>{error}</Error><RequestId>1</RequestId></ErrorResponse>"
        return text.encode()
    error_type = f"com.amazonaws.service#{code}"
    if protocol == "json":
        return json.dumps({"__type": error_type, "message": message}).encode()
    texts = [b"__type", error_type.encode(), b"message", message.encode()]
    return b"\xa2" + b"".join(b"\x78" + bytes([len(text)]) + text for text in texts)
