"""What a recipe says: everything that decides a training, apart from the model and the data."""

import math
from dataclasses import dataclass, fields, replace

from course.data.augment import AUGMENTATIONS
from course.names import one_of

OPTIMIZERS = ("adamw", "sgd", "muon", "lamb")
SCHEDULES = ("cosine", "flat_then_linear", "linear", "constant")
LOSSES = ("ce", "bce")
DISTILLATIONS = ("soft", "hard")
FLAT_UNTIL = 0.3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training, apart from the model and the data.

    How long, and by what steps:

    Attributes:
        steps, epochs: how long; exactly one of them is given. A step is one batch.
        batch_size: images a step, over all processes together.
        optimizer: ``adamw`` (with `betas`), ``sgd`` (momentum is ``betas[0]``, Nesterov), ``lamb`` (`betas`), or
            ``muon`` for the matrices of the network and AdamW for the rest.
        lr: the highest learning rate, for this `batch_size`.
        muon_lr: that of the matrices under ``muon``.
        weight_decay: of weight matrices; biases, norm scales, positions and class tokens are not decayed.
        warmup: share of the steps in which the learning rate climbs from 0 to `lr`.
        schedule: then ``cosine`` to 0; ``linear`` to 0; ``flat_then_linear``, at `lr` until 30 % and straight
            to 0; ``constant``.
        layer_decay: the learning rate is that much lower with every block further from the head (fine-tuning).
        grad_clip: the gradient is scaled down to this norm if longer; None: never.
        sam: radius rho of sharpness-aware minimisation, which costs a second backward pass; None: without.
        ema: decay of a running mean of the weights, which is what is evaluated and kept; None: without.

    What is asked of the network:

    Attributes:
        loss: ``ce``, cross-entropy, or ``bce``, binary cross-entropy of each class for itself.
        label_smoothing: share of the target spread over all classes.
        distill: learn from ``fit(teacher=...)`` too: ``soft``, its probabilities, or ``hard``, its decision.
        distill_weight: share of the teacher in the loss.
        distill_temperature: of both softmaxes in ``soft``.

    What is done to the images, in this order (see ``course.data.augment``):

    Attributes:
        augment: names, applied in turn.
        crop_area: least and largest share of the area that ``random_resized_crop`` cuts out.
        rand_augment: (magnitude 0..10, its standard deviation) of two random operations an image.
        color_jitter: largest change of brightness, contrast and saturation, as a share.
        random_erasing: probability that a rectangle becomes noise.
        mixup, cutmix: alpha of the Beta distribution from which the share of the other image comes; both: one
            of the two, at random.
        mix_until: share of the training after which mixing stops.
        repeated_augment: how often an image is in a batch, each time augmented anew.
        views: how many views of each image, each augmented anew, a model is given that compares them (DINO).
        local_views: (how many, side in pixels) of further, smaller views, whose ``random_resized_crop`` cuts out 0.05 to
            the least of `crop_area`: multi-crop (Caron et al. 2020, arXiv:2006.09882, section 3.4).
        test_crop: share of height and width, from the centre, that is looked at in evaluation.
        img_size: side in pixels of what the network is given, where the images are larger: what ``random_resized_crop``
            cuts out, and in evaluation the centre, becomes of this size; None: of the size of the images.

    What is done to the network (``fit`` sets the first two, ``course train`` asks for the third):

    Attributes:
        drop_path: stochastic depth of the last block; None: as the model has it.
        dropout: of its dropout layers, and behind the linear layers where ViT has it; None: as the model has it.
        layer_scale: first value of LayerScale; None: as the model has it.

    Attributes:
        seed: of the order of the data, of augmentation and of dropout.
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 1e-3
    muon_lr: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = 0.1
    schedule: str = "flat_then_linear"
    layer_decay: float | None = None
    grad_clip: float | None = 1.0
    sam: float | None = None
    ema: float | None = None
    loss: str = "ce"
    label_smoothing: float = 0.0
    distill: str | None = None
    distill_weight: float = 0.5
    distill_temperature: float = 1.0
    augment: tuple[str, ...] = ()
    crop_area: tuple[float, float] = (0.08, 1.0)
    rand_augment: tuple[float, float] | None = None
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_until: float = 1.0
    repeated_augment: int = 1
    views: int = 1
    local_views: tuple[int, int] | None = None
    test_crop: float = 1.0
    img_size: int | None = None
    drop_path: float | None = None
    dropout: float | None = None
    layer_scale: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a recipe says how long either as steps= or as epochs=, and not as both")
        length = self.epochs if self.steps is None else self.steps
        if not all(isinstance(n, int) and n >= 1 for n in (self.batch_size, length, self.repeated_augment)):
            raise ValueError("steps, epochs, batch_size and repeated_augment are whole numbers, at least 1")
        if self.lr <= 0 or not 0 <= self.warmup < 1 or self.seed < 0:
            raise ValueError("lr is above 0, warmup a share of the steps (0 to below 1), and seed 0 or more")
        one_of(self.optimizer, OPTIMIZERS, "there is no optimizer")
        one_of(self.schedule, SCHEDULES, "there is no schedule")
        one_of(self.loss, LOSSES, "there is no loss")
        if self.distill is not None:
            one_of(self.distill, DISTILLATIONS, "there is no distillation")
        for name in self.augment:
            one_of(name, AUGMENTATIONS, "there is no augmentation")
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area is the least and the largest share, above 0 to 1, and not {self.crop_area}")
        if not isinstance(self.views, int) or self.views < 1 or (self.views > 1 and (self.mixup or self.cutmix)):
            raise ValueError("views is a whole number, at least 1, and views are not mixed: mixup and cutmix are 0")
        if self.local_views and (self.views < 2 or "random_resized_crop" not in self.augment):
            raise ValueError(
                "local_views stand beside two views or more, and random_resized_crop of augment cuts them out"
            )
        if self.img_size is not None and "random_resized_crop" not in self.augment:
            raise ValueError("img_size is the size of what random_resized_crop of augment cuts out, which is not there")
        for name in ("label_smoothing", "distill_weight", "random_erasing", "mix_until", "layer_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is a share, 0 to 1, and not {value}")
        for name in ("drop_path", "dropout", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} is 0 to below 1, and not {value}")
        for name in ("weight_decay", "color_jitter", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, and not {getattr(self, name)}")
        for name in ("muon_lr", "grad_clip", "sam", "distill_temperature", "test_crop"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is above 0, and not {value}")

    def but(self, **changes) -> "Recipe":
        """The same recipe with some fields changed; giving `steps` drops `epochs`, and the other way round.

        Raises:
            ValueError: a field that recipes do not have, or a value that cannot be.
        """
        for name in changes:
            one_of(name, [field.name for field in fields(self)], "a recipe has no field")
        if "steps" in changes:
            changes.setdefault("epochs", None)
        elif "epochs" in changes:
            changes.setdefault("steps", None)
        return replace(self, **changes)

    def at_batch_size(self, batch_size: int) -> "Recipe":
        """The same recipe for batches of another size: the learning rate follows the size.

        In proportion, as the papers do for AdamW and SGD (Goyal et al. 2017, arXiv:1706.02677, section 2.1); by
        the square root for LAMB (You et al. 2020, arXiv:1904.00962, section 4.3). Steps, if given, become more
        or fewer, so that as many images are seen.
        """
        share = batch_size / self.batch_size
        lr = self.lr * (math.sqrt(share) if self.optimizer == "lamb" else share)
        steps = None if self.steps is None else max(1, round(self.steps / share))
        return replace(self, batch_size=batch_size, lr=lr, muon_lr=self.muon_lr * share, steps=steps)

    def total_steps(self, steps_per_epoch: int) -> int:
        """How many steps in all, on data of which an epoch takes that many."""
        return self.steps if self.steps is not None else self.epochs * steps_per_epoch

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, out of `steps`."""
        done = step / steps
        climb = min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup else 1.0
        fallen = max(0.0, done - self.warmup) / (1 - self.warmup)  # 0..1 after the warm-up
        if self.schedule == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * fallen))
        elif self.schedule == "linear":
            fall = 1 - fallen
        elif self.schedule == "flat_then_linear":
            fall = min(1.0, (1 - done) / (1 - FLAT_UNTIL))
        else:
            fall = 1.0
        return self.lr * climb * fall
