"""How an answer came about, as response headers, as V2 parameters and as the image endpoint's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downshift.runtime.request import Answer
    from downshift.server.budget import Budget


@dataclass(frozen=True)
class Report:
    """An answer and its timing.

    total_seconds: first byte of the request until the answer was ready to be sent.
    remaining: what was left of the budget then, negative when late; None when none was granted.
    """

    answer: Answer
    budget: Budget
    total_seconds: float
    remaining: float | None

    @property
    def headers(self) -> dict[str, str]:
        """The response headers of SERVING's table."""
        subnet, answer = self.answer.subnet, self.answer
        headers = {
            "X-Subnet": subnet.name,
            "X-Subnet-Sparsity": _plain(subnet.sparsity),
            "Server-Timing": (
                f"queue;dur={_ms(answer.queue_seconds)}, infer;dur={_ms(answer.compute_seconds)}, "
                f"total;dur={_ms(self.total_seconds)}"
            ),
        }
        if subnet.accuracy is not None:
            headers["X-Subnet-Accuracy"] = _plain(subnet.accuracy)
        if self.remaining is not None:
            headers["X-Latency-Budget-Remaining-Ms"] = str(_ms(self.remaining))
        if self.budget.wait is not None:
            headers["Preference-Applied"] = f"wait={self.budget.wait}"
        return headers

    @property
    def timing(self) -> dict[str, float]:
        """Milliseconds waited, computed, and taken in all."""
        return {
            "queue_ms": _ms(self.answer.queue_seconds),
            "infer_ms": _ms(self.answer.compute_seconds),
            "total_ms": _ms(self.total_seconds),
        }

    @property
    def parameters(self) -> dict[str, str | float]:
        """The headers' content as V2 response parameters."""
        subnet = self.answer.subnet
        parameters: dict[str, str | float] = {"subnet": subnet.name, "subnet_sparsity": subnet.sparsity}
        if subnet.accuracy is not None:
            parameters["subnet_accuracy"] = subnet.accuracy
        if self.remaining is not None:
            parameters["latency_budget_remaining_ms"] = _ms(self.remaining)
        return parameters | self.timing


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _plain(ratio: float) -> str:
    """A ratio in decimal notation, without noise in its last digits."""
    return f"{ratio:.6f}".rstrip("0").rstrip(".")
