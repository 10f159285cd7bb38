"""What an upload asks of the hub, on loopback: create, preupload, LFS, commit. Files are kept in memory."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Hub:
    """Attributes: made, the repositories as they were asked for; files, names in the last commit; stored, by name."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.files: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self._objects: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hub.tokens.add(self.headers["Authorization"])
                self._answer(hub.post(self.path, self._body()))

            def do_PUT(self) -> None:
                hub._objects[self.path.rpartition("/")[2]] = self._body()
                self._answer({})

            def do_GET(self) -> None:
                self._answer({"siblings": [], "sha": "0" * 40, "id": "ada/tiny"})

            do_HEAD = do_GET

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(self, value: dict[str, Any]) -> None:
                content = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.made.append({key: asked[key] for key in ("name", "organization", "visibility") if key in asked})
            return {"url": f"{self.url}/ada/tiny"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            kinds = [
                {**file, "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"} for file in files
            ]
            return {"files": [{**kind, "shouldIgnore": False} for kind in kinds]}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return {
                "transfer": "basic",
                "objects": [
                    {**each, "actions": {"upload": {"href": f"{self.url}/put/{each['oid']}"}}} for each in objects
                ],
            }
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.stored[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.stored[value["path"]] = self._objects[value["oid"]]
            self.files = set(self.stored)
            return {"commitUrl": f"{self.url}/ada/tiny/commit/{'1' * 40}", "commitOid": "1" * 40}
        return {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
