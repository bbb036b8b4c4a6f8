"""A versioned bucket on the laptop: moto's server, in this process and memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from local.environment import local_client

BUCKET = "models"


@contextmanager
def local_bucket() -> Iterator[str]:
    """Start a server on 127.0.0.1 with one versioned bucket; give its URL, end it afterwards."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        s3 = local_client("s3", url)
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield url
    finally:
        server.stop()
