"""Every statement on jobu's tables. A file holds the statements of one step or of one table.

Functions take `now` and read no clock. They decide no policy: a caller says which status a row
gets. "No row matched" is an answer, not an exception. Nobody else writes an execution: save() on a
stale object would undo what another process has written.

The path of a run: slots (due jobs become executions), heads (what waits at the front), candidates
(the most urgent runs, locked), claims (attempts begin), overlap (runs of a job that must not
overlap), runs (leases), run_reports (log lines and progress), endings (attempts end), turns (an end
and the next claim), rescue (leases that ran out).
Divided runs: shards (made and ended), shard_claims (what a claim asks of their parents),
shard_changes (cancel, retry, beat's sweep).
What people change: jobs, executions, backfills, tokens, saved_filters.
What beat keeps in order: last_results, retention, processes.
What is known of failures, by their kind: failures.
What pages show: log_search, statistics, waiting, hours, job_trends, forecast, coming_runs (both by
schedule_groups), recent_runs.
"""
