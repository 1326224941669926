"""An object in an archive of S3 is refused with that reason, as a row and as an input."""

import pytest

from fcos_core.errors import ConfigError, ImageError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.inputs.sources import enumerate_inputs
from jobs.rundir.rows import ManifestItem
from jobs.storage.s3.client import disconnect
from tests.jobs.storage.replies import fault_server
from tests.jobs.storage.replies.fault_server import Bucket, Reply


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE", None])
def test_an_archived_object_is_said_to_be_archived(
    monkeypatch: pytest.MonkeyPatch, storage_class: str | None
):
    element = f"<StorageClass>{storage_class}</StorageClass>" if storage_class else ""
    body = f"<Error><Code>InvalidObjectState</Code><Message>no</Message>{element}</Error>"
    reply = Reply(403, {"Content-Type": "application/xml"}, body.encode())
    where = f" in {storage_class}" if storage_class else ""
    message = rf"is archived{where} \(InvalidObjectState, HTTP 403\); restore it first"
    item = ManifestItem(item_id=0, shard=0, kind="image", uri="s3://frozen/a.jpg", image_id=1)
    with fault_server.running() as server:
        # As in an archive, HEAD tells of the object, and only GET is refused.
        server.buckets["frozen"] = Bucket({"a.jpg": b"x"}, lambda *_: reply, frozenset({"GET"}))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        disconnect()
        with pytest.raises(ImageError, match=message):  # a quarantined row
            read_item_bytes(item)
        with pytest.raises(ConfigError, match=message):
            enumerate_inputs(["s3://frozen/a.jpg"])
        disconnect()
