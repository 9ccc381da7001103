"""CBOR: what RFC 8949 shows, what botocore writes, and whatever bytes there may be."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import RpcV2CBORParser
from hypothesis import given
from hypothesis import strategies as st

from ekslab.aws import cbor


def _given(value: Any) -> bool:
    return value is not None


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    # botocore leaves out members that are null
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner.filter(_given), max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("00", 0),
        ("1818", 24),
        ("1a000f4240", 1_000_000),
        ("1bffffffffffffffff", 18_446_744_073_709_551_615),
        ("3903e7", -1000),
        ("c249010000000000000000", 18_446_744_073_709_551_616),
        ("f93e00", 1.5),
        ("fa47c35000", 100_000.0),
        ("fb3ff199999999999a", 1.1),
        ("f4", False),
        ("f6", None),
        ("c11a514b67b0", dt.datetime(2013, 3, 21, 20, 4, tzinfo=dt.UTC)),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("62c3bc", "ü"),
        ("83010203", [1, 2, 3]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("7f657374726561646d696e67ff", "streaming"),
    ],
)
def test_examples_of_the_standard(encoded: str, value: Any) -> None:
    assert cbor.decode(bytes.fromhex(encoded)) == value


@given(PLAIN)
def test_what_is_encoded_is_decoded_by_us_and_by_botocore(value: Any) -> None:
    encoded = cbor.encode(value)
    assert cbor.decode(encoded) == value
    parser = RpcV2CBORParser()
    assert parser.parse_data_item(parser.get_peekable_stream_from_bytes(encoded)) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_none(data: bytes) -> None:
    try:
        cbor.decode(data)
    except ValueError:
        return
    assert data


def test_cloudwatch_over_cbor(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", ("smithy-rpc-v2-cbor",))
    cloudwatch = running.client("cloudwatch")
    assert cloudwatch.meta.service_model.resolved_protocol == "smithy-rpc-v2-cbor"
    now = dt.datetime.fromtimestamp(int(running.clock()), dt.UTC)
    datum = {"MetricName": "Alerts", "Timestamp": now, "Values": [1.0, 2.5], "Counts": [1.0, 2.0]}
    cloudwatch.put_metric_data(Namespace="Falco", MetricData=[datum])
    (point,) = cloudwatch.get_metric_statistics(
        Namespace="Falco", MetricName="Alerts", Period=60, Statistics=["Sum"],
        StartTime=now - dt.timedelta(minutes=5), EndTime=now + dt.timedelta(minutes=1),
    )["Datapoints"]  # fmt: skip
    assert point["Sum"] == 6.0
    assert point["Timestamp"] == now.replace(second=0)
    with pytest.raises(ClientError, match=r"ResourceNotFound.*Alarm none does not exist"):
        cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x")
    with pytest.raises(ClientError) as caught:
        cloudwatch.put_dashboard(DashboardName="x", DashboardBody='{"widgets": 5}')
    assert caught.value.response["Error"]["Code"] == "InvalidParameterInput"
    assert caught.value.response["dashboardValidationMessages"] == [
        {"DataPath": "/widgets", "Message": "Should be array"}
    ]
