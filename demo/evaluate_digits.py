"""Measure the bundled model on held-out scenes, with gradcam itself: accuracy, and where Grad-CAM points.

    python demo/evaluate_digits.py [--scenes 2000]

Needs scikit-learn beside gradcam. Pointing game: the maximum of a digit's map must lie inside its box (tolerance 0).
"""

from __future__ import annotations

import argparse
from importlib.resources import files

import numpy as np
from scenes import digit_scenes

import gradcam

TEST_SEED = 1  # as in train_digits.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--method", default="gradcam")
    arguments = parser.parse_args()
    images, labels, boxes = digit_scenes(arguments.scenes, TEST_SEED, "test")
    model = gradcam.load((files("gradcam") / "data" / "digits.onnx").read_bytes())
    x = (images[:, None] / np.float32(255)).astype(np.float32)
    seen = np.asarray(model(x)) > 0
    print(f"{len(x)} held-out scenes: {(seen == labels).mean():.2%} of labels right, all ten right in {(seen == labels).all(1).mean():.1%}")
    hits = digits = 0
    for digit in range(10):
        present = [i for i, found in enumerate(boxes) if any(box[0] == digit for box in found)]
        maps = model.explain(x[present], target=digit, method=arguments.method).map
        for i, map_ in zip(present, maps, strict=True):
            row, column = np.unravel_index(int(map_.argmax()), map_.shape)
            _, top, left, bottom, right = next(box for box in boxes[i] if box[0] == digit)
            hits += int(top <= row < bottom and left <= column < right)
            digits += 1
    print(f"pointing game of {arguments.method}: {hits} of {digits} digits hit ({hits / digits:.1%})")


if __name__ == "__main__":
    main()
