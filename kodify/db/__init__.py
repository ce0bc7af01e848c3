"""PostgreSQL: the tables, the sessions, one function for each query. SQL is known here only."""
