"""The page of queues: what waits, how fast it moves, who serves it, and pausing one."""
