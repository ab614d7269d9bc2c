"""Django's backend for PostgreSQL, with settings of the session that a pooler does not refuse."""
