"""Readers: model files and framework objects to `gradcam.graph.source.Source`."""
