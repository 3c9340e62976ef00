"""Small sets in CIFAR's own archive format, served from this machine to the real loader: download, checksum, unpacking."""

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from course.data import cifar

CLASSES = [f"kind {number}" for number in range(10)]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def make_archive(
    base: str, train: list[str], test: str, meta: str, label_key: str, meta_key: str, images: int = 20
) -> tuple[dict[str, bytes], bytes]:
    """The files, as torchvision expects them, each with so many images of noise; and the archive."""
    random = np.random.default_rng(0)
    files = {
        name: pickle.dumps(
            {
                "data": random.integers(0, 256, (images, 3072), dtype=np.uint8),
                label_key: random.integers(0, len(CLASSES), images).tolist(),
            }
        )
        for name in [*train, test]
    }
    files[meta] = pickle.dumps({meta_key: CLASSES})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{base}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return files, buffer.getvalue()


class Server:
    """Answers each request as the next word of `plan` says, and the last word from then on."""

    def __init__(self, content: bytes) -> None:
        self.content, self.plan, self.requests = content, ["whole"], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                action = outer.plan[min(outer.requests, len(outer.plan) - 1)]
                outer.requests += 1
                if action == "missing":
                    self.send_error(404)
                    return
                sent = {
                    "whole": outer.content,
                    "truncated": outer.content[: len(outer.content) // 2],
                    "changed": outer.content[:-100] + bytes(100),
                }[action]
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/small.tar.gz"


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch, folder: Path, images: int) -> Iterator[Server]:
    """A small CIFAR-10 under the name cifar10, its server, and an empty data folder.

    Args:
        images: of each of the two training files, and of the test file.
    """
    train, test = ["data_batch_1", "data_batch_2"], "test_batch"
    files, archive = make_archive("cifar-10-batches-py", train, test, "batches.meta", "labels", "label_names", images)
    server = Server(archive)

    class SmallCIFAR10(CIFAR10):
        url = server.url
        filename = "small.tar.gz"
        tgz_md5 = md5(archive)
        train_list = [[name, md5(files[name])] for name in train]
        test_list = [[test, md5(files[test])]]
        meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(files["batches.meta"])}

    monkeypatch.setattr(cifar, "torchvision_class", lambda name: SmallCIFAR10)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("COURSE_DATA", str(folder))
    monkeypatch.delenv("COURSE_OFFLINE", raising=False)
    server.files, server.archive, server.folder = files, archive, folder
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
