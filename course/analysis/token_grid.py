"""Where in the image a token stands: class tokens in front, then a grid of patches in reading order."""

import math

CLASS_TOKENS = (0, 1, 2)  # none, ViT's, distilled DeiT's


def token_grid(tokens: int, image_size: int | tuple[int, int] = 1) -> tuple[int, tuple[int, int]]:
    """How many class tokens stand in front of a grid of patches, and the grid (h, w).

    Patches are square. So h : w is that of the image, and at most one number of class tokens fits.

    Args:
        tokens: all of them, n + h*w.
        image_size: H = W, or (H, W), in any unit: only the ratio counts.

    Raises:
        ValueError: no grid of that ratio has so many tokens, with 0, 1 or 2 class tokens in front.
    """
    height, width = sides(image_size)
    for class_tokens in CLASS_TOKENS:
        patches = tokens - class_tokens
        if patches < 1:
            break
        h = math.isqrt(round(patches * height / width))
        if h and h * h * width == patches * height:
            return class_tokens, (h, patches // h)
    ratio = "square image" if height == width else f"image of {height}×{width}"
    raise ValueError(
        f"{tokens} tokens are no grid of square patches of a {ratio}, with 0, 1 or 2 class tokens in front. "
        "Is the image of another size, or do more tokens stand for no patch? Cut those away first."
    )


def sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W); one number says both."""
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
