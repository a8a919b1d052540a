"""The protocol's definition and the module that is generated from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from downshift.server.grpc import inference_pb2 as pb
from downshift.server.grpc.repository import RepositoryService
from downshift.server.grpc.service import InferenceService

ROOT = Path(__file__).parents[3]
PROTO = Path("downshift/server/grpc/inference.proto")


def test_the_generated_module_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of inference.proto: make proto"""
    protoc = pytest.importorskip("grpc_tools.protoc")
    monkeypatch.chdir(ROOT)
    assert (
        protoc.main(
            ["protoc", "--proto_path=.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", str(PROTO)]
        )
        == 0
    )
    for suffix in ("_pb2.py", "_pb2.pyi"):
        made = (tmp_path / PROTO).with_name(PROTO.stem + suffix).read_text()
        assert made == (ROOT / PROTO).with_name(PROTO.stem + suffix).read_text()


def test_every_method_is_implemented() -> None:
    declared = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}

    class Nothing:
        def __getattr__(self, _: str) -> Nothing:
            return self

    anything = Nothing()
    methods = {
        **InferenceService(anything, anything, anything, "1").methods,
        **RepositoryService(anything, anything).methods,
    }  # type: ignore[arg-type]
    assert declared == set(methods) | {"ModelStreamInfer"}
