"""What an operator may set, on the command line or as `DOWNSHIFT_…` environment variables."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.errors import BadSetting


class Settings(BaseSettings):
    """Limits and addresses of one server; every field can come from `DOWNSHIFT_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="DOWNSHIFT_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    threads: int | None = Field(default=None, ge=1, description="cores for inference; None = all but one")
    cache_dir: Path | None = Field(
        default=None, description="where profiles are kept; None = the user's cache"
    )
    metrics_port: int | None = Field(default=None, ge=0, le=65535, description="a port for /metrics alone")
    max_body_bytes: int = Field(default=16 * 2**20, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_batch: int = Field(default=256, ge=1, description="examples in one V2 request")
    max_budget_ms: float = Field(default=60_000.0, gt=0, allow_inf_nan=False)
    max_connections: int = Field(default=4096, ge=1)
    drain_seconds: float = Field(default=30.0, ge=0, allow_inf_nan=False)

    @property
    def max_budget(self) -> float:
        """The largest latency budget honoured, in seconds, and the one of a request that names none."""
        return self.max_budget_ms / 1e3


def read_settings(**overrides: Any) -> Settings:
    """The settings of the environment; what is given here, and is not None, comes first.

    Raises `BadSetting` naming the first value that cannot be.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "_".join(map(str, wrong["loc"]))
        raise BadSetting(f"DOWNSHIFT_{name.upper()} {wrong['input']!r}: {wrong['msg'].lower()}") from None
