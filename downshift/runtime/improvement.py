"""From programs that can answer to those that answer as fast as they can, while they already serve."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from downshift.runtime.background import aside
from downshift.runtime.memory import release
from downshift.runtime.profiling.profiler import Effort, Progress, measuring, part
from downshift.runtime.profiling.spares import needless
from downshift.runtime.profiling.tuning import tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from downshift.models.spec import Manifest
    from downshift.runtime.background import Work
    from downshift.runtime.engines.engine import Forward
    from downshift.runtime.engines.programs import Pair, Programs
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.profiling.profile_cache import ProfileCache

log = logging.getLogger(__name__)

TUNED = 0.4  # where on the progress bar tuning ends and measuring begins


class Replicate(Protocol):
    """Compiles the programs of all executors but the first."""

    def __call__(self, without: AbstractSet[Pair], /) -> Sequence[Programs]:
        """Without those pairs of sub-net and engine."""
        ...


class Checks(Protocol):
    """What `Reference` is to improvement."""

    def check(self, subnet: str, engine: str, run: Forward) -> None:
        """Raise `SelfCheckFailed` unless `run` answers what the sub-net should."""
        ...


@dataclass(frozen=True)
class Improvement:
    """What was put off so that serving could begin: tuning, and measuring with care.

    effort: how thoroughly. cache: where the profile is kept, so that the next start begins with it.
    reference: what a tuned program must answer before it takes the place of the one that serves.
    replicate: makes the programs of the other executors anew, without some that are of no use.
    """

    effort: Effort
    cache: ProfileCache
    reference: Checks
    replicate: Replicate | None = None

    def work(
        self,
        manifest: Manifest,
        programs: Programs,
        adopt: Callable[[Profile, Sequence[Programs]], None],
        progress: Progress,
        refused: Callable[[str, str], None],
    ) -> Work[None]:
        """Tune all programs, measure them again, and hand over the profile and the programs that won.

        Every program answers all the while. adopt: called once, between two pieces of work, with the programs
        of every executor. refused: told the sub-net and engine of every tuned program that computes something
        else, on any thread; the one before it stays.
        """

        def passes(subnet: str, engine: str, run: Forward) -> bool:
            try:
                self.reference.check(subnet, engine, run)
            except Exception:  # an engine is foreign code: whatever it raises, the program is not fit
                log.exception(
                    "the tuned program of %s on %s is refused, the one before stays", subnet, engine
                )
                refused(subnet, engine)
                return False
            return True

        log.info("tuning in the background, whenever no request waits")
        yield from tuning(programs, self.effort.tune_seconds, part(progress, 0.0, TUNED), passes)
        profile = yield from measuring(manifest, programs, self.effort, part(progress, TUNED, 1.0))
        unwanted = needless(profile, programs.engines_on_device)
        replicas: Sequence[Programs] = ()
        if self.replicate is not None:
            replicas = yield from aside(partial(self.replicate, unwanted))
        adopt(profile, (programs.without(unwanted), *replicas))
        self.cache.store(profile)
        yield from aside(release)
        log.info("tuned: the new profile decides from now on")
