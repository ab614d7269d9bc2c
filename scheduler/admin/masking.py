"""What the admin hides and puts back: scheduler/operations/masking.py, which the API uses, too."""

from scheduler.operations.masking import MASK, left_masked, looks_secret, mask, unmask

__all__ = ["MASK", "left_masked", "looks_secret", "mask", "unmask"]
