"""What the admin hides and puts back: scheduler/masking.py, which the API uses, too."""

from scheduler.masking import MASK, left_masked, looks_secret, mask, unmask

__all__ = ["MASK", "left_masked", "looks_secret", "mask", "unmask"]
