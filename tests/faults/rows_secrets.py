"""Rows X: secrets. Every authenticator, at a vendor that repeats what it was sent in every form, and every output searched for it."""
import base64
import json
import os
import subprocess
import urllib.parse

from driver import BINARY, manifest, row
from vendor import Vendor, answer, page

SECRET = 'canary-"se/cret+9f8e7d'
PLAIN = "canary-secret-9f8e7d6c"
USER = "user-of-canary"
EXPR = "{{ config['secret'] }}"


def option(where, name="credential"):
    return {"type": "RequestOption", "inject_into": where, "field_name": name}


LOGIN = {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "login", "http_method": "POST",
         "authenticator": {"type": "BasicHttpAuthenticator", "username": USER, "password": EXPR}}
OAUTH = {"type": "OAuthAuthenticator", "token_refresh_endpoint": "{{ config['url'] }}/token", "client_id": "client-of-canary", "client_secret": EXPR,
         "refresh_token": "{{ config['refresh'] }}", "grant_type": "refresh_token"}
AUTHENTICATORS = {
    "bearer": {"type": "BearerAuthenticator", "api_token": EXPR},
    "basic": {"type": "BasicHttpAuthenticator", "username": USER, "password": EXPR},
    "key in a header": {"type": "ApiKeyAuthenticator", "api_token": EXPR, "inject_into": option("header", "X-Api")},
    "key in a parameter": {"type": "ApiKeyAuthenticator", "api_token": EXPR, "inject_into": option("request_parameter", "k")},
    "key in a body": {"type": "ApiKeyAuthenticator", "api_token": EXPR, "inject_into": option("body_json", "k")},
    "key in a form": {"type": "ApiKeyAuthenticator", "api_token": EXPR, "inject_into": option("body_data", "k")},
    "OAuth": OAUTH,
    "OAuth in a header": {**OAUTH, "refresh_request_headers": {"Authorization": "Basic {{ (config['secret'] ~ ':x') | base64encode }}"}},
    "session": {"type": "SessionTokenAuthenticator", "login_requester": LOGIN, "session_token_path": ["token"],
                "request_authentication": {"type": "ApiKey", "inject_into": option("header", "X-Session")}},
    "JWT": {"type": "JwtAuthenticator", "secret_key": EXPR, "algorithm": "HS256", "token_duration": 100},
    "selected": {"type": "SelectiveAuthenticator", "authenticator_selection_path": ["kind"],
                 "authenticators": {"a": {"type": "BearerAuthenticator", "api_token": EXPR}}},
    "legacy session": {"type": "LegacySessionTokenAuthenticator", "header": "X-Session", "login_url": "/login", "validate_session_url": "/valid",
                       "session_token_response_key": "token", "username": USER, "password": EXPR, "session_token": ""},
}


def forms(secret):
    """A secret as it may be repeated."""
    raw = secret.encode()
    shifted = [base64.b64encode(b"x" * n + raw).decode()[4:-4] if n else base64.b64encode(raw).decode().rstrip("=") for n in range(3)]
    return [secret, urllib.parse.quote(secret), urllib.parse.quote_plus(secret), raw.hex(), raw.hex().upper(), json.dumps(secret)[1:-1],
            base64.urlsafe_b64encode(raw).decode().rstrip("="), *shifted]


def echo(request):
    """What the vendor got, in every form, as its error's text."""
    got = [request.target, *request.headers.values(), request.body.decode(errors="replace")]
    for value in list(request.headers.values()):
        word = value.split(" ")[-1]
        got += [word, base64.b64encode(word.encode()).decode(), base64.b64encode(b"token: " + word.encode()).decode(), word.encode().hex(), urllib.parse.quote(word)]
        try:
            got.append(base64.b64decode(word + "===").decode())
        except ValueError:
            pass
    return got


def leaks(secrets, text):
    """The forms of these secrets in a text."""
    return [form[:30] for secret in secrets for form in forms(secret) if form in text]


def outputs(t, ran):
    """Everything that a run leaves for people: stdout and stderr, and the files of the state directory but the tokens."""
    found = {"stdout": ran.out.decode(errors="replace"), "stderr": ran.err}
    for path in t.folder.rglob("*"):
        if path.is_file() and not path.name.startswith(("config", "manifest")) and "tokens" not in path.parts and "quarantine" not in path.parts:
            found[str(path.relative_to(t.folder))] = path.read_text(errors="replace")
    return found


