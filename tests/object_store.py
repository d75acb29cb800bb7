"""Stores for tests: one in memory that can be made to fail or to wait, and S3 as moto serves it on this machine."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

BUCKET = "archive"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "very-secret",
    "AWS_DEFAULT_REGION": "eu-central-1",
}


class OddStore(MemoryFileSystem):
    """A store in memory, `odd://`, in which each request is told of first, and may fail."""

    protocol = "odd"
    store, pseudo_dirs = {}, [""]
    told = staticmethod(lambda path: None)

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(str(path).removeprefix("odd:"))

    def cat_file(self, path, start=None, end=None, **options):
        type(self).told(path)
        return super().cat_file(path, start=start, end=end, **options)

    def info(self, path, **options):
        type(self).told(path)
        return super().info(path, **options)


fsspec.register_implementation("odd", OddStore, clobber=True)


def upload(folder, url):
    """Copy all files below a folder to a place, and return the place."""
    files, root = fsspec.core.url_to_fs(url)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            files.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return url


@contextmanager
def s3_server(folder, prefix):
    """Yield the variables by which a process reaches an S3 of this machine, whose bucket has the files of a folder."""
    serving = subprocess.Popen(
        [sys.executable, __file__, str(folder), prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=with_variables(CREDENTIALS),
    )
    with serving:
        yield CREDENTIALS | {"AWS_ENDPOINT_URL": serving.stdout.readline().strip()}
        serving.stdin.close()


def serve(folder, prefix):
    """Serve an S3 until nobody listens any more: in a process of its own, for moto has warnings of its own."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": CREDENTIALS["AWS_DEFAULT_REGION"]}
    )
    for path in (path for path in Path(folder).rglob("*") if path.is_file()):
        client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder).as_posix()}")
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


def with_variables(variables):
    """Return an environment in which no other settings of AWS reach a process."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | variables


if __name__ == "__main__":
    serve(*sys.argv[1:])
