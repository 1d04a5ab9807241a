"""Inspection: the structure of a pair, found by running it once."""

from pyvae.inspection.checks import check_data, check_shapes, validated_sites
from pyvae.inspection.densities import LogTerms, density
from pyvae.inspection.elements import check_masks, counted, holds_missing, marked, observes
from pyvae.inspection.generation import Unobserved, reads_data
from pyvae.inspection.inspection import Inspection, device_of, inspect_pair, takes_missing, trace_programs
from pyvae.inspection.plates import choose_plate, plates_around
from pyvae.inspection.sites import (
    PARTICLES,
    as_matrix,
    check_latents,
    has_support,
    is_discrete,
    site_rows,
    stochastic_sites,
    summed_but,
    unwrapped,
)

__all__ = [
    "PARTICLES",
    "Inspection",
    "LogTerms",
    "Unobserved",
    "as_matrix",
    "check_data",
    "check_latents",
    "check_masks",
    "check_shapes",
    "choose_plate",
    "counted",
    "density",
    "device_of",
    "has_support",
    "holds_missing",
    "inspect_pair",
    "is_discrete",
    "marked",
    "observes",
    "plates_around",
    "reads_data",
    "site_rows",
    "stochastic_sites",
    "summed_but",
    "takes_missing",
    "trace_programs",
    "unwrapped",
    "validated_sites",
]
