"""An HTTP server that answers S3's ListObjectsV2 from a counter: a bucket of any number of keys.

``images/00000017.jpg`` where there is one folder, otherwise ``images/017/00000017.jpg`` by
hundreds of thousands: keys are numbered in the order of their bytes. Nothing is stored, so what is
measured against it is the client. Run as a process of its own; it prints its port.
"""

from __future__ import annotations

import argparse
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

ROOT = "images/"
_SCATTER = (
    0x9E3779B97F4A7C15F39CC0605CEDC835  # makes etags that look like md5, as they are in truth
)
_ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{etag:032x}&quot;</ETag><Size>{size}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)
_PAGE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
    "<EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{token}{body}"
    "</ListBucketResult>"
)


class Keys:
    """The numbered keys.

    Args:
        count: how many.
        folders: into how many folders of equal size they are put.
    """

    def __init__(self, count: int, folders: int) -> None:
        self.count, self.folders = count, folders
        self._each = -(-count // folders)

    def folder(self, number: int) -> str:
        return ROOT if self.folders == 1 else f"{ROOT}{number:04d}/"

    def key(self, i: int) -> str:
        return f"{self.folder(i // self._each)}{i:09d}.jpg"

    def below(self, prefix: str) -> range:
        """The numbers of the keys under the root, or under one folder."""
        if ROOT.startswith(prefix):
            return range(self.count)
        name = prefix.removeprefix(ROOT).strip("/")
        if self.folders == 1 or not name.isdigit():
            return range(0)
        start = int(name) * self._each
        return range(start, min(start + self._each, self.count))

    def page(self, prefix: str, delimiter: str, start: int, max_keys: int) -> str:
        if delimiter and prefix == ROOT and self.folders > 1:
            body = "".join(
                f"<CommonPrefixes><Prefix>{quote(self.folder(n))}</Prefix></CommonPrefixes>"
                for n in range(self.folders)
            )
            return _PAGE.format(more="false", token="", body=body)
        below = self.below(prefix)
        first = max(start, below.start)
        last = min(first + max_keys, below.stop)
        body = "".join(
            _ENTRY.format(key=self.key(i), etag=i * _SCATTER % 2**128, size=100_000 + i % 977)
            for i in range(first, last)
        )
        more = last < below.stop
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return _PAGE.format(more="true" if more else "false", token=token, body=body)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--folders", type=int, default=1)
    options = parser.parse_args()
    keys = Keys(options.keys, options.folders)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name there
            del format, args

        def do_GET(self) -> None:
            asked = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            data = keys.page(
                asked.get("prefix", ""),
                asked.get("delimiter", ""),
                int(asked.get("continuation-token", "0")),
                int(asked.get("max-keys", "1000")),
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    socketserver.TCPServer.allow_reuse_address = True
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
