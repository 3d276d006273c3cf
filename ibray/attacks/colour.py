"""YCrCb to RGB as a linear map (ITU-R BT.601).

Y = 0.299 R + 0.587 G + 0.114 B, and Cr and Cb are R - Y and B - Y scaled to a span of one; this is the exact inverse.
OpenCV's tables round the same factors to three digits (0.713, 0.564, 1.403, 1.773), after which a round trip changes
every coefficient a little. The offset of 128 that OpenCV adds to Cr and Cb is left out: it cancels in differences.
"""

from __future__ import annotations

import torch

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114

# Rows R, G, B; columns Y, Cr, Cb; float64.
YCRCB_TO_RGB = torch.tensor(
    [
        [1.0, 2 * (1 - _RED), 0.0],
        [1.0, -2 * (1 - _RED) * _RED / _GREEN, -2 * (1 - _BLUE) * _BLUE / _GREEN],
        [1.0, 0.0, 2 * (1 - _BLUE)],
    ],
    dtype=torch.float64,
)
