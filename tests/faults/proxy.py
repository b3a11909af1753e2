"""A proxy before an object store, whose connections fail as a test asks them to."""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY = (
    b"<?xml version='1.0'?><Error><Code>ServiceUnavailable</Code>"
    b"<Message>Please reduce your request rate</Message></Error>"
)


class Proxy:
    """Passes requests on; `fault(method, path, headers)` says what happens to each.

    It returns None, "503", "drop" (no request arrives), "lost" (it arrives, its reply
    does not) or a number of seconds to wait first.
    """

    def __init__(self, port):
        self.upstream, self.fault, self.hits = port, lambda *_: None, []
        self._server = None
        self.port = 0
        self.restore()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def refuse(self):
        """No connection is taken any more."""
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def restore(self):
        """Connections are taken again, at the same port."""
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def down_for(self, seconds, kind="503"):
        """Every request fails in this way for so long from now on."""
        end = time.monotonic() + seconds
        self.fault = lambda *_: kind if time.monotonic() < end else None

    def once(self, kind, wanted):
        """The first request that `wanted(method, path, headers)` fails in this way."""
        left = [kind]
        self.fault = lambda *asked: left.pop() if left and wanted(*asked) else None

    def close(self):
        if self._server:
            self.refuse()

    def _handler(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self._body()
                kind = proxy.fault(self.command, self.path, self.headers)
                if kind is not None:
                    proxy.hits.append((kind, self.command, self.path))
                if isinstance(kind, int | float):
                    time.sleep(kind)
                elif kind == "503":
                    return self._answer(503, [("Content-Type", "text/xml")], BUSY)
                elif kind == "drop":
                    return self._hang_up()
                status, headers, content = self._ask(body)
                if kind == "lost":
                    return self._hang_up()
                return self._answer(status, headers, content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

            def _body(self):
                if self.headers.get("Transfer-Encoding", "") == "chunked":
                    parts = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    while self.rfile.readline().strip():
                        pass
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _ask(self, body):
                behind = http.client.HTTPConnection("127.0.0.1", proxy.upstream)
                hop = {"transfer-encoding", "connection", "expect", "content-length"}
                kept = {k: v for k, v in self.headers.items() if k.lower() not in hop}
                kept["Content-Length"] = str(len(body))
                behind.request(self.command, self.path, body, kept)
                reply = behind.getresponse()
                content = reply.read()
                behind.close()
                return reply.status, reply.getheaders(), content

            def _answer(self, status, headers, content):
                self.send_response_only(status)
                for name, value in headers:
                    own = {"connection", "transfer-encoding", "content-length"}
                    if name.lower() not in own:
                        self.send_header(name, value)
                length = dict(headers).get("Content-Length", len(content))
                head = self.command == "HEAD"
                self.send_header(
                    "Content-Length", str(length if head else len(content))
                )
                self.end_headers()
                if not head:
                    self.wfile.write(content)

            def _hang_up(self):
                self.close_connection = True
                self.connection.close()

            def log_message(self, *_):
                pass

        return Handler
