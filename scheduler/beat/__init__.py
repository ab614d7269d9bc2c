"""What beat does: it turns due slots into executions, sends messages, rescues and cleans up.

Knows: operations, the store, schedules, how a message reaches a queue, and the worker's verdict on
a lost run. Must not know: pages, the API, commands.
"""

from scheduler.beat.job_scheduler import JobScheduler

__all__ = ["JobScheduler"]
