"""Pictures with fine and coarse stripes of all shades, made of whole numbers alone, so the same with any library."""

import numpy as np
import numpy.typing as npt


def draw_stripes(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Draw uint8[H, W, 3], RGB: at the bottom right, stripes are so fine that they vanish when shrunk smoothly."""
    rows, columns, channels = np.mgrid[:height, :width, :3]
    return ((rows * rows // 7 + columns * 5 + rows * columns * (channels + 1) // 11) % 256).astype(np.uint8)
