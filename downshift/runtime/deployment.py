"""A deployment: one artifact being served on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from downshift.runtime.clock import MonotonicClock
from downshift.runtime.cpu import CpuMeter
from downshift.runtime.memory import release
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.core import Core, Limits
from downshift.runtime.scheduling.execution import Executor
from downshift.runtime.scheduling.failover import Failover
from downshift.runtime.scheduling.load import MachineLoad
from downshift.runtime.scheduling.scheduler import Scheduler
from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from downshift.runtime.engines.engine import OnDevice
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.preparation import Prepared
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.observer import Observer
    from downshift.runtime.scheduling.policy import Policy

DRAIN_SECONDS = 10.0


class Deployment:
    """Serves one prepared artifact from construction until `close`.

        with Deployment(prepare("model.onnx")) as deployment:
            answer = deployment.submit(Request(inputs)).result()

    manifest, programs, profile: as prepared, until background tuning replaces programs and profile by faster
    ones. submit: `Scheduler.submit`. scheduler: its state, as `queued`, `in_flight`, `serving`.
    """

    def __init__(  # noqa: PLR0913 - what it connects
        self,
        prepared: Prepared,
        *,
        policy: Policy | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        observers: Iterable[Observer] = (),
        improved: Callable[[Profile], None] | None = None,
        supervisor: Supervisor | None = None,
        cpu: Callable[[], CpuMeter] = CpuMeter,
    ) -> None:
        """Start serving, on as many executors as were prepared.

        policy: `BudgetPolicy()` by default. observers: receive the scheduler's events.

        improved: called once with the tuned profile when background tuning replaces the prepared one.
        supervisor: of the background workers and the execution thread; by default one of its own.
        cpu: makes what reads the CPU utilisation.
        """
        supervisor = supervisor or Supervisor()
        self.manifest, self.programs, self.profile = prepared.manifest, prepared.programs, prepared.profile
        clock = MonotonicClock()
        compiled = (self.programs, *prepared.replicas)
        limits = replace(limits, executors=len(compiled))
        core = Core(self.manifest, self.profile, policy or BudgetPolicy(), limits=limits, clock=clock)
        largest = self.profile.batch_sizes[-1]
        executors = [Executor(self.manifest, each, max_batch=largest, clock=clock) for each in compiled]
        self.load = MachineLoad(supervisor=supervisor, cpu=cpu)
        self.load.serve_on(_on_device(compiled))
        self._failover = Failover(
            self.profile,
            compiled,
            adopt=self._fail_over,
            retired=lambda *program: self.scheduler.retired(*program),  # noqa: PLW0108 - made after it
            give_up=lambda: self.scheduler.give_up(),  # noqa: PLW0108 - likewise
        )
        if self.programs.on_device:  # others have no device that could fail
            observers = (*observers, self._failover)
        self.scheduler = Scheduler(
            core, executors, load=self.load, observers=observers, supervisor=supervisor
        )
        self.submit = self.scheduler.submit
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

    def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Drain: refuse new requests, answer the queued ones within that time, fail the rest; then stop."""
        self.scheduler.close(drain_seconds)
        self.load.close()
        release()

    def _adopt(self, profile: Profile, programs: Sequence[Programs]) -> None:
        profile, programs = self._failover.replaced(profile, programs)
        self.scheduler.adopt(profile, programs)
        self.profile, self.programs = profile, programs[0]
        self.load.serve_on(_on_device(programs))
        if self._improved is not None:
            self._improved(profile)

    def _fail_over(self, profile: Profile, programs: Sequence[Programs]) -> None:
        self.scheduler.replace(profile, programs)
        self.profile, self.programs = profile, programs[0]
        self.load.serve_on(_on_device(programs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _on_device(programs: Iterable[Programs]) -> list[OnDevice]:
    """Programs of all executors that compute on a GPU."""
    return [program for each in programs for program in each.on_device]
