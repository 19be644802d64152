from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import gather as reference

from gradcam import ops
from gradcam.environment import threads
from gradcam.ops import _call
from gradcam.ops.gather import gather_attributes

CASES = [((5, 3), [0, 4, 4, -1], 0), ((2, 5, 3), [[1, 0], [3, -5]], 1), ((2, 3, 7), 6, 2), ((4,), [2], 0), ((1, 1000), [281], 1)]


@pytest.mark.parametrize(("shape", "index", "axis"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients_are_the_reference(isa, shape, index, axis, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    y = ops.gather(x, index, axis)
    np.testing.assert_array_equal(y, np.take(x, index, axis))
    np.testing.assert_array_equal(y.reshape(-1), reference.gather(x, np.asarray(index), axis).reshape(-1))
    dy = np.random.default_rng(1).integers(-8, 9, y.shape).astype(dtype)
    dx = ops.gather_input_grad(dy, index, shape[axis], axis)
    np.testing.assert_array_equal(dx, reference.gather_input_grad(dy, np.asarray(index), shape[axis], axis))


@pytest.mark.parametrize(("shape", "index", "axis"), CASES[:4])
def test_gradients_are_central_differences(isa, shape, index, axis):
    x = np.random.default_rng(2).standard_normal(shape)
    dy = np.random.default_rng(3).standard_normal(ops.gather(x, index, axis).shape)
    assert_gradient(ops.gather_input_grad(dy, index, shape[axis], axis), lambda v: ops.gather(v, index, axis), x, dy)


@pytest.mark.parametrize("wrong", [3, -4, 2**62, -(2**63)])
def test_an_index_out_of_range_reads_nothing(isa, wrong):
    """Indices are data: the kernel itself must stay inside, whatever they are."""
    x, index = np.ones((2, 3, 4), np.float32), np.asarray([0, wrong])
    y = _call.call("gather_output", gather_attributes(x.shape, 2, 1), [x, index], [(2, 2, 4)])[0]
    assert (y[:, 0] == 1).all()
    assert np.isnan(y[:, 1]).all()
    dx = _call.call("gather_input_grad", gather_attributes(x.shape, 2, 1), [np.ones((2, 2, 4), np.float32), index], [x.shape])[0]
    assert dx.sum() == 8


@pytest.mark.parametrize("axis", [0, 1])
def test_any_number_of_threads_gives_the_same_bytes(isa, axis):
    rng = np.random.default_rng(4)
    x, index, found = rng.standard_normal((300, 257)).astype("float32"), rng.integers(0, 257, 400), set()
    for n in (1, 2, 3, 4):
        with threads(n):
            y = ops.gather(x, index, axis)
            found.add((y.tobytes(), ops.gather_input_grad(y, index, x.shape[axis], axis).tobytes()))
    assert len(found) == 1


def test_bad_input():
    with pytest.raises(ValueError, match="gather: indices"):
        ops.gather(np.ones((2, 3)), [3], 1)
    with pytest.raises(TypeError, match="gather: indices"):
        ops.gather(np.ones((2, 3)), [0.5], 1)
    with pytest.raises(ValueError, match="gather: axis"):
        ops.gather(np.ones((2, 3)), [0], 2)


BATCHES = [((2, 3, 5), 1, 2, (4,)), ((2, 3, 4, 5), 2, 2, (2, 2)), ((3, 4, 2), 1, 1, ()), ((2, 3), 1, 1, (1,)), ((2, 0, 3), 1, 2, (2,))]


@pytest.mark.parametrize(("shape", "batch", "axis", "index_shape"), BATCHES)
@pytest.mark.parametrize("workers", [1, 3])
def test_each_batch_has_indices_of_its_own(isa, shape, batch, axis, index_shape, workers):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape)
    index = rng.integers(-shape[axis], shape[axis], (*shape[:batch], *index_shape))
    attributes = gather_attributes(shape, int(np.prod(index_shape)), axis, batch)
    want = np.empty((*shape[:axis], *index_shape, *shape[axis + 1 :]))
    for at in np.ndindex(*shape[:batch]):
        want[at] = reference.gather(x[at], index[at], axis - batch)
    (y,) = _call.call("gather_output", attributes, [x, index], [want.shape], num_threads=workers)
    np.testing.assert_array_equal(y, want)
    dy = rng.integers(-8, 9, want.shape).astype(float)
    dx = np.empty(shape)
    for at in np.ndindex(*shape[:batch]):
        dx[at] = reference.gather_input_grad(dy[at], index[at], shape[axis], axis - batch)
    (got,) = _call.call("gather_input_grad", attributes, [dy, index], [shape], num_threads=workers)
    np.testing.assert_array_equal(got, dx)
