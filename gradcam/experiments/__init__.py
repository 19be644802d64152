"""Why the ReLU, and what does zero mean? The questions about signs in Grad-CAM, answered by networks that are trained here.

Each experiment trains small networks from several seeds, explains scenes that say where every object is, and returns a `Result`:
tables with 95 % intervals over the seeds, claims that the intervals bear out or not, and identities that hold to rounding.
"""

from gradcam.experiments.networks import LAYERS, Design
from gradcam.experiments.results import Claim, Identity, Record, Result, Table
from gradcam.experiments.running import EXPERIMENTS, Experiment, draw, pictures, run, run_on
from gradcam.experiments.study import FULL, QUICK, Scale, Study

__all__ = [
    "EXPERIMENTS",
    "FULL",
    "LAYERS",
    "QUICK",
    "Claim",
    "Design",
    "Experiment",
    "Identity",
    "Record",
    "Result",
    "Scale",
    "Study",
    "Table",
    "draw",
    "pictures",
    "run",
    "run_on",
]
