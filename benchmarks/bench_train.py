"""Time of a training step of the demo network: gradcam beside PyTorch, interleaved, best of the rounds.

    python benchmarks/bench_train.py --threads 1,2

Both start from the same weights and see the same batch; the losses after the rounds are printed beside the times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

import gradcam
from gradcam.train import Adam, Trainer, initialise

if TYPE_CHECKING:
    from torch import nn

STAGES = [(1, 16, 5, 2), (16, 24, 3, 1), (24, 48, 3, 1), (48, 64, 3, 1)]  # inputs, outputs, kernel, stride
Step = Callable[[], float]


def network() -> gradcam.Model:
    """Four convolutions with batch norm, global maximum, two linear layers: (N, 1, 64, 64) -> (N, 10)."""
    net = gradcam.GraphBuilder()
    x = net.input("image", (None, 1, 64, 64))
    for i, (inputs, outputs, kernel, stride) in enumerate(STAGES, start=1):
        x = net.conv(x, np.zeros((outputs, inputs, kernel, kernel), np.float32), stride=stride, padding=kernel // 2, name=f"conv{i}")
        x = net.relu(net.batch_norm(x, *np.ones((4, outputs), np.float32), name=f"norm{i}"))
        x = net.max_pool(x, 2) if i == 2 else x
    x = net.flatten(net.max_pool(x, 16))
    x = net.relu(net.linear(x, np.zeros((32, 64), np.float32), np.zeros(32, np.float32), name="hidden"))
    net.output("scores", net.linear(x, np.zeros((10, 32), np.float32), np.zeros(10, np.float32), name="logits"))
    return initialise(net.model(), seed=0)


def own_step(x: np.ndarray, targets: np.ndarray, threads: int) -> Step:
    trainer = Trainer(network(), "sigmoid_cross_entropy", Adam(1e-3))
    return lambda: trainer.step(x, targets, num_threads=threads)


def torch_network(channels_last: bool) -> nn.Module:
    """`network` with the same weights in PyTorch."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for i, (inputs, outputs, kernel, stride) in enumerate(STAGES, start=1):
        layers += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i == 2 else []
    net = nn.Sequential(*layers, nn.MaxPool2d(16), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    start = iter(Trainer(network(), "sigmoid_cross_entropy").parameters.values())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.tensor(next(start)))
    return net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def torch_step(x: np.ndarray, targets: np.ndarray, threads: int, channels_last: bool) -> Step:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net, batch, wanted = torch_network(channels_last), torch.tensor(x).contiguous(memory_format=layout), torch.tensor(targets)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step() -> float:
        loss = nn.functional.binary_cross_entropy_with_logits(net(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--processor-time", action="store_true", help="time of all threads together, to which other processes add little")
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    rng = np.random.default_rng(0)
    x = rng.random((options.batch, 1, 64, 64), dtype=np.float32)
    targets = (rng.random((options.batch, 10)) < 0.3).astype(np.float32)
    for threads in map(int, options.threads.split(",")):
        steps = {
            "gradcam": own_step(x, targets, threads),
            "torch": torch_step(x, targets, threads, channels_last=False),
            "torch, channels last": torch_step(x, targets, threads, channels_last=True),
        }
        best, losses = dict.fromkeys(steps, float("inf")), dict.fromkeys(steps, 0.0)
        for _ in range(options.rounds):
            for name, step in steps.items():
                started = clock()
                losses[name] = step()
                best[name] = min(best[name], clock() - started)
        for name, seconds in best.items():
            print(f"{threads} threads  {name:22} {1e3 * seconds:7.1f} ms  {best['gradcam'] / seconds:5.2f}  loss {losses[name]:.6f}")


if __name__ == "__main__":
    main()
