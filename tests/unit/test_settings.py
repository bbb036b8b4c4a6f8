"""The API's settings from environment variables."""

from __future__ import annotations

import pytest

from ops_anomaly.api.settings import Settings
from ops_anomaly.aws.settings import SettingsError


def test_defaults() -> None:
    assert Settings.from_environment({"MODEL_BUCKET": "b"}) == Settings(bucket="b")


def test_every_variable() -> None:
    settings = Settings.from_environment(
        {
            "MODEL_BUCKET": "b",
            "DEFAULT_MODEL": "web",
            "MODEL_TTL_SECONDS": "1.5",
            "MODEL_CACHE_BYTES": "10",
        }
    )
    assert settings == Settings(
        bucket="b", default_model="web", model_ttl_seconds=1.5, model_cache_bytes=10
    )


def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(SettingsError, match="MODEL_BUCKET"):
        Settings.from_environment({})


@pytest.mark.parametrize("text", ["five", "-1", "nan", "inf"])
def test_a_malformed_number_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_TTL_SECONDS"):
        Settings.from_environment({"MODEL_BUCKET": "b", "MODEL_TTL_SECONDS": text})
