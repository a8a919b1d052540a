"""Why an experiment ends without a result.

ExperimentError
├── WrongAnswer   an answer that was timed is not what the network computes
├── NotServing    a server does not answer
└── BusyMachine   other processes computed meanwhile
"""

from __future__ import annotations


class ExperimentError(Exception):
    """An experiment cannot give a result; the text says why, and the remedy where there is one."""


class WrongAnswer(ExperimentError):  # noqa: N818 - reads well where it is raised
    """An answer holds other logits than the network's, or none."""


class NotServing(ExperimentError):  # noqa: N818 - reads well where it is raised
    """A server does not answer; the text has the end of its log."""


class BusyMachine(ExperimentError):  # noqa: N818 - reads well where it is raised
    """Other processes used the machine meanwhile; the text says how much of it."""
