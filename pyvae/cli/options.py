"""The options of ``fit`` that concern the run."""

import re
from dataclasses import dataclass

__all__ = ["CLASSES", "FROM_DATA", "FROM_RUN", "RunOptions", "in_options"]

#: parameters of a recipe, and of :func:`pyvae.fit`, that are no options: the data and the run say them
FROM_DATA = frozenset({"shape", "num_classes"})
FROM_RUN = frozenset({"pair", "data", "validation", "checkpoint_dir", "resume"})
#: parameters of :func:`pyvae.fit` that are made by classes
CLASSES = frozenset({"objective", "optimizer", "schedule"})


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run.

    Args:
        run_dir: where everything goes; by default the first free one of runs/RECIPE-1, runs/RECIPE-2, …
        resume: go on with the run of --run-dir, if it is there; --resume RUN alone takes everything from the run.
        validation: the part of the training data that is held out to choose the best epoch; 0 for none.
        evaluation_particles: importance samples per test datapoint.
        device: where to compute, such as cpu or cuda; auto takes the accelerator if there is one.
    """

    run_dir: str | None = None
    resume: bool = False
    validation: float = 0.1
    evaluation_particles: int = 100
    device: str = "auto"


def in_options(advice: str) -> str:
    """Advice that names arguments, as options of the command line.

    Example:
        >>> in_options("Try clip_norm=0.5, or log_input=True")
        'Try --clip-norm 0.5, or --log-input true'
    """

    def option(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')} {found[2].lower()}"

    return re.sub(r"\b(clip_norm|log_input)=(\w+(?:\.\w+)?)", option, advice)
