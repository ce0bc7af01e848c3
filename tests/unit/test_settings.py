"""Settings: where they come from, what they refuse, and that each is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kodify import verdicts
from kodify.errors import ConfigError
from kodify.settings import NANO_NAME, NANO_PATH, ClientSettings, Settings
from tests.conftest import free_port

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields.values():
        if field.alias:
            monkeypatch.delenv(field.alias, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", str(free_port()))


@pytest.mark.parametrize(
    "name", [f.alias for kind in (Settings, ClientSettings) for f in kind.model_fields.values() if f.alias]
)
def test_every_setting_has_its_line_in_the_readme(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", README.read_text(encoding="utf-8"), re.M)


def test_the_defaults_are_the_nano_model_and_no_auth() -> None:
    settings = Settings.load()
    assert settings.model_path == str(NANO_PATH)
    assert settings.served_names == [NANO_NAME]
    assert not settings.mtsai_auth
    assert not settings.logs


def test_the_environment_beats_dotenv_and_the_command_line_beats_both(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MAX_N=3\nDTYPE=float32\nADDITIONAL_ARGS =--tensor-parallel-size = 2\nEAGER=\n")
    monkeypatch.setenv("MAX_N", "4")
    settings = Settings.load(port=4321)
    assert (settings.max_n, settings.dtype, settings.port, settings.eager) == (4, "float32", 4321, False)
    assert settings.additional_args == "--tensor-parallel-size = 2"


def test_config_yml_names_the_model_and_model_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.yml").write_text(
        "models:\n  - name: [coder, coder-alias]\n    path: org/coder\n    args: --max-model-len=8192\n"
        "tabby:\n  model_name: coder\nupstreams:\n  http://upstream1:8000:\n"
    )
    settings = Settings.load()
    assert (settings.model_path, settings.served_names) == ("org/coder", ["coder", "coder-alias"])
    assert settings.engine_arguments == "--max-model-len=8192"
    assert [one.url for one in settings.file.upstreams] == ["http://upstream1:8000"]
    monkeypatch.setenv("MODEL", "other/model")
    assert Settings.load().served_names == ["other/model"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GPUUTIL", "1.5", "GPUUTIL must be a share above 0 and up to 1, got '1.5'."),
        ("GPUUTIL", "0", "GPUUTIL must be a share above 0 and up to 1, got '0'."),
        ("GPUUTIL", "much", "GPUUTIL must be a valid number"),
        ("DTYPE", "int3", "DTYPE must be one of auto, half, float16, bfloat16, float, float32, got 'int3'."),
        ("PORT", "99999", "PORT must be less than or equal to 65535"),
        ("AUTH_TYPE", "LDAP", "AUTH_TYPE must be 'NO' or 'DB', got 'LDAP'."),
        ("MAX_N", "0", "MAX_N must be greater than or equal to 1"),
        ("CONFIG", "nowhere.yml", "CONFIG names nowhere.yml, which can't be read: No such file or directory."),
    ],
)
def test_a_bad_value_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert caught.value.message.startswith(sentence)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "line", "about"),
    [
        ("models:\n  - name: a\n    path: b\n   x: [", 4, ""),
        ("models:\n  - name: a\n    path: b\n    colour: red\n", 4, "models.0.colour"),
        ("models:\n  - name: a\n", 2, "models.0.path"),
        ("tabby:\n  model_name: a\nmodls: []\n", 3, "modls"),
        ("- 1\n- 2\n", 1, "the file"),
        ("a: \t- b", 1, ""),
        ("a: \x01", 1, ""),
        ("a: 2026-99-99", 1, ""),
        ("models:\n  - name: []\n    path: b\n", 2, "models.0.name"),
    ],
)
def test_a_bad_config_yml_is_told_with_its_line(text: str, line: int, about: str) -> None:
    Path("config.yml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert caught.value.message.startswith(f"config.yml, line {line}: {about}")


JOURNAL = {"LOGS_DB_HOST": "h", "LOGS_DB_PORT": "5432", "LOGS_DB_NAME": "n", "LOGS_DB_USERNAME": "u"}


@pytest.mark.parametrize(
    ("variables", "begins"),
    [
        ({"MODEL": "/no/such/folder"}, "MODEL names /no/such/folder, which is not a folder here"),
        ({"MODEL": "./missing"}, "MODEL names ./missing, which is not a folder here"),
        ({"MODEL": "."}, "MODEL names ., which has no config.json"),
        ({"MODEL": "a/b/c"}, "MODEL names a/b/c, which is neither a folder here nor a hub id"),
        ({"ACTIONS_PATH": "/no/such/folder"}, "ACTIONS_PATH names /no/such/folder, which is not a folder here"),
        ({"COMPLETIONS_PREPROCESSING_CONFIG": "no.json"}, "COMPLETIONS_PREPROCESSING_CONFIG names no.json"),
        ({"MTSAI_AUTH": "true"}, "MTSAI_AUTH=true needs AUTH_TYPE=DB"),
        ({"AUTH_TYPE": "DB"}, "AUTH_TYPE=DB needs MTSAI_AUTH=true"),
        ({"MTSAI_AUTH": "true", "AUTH_TYPE": "DB"}, "MTSAI_AUTH=true needs DB_URL"),
        (
            {"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": "postgresql://x", "VLLM_API_KEY": "k"},
            "VLLM_API_KEY and MTSAI_AUTH=true exclude each other",
        ),
        (
            {"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": "postgresql://x", "USERS_TABLE": "my users"},
            "USERS_TABLE is my users, which is no table's name",
        ),
        (
            {"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": "postgresql://x", "OIDC_DISCOVERY_URL": "http://x"},
            "OIDC_DISCOVERY_URL needs OIDC_AUDIENCE",
        ),
        ({"OIDC_DISCOVERY_URL": "http://x"}, "OIDC_DISCOVERY_URL needs users"),
        ({"LIMIT_TOKENS_PER_DAY": "5"}, "LIMIT_TOKENS_PER_DAY needs users"),
        ({"LOGS": "True"}, "LOGS=True needs LOGS_DB_HOST, LOGS_DB_PORT, LOGS_DB_NAME"),
        ({"LOGS": "True", **JOURNAL}, "LOGS=True needs LOGS_DB_PASSWORD"),
        (
            {"LOGS": "True", "LOGS_DB_HOST": "embedded", "LOGS_CONTENT_DAYS": "9", "LOGS_RETENTION_DAYS": "8"},
            "LOGS_CONTENT_DAYS=9 is longer than LOGS_RETENTION_DAYS=8",
        ),
        ({"HOST": "no.such.host.invalid"}, "HOST names no.such.host.invalid"),
    ],
)
def test_what_cant_be_served_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], begins: str
) -> None:
    monkeypatch.setenv("MODEL", str(NANO_PATH))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (problem,) = verdicts.problems(Settings.load())
    assert problem.startswith(begins)
    assert problem.endswith(".")


def test_the_journals_variables_without_logs_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in JOURNAL.items():
        monkeypatch.setenv(name, value)
    assert not list(verdicts.problems(Settings.load()))


def test_old_variables_are_accepted_with_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_V1", "1")
    assert list(verdicts.notices(Settings.load())) == [
        "VLLM_USE_V1 is no longer needed: the engine has only this version."
    ]


def test_secrets_in_arguments_are_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDITIONAL_ARGS", "--hf-token s3cret --seed 1 --x-api-key = s3cret")
    shown = Settings.load().shown()["ADDITIONAL_ARGS"]
    assert "s3cret" not in shown
    assert "--seed 1" in shown


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_API_KEY", "DB_URL", "LOGS_DB_PASSWORD"):
        monkeypatch.setenv(name, "s3cret")
    shown = Settings.load().shown()
    assert "s3cret" not in str(shown)
    assert "s3cret" not in repr(Settings.load())
    assert shown["VLLM_API_KEY"] == "********"


TWO = (
    "models:\n  - name: coder\n    path: org/coder\n{0}"
    "  - name: [minilm, embed]\n    path: org/minilm\n    task: embed\n{1}"
)


@pytest.mark.parametrize(
    ("first", "second", "shares"),
    [
        ("", "", [0.45, 0.45]),
        ("    gpu_share: 0.7\n", "", [0.7, 0.2]),
        ("    gpu_share: 0.6\n", "    gpu_share: 0.3\n", [0.6, 0.3]),
    ],
)
def test_several_models_share_the_gpu(first: str, second: str, shares: list[float]) -> None:
    Path("config.yml").write_text(TWO.format(first, second))
    entries, own = zip(*Settings.load().models, strict=True)
    assert [entry.task for entry in entries if entry is not None] == ["generate", "embed"]
    assert [settings.gpuutil for settings in own] == pytest.approx(shares)
    assert [settings.served_names for settings in own] == [["coder"], ["minilm", "embed"]]
    assert [settings.model_path for settings in own] == ["org/coder", "org/minilm"]
    assert ("gpuutil" in own[1].model_fields_set) == bool(second)  # on a CPU it would mean the host's memory


def test_more_than_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.yml").write_text(TWO.format("    gpu_share: 0.7\n", "    gpu_share: 0.4\n"))
    assert any("gpu_share" in problem for problem in verdicts.problems(Settings.load()))
    monkeypatch.setenv("MODEL", "org/alone")
    assert [own.model_path for _, own in Settings.load().models] == ["org/alone"]


def test_one_name_for_two_models() -> None:
    Path("config.yml").write_text(TWO.format("", "").replace("minilm, embed", "minilm, coder"))
    assert any("coder twice" in problem for problem in verdicts.problems(Settings.load()))


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("upstreams:\n  http://a:1:\n  http://b:2: {api_key: secret, models: [coder]}\n", ["http://a:1", "http://b:2"]),
        ("upstreams: [http://a:1, {url: http://b:2}]\n", ["http://a:1", "http://b:2"]),
        ("upstreams:\n", []),
    ],
)
def test_upstreams_as_the_guides_have_them(text: str, urls: list[str]) -> None:
    Path("config.yml").write_text(text)
    settings = Settings.load()
    assert [one.url for one in settings.file.upstreams] == urls
    assert bool(settings.models) == (not urls)  # with upstreams alone nothing is loaded here
    assert "secret" not in str(settings.file.shown())
