"""The API's settings, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ops_anomaly.aws.errors import InvalidModelNameError
from ops_anomaly.aws.objects import check_name
from ops_anomaly.aws.settings import BucketSettings, SettingsError


@dataclass(frozen=True, kw_only=True)
class Settings(BucketSettings):
    """The API's configuration.

    Attributes
    ----------
    default_model : str
        `DEFAULT_MODEL`: the model of requests that don't name one.
    azure_compatible : bool
        `AZURE_COMPATIBLE`, `Yes` or `No`: whether clients of Azure AI Anomaly Detector are served.
    """

    default_model: str = "ec2-cpu"
    azure_compatible: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: Any) -> Self:
        """Read the settings; see `BucketSettings.from_environment`."""
        default_model = environ.get("DEFAULT_MODEL") or cls.default_model
        try:
            check_name(default_model)
        except InvalidModelNameError as error:
            raise SettingsError(f"DEFAULT_MODEL: {error}") from error
        azure = environ.get("AZURE_COMPATIBLE") or "No"
        if azure not in ("Yes", "No"):
            raise SettingsError("AZURE_COMPATIBLE must be Yes or No")
        return super().from_environment(
            environ, default_model=default_model, azure_compatible=azure == "Yes", **more
        )
