"""Parquet files with encrypted columns, by a key service that gives away its keys."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportUntypedBaseClass=false
# pyarrow has no types

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption


class _OpenKeys(encryption.KmsClient):
    def __init__(self, _) -> None:
        super().__init__()

    def wrap_key(self, key_bytes, master_key_identifier) -> bytes:  # noqa: ARG002
        return key_bytes

    def unwrap_key(self, wrapped_key, master_key_identifier) -> bytes:  # noqa: ARG002
        return wrapped_key


def encrypted(table: pa.Table, columns: Sequence[str], *, row_group_size: int = 2) -> bytes:
    """Write a file whose footer is plain; a field of a struct is ``column.field``."""
    factory = encryption.CryptoFactory(_OpenKeys)
    properties = factory.file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            footer_key="footer", column_keys={"columns": list(columns)}, plaintext_footer=True
        ),
    )
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table, row_group_size=row_group_size)
    return sink.getvalue().to_pybytes()
