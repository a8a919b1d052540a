"""No circle of modules inside the package, imports for type checking included."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def circle(graph: grimp.ImportGraph) -> list[str]:
    """Modules that import each other in a circle; empty when there is none."""
    sorter = TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("downshift", cache_dir=None, exclude_type_checking_imports=False)


def test_a_circle_would_be_found(graph: grimp.ImportGraph) -> None:
    added = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "a")):
        added.add_import(importer=importer, imported=imported)
    assert set(circle(added)) == {"a", "b", "c"}


def test_no_modules_import_each_other_in_a_circle(graph: grimp.ImportGraph) -> None:
    assert circle(graph) == []
