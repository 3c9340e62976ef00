"""Points for a part of an exercise: what the author of a homework gives for a result that is not all right."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Credit:
    """Shares of an exercise's points, each earned only with those before it. By default, all or nothing.

    - `shape`: every result of every call is there with the right shape and kind (numbers, True/False), whatever its
      values. A constant of the right shape earns this share and nothing more, so keep it small.
    - `values`: the values are right too, and nothing else is wrong: no input changed, every goal reached.
    - `gradients`: so are the gradients. Where an exercise asks for none, the other shares make up the whole. With a
      share of 0, values are not right without right gradients.

    That it is written from scratch is a condition and no share: an answer with a forbidden name earns nothing, not even the shape. Where
    it runs it is refused and returns nothing (`course.checks.guards`), and one line that calls the library must not
    be worth more than an honest attempt with a slip in it. A cell that is not written earns nothing either.

    Raises:
        ValueError: a share is negative, they do not sum to 1, or right values are worth nothing.
    """

    shape: float = 0.0
    values: float = 1.0
    gradients: float = 0.0

    def __post_init__(self):
        shares = {"shape": self.shape, "values": self.values, "gradients": self.gradients}
        given = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        if min(shares.values()) < 0 or not abs(sum(shares.values()) - 1) < 1e-6:
            raise ValueError(f"Credit({given}): shares must not be negative and must sum to 1")
        if self.values == 0:
            raise ValueError(f"Credit({given}): right values must be worth something")

    def earned(self, shape: bool, values: bool, gradients_asked: bool) -> float:
        """The share, 0 to below 1, of an answer that is not all right.

        Args:
            shape: all shapes and kinds are right.
            values: so are all values; then it is the gradients that are wrong.
            gradients_asked: the exercise asks for gradients.
        """
        if not shape:
            return 0.0
        if gradients_asked and self.gradients > 0:
            return self.shape + self.values if values else self.shape
        # Shape and values make up the whole. The shape is right, so the values are wrong.
        return self.shape / (self.shape + self.values)


ALL_OR_NOTHING = Credit()
