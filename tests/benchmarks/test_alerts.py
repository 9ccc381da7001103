from __future__ import annotations

from itertools import islice

import orjson
import pytest

from benchmarks import alerts
from labkit.alerts import NotAlert, parse, to_frame


@pytest.mark.parametrize("variant", ["usual", "long", "varied", "hard"])
def test_alerts_are_falcos_and_the_same_each_time(variant: alerts.Variant) -> None:
    made = list(alerts.messages(300, variant))
    assert made == list(alerts.messages(300, variant))
    assert not any(isinstance(parse(line.decode()), NotAlert) for _, line in made)
    df = to_frame([line.decode() for _, line in made])
    assert df["rule"].nunique() > 5
    assert df["hostname"].nunique() == len(alerts.NODES)
    assert df["output"].is_unique
    assert list(df["time"].astype("int64")) == sorted(happened for happened, _ in made)


def test_the_text_is_what_the_fields_say() -> None:
    for _, line in alerts.messages(200, "long"):
        alert = orjson.loads(line)
        shown = alert["output_fields"].get("proc.cmdline")
        assert f"command={shown} " in alert["output"]
        pod = alert["output_fields"]["k8s.pod.name"]
        assert f"k8s_pod_name={'<NA>' if pod is None else pod} " in alert["output"]


def test_messages_are_as_long_and_repeat_as_much_as_it_is_said() -> None:
    found = {}
    for variant in ("usual", "long", "varied", "hard"):
        summary = found[variant] = alerts.Summary()
        assert len(list(islice(alerts.messages(2000, variant, summary), 2000))) == summary.count == 2000
    assert 900 < found["usual"].size / 2000 < 1100
    assert [summary.distinct[0] < 0.1 for summary in found.values()] == [True, True, True, False]
    assert [summary.distinct[1] < 0.5 for summary in found.values()] == [True, True, False, False]
    assert found["long"].size > found["usual"].size + 100 * 2000
