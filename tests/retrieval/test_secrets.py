"""Files that hold secrets are known by their names and by what is in them; code that speaks of secrets is not lost."""

from __future__ import annotations

import io
import sysconfig
from html import escape
from pathlib import Path

import docx
import pytest

from kodify.auth import tokens
from kodify.retrieval.base import SkippedError
from kodify.retrieval.reading import read, refusal
from kodify.retrieval.secrets import may_hold_secrets, secret_in

# Put together here, so that no scanner takes this file for a leak.
LETTERS = "q7RzT2mK9vB4xW1nY6pL3sD8fG5hJ0cA" * 4
BODY = "\n".join(LETTERS[at : at + 64] for at in (0, 3, 5, 7))
FOUND = {
    "RSA": f"-----BEGIN RSA PRIVATE {'KEY'}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0102\n\n{BODY}\n",
    "JSON": f'{{"private_key": "-----BEGIN PRIVATE {"KEY"}-----\\n{BODY[:64]}\\n"}}',
    "indented": f"key: |\n    -----BEGIN OPENSSH PRIVATE {'KEY'}-----\n    {BODY[:64]}\n",
    "alone": f"-----BEGIN OPENSSH PRIVATE {'KEY'}-----\nabc",
    "PGP": f"text\n-----BEGIN PGP PRIVATE {'KEY'} BLOCK-----\nVersion: GnuPG v2\nComment: mine\n\n{BODY}\n",
    "SSH2": f'---- BEGIN SSH2 ENCRYPTED PRIVATE {"KEY"} ----\nComment: "mine"\n{BODY}\n',
    "PuTTY": f"PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 2\n{BODY}\nPrivate-{'Lines'}: 1\n{BODY[:64]}",
    "age": "AGE-SECRET-KEY-1" + (LETTERS * 2)[:58].upper(),
    "kubeconfig": f"    client-key-data: {(LETTERS * 2)[:120]}",
    "Docker": f'{{"auths": {{"registry": {{"auth": "{LETTERS[:32]}"}}}}}}',
    "AWS": "id = AKIA" + "Q3XZ7PLM2KTBW5YR",
    "AWS's secret": f"aws_secret_access_key = {LETTERS[:40]}",
    "AWS's secret, exported": f"export AWS_SECRET_ACCESS_KEY='{LETTERS[:40]}'",
    "GitHub": "token: ghp_" + LETTERS[:36],
    "GitHub, fine-grained": f"github_pat_{LETTERS[:22]}_{LETTERS[:59]}",
    "GitLab": "glpat-" + LETTERS[:20],
    "Slack": "xoxb-" + f"123456789012-1234567890123-{LETTERS[:24]}",
    "Slack's hook": "https://hooks.slack.com/services/" + f"T01ABCDEFGH/B01ABCDEFGH/{LETTERS[:24]}",
    "Google": "AIza" + LETTERS[:35],
    "OpenAI": "sk-proj-" + LETTERS[:64],
    "Anthropic": "sk-ant-api03-" + LETTERS[:95],
    "Hugging Face": "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "Stripe": "sk_" + "live_" + LETTERS[:24],
    "npm": "npm_" + LETTERS[:36],
    "PyPI": "pypi-" + "AgEIcHlwaS5vcmc" + LETTERS[:80],
    "Telegram": "bot 1234567890" + ":AA" + LETTERS[:33],
    "Kodify": "Authorization: Bearer " + tokens.make(),
}
LEFT_ALONE = {
    "a pattern": r"""re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|ghp_[A-Za-z0-9]{36}|AKIA[A-Z2-7]{16}")""",
    "a check": 'if "-----BEGIN PRIVATE KEY-----" not in text:\n    raise ValueError("-----END PRIVATE KEY-----")',
    "a test's key": 'KEY = "-----BEGIN RSA PRIVATE KEY-----\\nMIIfake\\n-----END RSA PRIVATE KEY-----"',
    "a test's token": "token = 'ghp_" + "x" * 36 + "'",
    "counted": "ghp_" + "1234" * 9,
    "an example": "AKIA" + "IOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "a public key": f"-----BEGIN PUBLIC KEY-----\n{BODY}\n-----END PUBLIC KEY-----",
    "a PGP signature": f"-----BEGIN PGP SIGNATURE-----\n\n{BODY}",
    "a digest": "sha256:" + "0123456789abcdef" * 4,
    "Kodify's form": "kdf_…, kdf_0123456789",
}


