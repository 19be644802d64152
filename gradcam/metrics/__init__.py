"""Numbers that judge maps: where they point, whom they blame, how alike two of them are, and how sure a mean of such numbers is."""

from gradcam.metrics.agreement import overlap, rank_correlation
from gradcam.metrics.intervals import Interval, mean_interval
from gradcam.metrics.pointing import energy_in_region, iou, pointing_game, swapped
from gradcam.metrics.regions import RegionMasses, region_masses

__all__ = [
    "Interval",
    "RegionMasses",
    "energy_in_region",
    "iou",
    "mean_interval",
    "overlap",
    "pointing_game",
    "rank_correlation",
    "region_masses",
    "swapped",
]
