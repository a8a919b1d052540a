from __future__ import annotations

import numpy as np

from downshift.runtime.scheduling.execution import InputBuffer


def inputs(*examples: int, size: int = 3) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    noise = np.random.default_rng(sum(examples))
    return [noise.standard_normal((n, 2, size, size), dtype=np.float32) for n in examples]


def test_inputs_lie_side_by_side_in_their_order() -> None:
    buffer = InputBuffer()
    for examples in ((1, 1), (2, 1, 3), (1, 2), (4, 4)):
        some = inputs(*examples)
        batch = buffer.gather(some)
        assert np.array_equal(batch, np.concatenate(some))
        assert batch.flags.c_contiguous
        assert batch.dtype == np.float32


def test_a_smaller_batch_uses_the_same_memory_and_another_shape_new_one() -> None:
    buffer = InputBuffer()
    large, small = buffer.gather(inputs(2, 2)), buffer.gather(inputs(1, 1))
    assert np.shares_memory(large, small)
    wider = inputs(1, 1, size=5)
    assert np.array_equal(buffer.gather(wider), np.concatenate(wider))


def test_one_request_alone_is_not_copied_unless_its_rows_are_scattered() -> None:
    alone = inputs(2)
    assert InputBuffer().gather(alone) is alone[0]
    scattered = np.asfortranarray(alone[0])
    for some in ([scattered], [scattered, alone[0]]):
        batch = InputBuffer().gather(some)
        assert batch.flags.c_contiguous
        assert np.array_equal(batch, np.concatenate(some))
