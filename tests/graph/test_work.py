"""What an explanation runs: nothing before its layer is differentiated, and the last linear layer gives one row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from model.networks import normal, resnet, vgg

from gradcam import targets
from gradcam.graph.builder import Builder
from gradcam.graph.passes.fold_batchnorm import FoldCache
from gradcam.compat import mode
from gradcam.forward import build_forward
from gradcam.graph.explain_graph import Layer, Scores, explain_graph, gradient_graph
from gradcam.graph.passes import prune
from gradcam.graph.compilation import compile_plan, simplify
from gradcam.methods import METHODS, find_method
from gradcam.methods.base import prepare_options
from gradcam.readers.onnx import read_onnx
from gradcam.targets import Top

F32 = np.dtype(np.float32)


def explained(scores, layer, method="gradcam"):
    """Graph of a method on one layer."""
    record = find_method("test", method)
    plain, operands = prepare_options("test", record, {}, layer.shape, 1, F32)
    return explain_graph(scores, [Layer(layer, 1)], record, mode("paper"), plain, [operands])


class Compiled:
    """Forward plan and explanation plan of a model, and the difference of their work."""

    def __init__(self, content, shape, layer, target=None, method="gradcam"):
        self.forward = build_forward(read_onnx(content), {"x": shape}, F32, FoldCache(8))
        outputs = list(self.forward.outputs.values())
        self.layer = self.forward.layer(layer)
        graph = self.forward.folded(outputs, [self.layer])
        self.plain = Counter(step.kernel for step in compile_plan(prune(graph), F32, without=("blocked",)).steps)
        target = target or targets.ClassScore(1)
        scores = Scores.emit(graph, self.forward.outputs, [target], False, F32)
        graph, self.branches = explained(scores, self.layer, method)
        self.graph = simplify(graph, F32, ("blocked", "fuse"))
        self.plan = compile_plan(graph, F32, without=("blocked",))
        self.more = Counter(step.kernel for step in self.plan.steps)
        self.more.subtract(self.plain)


ON_ONE_LAYER = [m.name for m in METHODS.values() if not m.layerless and "input" not in m.needs]


@pytest.mark.parametrize("method", ON_ONE_LAYER)
@pytest.mark.parametrize("target", [targets.ClassScore(3), Top(), targets.Negative(2), targets.Contrast(0, 3)], ids=repr)
def test_last_stage_of_a_resnet_needs_no_gradient_before_it(method, target):
    found = Compiled(resnet(), (1, 3, 16, 16), "stage2", target, method)
    for kernel in ("conv_input_grad", "pool_max_input_grad", "batch_norm_input_grad", "conv_output", "conv_pack"):
        assert found.more[kernel] == 0, kernel
    # An elementwise gradient may stand behind the score itself (a target may negate it), not in the network.
    assert all(node.outputs[0].size == 1 for node in found.graph.nodes if node.op == "UnaryGrad")


@pytest.mark.parametrize("target", [targets.ClassScore(3), Top(), targets.Negative(2)], ids=repr)
def test_last_linear_layer_contributes_one_row(target):
    found = Compiled(resnet(), (1, 3, 16, 16), "stage2", target)
    assert found.plain["matmul_output"] == 1
    assert found.more["matmul_output"] == 0
    assert found.more["gather_input_grad"] == 0
    weights = [node for node in found.graph.nodes if node.op == "Gather" and node.inputs[0].data is not None]
    # A class that is given needs one row of the weights, forward and back, and its bias; the largest score needs all of them first.
    assert [node.outputs[0].size for node in weights] == ([12] if isinstance(target, Top) else [12, 1])


def test_last_linear_layer_of_a_vgg_contributes_one_row():
    found = Compiled(vgg(), (1, 2, 8, 10), "relu2")
    assert found.plain["matmul_output"] == 2
    assert found.more["matmul_output"] == 0
    assert found.more["matmul_live_output"] == 1  # the first linear layer, by units that are alive; the last one gives a row


@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf])
def test_a_dead_unit_hides_no_weight_that_is_not_finite(bad):
    """0 times NaN or infinity is NaN: only rows of finite weights are left out."""
    g, rng = Builder(F32), np.random.default_rng(0)
    x, w = g.input("x", (1, 30)), rng.standard_normal((8, 30))
    if bad is not None:
        w[3, 4] = bad
    # The unit of that row is dead for want of a finite sum too: its gradient is set to 0 by a factor.
    factor = np.ones((1, 8))
    factor[0, 3] = 0
    dx = g.emit(
        "MatMul",
        g.mul(g.emit("Slice", x, starts=(0, 5), steps=(1, 1), sizes=(1, 8)), g.constant(factor)),
        g.constant(w),
        trans_a=False,
        trans_b=False,
    )
    g.graph.outputs = [dx]
    plan = compile_plan(g.graph, F32)
    assert (plan.steps[-1].kernel == "matmul_live_output") == (bad is None)
    given = rng.standard_normal((1, 30)).astype(np.float32)
    found = plan.run([given], 1, 1)[0]
    with np.errstate(invalid="ignore"):
        expected = (given[:, 5:13] * factor) @ w.astype(np.float32).astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(found).sum() == (bad is not None)


@pytest.mark.parametrize(
    ("layer", "after"),
    [("stage2", 0), ("stage2.conv2", 0), ("stage2.relu1", 1), ("stage1", 3), ("stage1.relu1", 4), ("stem", 5), ("stem.conv", 5), ("x", 6)],
)
def test_convolutions_after_the_layer_are_differentiated_and_no_others(layer, after):
    found = Compiled(resnet(), (1, 3, 16, 16), layer)
    assert found.more["conv_input_grad"] + found.more["tap_product"] == after
    assert found.more["conv_output"] == 0


def test_no_gradient_is_computed_towards_weights_or_other_branches():
    found = Compiled(resnet(), (1, 3, 16, 16), "stage2.relu1")
    # The shortcut does not depend on the layer: its convolution (1x1, stride 2) is not differentiated.
    kernels = [node.inputs[1].shape[2:] for node in found.graph.nodes if node.op in ("ConvInputGrad", "TapProduct")]
    assert kernels == [(3, 3)]


def test_explanation_runs_the_forward_part_once_for_several_targets():
    forward = build_forward(read_onnx(resnet()), {"x": (1, 3, 16, 16)}, F32, FoldCache(8))
    layer = forward.layer("stage1")
    graph = forward.folded(list(forward.outputs.values()), [layer])
    counts = []
    for n in (1, 3):
        chosen = [targets.ClassScore(c) for c in range(n)]
        full, branches = explained(Scores.emit(graph, forward.outputs, chosen, False, F32), layer)
        assert len(branches) == n
        counts.append(Counter(step.kernel for step in compile_plan(full, F32, without=("blocked",)).steps))
    assert counts[0]["conv_output"] == counts[1]["conv_output"] == 6
    assert counts[0]["conv_input_grad"] * 3 == counts[1]["conv_input_grad"]


def test_layer_that_folding_would_swallow_is_computed():
    found = Compiled(resnet(), (1, 3, 16, 16), "stage1.conv1")
    assert any(found.layer in node.outputs and node.op == "Conv" for node in found.graph.nodes)
    assert found.plain["batch_norm_output"] == 1
    folded = Compiled(resnet(), (1, 3, 16, 16), "stage1.bn1")
    assert folded.plain["batch_norm_output"] == 0


def test_operands_of_the_target_are_inputs_so_that_one_plan_serves_all_classes():
    found = Compiled(resnet(), (1, 3, 16, 16), "stage2", targets.Contrast(0, 1))
    assert [v.name for v in found.graph.inputs] == ["x", "target.1", "target.2"]
    x = normal((1, 3, 16, 16))
    position = found.plan.outputs.index(found.branches[0].score)
    scores = {}
    for pair in ((0, 1), (1, 0), (2, 2)):
        results = found.plan.run([x, *(np.array([c], np.int64) for c in pair)], 1, 1)
        scores[pair] = float(results[position][0])
    assert scores[0, 1] == -scores[1, 0] != 0
    assert scores[2, 2] == 0


def test_gradient_graph_gives_activations_and_gradients():
    forward = build_forward(read_onnx(resnet()), {"x": (1, 3, 16, 16)}, F32, FoldCache(8))
    layer = forward.layer("stage2")
    graph = forward.folded(list(forward.outputs.values()), [layer])
    graph, (branch,) = gradient_graph(Scores.emit(graph, forward.outputs, [targets.ClassScore(0)], False, F32), layer)
    activations, gradient = branch.arrays
    assert activations is layer
    assert {layer, gradient} < set(graph.outputs)
    assert gradient.shape == layer.shape
