"""What can be asked of a snapshot: mutual information between which variables, and on which subsets.

X the image as trained on, T a hidden layer, Yhat the output, Y the label as trained on, B whether the image carries the
trigger with the attacker's label. A new quantity is a line below, and a line in known_noise.py where its bounds are
known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ibray.mi.subset_samples import SubsetSamples

WHOLE = "whole"
"""The subset that is the whole training set, or a sample of it."""

INPUT_AND_LABELS = "input"
OUTPUT = "output"
HIDDEN = "T"


@dataclass(frozen=True)
class Quantity:
    """One quantity: its variables and where it says anything."""

    description: str
    pair: Callable[[SubsetSamples, str], tuple[Tensor, Tensor]]
    """samples, layer -> the two variables, (N, D) or (N, M, D) each."""
    of_layer: bool
    """Whether it is of a hidden layer, so that there is one per layer."""
    layer: str
    """What column `layer` says where it is of none."""
    subsets: Literal["every", "mixed", "whole"]
    """every; mixed: those that hold images with and without the backdoor; whole: the whole training set only."""
    noisy: bool
    """Whether a variable has noise draws: what is the same in each of them has no closed-set value."""
    settings_like: str
    """The quantity whose presets its estimator takes."""

    def is_of(self, subset: str, samples: SubsetSamples) -> bool:
        """Whether it says anything on this subset."""
        mixed = bool(samples.is_backdoor.any()) and not bool(samples.is_backdoor.all())
        return {"every": True, "mixed": mixed, "whole": mixed and subset == WHOLE}[self.subsets]


QUANTITIES: dict[str, Quantity] = {
    "I(X;T)": Quantity(
        "image and hidden layer", lambda s, layer: (s.pixels, s.draws.layers[layer]),
        True, HIDDEN, "every", True, "I(X;T)",
    ),
    "I(T;Yhat)": Quantity(
        "hidden layer and output", lambda s, layer: (s.draws.layers[layer], s.yhat),
        True, HIDDEN, "every", True, "I(T;Yhat)",
    ),
    "I(X;Yhat)": Quantity(
        "image and output", lambda s, _: (s.pixels, s.yhat), False, OUTPUT, "every", True, "I(X;T)",
    ),
    "I(X;B)": Quantity(
        "image and backdoor", lambda s, _: (s.pixels, s.backdoor_column),
        False, INPUT_AND_LABELS, "mixed", False, "I(X;T)",
    ),
    "I(B;Y)": Quantity(
        "backdoor and label", lambda s, _: (s.backdoor_column, s.one_hot_labels),
        False, INPUT_AND_LABELS, "whole", False, "I(T;Yhat)",
    ),
    "I(B;Yhat)": Quantity(
        "backdoor and output", lambda s, _: (s.backdoor_column, s.yhat), False, OUTPUT, "mixed", True, "I(T;Yhat)",
    ),
}  # fmt: skip

MAIN = ("I(X;T)", "I(T;Yhat)")
"""Those of the paper's figures and of the stealth score."""
