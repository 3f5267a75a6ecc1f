"""The bytes of a NIfTI file to voxels, in the process that calls it.

Like :mod:`hilum.imaging.film` this parses what strangers wrote: :mod:`hilum.imaging.children`
calls it in a child process.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError


def read(path: Path, most: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Voxels (slices, rows, columns), and the file's affine (4, 4) turned to the same axes.

    Slices run upwards, rows to the patient's back and columns to the left, as nearly as the
    file's own axes allow; the affine's columns are those of the array before it was laid out
    so, running to the right, to the front and upwards (RAS+). The voxels are a view of what was
    decoded, not contiguous. ``most`` is the largest number of them.

    Raises ``HilumError``: ``not_a_volume`` for an array that has not three axes of two or more,
    ``too_many_pixels``, ``pixels_undecodable`` for colour, complex or not finite values, and
    ``file_damaged``.
    """
    import nibabel

    nib: Any = nibabel  # untyped in parts
    try:
        image = nib.load(path)
        shape = tuple(int(n) for n in image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or min(shape) < 2:
            raise HilumError(Code.NOT_A_VOLUME, path, f"an array of {' x '.join(map(str, shape))}")
        if math.prod(shape) > most:
            raise HilumError(Code.TOO_MANY_PIXELS, path, f"at most {most} voxels")
        if image.get_data_dtype().kind not in "iuf":
            raise HilumError(Code.PIXELS_UNDECODABLE, path, "values that are no plain numbers")
        turned = nib.as_closest_canonical(image)
        affine = np.asarray(turned.affine, np.float64)
        data = np.asarray(turned.dataobj, np.float32).reshape(turned.shape[:3])
    except (HilumError, MemoryError):
        raise
    except Exception as error:
        raise HilumError(Code.FILE_DAMAGED, path, type(error).__name__) from None
    # the smallest and the largest are NaN where any value is
    if not np.isfinite([data.min(), data.max()]).all() or not np.isfinite(affine).all():
        raise HilumError(Code.PIXELS_UNDECODABLE, path, "values that are no finite number")
    return data.transpose(2, 1, 0)[:, ::-1, ::-1], affine
