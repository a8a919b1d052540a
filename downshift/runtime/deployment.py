"""A deployment: one artifact being served on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from downshift.runtime.clock import MonotonicClock
from downshift.runtime.memory import release
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.core import Core, Limits
from downshift.runtime.scheduling.execution import Executor
from downshift.runtime.scheduling.load import MachineLoad
from downshift.runtime.scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.preparation import Prepared
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.observer import Observer
    from downshift.runtime.scheduling.policy import Policy
    from downshift.runtime.supervisor import Supervisor

DRAIN_SECONDS = 10.0


class Deployment:
    """Answers requests for one prepared artifact, from the moment it is made until `close`.

        with Deployment(prepare("model.onnx")) as deployment:
            answer = deployment.submit(Request(inputs)).result()

    manifest, programs, profile: as prepared; what `prepare` left to do is done while no request waits, and
    then better programs and their profile take the place of these. scheduler: its `queued`, `in_flight`,
    `serving` say how it is.
    """

    def __init__(  # noqa: PLR0913 - what it connects
        self,
        prepared: Prepared,
        *,
        policy: Policy | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        observer: Observer | None = None,
        improved: Callable[[Profile], None] | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        """Start serving. policy: `BudgetPolicy()` by default. observer: hears every event.

        improved: called once with the profile that replaces the prepared one, if one ever does.
        supervisor: runs the background workers; by default one of its own.
        """
        self.manifest, self.programs, self.profile = prepared.manifest, prepared.programs, prepared.profile
        clock = MonotonicClock()
        core = Core(self.manifest, self.profile, policy or BudgetPolicy(), limits=limits, clock=clock)
        executor = Executor(self.manifest, self.programs, max_batch=self.profile.batch_sizes[-1], clock=clock)
        self.load = MachineLoad(supervisor=supervisor)
        self.scheduler = Scheduler(core, executor, load=self.load, observer=observer)
        self._improved = improved
        self.load.start()
        work = None
        if prepared.improvement is not None:
            work = prepared.improvement.work(
                self.manifest,
                self.programs,
                self._adopt,
                self.scheduler.progressed,
                self.scheduler.refused,
            )
        self.scheduler.start(work)

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        """The future of the request's answer; see `Scheduler.submit` for all that it may raise."""
        return self.scheduler.submit(request, inline=inline)

    def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Take no more requests, answer those that wait for at most that long, fail the rest; then stop."""
        self.scheduler.close(drain_seconds)
        self.load.close()
        release()

    def _adopt(self, profile: Profile, programs: Programs) -> None:
        self.scheduler.adopt(profile, programs)
        self.profile, self.programs = profile, programs
        if self._improved is not None:
            self._improved(profile)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
