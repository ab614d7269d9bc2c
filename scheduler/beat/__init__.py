"""What beat does: it turns due slots into executions, and keeps the house while it is at it.

Knows: operations, the store, schedules, how a message reaches a queue. Must not know: how a run is
executed (worker), pages, the API, commands.
"""

from scheduler.beat.job_scheduler import JobScheduler

__all__ = ["JobScheduler"]
