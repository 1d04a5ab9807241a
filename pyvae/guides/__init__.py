"""Guides: x (and context) to a distribution of z."""

from pyvae.guides.diagonal_normal import DiagonalNormal
from pyvae.guides.guide import Guide
from pyvae.guides.level_guide import LevelGuide
from pyvae.guides.precision_weighted import PrecisionWeighted
from pyvae.guides.top_down_normal import TopDownNormal

__all__ = ["DiagonalNormal", "Guide", "LevelGuide", "PrecisionWeighted", "TopDownNormal"]