def canary(t, authenticator, status, protocol, spec=True, secret=PLAIN):
    session = "canary-session-5a6b7c8d"
    refresh = "canary-refresh-1a2b3c4d"

    def respond(request):
        if request.path in ("/token", "/login", "/valid") and status != "token 400":
            return answer({"access_token": session, "token": session, "expires_in": 3600})
        code = {"200": "200 OK", "token 400": "400 Bad Request"}.get(status, f"{status} Status")
        if status == "200":
            return answer({"data": [], "errors": [{"message": " ".join(echo(request))}]})
        return answer({"message": " ".join(echo(request)), "errors": echo(request)}, code)
    top = {"spec": {"connection_specification": {"properties": {"secret": {"type": "string", "airbyte_secret": True}, "refresh": {"type": "string", "airbyte_secret": True}}}}}
    source = manifest(requester={"authenticator": None}, top=top if spec else {"spec": None})
    source["streams"][0]["retriever"]["requester"]["authenticator"] = authenticator
    with Vendor(respond) as vendor:
        config = {"url": vendor.url, "secret": secret, "refresh": refresh, "kind": "a", "base_url": vendor.url, "dripfeed": {"state_dir": str(t.folder / "state"), "tenant": "acme"}}
        args = ["-vv", "--events", t.folder / "events.jsonl", *(["--protocol", "airbyte"] if protocol == "airbyte" else [])]
        if protocol == "json":
            args += ["--log-format", "json"]
        catalog = {"streams": [{"stream": {"name": "items", "json_schema": {}, "supported_sync_modes": ["full_refresh"]}, "sync_mode": "full_refresh",
                                "destination_sync_mode": "append"}]} if protocol == "airbyte" else None
        ran = t.run(source=source, config=config, args=args, catalog=catalog, judged=False)
        asked = bool(vendor.requests)
        config_file = t.folder / f"config{t.counter}.json"
        for form in ("text", "json", "openmetrics", "html"):
            done = subprocess.run([BINARY, "status", "--config", str(config_file), "--source", str(t.folder / str(t.counter) / "manifest.yaml"), "--format", form],
                                  capture_output=True, cwd=t.folder, env={"PATH": os.environ["PATH"]})
            t.file(f"status.{form}", done.stdout + done.stderr)
    t.ran.append(ran)
    t.check("no panic", "panicked" not in ran.err, ran.err[-300:])
    hidden = [secret, session, refresh]
    for name, text in outputs(t, ran).items():
        found = leaks(hidden, text)
        t.check(f"{name} shows nothing", not found, found)
    return asked


@row("X1a")
def _(t):
    for name, authenticator in AUTHENTICATORS.items():
        for status, protocol in (("400", "text"), ("401", "json"), ("500", "airbyte"), ("200", "text"), ("token 400", "text")):
            before = len(t.faults)
            asked = canary(t, authenticator, status, protocol)
            t.check("the vendor was asked", asked)
            if len(t.faults) > before:
                t.faults.append(f"  by {name}, {status}, {protocol}")


@row("X1b")
def _(t):
    # A manifest without spec, with the token written into it; and one with characters that each encoding changes.
    for name in ("bearer", "basic", "key in a header", "key in a parameter"):
        literal = json.loads(json.dumps(AUTHENTICATORS[name]).replace(EXPR, PLAIN))
        for authenticator, spec, secret in ((literal, False, PLAIN), (AUTHENTICATORS[name], False, PLAIN), (AUTHENTICATORS[name], True, SECRET)):
            before = len(t.faults)
            canary(t, authenticator, "400", "text", spec, secret)
            if len(t.faults) > before:
                t.faults.append(f"  by {name}, spec {spec}, {secret}")


@row("X2")
def _(t):
    def respond(request):
        whole = page(request)
        whole["data"][0]["name"] = f"it says {PLAIN}"
        return answer(whole)
    with Vendor(respond) as vendor:
        ran = t.run(config={"url": vendor.url, "token": PLAIN})
    t.check("the record passes", any(PLAIN in str(r.get("name")) for r in ran.records))
    t.check("an event", "secret_in_data" in ran.err or "secret" in ran.err.lower(), ran.err[-300:])
    t.check("not on stderr", PLAIN not in ran.err)


@row("X3")
def _(t):
    for token in ("a1b2", "zq", "7", "abcdabcd"):
        with Vendor(lambda request: answer({"message": f"invalid token {token} given, see '{token}'"}, "400 Bad")) as vendor:
            ran = t.run(config={"url": vendor.url, "token": token, "dripfeed": {"state_dir": str(t.folder / "state"), "tenant": "acme"}})
        t.check(f"{token} is hidden", f"token {token} " not in ran.err and f"'{token}'" not in ran.err, ran.err[-300:])
        t.check("the words stay", "invalid token" in ran.err or "invalid" in ran.err, ran.err[-300:])
