"""A model in this process: the scheduler that `downshift serve` uses, without HTTP."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Self

from downshift.api.errors import Contradiction, InvalidBudget, ModelClosed
from downshift.api.inputs import to_inputs
from downshift.api.prediction import Label, Prediction
from downshift.models.bundled import locate
from downshift.models.images.reader import warm_up
from downshift.runtime.deployment import Deployment
from downshift.runtime.errors import Draining
from downshift.runtime.preparation import Setup, prepare
from downshift.runtime.ranking import ranking
from downshift.runtime.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from downshift.api.inputs import Images
    from downshift.models.spec import InputSpec, SubnetSpec
    from downshift.runtime.profiling.profile import Profile


def load(
    path_or_name: str | Path,
    *,
    threads: int | None = None,
    engines: Sequence[str] | None = None,
    cache_dir: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Model:
    """The model in an artifact file or, where there is no such file, the bundled one of that name.

        model = downshift.load("cifar10-resnet20")
        model.close()

    The first load on a machine tunes and measures every sub-net, which can take half a minute; the profile is
    cached. threads: for one sub-net's computation; by default the physical cores. engines: names such as
    "onnxruntime"; by default all that work here. cache_dir: of profiles; by default the user's cache.
    progress: called with a fraction in [0, 1] and a text.

    Raises `UnknownName` for neither a file nor a bundled name, `ArtifactError`, `EngineUnavailable`.
    """
    setup = Setup(threads=threads, engines=engines, cache_dir=cache_dir)
    prepared = prepare(locate(path_or_name), setup, progress)
    warm_up()
    return Model(Deployment(prepared))


class Model:
    """Classifies images with the most accurate sub-net that the latency budget allows; made by `load`.

        with downshift.load("cifar10-resnet20") as model:
            print(model.predict("cat.png", budget_ms=100))

    Methods may be called from any thread; requests of several threads are scheduled, and batched, together.
    A model that is not closed keeps its threads until the process ends.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._closed = False

    @property
    def subnets(self) -> tuple[SubnetSpec, ...]:
        """Name, sparsity, accuracy, FLOPs of every sub-net, densest first."""
        return self._deployment.manifest.subnets

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._deployment.manifest.labels

    @property
    def input(self) -> InputSpec:
        """Shape of the network's input, and the rule that turns an image into it."""
        return self._deployment.manifest.input

    def profile(self) -> Profile:
        """Measured latency of every sub-net, engine and batch size on this machine, in seconds."""
        return self._deployment.profile

    def predict(
        self,
        images: Images,
        *,
        budget_ms: float | None = None,
        subnet: str | None = None,
        min_accuracy: float | None = None,
    ) -> Prediction:
        """The classes of one image or several, which run together on one sub-net.

            prediction = model.predict("cat.png", budget_ms=100, min_accuracy=0.8)
            prediction.best[0].name

        images: a path, the bytes of a file, a PIL image or a list of those, of any size (JPEG, PNG, WebP,
        GIF, BMP, TIFF); or an array, float32 [n, C, H, W], normalised, or uint8 [n, H, W, C], pixels.
        budget_ms: from this call to its return; without one the most accurate sub-net answers.
        subnet: answer with exactly this one: "s90", or "s90-int8" in int8. min_accuracy: a ratio that the
        sub-net must reach.

        Raises `InvalidImages`, `ImageError`, `InvalidBudget`, `UnknownName` (sub-net), `Contradiction`,
        `AccuracyUnavailable`, `DeadlineImpossible`, `DeadlineExpired`, `Overloaded`, `ModelClosed`.
        """
        deadline = _deadline(budget_ms)
        if subnet is not None:
            self._check_pin(subnet, min_accuracy)
        if self._closed:
            raise ModelClosed
        inputs = to_inputs(images, self.input)
        request = Request(inputs, deadline=deadline, subnet=subnet, min_accuracy=min_accuracy)
        try:
            answer = self._deployment.submit(request, inline=True).result()
        except Draining:  # closed meanwhile, by another thread
            raise ModelClosed from None
        used = answer.point
        return Prediction(
            labels=tuple(tuple(Label(*each) for each in ranking(row, self.labels)) for row in answer.outputs),
            logits=answer.outputs,
            subnet=used.name,
            sparsity=used.sparsity,
            accuracy=used.accuracy,
            engine=answer.engine,
            seconds=answer.compute_seconds,
        )

    def close(self) -> None:
        """Answer what other threads have asked, then stop; may be called twice."""
        self._closed = True
        self._deployment.close()

    def _check_pin(self, subnet: str, min_accuracy: float | None) -> None:
        accuracy = self._deployment.profile[subnet].accuracy
        if min_accuracy is not None and (accuracy is None or accuracy < min_accuracy):
            has = "no measured accuracy" if accuracy is None else f"accuracy {accuracy:.4g}"
            raise Contradiction(
                f"subnet={subnet!r} has {has}, min_accuracy={min_accuracy:.4g} asks for more: lower "
                "min_accuracy, or leave subnet out"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        manifest = self._deployment.manifest
        state = ", closed" if self._closed else ""
        return f"<downshift.Model {manifest.network}: {', '.join(manifest.names)}{state}>"


def _deadline(budget_ms: float | None) -> float | None:
    """Monotonic seconds at which the budget, granted now, ends; raises `InvalidBudget`."""
    if budget_ms is None:
        return None
    if not 0 < budget_ms < math.inf:
        raise InvalidBudget(f"budget_ms={budget_ms}: give milliseconds above 0, such as 5, or leave it out")
    return time.monotonic() + budget_ms / 1e3
