"""Keys `training`, `perceptual`, `embed` and `resources` of a sweep file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, WrapValidator, model_validator

from ibray.spec_types import Count, Fraction, Natural, NotNegative, Positive, Ratio, Strict


class Training(Strict):
    """The training recipe; the defaults are the paper's."""

    epochs: Count = 120
    snapshots: list[Count] = Field(
        [1, 5, 10, 20, 40, 60, 80, 100, 120], min_length=1, description="epochs whose weights are kept for MI"
    )
    batch_size: Count = 256
    lr: Positive = 0.01
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 5e-4
    plateau_factor: Ratio = Field(0.5, description="learning rate multiplier on a plateau")
    plateau_patience: Natural = 5
    plateau_metric: Literal["train_loss", "test_loss"] = "train_loss"
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16: autocast of the forward pass")
    adversarial_epsilon: NotNegative = Field(
        0.0, description="above 0: adversarial training, the L-inf radius of its PGD in units of 0..255"
    )
    compile: bool = Field(
        False,
        description="torch.compile for the network; not part of the run id, though its noise is drawn otherwise; the "
        "first epoch's seconds include the compiler's",
    )

    @model_validator(mode="after")
    def _snapshots_exist(self) -> Training:
        if max(self.snapshots) > self.epochs:
            raise ValueError(
                f"snapshots: {max(self.snapshots)} is after the last epoch (epochs: {self.epochs}); "
                f"name epochs up to {self.epochs}, like snapshots: [1, {self.epochs}]"
            )
        return self


class Perceptual(Strict):
    """How visible triggers are: PSNR, SSIM and LPIPS of every run's images."""

    images: Count = Field(1000, description="at most so many test images, and training images, per run")
    lpips_weights: str | None = Field(
        None, description="an .npz with AlexNet's and LPIPS's weights; torchvision's cache when absent, or no LPIPS"
    )


class Embed(Strict):
    """Maps of T, and how backdoor images lie to the target class in it; made only when this key is there."""

    epochs: list[Count] | None = Field(
        None, min_length=1, description="snapshots to map; the first, the middle and the last one when absent"
    )
    max_images: Annotated[int, Field(ge=10, strict=True)] = Field(
        2000, description="images of a map, equal shares of the target class's backdoor and clean images and of the "
        "clean classes that `mi.clean_classes` names"
    )  # fmt: skip
    perplexity: Annotated[float, Field(ge=1, strict=True)] = Field(
        30.0, description="of t-SNE; lowered to a third of the images where there are few"
    )
    method: Literal["tsne"] = Field("tsne", description="how the map is made")


def _gpus(value: Any, accept: Callable[[Any], float | str]) -> float | str:
    try:
        return accept(value)
    except ValidationError:
        raise ValueError(f"{value!r}: must be a number that is not negative, or auto") from None


class Resources(Strict):
    """What one trial reserves. Without a GPU in the cluster `gpu` is ignored."""

    cpu: float = Field(1, gt=0)
    gpu: Annotated[Literal["auto"] | Annotated[float, Field(ge=0)], WrapValidator(_gpus)] = Field(
        0.0, description="a number or a fraction of GPUs; auto: by the memory that such trials took before"
    )

    @property
    def threads(self) -> int:
        """CPU threads of the trial: as many as it reserves, so that trials side by side do not fight over cores."""
        return max(1, int(self.cpu))


def _pack(value: Any, accept: Callable[[Any], int | str]) -> int | str:
    try:
        return accept(value)
    except ValidationError:
        raise ValueError(f"{value!r}: must be a whole number of at least 1, or auto") from None


class TrainResources(Resources):
    """What a training reserves, and how many of them share it as one network (ibray/packed_training.py).

    Packed, a run has the numbers that it has alone but for rounding, which depends on who is in the pack: no longer to
    the bit. `auto` gives that up nowhere yet: on a CPU packs of four are slower on 32x32 images, and 1.4 to 1.5 times
    as fast only with narrow networks on 16x16 ones, whose trainings take seconds (benchmarks/RESULTS.md); on GPUs,
    where narrow networks should gain, nobody has measured it yet.
    """

    pack: Annotated[Literal["auto"] | Annotated[int, Field(ge=1, strict=True)], WrapValidator(_pack)] = Field(
        "auto", description="at most so many runs alike but for attack, target, sigma and seed as one network; auto: 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _pack_alone_keeps_the_gpu(cls, said: Any) -> Any:
        """`gpu` left out means 0 beside `cpu`; who says only `pack` has said nothing about either."""
        return {"cpu": 1, "gpu": 1, **said} if isinstance(said, dict) and not {"cpu", "gpu"} & said.keys() else said


class StageResources(Strict):
    """Resources per kind of trial: training, and whatever works on its snapshots."""

    train: TrainResources = TrainResources(cpu=1, gpu=1)
    mi: Resources = Resources(cpu=1, gpu=0.25)
