"""An OpenID provider and a GitHub on loopback, which check what a real one checks. Tests make their answers wrong."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

CLIENT, SECRET = "netra-client", "a-secret-of-the-client"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
RSA, OTHER, EC, ED = (
    rsa.generate_private_key(65537, 2048),
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
    ed25519.Ed25519PrivateKey.generate(),
)
KINDS = {
    rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
    ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
}


def public(key, kid, **fields):
    """Return the public key as a provider publishes it; fields of the value None are left out."""
    (kind,) = (kind for type, kind in KINDS.items() if isinstance(key, type))
    named = {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **fields}
    return {name: value for name, value in named.items() if value is not None}


class OpenIdProvider:
    """A provider whose user is `person`; tests change what it says.

    `claims` are added to the id_token, `userinfo` to that answer (None removes one), `granted` to that of the token
    endpoint, and `returned` to the query of the callback. `sign` makes a token of claims; `signs_userinfo` are those
    that a signed answer of userinfo has beside the person's, None: it is JSON.
    """

    def __init__(self):
        self.person = {"sub": "u-1", "email": "carol@corp.example", "email_verified": True, "name": "Carol"}
        self.claims, self.userinfo, self.discovery, self.granted, self.returned = {}, {}, {}, {}, {}
        self.signs_userinfo = None
        self.secret_in = "form"  # or "header", as the client was registered
        self.key, self.kid, self.algorithm = RSA, "one", "RS256"
        self.keys = [public(RSA, "one", alg="RS256"), public(EC, "two")]
        self.error, self.without_id_token, self.broken = None, False, False
        self.emails = [{"email": "carol@corp.example", "primary": True, "verified": True}]
        self.codes, self.authorizations, self.requests, self.access_tokens = {}, [], [], set()
        self.url = ""

    def sign(self, claims, **header):
        claims = {name: value for name, value in claims.items() if value is not None}
        named = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(claims, self.key, self.algorithm, headers={**named, **header})

    def id_token(self, asked):
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked.get("nonce")}
        return self.sign({**claims, **self.person, **self.claims})

    def logout_token(self, **claims):
        now = int(time.time())
        given = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": secrets.token_hex(8)}
        return self.sign({**given, "events": {LOGOUT_EVENT: {}}, **claims}, typ="logout+jwt")

    # ---- Answers: status, headers, body --------------------------------------------------------------------

    def get(self, path, query, token):
        if path.endswith("/.well-known/openid-configuration"):
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            found = {"issuer": self.url, "userinfo_endpoint": f"{self.url}/userinfo"}
            found |= {name: f"{self.url}/{end}" for name, end in names.items()}
            return 200, {}, {**found, **self.discovery}
        if path == "/keys":
            return 200, {}, {"keys": self.keys}
        if path in ("/authorize", "/login/oauth/authorize"):
            return self.authorize(query)
        if token not in self.access_tokens:
            return 401, {}, {"error": "invalid_token"}
        if path == "/userinfo":
            said = {k: v for k, v in {**self.person, **self.userinfo}.items() if v is not None}
            if self.signs_userinfo is None:
                return 200, {}, said
            return 200, {"Content-Type": "application/jwt;charset=UTF-8"}, self.sign({**said, **self.signs_userinfo})
        if path == "/api/v3/user":
            return 200, {}, {"id": 4711, "login": "carol", "name": "Carol", "email": None}
        if path == "/api/v3/user/emails":
            return 200, {}, self.emails
        return 404, {}, {}

    def authorize(self, query):
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        self.authorizations.append(query)
        answer = {"state": query["state"], **self.returned}
        if self.error:
            answer["error"] = self.error
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self.codes[answer["code"]] = query
        answer = {name: value for name, value in answer.items() if value is not None}
        return 302, {"Location": f"{query['redirect_uri']}?{urlencode(answer)}"}, {}

    def token(self, form, authorization):
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        given = (form.get("client_id"), form.get("client_secret"))
        known = authorization == f"Basic {basic}" if self.secret_in == "header" else given == (CLIENT, SECRET)
        if not known:
            return 401, {}, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code"), None)  # a code counts once
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        good = asked is not None and form.get("redirect_uri") == asked["redirect_uri"]
        good = good and asked.get("code_challenge_method") == "S256"
        good = good and asked.get("code_challenge") == challenge.decode().rstrip("=")
        if not good:
            return 400, {}, {"error": "invalid_grant"}
        self.access_tokens.add(access := secrets.token_urlsafe(16))
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": 300, **self.granted}
        if not self.without_id_token:
            answer["id_token"] = self.id_token(asked)
        return 200, {}, answer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.answer(*self.server.provider.get(parts.path, query, token))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.answer(*self.server.provider.token(form, self.headers.get("Authorization")))

    def answer(self, status, headers, body):
        self.server.provider.requests.append(urlsplit(self.path).path)
        if self.server.provider.broken:
            status, headers, body = 500, {}, "out of order"
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def openid_provider() -> Iterator[OpenIdProvider]:
    """Run a provider."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.provider = OpenIdProvider()
    server.provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
