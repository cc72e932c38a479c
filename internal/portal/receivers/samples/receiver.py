# A receiver in Python: PORT=4000 WEBHOOK_SECRET=whsec_... python3 receiver.py
import base64, hashlib, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
seen = set()  # keep it in your database, so that a restart forgets nothing


def verify(headers, body):
    """Returns 0, or the status to answer with."""
    id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id or not (stamp.isascii() and stamp.isdigit()) or abs(time.time() - int(stamp)) > 300:
        return 400
    # The bytes as they came, never re-encoded.
    want = hmac.new(KEY, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    for signature in headers.get("webhook-signature", "").split():
        scheme, _, text = signature.partition(",")
        try:
            got = base64.b64decode(text, validate=True)
        except ValueError:
            continue
        if scheme == "v1" and hmac.compare_digest(got, want):  # in constant time
            return 0
    return 401


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = verify(self.headers, body)
        if status == 0 and self.headers["webhook-id"] not in seen:
            # The same delivery may come again: it has the same id.
            seen.add(self.headers["webhook-id"])
            event = json.loads(body)
            print("got", event.get("event") or event.get("type") or "", self.headers.get("Consentwire-Subject"),
                  self.headers.get("Consentwire-Sequence"), flush=True)
        self.send_response(status or 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 4000))), Receiver).serve_forever()
