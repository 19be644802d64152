"""Write docs/experiments.md from docs/experiments/*.json: `python tools/write_experiments_page.py`; a test says when it is out of date."""

from __future__ import annotations

from pathlib import Path

from gradcam.experiments import EXPERIMENTS, Result
from gradcam.experiments.results import markdown_table, written

DOCS = Path(__file__).resolve().parents[1] / "docs"
RESULTS = DOCS / "experiments"
PAGE = DOCS / "experiments.md"

HEAD = """# Experiments about signs: all numbers

*Written by `tools/write_experiments_page.py` from the results in `docs/experiments`, which `make experiments` makes (`gradcam
experiment NAME` runs one). [Why the ReLU? What zero means](why_relu.md) tells the story.*

The networks are small ones (`gradcam.experiments.Design`), trained by the package itself on scenes of handwritten digits
(`gradcam.datasets.digit_scenes`); layers 1 to 4 are called act1, act2, act3 and evidence, and the scenes that are explained hold
handwriting that no network has seen. A number is the mean over training seeds, ± half the width of its 95 % interval (Student's t
over the seeds). A claim holds if the whole interval lies where the sentence says; one that does not is listed as such. An identity
is true by algebra; the number says how far the computed values are from it, relative to the largest one."""


def section(result: Result) -> str:
    """Question, tables, figures, claims and identities of one experiment."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    scale = result.scale
    parts = [
        f"## {result.name}",
        f"*{result.question[0].upper()}{result.question[1:]}*",
        f"Seeds {', '.join(map(str, result.seeds))}; {scale['training_scenes']} training scenes, {scale['epochs']} epochs, "
        f"{scale['test_scenes']} test scenes; {versions}.",
    ]
    for table in result.tables.values():
        parts += [table.caption, table.markdown()]
    parts += [f"![{result.name}: {name}](experiments/{result.name}-{name}.png)" for name in EXPERIMENTS[result.name].figures]
    verdict = {True: "holds", False: "**does not hold**"}
    claims = ([claim.text, written(claim.interval), str(claim.interval.n), verdict[claim.holds]] for claim in result.claims)
    identities = ([identity.text, f"{identity.error:.0e}", verdict[identity.holds]] for identity in result.identities)
    parts += [markdown_table(["claim", "mean", "n", ""], claims), markdown_table(["identity", "largest deviation", ""], identities)]
    return "\n\n".join(parts)


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEAD, *(section(Result.load(RESULTS / f"{name}.json")) for name in EXPERIMENTS)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
