"""The smallest handler: wait, report, succeed or fail as told."""

from handlers.samples.sample.handler import SampleHandler, SampleParams

__all__ = ["SampleHandler", "SampleParams"]
