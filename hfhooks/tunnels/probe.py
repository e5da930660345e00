"""One request through a tunnel, which shows whether it leads to us."""

import socket
import ssl
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

__all__ = ["ProxyOut", "why_not"]

TIMEOUT = 10.0
"""Seconds for one step of it, such as connecting."""


class ProxyOut(ProxyHandler):
    """Asks no proxy that leads out of this machine for what is on it."""

    def proxy_open(self, req: Request, proxy: str, type: str) -> Any:
        if req.host.partition(":")[0] == "127.0.0.1":
            return None
        return super().proxy_open(req, proxy, type)


class _NoRedirects(HTTPRedirectHandler):
    """The Hub's POST would follow none either."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def why_not(url: str) -> str | None:
    """Ask for a URL that only this server answers with 204; return why it does not, if so."""
    try:
        request = Request(url, headers={"user-agent": "hfhooks"})  # noqa: S310 # http or https
        with build_opener(_NoRedirects, ProxyOut).open(request, timeout=TIMEOUT) as answer:
            return None if answer.status == 204 else _other_answer(answer.status, answer.headers)
    except HTTPError as error:
        with error:
            return _other_answer(error.code, error.headers)
    except URLError as error:
        return _explained(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        return _explained(error)


def _other_answer(status: int, headers: Any) -> str:
    if code := headers.get("ngrok-error-code"):
        return f"ngrok answers {status} ({code})"
    if 300 <= status < 400:
        return f"it redirects to {headers.get('location')}"
    if status == 404:
        return "another server answers there"
    return f"the answer is {status}"


def _explained(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return "its name is not known (yet)"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {reason.verify_message}"
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT:g} seconds"
    if isinstance(reason, HTTPException):
        return "what answers there speaks no HTTP"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror[0].lower() + reason.strerror[1:]
    return str(reason) or type(reason).__name__
