"""Every statement on jobu's tables, one function per step of the story.

Each takes `now`, reads no clock and decides no policy; zero rows is an answer, not an exception.
Nobody else writes an execution: a stale object's save() would undo what another process has
written.

slots: due jobs become executions. publishing: executions become messages. runs: an attempt begins,
is renewed and ends. people: what a person asks for. upkeep: rescue, retention, heartbeats.
"""
