"""One request's way through the server, from its first byte to its answer."""

from __future__ import annotations

from docs.tools.svg import INK, SOFT, Picture

WIDTH, HEIGHT = 860, 380
BOX, GAP, TALL = 148, 18, 92
LEFT = 24
STAGES = (
    ("Read", "budget, body, image", "deadline = first byte", "+ budget", "400 404 413 415"),
    ("Admit", "is any sub-net fast", "enough after all that", "waits already?", "429 503 504"),
    ("Queue", "earliest deadline", "first, one per model", "", "504 expired"),
    ("Decide", "policy: queue, load,", "profile → sub-net", "and batch size", ""),
    ("Run", "one execution thread,", "program compiled for", "this machine, no GIL", "500"),
)
ABOVE, FILL, REFUSED, MEASURED = 92, "#eef6f2", "#b3261e", "#1d4ed8"


def draw() -> str:
    """The SVG of the stages, of where a request may be refused, and of what is measured on the way."""
    told = "; ".join(f"{name}: {' '.join(lines[:3]).strip()}" for name, *lines in STAGES)
    picture = Picture(WIDTH, HEIGHT, f"One request's way. {told}; then answer.")
    picture.text(LEFT, 30, "One request", size=18, more=' font-weight="600"')
    picture.text(LEFT, 52, "X-Latency-Budget-Ms: 50", SOFT, 13, ' font-family="monospace"')
    middle = ' text-anchor="middle"'
    for index, (name, first, second, third, statuses) in enumerate(STAGES):
        x = LEFT + index * (BOX + GAP)
        picture.box(x, ABOVE, BOX, TALL, "#0b6e4f", FILL)
        picture.text(x + BOX / 2, ABOVE + 24, name, INK, 15, middle + ' font-weight="600"')
        for row, text in enumerate((first, second, third)):
            picture.text(x + BOX / 2, ABOVE + 44 + 17 * row, text, INK, 12, middle)
        if index:
            picture.arrow(x - GAP, ABOVE + TALL / 2, x - 1, ABOVE + TALL / 2)
        if statuses:
            picture.arrow(x + BOX / 2, ABOVE + TALL, x + BOX / 2, ABOVE + TALL + 34, REFUSED)
            picture.text(x + BOX / 2, ABOVE + TALL + 52, statuses, REFUSED, 13, middle)
    _ways_back(picture)
    return picture.render()


def _ways_back(picture: Picture) -> None:
    """From the last stage: the answer to the client, and the measured time to the decision."""
    last, decide = (LEFT + index * (BOX + GAP) for index in (4, 3))
    top, middle = ABOVE - 26, ' text-anchor="middle"'
    picture.line(last + BOX / 2, ABOVE, last + BOX / 2, top, MEASURED)
    picture.line(last + BOX / 2, top, decide + BOX / 2, top, MEASURED)
    picture.line(decide + BOX / 2, top, decide + BOX / 2, ABOVE, MEASURED)
    label = "measured time corrects the profile"
    picture.text((last + decide + BOX) / 2, top - 8, label, MEASURED, 12, middle)
    low, right = ABOVE + TALL + 100, last + BOX + 14
    picture.line(last + BOX, ABOVE + TALL / 2, right, ABOVE + TALL / 2, SOFT)
    picture.line(right, ABOVE + TALL / 2, right, low, SOFT)
    picture.arrow(right, low, LEFT, low)
    picture.text(LEFT, low + 26, "200 and how it came about", INK, 15, ' font-weight="600"')
    headers = (
        "X-Subnet: s50   X-Subnet-Sparsity: 0.5   X-Subnet-Accuracy: 0.8675",
        "X-Latency-Budget-Remaining-Ms: 48.9   Server-Timing: queue;dur=0.05, infer;dur=0.53, total;dur=1.1",
    )
    for row, text in enumerate(headers):
        picture.text(LEFT, low + 50 + 22 * row, text, SOFT, 13, ' font-family="monospace"')
