"""What a reader says of a damaged file: one sentence for each kind of damage, and not thousands."""

from __future__ import annotations

MOST_SENTENCES = 20


def note(damage: list[str], sentence: str) -> None:
    """Append ``sentence`` unless it is there, or MOST_SENTENCES are."""
    if sentence not in damage and len(damage) < MOST_SENTENCES:
        damage.append(sentence)
