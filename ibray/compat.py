"""Importing torchvision beside a CPU-only torch: the one place that knows how.

The torchvision wheel of the public package index is built for CUDA. Beside a torch without CUDA its compiled
part cannot load, and its Python part then fails at import with "operator torchvision::nms does not exist",
because it attaches a shape function to an operator nobody has declared. Declaring the two missing operators
(no implementation: nothing here calls them) is all it takes.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

_MISSING_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# torch forgets the declarations as soon as this object is collected, so it lives as long as the process.
_library: torch.library.Library | None = None


def import_torchvision(submodule: str = "") -> ModuleType:
    """Returns ``torchvision``, or ``torchvision.<submodule>`` (for instance ``"datasets"``).

    Call it before anything that imports torchvision by itself (torchmetrics, for one); calling it again is
    free. Raises ImportError when torchvision is not installed, and whatever torchvision raises otherwise.
    """
    name = f"torchvision.{submodule}" if submodule else "torchvision"
    try:
        # Tried as it is first: a torchvision that fits its torch declares these operators itself, and
        # declaring them before it would make that wheel fail instead. A failed try costs about 20 ms.
        return importlib.import_module(name)
    except RuntimeError as error:
        if torch.backends.cuda.is_built() or "torchvision::nms" not in str(error):
            raise
    _declare_missing_operators()
    return importlib.import_module(name)


def _declare_missing_operators() -> None:
    global _library
    if _library is not None:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator, schema in _MISSING_OPERATORS.items():
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + schema)
    _library = library
