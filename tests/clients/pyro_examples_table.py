"""What every tool makes of Pyro's examples, as a table of the documentation."""

import warnings

import pyro
import torch

import pyvae

from .pyros_programs import programs

TOOLS = {
    "fit": lambda pair, data: pyvae.fit(pair, data, epochs=1, seed=0, progress=False),
    "elbo": lambda pair, data: pyvae.elbo(pair, data, num_particles=20, seed=0),
    "log_likelihood": lambda pair, data: pyvae.log_likelihood(pair, data, num_particles=50, seed=0),
    "diagnose": lambda pair, data: pyvae.diagnose(pair, data, num_particles=25, seed=0),
    "to_inference_data": lambda pair, data: pyvae.to_inference_data(pair, data, num_samples=5, seed=0),
}


def outcome(example, tool):
    """ "✓", or the reason why not."""
    torch.manual_seed(0)
    pyro.clear_param_store()
    pair, data = programs()[example]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TOOLS[tool](pair, data)
    except pyvae.PyvaeError as error:
        return str(error)
    return "✓"


def page():
    """The table, as a page of the documentation."""
    notes, lines = {}, []
    for example, (pair, _) in programs().items():
        cells = []
        for tool in TOOLS:
            found = outcome(example, tool)
            cells.append(found if found == "✓" else f"[{notes.setdefault(found, len(notes) + 1)}](#notes)")
        lines.append(f"| {example} | {pair.__doc__.splitlines()[0]} | " + " | ".join(cells) + " |")
    head = "| example | what is in it | " + " | ".join(f"`{tool}`" for tool in TOOLS) + " |"
    rule = "| --- | --- |" + " :-: |" * len(TOOLS)
    said = [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join([_INTRODUCTION, head, rule, *lines, _REMARKS, "## Notes\n", *said, ""])


_INTRODUCTION = """# Pyro's examples

What each tool makes of the programs of Pyro's examples and tutorials, written small. This table is made by the tests. A
number leads to the reason why a tool refuses.
"""

_REMARKS = """
- `dmm, annealed`: training minimizes the weighted loss, which `fit` logs as `train_loss`; all figures called ELBO or KL
  are without the weight.
- `contrib.cevae`: the probability of what the guide observes belongs to no bound.
- `scanvi`: a factor of the guide counts as part of log q, as in Pyro's objectives; it is no density here, and so the
  figures are no bound on log p(x, y).
- `prodlda`: batch norm takes the statistics of the batch in training; all figures are computed in evaluation mode.
"""
