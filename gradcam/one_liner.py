"""The one-liner: model and picture in, explanation out."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.explanation import Explanation
from gradcam.loading import load
from gradcam.model import Model
from gradcam.preprocess import Preprocess, open_image

__all__ = ["explain"]


def explain(
    model: Model | str | os.PathLike[str],
    image: str | os.PathLike[str] | NDArray[Any],
    *,
    preprocess: Preprocess | None = None,
    **keywords: Any,
) -> Explanation:
    """Explain a picture.

    Parameters
    ----------
    model : Model or path
        A model, or an ONNX file.
    image : path or ndarray of uint8, shape (H, W, 3) or (H, W)
        The picture.
    preprocess : Preprocess, optional
        How it becomes the model's input; `Model.preprocess` by default.
    **keywords
        As in `Model.explain`.

    Returns
    -------
    Explanation
        Of one picture; its overlay is drawn on the whole picture.
    """
    model = model if isinstance(model, Model) else load(model)
    photo = open_image(image) if isinstance(image, str | os.PathLike) else np.asarray(image)
    steps = preprocess or model.preprocess
    explanation = model.explain(steps(photo)[0], **keywords)
    explanation.image, explanation.preprocess = photo, steps
    return explanation
