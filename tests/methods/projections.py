"""Runs the projection and kernel PCA on arrays."""

from __future__ import annotations

from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.methods.projection import kernel_pca, project


def run(term, a, g=None, w=None, *, axis=1, threads=1, pictures=1, like=None, pca=False, **options):
    """Maps and info of pictures that lie along axis 0."""
    builder = Builder(a.dtype)
    given_arrays = [v for v in (a, g, w, like) if v is not None]
    shape = [(1, *v.shape[1:]) for v in given_arrays]
    values = iter([builder.input(f"input_{i}", s) for i, s in enumerate(shape)])
    a_value, g_value, w_value, r_value = (None if v is None else next(values) for v in (a, g, w, like))
    if pca:
        found = kernel_pca(builder, axis, a_value, **options)
    else:
        found = project(builder, axis, term, activations=a_value, gradients=g_value, weights=w_value, reference=r_value, **options)
    builder.graph.outputs = [found.map, found.info]
    return compile_plan(builder.graph, a.dtype).run(given_arrays, pictures, threads)
