"""Graphs: representation, building, differentiation, passes, compilation to plans."""
