"""The report of a finished run: one self-contained HTML page, and its plots as files."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from downshift.trainer.report import plots

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import SubnetSpec
    from downshift.trainer.report.plots import Plot

PAGE = "report.html"

STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --paper: #ffffff; --soft: #5b6470; --rule: #d9dde3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --paper: #16181c; --soft: #a4adb8; --rule: #363b43; }
}
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; font-weight: 600; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 500; }
figure { margin: 1rem 0; }
img { width: 100%; height: auto; border-radius: .5rem; background: #ffffff; }
figcaption { color: var(--soft); font-size: .9rem; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid var(--rule); border-radius: .5rem;
  font-size: .85rem; }
.wide { overflow-x: auto; }
"""


@dataclass(frozen=True)
class Findings:
    """Content of a report: test accuracy by sub-net, the records of the journal, the recipe as TOML."""

    artifact: Artifact
    test: Mapping[str, float]
    records: Sequence[Mapping[str, Any]]
    recipe: str


def report_files(findings: Findings) -> dict[str, bytes]:
    """The page and its plots by file name; reproducible: without dates, equal findings give equal bytes."""
    pictures = _pictures(findings)
    return {plot.file: plot.png for plot in pictures} | {PAGE: _page(findings, pictures).encode()}


def _pictures(findings: Findings) -> list[Plot]:
    manifest = findings.artifact.manifest
    validation = {s.name: s.accuracy for s in manifest.subnets if s.accuracy is not None}
    pictures = [
        plots.accuracy({s.name: s.sparsity for s in manifest.subnets}, validation, findings.test),
        plots.layer_sparsity(*_layers(findings.artifact)),
    ]
    epochs = [record for record in findings.records if "epoch" in record]
    if epochs:
        pictures.insert(1, plots.curves(epochs, manifest.names))
    if corrected := [record for record in epochs if "correction" in record]:
        pictures.append(plots.correction(corrected))
    return pictures


def _layers(artifact: Artifact) -> tuple[list[str], dict[str, list[float]]]:
    """Names of the masked layers, and per sub-net the sparsity of each."""
    manifest = artifact.manifest
    removed = [
        1.0 - artifact.masks(layer.weight).reshape(len(manifest.subnets), -1).mean(axis=1)
        for layer in manifest.layers
    ]
    layers = [layer.weight.removesuffix(".weight") for layer in manifest.layers]
    return layers, {name: [float(r[i]) for r in removed] for i, name in enumerate(manifest.names)}


def _page(findings: Findings, pictures: Iterable[Plot]) -> str:
    manifest = findings.artifact.manifest
    origin = manifest.provenance
    title = f"{manifest.network} on {origin.dataset}"
    subnets = _table(
        ("sub-net", "sparsity", "pattern", "validation", "test", "MFLOPs", "non-zeros"),
        (
            (
                s.name,
                f"{s.sparsity:.2%}",
                str(s.pattern),
                _accuracy(s),
                f"{findings.test[s.name]:.2%}",
                f"{s.flops / 1e6:,.2f}",
                f"{s.nonzeros:,}",
            )
            for s in manifest.subnets
        ),
    )
    figures = "\n".join(map(_figure, pictures))
    facts = {"seed": str(origin.seed), "artifact SHA-256": manifest.sha256, **origin.versions}
    if origin.commit:
        facts["commit"] = origin.commit
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>One network, {len(manifest.subnets)} sub-nets. The validation split chose; the test split chose nothing.
MFLOPs are twice the multiply-adds of one image with non-zero weights, non-zeros those of masked layers.</p>
<div class="wide">{subnets}</div>
{figures}
<h2>Recipe</h2>
<pre>{escape(findings.recipe)}</pre>
<h2>Made with</h2>
<div class="wide">{_table(("", ""), facts.items())}</div>
</body>
</html>
"""


def _figure(plot: Plot) -> str:
    data = base64.b64encode(plot.png).decode()
    return f"""<h2>{escape(plot.title)}</h2>
<figure><img alt="{escape(plot.alt)}" src="data:image/png;base64,{data}">
<figcaption>{escape(plot.alt)}</figcaption></figure>"""


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    header = f"<thead><tr>{head}</tr></thead>\n" if any(columns) else ""
    return f"<table>\n{header}<tbody>\n{body}\n</tbody>\n</table>"


def _accuracy(subnet: SubnetSpec) -> str:
    if subnet.accuracy is None:
        return "unknown"
    error = "" if subnet.standard_error is None else f" ± {subnet.standard_error:.2%}"
    return f"{subnet.accuracy:.2%}{error}"
