from __future__ import annotations

import numpy as np

from downshift.runtime.errors import Draining
from downshift.runtime.request import Request
from downshift.runtime.scheduling.observer import Batch, Outcome, Settled, Several
from tests.runtime.doubles import Recorder


def test_several_observers_hear_the_same() -> None:
    recorders = Recorder(), Recorder()
    several = Several(*recorders)
    request = Request(np.zeros((1, 3, 2, 2), np.float32))
    batch = Batch("s90", "scripted", "slack", requests=1, examples=1, expected_seconds=0.002)
    refused, broken = Draining(), RuntimeError("broken")
    event = Settled(request, Outcome.OK, "s90", "scripted", 0.004, 0.002, None)
    several.accepted(request)
    several.rejected(request, refused)
    several.started(batch)
    several.finished(batch, 0.002, broken)
    several.settled(event)
    several.improved(0.5, "half")
    several.unfit("s90", "scripted")
    for recorder in recorders:
        assert recorder.accepts == [request]
        assert recorder.refusals == [(request, refused)]
        assert recorder.starts == [batch]
        assert recorder.ends == [(batch, 0.002, broken)]
        assert recorder.settlements == [event]
        assert recorder.improvements == [(0.5, "half")]
        assert recorder.misfits == [("s90", "scripted")]
