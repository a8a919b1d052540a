"""Recognises the environment variables that Kubernetes sets for every Service in a pod's namespace.

A Service named `downshift` sets `DOWNSHIFT_PORT=tcp://10.0.0.1:8000`, where our setting of that name expects
a number; one named `downshift-metrics` sets `DOWNSHIFT_METRICS_PORT`. Source: Kubernetes, "Accessing the
Service", environment variables (`enableServiceLinks`).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from pydantic_settings import EnvSettingsSource

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("downshift.server")

_LINK = re.compile(r"(?:tcp|udp|sctp)://\S+:[0-9]{1,5}", re.IGNORECASE)
_NAME = re.compile(r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_.+)?)")


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes has set this variable, to judge by its name and its value."""
    return _LINK.fullmatch(value.strip()) is not None or _NAME.fullmatch(name.upper()) is not None


class EnvironmentWithoutServiceLinks(EnvSettingsSource):
    """The environment as a source of settings, service links left out."""

    def __call__(self) -> dict[str, Any]:
        """Every setting that the environment holds; a line in the log names the service links ignored."""
        prefix, known = self.env_prefix.upper(), {name.upper() for name in self.settings_cls.model_fields}
        ours = {name: value for name, value in self.env_vars.items() if name.upper().startswith(prefix)}
        linked = {name for name, value in ours.items() if value and is_service_link(name, value)}
        if linked:
            shown = ", ".join(sorted(name.upper() for name in linked)[:3])
            log.warning(
                "Kubernetes service links are ignored (%s, %d in all): they name a Service, no setting; "
                "rename the Service or set enableServiceLinks: false",
                shown,
                len(linked),
            )
        unknown = [
            name.upper()
            for name in ours
            if name not in linked
            and name.upper().removeprefix(prefix) not in known
            and name.upper() not in ELSEWHERE
        ]
        if unknown:
            log.warning(
                "%s: no such setting, ignored; see downshift serve --help", ", ".join(sorted(unknown))
            )
        self.env_vars = without(self.env_vars, linked)
        return super().__call__()


ELSEWHERE = frozenset({"DOWNSHIFT_FORCE_ISA"})  # read by the sparse engine


def without(variables: Mapping[str, str | None], names: set[str]) -> dict[str, str | None]:
    """The variables but for those names."""
    return {name: value for name, value in variables.items() if name not in names}
