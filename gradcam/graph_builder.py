"""A model built by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

from gradcam.graph.network_builder import NetworkBuilder
from gradcam.graph.source import Source
from gradcam.labels import Labels
from gradcam.model import Model
from gradcam.preprocess import Preprocess

__all__ = ["GraphBuilder", "make_model"]


class GraphBuilder(NetworkBuilder):
    """Builds a model by hand: inputs, one method per operator, outputs, and `model`.

    Tensors are named by strings: every operator takes names and returns the name of its result, which is `name=` or made up.
    Arguments have PyTorch's names and shapes; weights are arrays of real numbers (float16 is widened to float32). A result
    can be explained under its name; the weights of `conv(x, w, b, name="stem")` are called ``stem.weight`` and ``stem.bias``.

    Examples
    --------
    >>> import numpy as np
    >>> net = GraphBuilder()
    >>> x = net.input("x", (None, 3, None, None))
    >>> y = net.relu(net.conv(x, np.ones((4, 3, 3, 3), np.float32), padding=1), name="features")
    >>> y = net.linear(net.flatten(net.global_average_pool(y)), np.ones((2, 4), np.float32))
    >>> net.output("scores", y)
    >>> net.model().default_layer.name
    'features'
    """

    def model(self, *, labels: Labels | None = None, preprocess: Preprocess | None = None, max_bytes: int | None = 2**32) -> Model:
        """Return the model. The builder may be used on; the model does not change any more.

        Parameters
        ----------
        labels : sequence of str, mapping of int to str, or path, optional
            Names of the classes; a text file has one a line.
        preprocess : Preprocess, optional
            How a picture becomes the input; by default the preset for its number of channels.
        max_bytes : int, optional
            Most bytes that a run may take; None for no cap.

        Returns
        -------
        Model

        Raises
        ------
        ValueError
            There is no output.
        ModelFormatError
            An operator does not fit the shapes that reach it.
        """
        return make_model(self.source(), labels=labels, preprocess=preprocess, max_bytes=max_bytes)


def make_model(
    source: Source,
    *,
    labels: Labels | None,
    preprocess: Preprocess | None,
    max_bytes: int | None,
    origin: Callable[..., Model] | None = None,
) -> Model:
    """Return the model of a source that no file holds; it is pickled with its weights unless there is an `origin`."""
    metadata = {} if preprocess is None else {"gradcam.preprocess": json.dumps(asdict(preprocess))}
    source = replace(source, metadata=metadata, max_bytes=max_bytes)
    if origin is None:
        plain = replace(source, _constants={})  # without the converted copies of the model
        origin = partial(make_model, plain, preprocess=preprocess, max_bytes=max_bytes)
    return Model(source, labels=labels, max_bytes=max_bytes, origin=origin)
