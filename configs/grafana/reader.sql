-- The role by which Grafana reads the journal: who asked, when, how much, never what. Run it once in the journal's
-- database, as the owner of its tables or as a superuser, after Kodify has made them:
--   docker compose exec -T postgres psql -U kodify -d kodify_journal -v password="'…'" < configs/grafana/reader.sql
CREATE ROLE kodify_reader LOGIN PASSWORD :password;
ALTER ROLE kodify_reader SET default_transaction_read_only = on;
ALTER ROLE kodify_reader SET statement_timeout = '30s';
GRANT USAGE ON SCHEMA public TO kodify_reader;
GRANT SELECT (id, username, type, request_dt, response_dt, status_code, request_id, model, prompt_tokens,
    completion_tokens, ttft_ms, duration_ms, finish_reason, cancelled) ON journal TO kodify_reader;
GRANT SELECT ON completion_views TO kodify_reader;
