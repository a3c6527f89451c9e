"""How long to train: images, epochs or seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import UsageError

Unit = Literal["images", "epochs", "seconds"]

_UNITS: dict[str, tuple[Unit, float]] = {
    "image": ("images", 1), "images": ("images", 1), "img": ("images", 1), "samples": ("images", 1),
    "sample": ("images", 1), "example": ("images", 1), "examples": ("images", 1), "row": ("images", 1), "rows": ("images", 1),
    "epoch": ("epochs", 1), "epochs": ("epochs", 1),
    "s": ("seconds", 1), "sec": ("seconds", 1), "second": ("seconds", 1), "seconds": ("seconds", 1),
    "min": ("seconds", 60), "minute": ("seconds", 60), "minutes": ("seconds", 60), "m": ("seconds", 60),
    "h": ("seconds", 3600), "hour": ("seconds", 3600), "hours": ("seconds", 3600),
}  # fmt: skip
MOST = 1e15  # images, epochs or seconds: nobody waits for more
_PATTERN = re.compile(
    r"\s*([0-9]+(?:\.[0-9]+)?(?:e\+?[0-9]+)?)\s*(k|m(?=\s*(?:im|sa|ex|ep|ro)))?\s*([a-z]+)\s*", re.IGNORECASE
)


@dataclass(frozen=True)
class Budget:
    """An amount of training.

    Images count what a game draws, repeats included; seconds count training alone, not evaluation or checkpoints. Only
    budgets in images and epochs end at the same step on every machine.
    """

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str | Budget) -> Budget:
        """Read "30 s", "10 min", "200k images", "20 epochs".

        Raises
        ------
        UsageError
            For anything else, zero or a negative amount.
        """
        if isinstance(text, Budget):
            return text
        match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
        known = match and _UNITS.get(match[3].lower())
        if not match or not known:
            raise UsageError(
                f"budget '{text}' is not understood: write '30 s', '10 min', '200k images' or '20 epochs'."
            )
        unit, factor = known
        thousand = {"k": 1e3, "m": 1e6, "": 1.0}[(match[2] or "").lower()]
        amount = float(match[1]) * factor * thousand
        if not 0 < amount <= MOST:
            raise UsageError(f"budget '{text}' is no amount of training: give a positive one, at most {MOST:.0e}.")
        return cls(amount, unit)

    @classmethod
    def default(cls, examples: int) -> Budget:
        """20 epochs, at least 50k and at most 200k images: minutes on a laptop."""
        return cls(float(min(max(20 * examples, 50_000), 200_000)), "images")

    def images(self, examples: int) -> int | None:
        """The budget in images for a train split of `examples`; None where the clock decides."""
        if self.unit == "seconds":
            return None
        return max(1, round(self.amount * (examples if self.unit == "epochs" else 1)))

    def __str__(self) -> str:
        if self.unit == "seconds" and self.amount % 60 == 0:
            return f"{_number(self.amount / 60)} min"
        if self.unit == "images" and self.amount % 1000 == 0:
            return f"{_number(self.amount / 1000)}k images"
        return f"{_number(self.amount)} {'s' if self.unit == 'seconds' else self.unit}"


def _number(value: float) -> str:
    """All digits of a number: a budget read back from its text is the same budget."""
    return repr(float(value)).removesuffix(".0")
