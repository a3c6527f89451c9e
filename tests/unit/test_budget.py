"""Budgets: what is understood, and that a budget survives being written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genarena.budget import Budget
from genarena.errors import UsageError


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("30 s", 30, "seconds"),
        ("10 min", 600, "seconds"),
        ("2m", 120, "seconds"),
        ("1.5 h", 5400, "seconds"),
        ("200k images", 200_000, "images"),
        ("2M images", 2_000_000, "images"),
        ("2M samples", 2_000_000, "images"),
        ("1.5m examples", 1_500_000, "images"),
        ("3k rows", 3_000, "images"),
        ("2 m images", 2_000_000, "images"),
        ("1500 images", 1500, "images"),
        ("1e6 images", 1_000_000, "images"),
        ("  20 Epochs ", 20, "epochs"),
        ("0.5 epochs", 0.5, "epochs"),
        ("1e15 images", 1e15, "images"),
    ],
)
def test_understood(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "10 bananas",
        "-5 min",
        "images",
        "",
        "10",
        "1e images",
        "1,000 images",
        "10 min 5 s",
        "k images",
        "nan s",
        "inf s",
    ],
)
def test_not_understood(text: str) -> None:
    with pytest.raises(UsageError, match="is not understood: write '30 s'"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0 s", "0.0 epochs", "1e999 images", "1e99 images"])
def test_no_amount_of_training(text: str) -> None:
    with pytest.raises(UsageError, match="give a positive one, at most 1e"):
        Budget.parse(text)


@given(
    st.one_of(
        st.integers(1, 10**15).map(lambda n: Budget(float(n), "images")),
        st.floats(1e-3, 1e9).map(lambda x: Budget(x, "epochs")),
        st.floats(1e-3, 1e9).map(lambda x: Budget(x, "seconds")),
    )
)
def test_a_budget_survives_being_written_down(budget: Budget) -> None:
    assert Budget.parse(str(budget)) == budget


def test_written_for_people() -> None:
    texts = ["200k images", "1234567 images", "10 min", "90 s", "20 epochs", "0.5 epochs"]
    assert [str(Budget.parse(text)) for text in texts] == [
        "200k images",
        "1234567 images",
        "10 min",
        "90 s",
        *texts[4:],
    ]


def test_images_of_a_budget() -> None:
    assert Budget.parse("2.5 epochs").images(100) == 250
    assert Budget.parse("0.29 epochs").images(100) == 29  # 0.29 * 100 is a little less in binary
    assert Budget.parse("3k images").images(100) == 3000
    assert Budget.parse("0.0001 epochs").images(100) == 1
    assert Budget.parse("10 s").images(100) is None


def test_default_is_twenty_epochs_within_bounds() -> None:
    assert [Budget.default(n).amount for n in (64, 3000, 60_000)] == [50_000, 60_000, 200_000]
