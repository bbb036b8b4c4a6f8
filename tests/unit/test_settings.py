"""The API's settings from environment variables, and what all settings are read with."""

from __future__ import annotations

import pytest

from ops_anomaly.api.settings import Settings
from ops_anomaly.aws.settings import SettingsError, whole_number


def test_defaults() -> None:
    assert Settings.from_environment({"MODEL_BUCKET": "b"}) == Settings(bucket="b")


def test_every_variable() -> None:
    settings = Settings.from_environment(
        {
            "MODEL_BUCKET": "b",
            "DEFAULT_MODEL": "web",
            "MODEL_TTL_SECONDS": "1.5",
            "MODEL_CACHE_BYTES": "10",
            "AZURE_COMPATIBLE": "Yes",
        }
    )
    assert settings == Settings(
        bucket="b",
        default_model="web",
        model_ttl_seconds=1.5,
        model_cache_bytes=10,
        azure_compatible=True,
    )


def test_an_unclear_switch_is_named() -> None:
    with pytest.raises(SettingsError, match="AZURE_COMPATIBLE"):
        Settings.from_environment({"MODEL_BUCKET": "b", "AZURE_COMPATIBLE": "yes"})


def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(SettingsError, match="MODEL_BUCKET"):
        Settings.from_environment({})


@pytest.mark.parametrize("text", ["five", "-1", "nan", "inf"])
def test_a_malformed_number_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_TTL_SECONDS"):
        Settings.from_environment({"MODEL_BUCKET": "b", "MODEL_TTL_SECONDS": text})


@pytest.mark.parametrize(
    ("environment", "number"), [({}, 10), ({"N": ""}, 10), ({"N": "1"}, 1), ({"N": "4.0"}, 4)]
)
def test_a_whole_number_has_a_default(environment: dict[str, str], number: int) -> None:
    assert whole_number(environment, "N", 10) == number


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "ten", "nan", "inf"])
def test_a_number_that_is_not_whole_and_positive_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^N is .*a (whole )?number of at least"):
        whole_number({"N": text}, "N", 10)
