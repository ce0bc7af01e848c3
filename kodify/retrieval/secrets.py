"""What tells a file that holds secrets: its name, or what is written in it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_BACKUP = re.compile(r"(~|\.(bak|backup|old|orig|save|saved|copy|tmp|sw[op]|\d{1,8}))+$", re.I)
_EXAMPLE = re.compile(r"\.(example|sample|template|dist|tmpl)(\.|$)|^(example|sample|template)[._-]", re.I)
_NAME = re.compile(
    r"^("
    r"\.env([._-].+)?|\.envrc|.+\.env|"
    r".*\.(pem|key|p12|pfx|p8|pk8|jks|jceks|bks|keystore|keytab|kdbx?|ppk|asc|gpg|ovpn|agekey)|"
    r"(id|ssh_host)_(rsa|dsa|ecdsa|ed25519)(_sk)?(_key)?([_-][^.]+)?|secring\..+|"
    r"[._]netrc|\.git-credentials|\.gitcookies|\.pgpass|pgpass\.conf|\.htpasswd|\.npmrc|\.pypirc|\.dockercfg|\.s3cfg|"
    r"\.boto|\.my\.cnf|\.mylogin\.cnf|\.vault[-_](token|pass(word)?)(\.txt)?|\.terraformrc|terraform\.rc|\.rdspasswd|"
    r".*\.(tfvars|tfstate)(\.json)?|credentials\.tfrc\.json|"
    r"(.*[._-])?kubeconfig(\.ya?ml|\.conf)?|application_default_credentials\.json|client_secret.*\.json|"
    r"\.?credentials(\.(json|toml|ya?ml|ini|csv))?|\.?secrets?(\.(ya?ml|json|toml|env|ini|properties))?|"
    r"\.(bash|zsh|sh|psql|mysql|python|node_repl)_?history"
    r")$",
    re.I,
)
_PLACE = re.compile(
    r"(^|/)("
    r"\.docker/config\.json|\.kube/config|\.aws/(config|credentials)|\.config/(gh/hosts\.yml|glab-cli/config\.yml|rclone/"
    r"rclone\.conf)|\.m2/settings(-security)?\.xml|\.gem/credentials|\.gradle/gradle\.properties|\.composer/auth\.json|"
    r"\.gnupg/.+|\.password-store/.+|etc/(g?shadow|wireguard/.+\.conf)"
    r")$",
    re.I,
)

_BASE64 = r"[A-Za-z0-9+/]{40}"
# What it is, the texts of which one is there if the pattern is (they are found far sooner), and the pattern. It is of
# the secret itself, not of its beginning alone: code that looks for secrets, and a test's short one, are none.
_SECRETS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (what, tuple(signs.split()), re.compile(pattern))
    for what, signs, pattern in (
        ("a private key", "BEGIN", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]{0,400}?" + _BASE64),
        ("a private key", "BEGIN", r"\A\s{0,99}-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        ("a private key", "BEGIN", r"---- BEGIN SSH2 (?:[A-Z]+ )*PRIVATE KEY ----[\s\S]{0,400}?" + _BASE64),
        ("a private key", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-\d:[\s\S]{1,20000}?Private-Lines: ?\d"),
        ("a private key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
        ("a private key", "client-key-data", r"client-key-data: ?[A-Za-z0-9+/=]{100}"),
        ("a registry's password", '"auths"', r'"auth"\s{0,9}:\s{0,9}"[A-Za-z0-9+/=]{16,}"'),
        ("a key of AWS", "AKIA ASIA", r"\bA[KS]IA(?!.{9}EXAMPLE)[A-Z2-7]{16}\b"),
        (
            "a key of AWS",
            "aws_secret_access_key AWS_SECRET_ACCESS_KEY",
            r"(?i:aws_secret_access_key)['\"]?\s{0,9}[=:]\s{0,9}['\"]?(?!.{30,37}EXAMPLE)[A-Za-z0-9/+]{40}\b",
        ),
        ("a token of GitHub", "ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
        ("a token of GitHub", "github_pat_", r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
        (
            "a token of GitLab",
            "glpat- gldt- glrt- glcbt- glptt- glft- glsoat- glagent-",
            r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[\w-]{20,}",
        ),
        ("a token of Slack", "xox", r"\bxox[abeoprs]-(?:\d-)?(?:\d{9,14}-){1,3}[A-Za-z0-9]{20,}"),
        ("a token of Slack", "xapp-", r"\bxapp-\d-[A-Z0-9]{9,14}-\d{9,14}-[a-f0-9]{60,}"),
        ("a token of Slack", "hooks.slack.com", r"hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/\w{24}"),
        ("a key of Google", "AIza", r"\bAIza[\w-]{35}\b"),
        ("a key of Google", "GOCSPX-", r"\bGOCSPX-[\w-]{28}"),
        ("a key of OpenAI", "T3BlbkFJ", r"\bsk-[\w-]{20,}T3BlbkFJ[\w-]{20}"),
        ("a key of OpenAI", "sk-proj- sk-svcacct- sk-admin-", r"\bsk-(?:proj|svcacct|admin)-[\w-]{40}"),
        ("a key of Anthropic", "sk-ant-", r"\bsk-ant-[a-z0-9]{2,9}-[\w-]{80}"),
        ("a token of Hugging Face", "hf_", r"\bhf_[A-Za-z]{34}\b"),
        ("a key of Stripe", "k_live_", r"\b[sr]k_live_[A-Za-z0-9]{24,}"),
        ("a token of npm", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("a token of PyPI", "pypi-Ag", r"\bpypi-Ag[\w-]{60}"),
        ("a key of SendGrid", "SG.", r"\bSG\.[\w-]{22}\.[\w-]{43}"),
        ("a token of Vault", "hvs.", r"\bhvs\.[\w-]{24,}"),
        ("a token of DigitalOcean", "_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
        ("a token of Telegram", ":AA", r"\b\d{8,10}:AA[\w-]{33}\b"),
        ("a key of Yandex Cloud", "AQVN", r"\bAQVN[\w-]{35,36}\b"),
        ("a token of Kodify", "kdf_", r"\bkdf_[A-Za-z0-9]{49}\b"),
    )
)
_TAIL = 40  # characters of it that are looked at
_LEAST_DIFFERENT = 10  # of those: xxxxxxxx and 12341234 are nobody's secret


def may_hold_secrets(path: str) -> bool:
    """By its name. An example that is called one holds none."""
    name = PurePosixPath(path).name
    bare = _BACKUP.sub("", name) or name
    if _PLACE.search(path.removesuffix(name) + bare):
        return True
    return _NAME.match(bare) is not None and not _EXAMPLE.search(name)


def secret_in(text: str) -> str | None:
    """What secret stands in a text, in words."""
    for what, signs, pattern in _SECRETS:
        if not any(sign in text for sign in signs):
            continue
        if any(len(set(found[0][-_TAIL:])) >= _LEAST_DIFFERENT for found in pattern.finditer(text)):
            return what
    return None
