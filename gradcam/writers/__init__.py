"""Writers of models."""