@pytest.mark.parametrize("name", FOUND)
def test_secrets_are_found(name: str) -> None:
    assert secret_in(f"{FOUND[name]}\nand more\n") is not None


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_only_speaks_of_secrets_is_none(name: str) -> None:
    assert secret_in(f"first\n{LEFT_ALONE[name]}\n") is None


@pytest.mark.parametrize("secret", ["RSA", "GitHub"])
@pytest.mark.parametrize("kind", ["deploy.sh", "notes.md", "page.html", "letter.docx", "main.py"])
def test_in_whatever_kind_of_document(kind: str, secret: str) -> None:
    with pytest.raises(SkippedError, match=r"it holds a (private key|token of GitHub)"):
        read(kind, made(kind, FOUND[secret]), 1800)
    assert read(kind, made(kind, LEFT_ALONE["a check"]), 1800).pieces


def made(kind: str, text: str) -> bytes:
    if kind.endswith(".docx"):
        document = docx.Document()
        for line in text.split("\n"):
            document.add_paragraph(line)
        out = io.BytesIO()
        document.save(out)
        return out.getvalue()
    if kind.endswith(".html"):
        coded = "".join(f"&#{ord(letter)};" if letter in "-_" else escape(letter) for letter in text)
        return f"<body><p>first</p><pre>{coded}</pre>".encode()
    return f"first\n{text}".encode()


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".env.local", ".env.production", ".env~", ".envrc", "prod.env", "deploy/.env.bak", "id_rsa",
        "id_ed25519_sk", "id_rsa.bak", "id_ed25519-work", "ssh_host_rsa_key", "server.key", "server.key.old",
        "server.key.1", "a.pem", "b.p8", "c.PFX", ".git-credentials", "prod.tfvars", "x.auto.tfvars.json",
        "terraform.tfstate", "terraform.tfstate.backup", "kubeconfig", "kubeconfig.yaml", "prod-kubeconfig",
        "home/.kube/config", ".docker/config.json", ".dockercfg", ".vault-token", ".vault_pass", ".vault_pass.txt",
        ".my.cnf", ".pgpass", ".netrc", "_netrc", ".npmrc", ".pypirc", ".aws/credentials", "credentials.json",
        "credentials.toml", "secrets.yml", "client_secret_12.json", "krb5.keytab", ".bash_history",
        "home/.gnupg/private-keys-v1.d/a", "app.jks", ".htpasswd",
    ],
)  # fmt: skip
def test_names_that_tell(path: str) -> None:
    assert may_hold_secrets(path)
    assert refusal(path, 10) == "it may hold secrets"


@pytest.mark.parametrize(
    "path",
    [
        ".env.example", ".env.sample", ".env.dist", "example.env", "terraform.tfvars.example", "id_rsa.pub",
        "secrets.py", "environment.yml", "env.py", "keys.md", "main.tf", "config.json", "kubeconfig.py",
        "credentials.go", "history.md", "docs/secrets.md", "id_rsa_generator.py", "docker/config.json", "monkey.py",
        "tokens.py", "envrc.md",
    ],
)  # fmt: skip
def test_names_that_do_not(path: str) -> None:
    assert not may_hold_secrets(path)


def test_the_standard_library_holds_none() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    named = [root / name for name in ("http/client.py", "test/test_ssl.py", "test/test_hashlib.py")]
    sources = [file for file in [*named, *root.glob("*.py")] if file.exists()]
    assert len(sources) > 150
    assert [file for file in sources if secret_in(file.read_text("utf-8", "replace"))] == []
