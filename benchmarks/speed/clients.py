"""Clients of an HTTP service, all at once: python -m benchmarks.speed.clients URL N SECONDS.

Each sends a POST /predict, waits for the answer, and sends the next, over one connection. Prints
the seconds that each answer took, and how many requests failed. Loopback only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

BODY = b'{"value": 95.0}'
WANTED = {"is_anomaly": True, "predicted_value": -1}
PATIENCE_SECONDS = 30.0


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> bool:
    """Send one request, and tell whether the answer is the expected one."""
    head = (
        f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    )
    writer.write(head.encode() + BODY)
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await read_chunks(reader)
    return status.split()[1] == "200" and json.loads(body) == WANTED


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Return a body that comes in chunks."""
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


async def client(host: str, port: int, until: float, times: list[float]) -> int:
    """Ask until it is time to end; return how many requests failed."""
    failed = 0
    reader, writer = await asyncio.open_connection(host, port)
    while (began := time.perf_counter()) < until:
        try:
            is_right = await asyncio.wait_for(ask(reader, writer, host), PATIENCE_SECONDS)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            failed += 1
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
            continue
        times.append(time.perf_counter() - began)
        failed += not is_right
    writer.close()
    return failed


async def load(url: str, clients: int, seconds: float) -> dict[str, object]:
    """Return what came of so many clients in so many seconds."""
    address = urlsplit(url)
    if address.hostname != "127.0.0.1" or address.port is None:
        raise ValueError(f"{url} is not on this machine")
    until, times = time.perf_counter() + seconds, []
    failed = await asyncio.gather(
        *(client(address.hostname, address.port, until, times) for _ in range(clients))
    )
    return {"times": times, "failed": sum(failed)}


if __name__ == "__main__":
    json.dump(asyncio.run(load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))), sys.stdout)
