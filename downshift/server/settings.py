"""What an operator may set, on the command line or as `DOWNSHIFT_…` environment variables."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from downshift.models.images.reader import MAX_PIXELS, MOST_PIXELS
from downshift.runtime.machine import MOST_THREADS
from downshift.runtime.scheduling.core import Limits
from downshift.runtime.scheduling.level import Thresholds
from downshift.server.connection.keys import Keys, read_keys
from downshift.server.connection.protocol import ConnectionLimits
from downshift.server.errors import BadSetting
from downshift.server.service_links import EnvironmentWithoutServiceLinks

DAY = 86_400.0  # seconds; the operating system's timers do not take just any number
DAY_MS = DAY * 1e3
MOST_CONNECTIONS = 2**20  # open files that Linux grants one process at most, by default
MOST_BYTES = 2**31 - 2**20  # gRPC counts a message's bytes in 32 bits
PROTECTING = frozenset({"api_keys_file", "admin_keys_file", "ssl_certfile", "ssl_keyfile"})
"""Files without which everybody would be served, or in the clear: an empty name is a mistake, no default."""


class Settings(BaseSettings):
    """Limits and addresses of one server; every field can come from `DOWNSHIFT_<FIELD>`.

    An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(env_prefix="DOWNSHIFT_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to bind")
    port: int = Field(default=8000, ge=0, le=65535, description="port to bind; 0 picks a free one")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=MOST_THREADS,
        description="threads for one sub-net's computation; none: physical cores less one",
    )
    executors: int = Field(
        default=1, ge=1, le=MOST_THREADS, description="batches that run at once, each on threads of its own"
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=MOST_THREADS,
        description="processes that share the port, each on cores of its own",
    )
    engines: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="engines to use, such as onnxruntime,sparse; none: all that work",
    )
    device: str | None = Field(
        default=None,
        description="where GPU engines compute: cuda:1, a UUID, or cpu; none: the first GPU",
    )
    gpu_memory_bytes: int | None = Field(
        default=None, ge=1, description="most GPU memory for one model on one engine; none: no limit"
    )
    cache_dir: Path | None = Field(
        default=None, description="folder for profiles and tilings; none: the user's cache"
    )
    repository: Path | None = Field(
        default=None, description="folder of models that clients may load; without MODEL, all are loaded"
    )
    watch: bool = Field(default=False, description="reload a model when its file changes")
    admin_keys: SecretStr = Field(
        default=SecretStr(""), description="space-separated keys for loading and unloading models"
    )
    admin_keys_file: Path | None = Field(default=None, description="file with such keys, one per line")
    tune: bool = Field(default=True, description="tune programs in the background while idle")
    api_keys: SecretStr = Field(
        default=SecretStr(""), description="space-separated API keys; none: no key needed"
    )
    api_keys_file: Path | None = Field(default=None, description="file with API keys, one per line")
    keyed_metrics: bool = Field(default=False, description="require a key for /metrics, too")
    ssl_certfile: Path | None = Field(default=None, description="certificate (PEM file); enables HTTPS")
    ssl_keyfile: Path | None = Field(
        default=None, description="private key (PEM file), unless the certificate's file holds it"
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="separate port for /metrics and the health endpoints"
    )
    grpc_port: int | None = Field(
        default=None, ge=0, le=65535, description="port for gRPC (needs downshift[grpc]); 0 picks a free one"
    )
    access_log: str | None = Field(
        default=None, description="access log: a file, one JSON line per request; - is standard output"
    )
    log_json: bool = Field(default=False, description="write the server's log as JSON lines")
    otel: bool = Field(default=False, description="send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT")
    max_body_bytes: int = Field(default=16 * 2**20, ge=1, le=MOST_BYTES, description="largest request body")
    max_pixels: int = Field(
        default=MAX_PIXELS, ge=1, le=MOST_PIXELS, description="largest image that is decoded"
    )
    decode_queue: int = Field(default=64, ge=0, description="images that may wait to be decoded")
    max_batch: int = Field(default=256, ge=1, description="most examples in one V2 request")
    max_budget_ms: float = Field(
        default=60_000.0,
        gt=0,
        le=DAY_MS,
        allow_inf_nan=False,
        description="largest latency budget; requests without one expire after as long",
    )
    max_queue: int = Field(default=1024, ge=1, description="most requests that wait in a model's queue")
    load_rise_ms: float = Field(
        default=100.0,
        ge=0,
        le=DAY_MS,
        allow_inf_nan=False,
        description="queue delay above which sparser sub-nets serve",
    )
    load_fall_ms: float = Field(
        default=20.0,
        ge=0,
        le=DAY_MS,
        allow_inf_nan=False,
        description="queue delay below which denser sub-nets serve",
    )
    load_rise_utilization: float = Field(
        default=0.98, ge=0, le=1, description="utilisation above which load_fall_ms replaces load_rise_ms"
    )
    load_fall_utilization: float = Field(
        default=0.9, ge=0, le=1, description="utilisation above which a denser sub-net is tried later"
    )
    load_rise_gpu: float = Field(
        default=0.9, ge=0, le=1, description="share of time a GPU is busy above which sparser sub-nets serve"
    )
    load_fall_gpu: float = Field(
        default=0.7, ge=0, le=1, description="share of time a GPU is busy below which denser sub-nets serve"
    )
    load_hold_ms: float = Field(
        default=250.0,
        ge=0,
        le=DAY_MS,
        allow_inf_nan=False,
        description="least time between two changes of the load level",
    )
    max_connections: int = Field(default=4096, ge=1, le=MOST_CONNECTIONS, description="most open connections")
    max_streams: int = Field(default=32, ge=0, description="most clients of /events")
    max_head_bytes: int = Field(
        default=32 * 1024, ge=1024, description="largest request line and headers together"
    )
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        le=DAY,
        allow_inf_nan=False,
        description="timeout for a new connection's first byte, and for a request's headers",
    )
    body_seconds: float = Field(
        default=30.0, gt=0, le=DAY, allow_inf_nan=False, description="timeout for a request's body"
    )
    keep_alive_seconds: float = Field(
        default=75.0, gt=0, le=DAY, allow_inf_nan=False, description="timeout of an idle connection"
    )
    drain_seconds: float = Field(
        default=30.0,
        ge=0,
        le=DAY,
        allow_inf_nan=False,
        description="longest wait for accepted requests at shutdown",
    )

    @field_validator("engines", mode="before")
    @classmethod
    def _engines_by_comma(cls, value: Any) -> Any:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any, info: ValidationInfo) -> Any:
        if value != "" or info.field_name is None:
            return value
        if info.field_name in PROTECTING:
            raise ValueError("is empty: name a file, or unset it")
        return cls.model_fields[info.field_name].get_default()

    @field_validator("load_fall_ms", "load_fall_gpu")
    @classmethod
    def _falls_below_rise(cls, value: float, info: ValidationInfo) -> float:
        rise = str(info.field_name).replace("fall", "rise")
        if value > info.data.get(rise, value):
            raise ValueError(f"give at most {rise}, which is {info.data[rise]}: else every change is undone")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment without Kubernetes' service links."""
        return init_settings, EnvironmentWithoutServiceLinks(settings_cls)

    @property
    def max_budget(self) -> float:
        """The largest latency budget honoured, and how long a request that names none may wait; seconds."""
        return self.max_budget_ms / 1e3

    @property
    def clients(self) -> Keys:
        """Whose keys may ask anything; without any, everybody may. Raises `BadSetting`."""
        return read_keys(self.api_keys.get_secret_value(), self.api_keys_file)

    @property
    def connection_limits(self) -> ConnectionLimits:
        """How long a connection waits for its client, and how many there may be."""
        return ConnectionLimits(
            self.max_connections, self.max_head_bytes, self.head_seconds, self.body_seconds
        )

    @property
    def admins(self) -> Keys:
        """Whose keys may load and unload models; raises `BadSetting`."""
        return read_keys(self.admin_keys.get_secret_value(), self.admin_keys_file)

    @property
    def limits(self) -> Limits:
        """What the scheduler accepts, and what counts as load."""
        thresholds = Thresholds(
            rise_delay=self.load_rise_ms / 1e3,
            fall_delay=self.load_fall_ms / 1e3,
            rise_utilization=self.load_rise_utilization,
            fall_utilization=self.load_fall_utilization,
            rise_gpu=self.load_rise_gpu,
            fall_gpu=self.load_fall_gpu,
            hold=self.load_hold_ms / 1e3,
        )
        return Limits(queued=self.max_queue, patience=self.max_budget, thresholds=thresholds)


def read_settings(**overrides: Any) -> Settings:
    """The settings of the environment; what is given here, and is not None, comes first.

    Raises `BadSetting` naming the first value that cannot be.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        option = (
            f"--{name.replace('_', '-')}" if overrides.get(name) is not None else f"DOWNSHIFT_{name.upper()}"
        )
        why = wrong["msg"].removeprefix("Value error, ").lower()
        raise BadSetting(f"{option} {wrong['input']!r}: {why}") from None
