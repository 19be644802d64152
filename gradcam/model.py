"""A model: forward runs, gradients, explanations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.explaining import Request, explain_plan, explain_rows, gradient_rows
from gradcam.explanation import Explanation
from gradcam.files import write_bytes
from gradcam.forward import Forward
from gradcam.graph.ir import Value
from gradcam.graph.layers import LayerInfo
from gradcam.graph.plan import Plan
from gradcam.graph.source import Dim, InputSpec, Source, dims_text
from gradcam.labels import Labels, class_names
from gradcam.ops import _call
from gradcam.preprocess import Preprocess, default_preprocess
from gradcam.session import Session

__all__ = ["Model", "TensorInfo"]

Arrays = NDArray[Any] | dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a model.

    Attributes
    ----------
    name : str
        Name in the model file.
    shape : tuple of int or str
        Size of each axis; a str names a symbolic size.
    dtype : dtype
        Type of its elements.
    layout : {"channels_first", "channels_last", "vector"}
        Where the channels lie.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: np.dtype[Any]
    layout: Literal["channels_first", "channels_last", "vector"]


class Model:
    """A network that is ready to run and to be explained. Read-only; may be shared between threads.

    Use `gradcam.load` to make one.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        What it takes and returns.
    labels : dict of int to str
        Names of the classes; empty if unknown.
    preprocess : Preprocess
        How a picture becomes its input: from the metadata, else the default for its number of channels.
    """

    def __init__(
        self,
        source: Source,
        *,
        labels: Labels | None = None,
        max_bytes: int | None = 2**32,
        origin: Callable[..., Model] | None = None,
        winograd: bool = True,
        precision: str = "float32",
    ) -> None:
        without = () if winograd else ("winograd",)
        self._session, self._source, self._origin = Session(source, max_bytes, without, precision), source, origin
        self.labels = class_names(labels, source.metadata)
        self.inputs = tuple(self._tensor_info(spec) for spec in source.inputs)
        self.outputs = tuple(self._output_info(name) for name in source.outputs)
        self.preprocess = self._make_preprocess()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the file (or its bytes) and the options, never the plans."""
        if self._origin is None:
            raise TypeError("this model was not loaded from a file and cannot be pickled")
        return _reload, (self._origin, self.labels)

    def _derived(self, source: Source, origin: Callable[..., Model] | None) -> Model:
        """Return a model of another source with the options of this one."""
        session = self._session
        new = Model(
            source,
            labels=self.labels,
            max_bytes=session.max_bytes,
            origin=origin,
            winograd="winograd" not in session.without,
            precision=session.precision,
        )
        new.preprocess = self.preprocess
        return new

    # What it is ---------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Tensors with positions, in the order in which they are computed."""
        return tuple(self._session.nominal.layers.values())

    @property
    def default_layer(self) -> LayerInfo | None:
        """Layer that is explained when none is given; None if the model has no layer with positions."""
        value = self._session.nominal.default_layer()
        return None if value is None else self._session.nominal.layers[value]

    def __repr__(self) -> str:
        name = Path(self._source.path).name if self._source.path else "model"
        return f"<gradcam.Model {name}: {len(self.layers)} layers, {', '.join(o.name for o in self.outputs)}>"

    def __str__(self) -> str:
        """Inputs, outputs and layers with shapes; the default layer is marked."""
        default = self.default_layer
        lines = [
            f"{kind:7}{t.name}  {dims_text(t.shape)}  {t.dtype}"
            for kind, ts in (("input", self.inputs), ("output", self.outputs))
            for t in ts
        ]
        width = max((len(layer.name) for layer in self.layers), default=0)
        for layer in self.layers:
            mark = "  <- default" if layer == default else ""
            lines.append(f"layer  {layer.name:{width}}  {layer.op:12} {dims_text(layer.shape)}{mark}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to an ONNX file, with the names of its classes and its preprocessing in the metadata.

        The file has the opset of the file that was read (of `gradcam.GraphBuilder`: 20). All real numbers are float32, which is
        what gradcam computes in unless it is given float64.

        Parameters
        ----------
        path : path
            A present file is replaced.

        Raises
        ------
        UnsupportedOpError
            An operator has no form in ONNX.
        GradcamError
            The weights take 2 GiB or more.
        MissingExtraError
            The ``onnx`` extra is not installed.
        OSError
            The file cannot be written.
        """
        from gradcam.writers.onnx import onnx_bytes

        metadata = dict(self._source.metadata)
        if self.labels and list(self.labels) == list(range(len(self.labels))):
            metadata["gradcam.labels"] = json.dumps(list(self.labels.values()))
        if self.preprocess != self._make_preprocess():
            metadata["gradcam.preprocess"] = json.dumps(asdict(self.preprocess))
        nominal = self._session.nominal
        shapes = {name: value.shape for name, value in (nominal.lookup | nominal.outputs).items()}
        write_bytes(path, onnx_bytes(replace(self._source, metadata=metadata), shapes))

    # Running ------------------------------------------------------------------------------------------------------

    def __call__(self, x: ArrayLike | Mapping[str, ArrayLike], *, num_threads: int | None = None) -> Arrays:
        """Run the model forward; see `run`."""
        return self.run(x, num_threads=num_threads)

    def run(
        self, x: ArrayLike | Mapping[str, ArrayLike], outputs: Sequence[str] | None = None, *, num_threads: int | None = None
    ) -> Arrays:
        """Run the model forward.

        Parameters
        ----------
        x : array_like, or mapping of input name to array_like
            Pictures with the model's axes, or one picture without the batch axis. Any number of them, whatever the file
            was exported for. float64 arrays run the whole model in float64.
        outputs : sequence of str, optional
            Tensors to return: outputs or any layer, by tensor or node name.
        num_threads : int, optional
            See `gradcam.set_num_threads`.

        Returns
        -------
        ndarray, or dict of str to ndarray
            One array for one output, else a dict in the model's order.

        Raises
        ------
        ValueError, TypeError
            An input is missing or has the wrong shape or type.
        LayerError
            There is no such tensor.
        """
        bound = self._session.bind("run", x)
        names = list(outputs) if outputs is not None else list(bound.forward.outputs)
        values = self._values(bound.forward, names)
        key = ("run", bound.key, tuple(names), _call.isa)
        plan = self._session.plans.get(key, lambda: self._session.compile(bound.forward.folded(values), bound.forward.real))
        found = self._session.execute(plan, bound, bound.arrays, num_threads)
        results = {n: bound.forward.arrange(v, a, bound.pictures) for n, v, a in zip(names, values, found, strict=True)}
        if bound.squeeze:
            results = {name: array[0] for name, array in results.items()}
        return results if len(names) > 1 else results[names[0]]

    def forward_plan(self) -> Plan:
        """Plan of a forward run at the declared sizes (`gradcam info --plan`)."""
        forward = self._session.nominal
        return self._session.compile(forward.folded(list(forward.outputs.values())), forward.real)

    def explain_plan(self, target: Any = None, **keywords: Any) -> Plan:
        """Plan of `explain` at the declared sizes, with its keywords (`gradcam info --plan --layer L --method M`)."""
        return explain_plan(self._session, self.labels, "explain_plan", target, Request.from_keywords(keywords))

    def _values(self, forward: Forward, names: Sequence[str]) -> list[Value]:
        return [forward.outputs[n] if n in forward.outputs else forward.layer(n) for n in names]

    # Explaining ---------------------------------------------------------------------------------------------------

    def explain(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        *,
        target: Any = None,
        layer: str | Sequence[str] | None = None,
        method: str = "gradcam",
        compat: str = "paper",
        batch_size: int | None = None,
        channel_axis: int | None = None,
        tokens: tuple[int, Sequence[int]] | None = None,
        num_threads: int | None = None,
        progress: bool = False,
        callback: Callable[[int, int], object] | None = None,
        relu: bool | None = None,
        aug_smooth: bool = False,
        aggregate: str | None = None,
        signs: bool = False,
        **options: Any,
    ) -> Explanation:
        """Explain a score by a class-activation map.

        Parameters
        ----------
        x : array_like, or mapping of input name to array_like
            As in `run`.
        target : int, str, Target, None, or a list with one of these per picture
            What is explained: a class by index or name, or any of `gradcam.targets`. None is the class with the largest
            score of the first output (the centre of a map; a single value as it is).
        layer : str or sequence of str, optional
            Name of a tensor or node, or path of a module (``"layer4"``, ``"features.28"``, ``"layer4[-1]"``), which stands for the
            last tensor with positions that is computed in it; `default_layer` by default. In a pattern ``*`` and ``?``
            stand for anything without ``.`` and ``/``, and ``**`` for anything: all layers that match. Maps of several layers
            are combined.
        method : str
            See `gradcam.list_methods`.
        compat : {"paper", "pytorch-grad-cam", "torchcam", "captum"}
            Whose numbers to reproduce.
        batch_size : int, optional
            Pictures per run.
        channel_axis : int, optional
            Axis of the layer's channels where the graph does not tell it.
        tokens : (int, sequence of int), optional
            Of a layer (N, T, C): number of prefix tokens (class token, registers) and the grid (rows, columns) of the others,
            row by row. By default the grid of the patch convolution, else the largest square.
        num_threads : int, optional
            See `gradcam.set_num_threads`.
        progress : bool
            Show a progress bar (tqdm).
        callback : callable, optional
            Called with (pictures done, pictures in all) between runs; an exception in it stops the work.
        relu : bool, optional
            Whether the finished map removes negative evidence; as the mode does by default.
        aug_smooth : bool
            Average over the picture and its mirror image, each multiplied by 0.9, 1 and 1.1.
        aggregate : {"mean", "max", "product"}, optional
            How several layers are combined; as the mode does by default.
        signs : bool
            Keep activations and gradients of the layer, so that `Explanation.signs` need not run the model again for them.
        **options
            Options of the method; of all methods on layers: `eigen_smooth` (project the channels on their first singular
            vector instead of adding them up) and `nan` (``"omit"`` leaves out channels that hold NaN or infinity).

        Returns
        -------
        Explanation
            With or without a batch axis, as `x`.

        Raises
        ------
        ValueError, TypeError
            A wrong input, method, mode or option.
        TargetError, LayerError
            There is no such class or layer; the text lists the nearest three.
        MemoryBudgetError
            It needs more than the model's `max_bytes`.

        Warns
        -----
        BlankMapWarning, NonFiniteWarning
            A map is blank after ReLU, or holds NaN or infinity.
        """
        request = Request(
            layer=layer,
            method=method,
            compat=compat,
            channel_axis=channel_axis,
            tokens=tokens,
            num_threads=num_threads,
            batch_size=batch_size,
            progress=progress,
            callback=callback,
            relu=relu,
            aug_smooth=aug_smooth,
            aggregate=aggregate,
            signs=signs,
            options=options,
        )
        return explain_rows(self._session, self.labels, "explain", x, [target], request)[0]

    def explain_many(self, x: ArrayLike | Mapping[str, ArrayLike], targets: Sequence[Any], **keywords: Any) -> list[Explanation]:
        """Explain several targets, each for all pictures, with one forward pass.

        Parameters
        ----------
        x : array_like, or mapping of input name to array_like
            As in `run`.
        targets : sequence
            Targets as in `explain`.
        **keywords
            As in `explain`.

        Returns
        -------
        list of Explanation
            One per target.
        """
        request = Request.from_keywords(keywords)
        return explain_rows(self._session, self.labels, "explain_many", x, list(targets), request)

    def activations_and_gradients(
        self, x: ArrayLike | Mapping[str, ArrayLike], *, layer: str | None = None, target: Any = None, num_threads: int | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return a layer's values and the gradient of a target with respect to them.

        Parameters
        ----------
        x : array_like, or mapping of input name to array_like
            As in `run`.
        layer : str, optional
            Name of one layer as in `explain`; an input of the model is allowed too.
        target, num_threads
            As in `explain`.

        Returns
        -------
        activations, gradients : ndarray
            In the layout of the tensor in the model file.
        """
        return gradient_rows(self._session, self.labels, "activations_and_gradients", x, layer, target, num_threads)

    # Metadata ---------------------------------------------------------------------------------------------------------

    def _tensor_info(self, spec: InputSpec) -> TensorInfo:
        value = self._session.nominal.lookup[spec.name]
        layout: Any = (
            "vector" if len(spec.dims) < 3 else "channels_first" if self._session.nominal.channel_axis(value) == 1 else "channels_last"
        )
        return TensorInfo(spec.name, spec.dims, value.dtype, layout)

    def _output_info(self, name: str) -> TensorInfo:
        value = self._session.nominal.outputs[name]
        symbolic = isinstance(self._source.inputs[0].dims[0], str)
        shape: tuple[Dim, ...] = (
            (self._source.inputs[0].dims[0], *value.shape[1:]) if symbolic and self._session.nominal.per_picture else value.shape
        )
        return TensorInfo(name, shape, value.dtype, "vector" if len(value.shape) < 3 else "channels_first")

    def _make_preprocess(self) -> Preprocess:
        """Preprocessing from the metadata, else the default of the input's shape."""
        if "gradcam.preprocess" in self._source.metadata:
            return Preprocess.from_metadata(self._source.metadata["gradcam.preprocess"])
        return default_preprocess(self._session.nominal.graph.inputs[0].shape, self.inputs[0].layout == "channels_last")


def _reload(origin: Callable[..., Model], labels: dict[int, str]) -> Model:
    return origin(labels=labels)
