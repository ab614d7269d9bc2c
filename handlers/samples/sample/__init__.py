"""The smallest handler: it waits, reports progress, then succeeds or fails as its params say."""

from handlers.samples.sample.handler import SampleHandler, SampleParams

__all__ = ["SampleHandler", "SampleParams"]
