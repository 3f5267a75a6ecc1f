"""A tube: the shape of ribs, collar bones and vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.phantom.anatomy import Habitus
from hilum.phantom.physics import Array, splat_tube


def unit(v: Array) -> Array:
    """Rows of unit length."""
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Tube:
    """A bone or vessel: axis, the two half-axes and density along it."""

    centre: Array
    across: Array
    through: Array
    half_height: Array
    half_width: Array
    density: Array
    spacing: float
    cortex: float
    fill: float

    def splat(self, image: Array, habitus: Habitus, around: int, start: float) -> None:
        """Add this tube's path length to the film."""
        origin = np.zeros((1, 3), np.float32)
        turned = [habitus.place(v) - habitus.place(origin) for v in (self.across, self.through)]
        splat_tube(
            image,
            habitus.place(self.centre),
            *turned,
            self.half_height,
            self.half_width,
            self.density,
            self.spacing,
            self.cortex,
            self.fill,
            around,
            start,
        )
