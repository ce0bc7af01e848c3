"""Writes Grafana's three boards to configs/grafana/dashboards: what they show is the tables below."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "grafana" / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "kodify-prometheus"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "kodify-journal"}
COLUMNS, HEIGHT = 24, 8

Panel = dict[str, Any]


def _panel(
    kind: str, title: str, unit: str, width: int, meaning: str, source: dict[str, str], targets: list[dict[str, Any]]
) -> Panel:
    return {
        "type": kind,
        "title": title,
        "description": meaning,
        "datasource": source,
        "gridPos": {"w": width},
        "fieldConfig": {"defaults": {"unit": unit} if unit else {}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + index), "datasource": source, **one} for index, one in enumerate(targets)],
    }


def _promql(queries: Any) -> list[dict[str, Any]]:
    return [{"expr": query, "legendFormat": legend} for query, legend in queries]


def _sql(query: str, form: str) -> list[dict[str, Any]]:
    return [{"rawSql": query, "format": form, "rawQuery": True, "editorMode": "code"}]


def series(title: str, unit: str, *queries: tuple[str, str], width: int = 8, meaning: str = "") -> Panel:
    """Over time; each query with its legend."""
    return _panel("timeseries", title, unit, width, meaning, PROMETHEUS, _promql(queries))


def number(title: str, unit: str, query: str, *, width: int = 4, meaning: str = "") -> Panel:
    return _panel("stat", title, unit, width, meaning, PROMETHEUS, _promql([(query, "")]))


def rows(title: str, sql: str, *, width: int = 12, meaning: str = "") -> Panel:
    """A table from the journal."""
    return _panel("table", title, "", width, meaning, POSTGRES, _sql(sql, "table"))


def counted(title: str, unit: str, sql: str, *, width: int = 12, meaning: str = "") -> Panel:
    """Over time, from the journal: the columns time, metric, value."""
    return _panel("timeseries", title, unit, width, meaning, POSTGRES, _sql(sql, "time_series"))


def quantile(share: float, name: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({name}_bucket[$__rate_interval])))"


def rate(name: str, by: str = "") -> str:
    return f"sum by ({by}) (rate({name}[$__rate_interval]))" if by else f"sum(rate({name}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    return f"{part} / {whole}"


SERVICE = [
    number("Replicas", "none", 'sum(up{job="kodify"})'),
    number("Loaded", "none", "sum(kodify_loaded)", meaning="Replicas whose models are loaded."),
    number("Requests a second", "reqps", rate("kodify_requests_total")),
    number("Errors", "percentunit", share(rate('kodify_requests_total{status=~"5.."}'), rate("kodify_requests_total"))),
    number("Requests in progress", "none", "sum(kodify_requests_in_progress)"),
    number("Connections", "none", "sum(kodify_connections)"),
    series("Requests by route", "reqps", (rate("kodify_requests_total", "route"), "{{route}}")),
    series(
        "Answers that are errors", "reqps", (rate('kodify_requests_total{status=~"[45].."}', "status"), "{{status}}")
    ),
    series(
        "Time of requests",
        "s",
        (quantile(0.5, "kodify_request_duration_seconds", "route"), "{{route}}, half"),
        (quantile(0.95, "kodify_request_duration_seconds", "route"), "{{route}}, 95 %"),
    ),
    series(
        "Time to the first token (TTFT)",
        "s",
        (quantile(0.5, "kodify_time_to_first_delta_seconds"), "half, Kodify"),
        (quantile(0.95, "kodify_time_to_first_delta_seconds"), "95 %, Kodify"),
        (quantile(0.95, "vllm:time_to_first_token_seconds", "model_name"), "95 %, engine of {{model_name}}"),
        meaning="Kodify's includes the wait in its line.",
    ),
    series(
        "Between tokens (ITL)",
        "s",
        (quantile(0.5, "vllm:inter_token_latency_seconds", "model_name"), "half, {{model_name}}"),
        (quantile(0.95, "vllm:inter_token_latency_seconds", "model_name"), "95 %, {{model_name}}"),
    ),
    series(
        "Tokens a second",
        "none",
        (rate("kodify_prompt_tokens_total"), "read"),
        (rate("kodify_completion_tokens_total"), "written"),
    ),
    series(
        "Line and engine",
        "none",
        ("sum by (model) (kodify_line_waiting)", "waiting, {{model}}"),
        ("sum by (model) (kodify_line_running)", "with the engine, {{model}}"),
        ("sum by (model_name) (vllm:num_requests_running)", "running, {{model_name}}"),
    ),
    series(
        "Refused, cancelled, cut",
        "reqps",
        (rate("kodify_line_refused_total", "kind"), "refused, {{kind}}"),
        (rate("kodify_requests_cancelled_total"), "client left"),
        (rate("kodify_connections_cut_total", "reason"), "cut, {{reason}}"),
    ),
    series(
        "KV cache",
        "percentunit",
        ("max by (model_name) (vllm:kv_cache_usage_perc)", "used, {{model_name}}"),
        (
            share(
                rate("vllm:prefix_cache_hits_total", "model_name"),
                rate("vllm:prefix_cache_queries_total", "model_name"),
            ),
            "prompts found in it, {{model_name}}",
        ),
    ),
    series("Preemptions", "ops", (rate("vllm:num_preemptions_total", "model_name"), "{{model_name}}")),
    series("GPU", "percent", ("DCGM_FI_DEV_GPU_UTIL", "{{gpu}}")),
    series(
        "GPU memory", "decmbytes", ("DCGM_FI_DEV_FB_USED", "used, {{gpu}}"), ("DCGM_FI_DEV_FB_FREE", "free, {{gpu}}")
    ),
    series("GPU temperature", "celsius", ("DCGM_FI_DEV_GPU_TEMP", "{{gpu}}")),
    series("GPU power", "watt", ("DCGM_FI_DEV_POWER_USAGE", "{{gpu}}")),
    series(
        "Host",
        "percentunit",
        ('1 - avg(rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))', "processors"),
        ("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "memory"),
        ('1 - node_filesystem_avail_bytes{mountpoint="/"} / node_filesystem_size_bytes{mountpoint="/"}', "disk"),
    ),
]

_WHEN = "$__timeFilter(request_dt)"
USERS = [
    rows(
        "Users",
        "SELECT coalesce(username, '(no user)') AS \"user\", count(*) AS requests,"
        " count(*) FILTER (WHERE status_code >= 400) AS refused, sum(prompt_tokens) AS tokens_read,"
        " sum(completion_tokens) AS tokens_written, round(avg(duration_ms)::numeric) AS mean_ms,"
        f" max(request_dt) AS latest FROM journal WHERE {_WHEN} GROUP BY 1 ORDER BY 2 DESC LIMIT 100",
        width=24,
    ),
    counted(
        "Requests of the ten busiest",
        "none",
        "SELECT $__timeGroupAlias(request_dt, $__interval), coalesce(username, '(no user)') AS metric,"
        f" count(*) AS value FROM journal WHERE {_WHEN} AND coalesce(username, '') IN (SELECT coalesce(username, '')"
        f" FROM journal WHERE {_WHEN} GROUP BY 1 ORDER BY count(*) DESC LIMIT 10) GROUP BY 1, 2 ORDER BY 1",
    ),
    counted(
        "Tokens of the ten busiest",
        "none",
        "SELECT $__timeGroupAlias(request_dt, $__interval), coalesce(username, '(no user)') AS metric,"
        " sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)) AS value"
        f" FROM journal WHERE {_WHEN} AND coalesce(username, '') IN (SELECT coalesce(username, '') FROM journal"
        f" WHERE {_WHEN} GROUP BY 1 ORDER BY sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)) DESC"
        " LIMIT 10) GROUP BY 1, 2 ORDER BY 1",
    ),
    counted(
        "Users at work",
        "none",
        "SELECT $__timeGroupAlias(request_dt, $__interval), count(DISTINCT username) AS value"
        f" FROM journal WHERE {_WHEN} GROUP BY 1 ORDER BY 1",
    ),
    counted(
        "Requests by type",
        "none",
        "SELECT $__timeGroupAlias(request_dt, $__interval), type AS metric, count(*) AS value"
        f" FROM journal WHERE {_WHEN} GROUP BY 1, 2 ORDER BY 1",
    ),
    rows(
        "Acceptance of completions",
        "SELECT coalesce(language, 'unknown') AS language, count(*) FILTER (WHERE shown_at IS NOT NULL) AS shown,"
        " count(*) FILTER (WHERE accepted_at IS NOT NULL) AS accepted,"
        " round((count(*) FILTER (WHERE accepted_at IS NOT NULL) * 100.0"
        " / nullif(count(*) FILTER (WHERE shown_at IS NOT NULL), 0))::numeric, 1) AS percent"
        " FROM completion_views WHERE $__timeFilter(seen_at) GROUP BY 1 ORDER BY 2 DESC LIMIT 50",
    ),
    rows(
        "Acceptance by user",
        "SELECT coalesce(username, '(no user)') AS \"user\", count(*) FILTER (WHERE shown_at IS NOT NULL) AS shown,"
        " count(*) FILTER (WHERE accepted_at IS NOT NULL) AS accepted"
        " FROM completion_views WHERE $__timeFilter(seen_at) GROUP BY 1 ORDER BY 2 DESC LIMIT 50",
    ),
    series(
        "Completions",
        "ops",
        (rate("kodify_completions_answered_total"), "answered"),
        (rate("kodify_completions_shown_total"), "shown"),
        (rate("kodify_completions_accepted_total"), "accepted"),
        (rate("kodify_completions_dismissed_total"), "dismissed"),
        width=12,
    ),
    series(
        "What completions did by themselves",
        "ops",
        (rate("kodify_completions_cached_total"), "given again"),
        (rate("kodify_completions_superseded_total"), "made stale by a keystroke"),
        (rate("kodify_completions_late_total"), "cut at the deadline"),
        width=12,
    ),
]

JOURNAL = [
    number("Waiting entries", "none", "sum(kodify_journal_waiting_entries)"),
    number("Lag", "s", "max(kodify_journal_lag_seconds)", meaning="How long the oldest entry has been waiting."),
    number("Spool", "percentunit", "max(kodify_journal_spooled_bytes / kodify_journal_spool_limit_bytes)"),
    number("Lost", "none", "sum(kodify_journal_lost_total)", meaning="Since the start. Anything but 0 is a fault."),
    number("Set aside", "none", "sum(kodify_journal_quarantined_total)"),
    number("PostgreSQL", "none", "min(pg_up)"),
    series(
        "Entries",
        "ops",
        (rate("kodify_journal_accepted_total"), "accepted"),
        (rate("kodify_journal_written_total"), "written"),
        (rate("kodify_journal_mended_total"), "mended"),
        (rate("kodify_completion_events_dropped_total"), "completion events dropped"),
    ),
    series(
        "Spool over time",
        "bytes",
        ("kodify_journal_spooled_bytes", "spool"),
        ("kodify_journal_spool_limit_bytes", "limit"),
    ),
    series("Lag over time", "s", ("kodify_journal_lag_seconds", "{{instance}}")),
    series("Size of databases", "bytes", ("pg_database_size_bytes", "{{datname}}")),
    series("Connections", "none", ("sum by (datname) (pg_stat_activity_count)", "{{datname}}")),
    series(
        "Transactions",
        "ops",
        (rate("pg_stat_database_xact_commit", "datname"), "committed, {{datname}}"),
        (rate("pg_stat_database_xact_rollback", "datname"), "rolled back, {{datname}}"),
    ),
    series("Rows written", "ops", (rate("pg_stat_database_tup_inserted", "datname"), "{{datname}}")),
    series("Longest transaction", "s", ("max(pg_stat_activity_max_tx_duration)", "")),
    series("Deadlocks", "ops", (rate("pg_stat_database_deadlocks", "datname"), "{{datname}}")),
    series(
        "Known tokens",
        "ops",
        (rate("kodify_auth_cache_total", "result"), "{{result}}"),
        meaning="A miss is a question to the users' database.",
        width=12,
    ),
    rows(
        "The journal's months",
        "SELECT c.relname AS partition, pg_size_pretty(pg_total_relation_size(c.oid)) AS size,"
        " c.reltuples::bigint AS rows_about FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'journal'::regclass ORDER BY 1 DESC",
    ),
]

BOARDS = {
    "service": ("Kodify: service", SERVICE),
    "users": ("Kodify: users", USERS),
    "journal": ("Kodify: journal and database", JOURNAL),
}


def board(name: str) -> dict[str, Any]:
    title, panels = BOARDS[name]
    placed, x, y, height = [], 0, 0, 0
    for number_, panel in enumerate(panels, 1):
        width = panel["gridPos"]["w"]
        if x + width > COLUMNS:
            x, y = 0, y + height
        height = 4 if panel["type"] == "stat" else HEIGHT
        placed.append({**panel, "id": number_, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x += width
    return {
        "uid": f"kodify-{name}",
        "title": title,
        "tags": ["kodify"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-24h" if name == "users" else "now-3h", "to": "now"},
        "panels": placed,
    }


def render(name: str) -> str:
    return json.dumps(board(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in BOARDS:
        (FOLDER / f"{name}.json").write_text(render(name), encoding="utf-8")
