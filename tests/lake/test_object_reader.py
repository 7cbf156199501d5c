"""What Spark's workers do with an object of a bucket: fetch it by a signed URL, prove its bytes, tell its rows."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from etl.core.engine import Engine, Objects, register
from etl.core.object_reader import DAMAGED, MISSING, REFUSED, ObjectProblem, read_object, reader_of
from etl.core.s3_lake import S3Lake, promised_sha256
from tests.connectors.transport.web_server import answer, serving
from tests.lake.store import SECRET, lake_in, new_bucket

PATH = "parsed/ab/day=1/some.parquet"
ROWS = pa.table(
    {
        "click_id": ["a", "b"],
        "clicked_at": pa.array([datetime(2026, 3, 29, 1, 30), None], pa.timestamp("us")),
        "amount": pa.array([Decimal("1.2500"), Decimal("-3.0000")], pa.decimal128(18, 4)),
        "count": pa.array([1, 2], pa.int32()),
    }
)
# Another order, a wider type, a column that came later, and none that nobody asked for.
WANTED = pa.schema(
    [
        ("amount", pa.decimal128(18, 4)),
        ("later", pa.string()),
        ("clicked_at", pa.timestamp("us")),
        ("click_id", pa.string()),
        ("count", pa.int64()),
    ]
)


@pytest.fixture
def lake(endpoint: str, tmp_path: Path) -> S3Lake:
    return lake_in(endpoint, new_bucket(endpoint), tmp_path / "cache")


def test_rows_are_those_of_the_schema_and_those_that_a_local_copy_has(lake: S3Lake, tmp_path: Path) -> None:
    lake.put_table(ROWS, PATH)
    url = lake.signed_url(PATH)
    assert "X-Amz-Signature" in url and SECRET not in url
    numbers = pa.record_batch({"id": pa.array([0, 0], pa.int64())})
    read = pa.Table.from_batches(reader_of([(PATH, url, None)], WANTED)(iter([numbers])))
    assert read.schema.equals(WANTED)
    assert read["later"].to_pylist() == [None] * 4
    with Engine(temporary=tmp_path / "spill").connect() as connection:
        register(connection, "found", Objects(lake, [PATH], WANTED))
        local = connection.sql("SELECT amount, later, clicked_at, click_id, count FROM found").to_arrow_table()
    assert read.slice(0, 2).to_pylist() == local.to_pylist()


def test_other_bytes_than_were_written_are_no_rows(lake: S3Lake) -> None:
    other = ROWS.slice(0, 1)
    lake.put_table(ROWS, PATH)
    lake.put_table(other, "parsed/other.parquet")
    client, bucket = lake.bucket_client(), lake.access.bucket
    told = client.head_object(Bucket=bucket, Key=lake.key_of(PATH))["Metadata"]
    body = client.get_object(Bucket=bucket, Key=lake.key_of("parsed/other.parquet"))["Body"].read()
    client.put_object(Bucket=bucket, Key=lake.key_of(PATH), Body=body, Metadata=told)
    with pytest.raises(ObjectProblem, match=f"object {PATH} {DAMAGED}"):
        list(read_object((PATH, lake.signed_url(PATH), None), WANTED))
    # A path that promises a hash is believed before what the bucket says.
    promising = f"raw/{'0' * 2}/{'0' * 64}.parquet"
    client.put_object(Bucket=bucket, Key=lake.key_of(promising), Body=body)
    with pytest.raises(ObjectProblem, match=DAMAGED):
        list(read_object((promising, lake.signed_url(promising), promised_sha256(promising)), WANTED))


def test_an_object_that_is_not_there_is_said_by_name(lake: S3Lake) -> None:
    with pytest.raises(ObjectProblem, match=f"object {PATH} {MISSING}") as caught:
        list(read_object((PATH, lake.signed_url(PATH), None), WANTED))
    assert "http" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "length", "raised", "said"),
    [
        (403, 0, ObjectProblem, REFUSED),
        (503, 0, OSError, "answers 503"),
        (200, 100, OSError, "broke off after 4 bytes"),
    ],
)
def test_what_a_bucket_says_instead_is_for_a_person_or_for_another_try(
    status: int, length: int, raised: type[Exception], said: str
) -> None:
    with serving(answer(b"PAR1" if length else b"", status, Content_Length=str(length))) as server:
        url = f"{server.url}/object?X-Amz-Signature=hidden"
        with pytest.raises(raised, match=said) as caught:
            list(read_object((PATH, url, None), WANTED))
    assert "hidden" not in str(caught.value)


def test_a_bucket_that_does_not_answer_is_for_another_try() -> None:
    with pytest.raises(OSError, match="does not answer"):
        list(read_object((PATH, "http://127.0.0.1:9/object?X-Amz-Signature=hidden", None), WANTED))
