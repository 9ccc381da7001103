"""Security Hub CSPM: BatchImportFindings, GetFindings, BatchUpdateFindings.

It has no standards and no controls. The newer Security Hub (operations whose names end in V2) imports no findings and
isn't supported.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from ekslab.aws import asff
from ekslab.aws.protocols import AwsError, Call, service_model, unsupported
from ekslab.aws.validation import validate

if TYPE_CHECKING:
    from ekslab.aws.iam_authorization import Principal
    from ekslab.aws.wire import Parameters, Result

Finding = dict[str, Any]

MAX_BATCH = 100  # findings, of an import or an update
MAX_BATCH_BYTES = 6_000_000
MAX_KEPT = 20_000  # findings in a region; a workshop has some hundreds
MAX_FILTERS, MAX_VALUES = 10, 20
RETENTION = 90 * 86_400  # seconds since a finding's last update, or since the hub was disabled

# Members for investigators: a provider can set them in a new finding only.
_CUSTOMERS = ("Note", "UserDefinedFields", "VerificationState", "Workflow")
# Members that FindingProviderFields sets, until an investigator changes them.
_SHARED = ("Confidence", "Criticality", "RelatedFindings", "Severity", "Types")


@dataclass(eq=False)
class StoredFinding:
    """A stored finding."""

    finding: Finding
    updated: int
    """UpdatedAt in ns since the epoch."""
    number: int
    """The order in which findings came."""
    received: float
    """When its last update came, in seconds since the epoch."""
    edited: set[str] = field(default_factory=set)
    """Which of the shared fields an investigator has changed."""


@dataclass(eq=False)
class Hub:
    """Security Hub in one region. Findings are kept while it is disabled."""

    region: str
    enabled: bool = False
    since: float = 0.0
    """When it was enabled or disabled, in seconds since the epoch."""
    generator: str = "SECURITY_CONTROL"
    tags: dict[str, str] = field(default_factory=dict)
    findings: dict[tuple[str, str], StoredFinding] = field(default_factory=dict)
    count: int = 0

    def expire(self, now: float) -> None:
        if not self.enabled and now - self.since > RETENTION:
            self.findings.clear()
        for key in [key for key, kept in self.findings.items() if now - kept.received > RETENTION]:
            del self.findings[key]


class SecurityHub:
    """The service."""

    def __init__(self, *, account_id: str, clock: Callable[[], float]) -> None:
        self.account_id = account_id
        self._clock = clock
        self._hubs: dict[str, Hub] = {}
        self._operations: dict[str, Callable[[Hub, Parameters], Result]] = {
            "DescribeHub": self._describe,
            "DisableSecurityHub": self._disable,
            "GetEnabledStandards": lambda hub, p: {"StandardsSubscriptions": []},
            "GetFindings": self._get,
            "BatchUpdateFindings": self._update,
            "ListTagsForResource": lambda hub, p: {"Tags": dict(hub.tags)},
            "TagResource": self._tag,
            "UntagResource": self._untag,
        }

    def resources(self, call: Call, p: Parameters) -> list[str]:
        """The products of imported findings; the region's hub for other operations."""
        if call.operation == "BatchImportFindings":
            arns = [f.get("ProductArn") for f in p.get("Findings") or () if isinstance(f, dict)]
            return sorted({str(arn) for arn in arns}) or [self._product_arn(call.region)]
        return [self._hub_arn(call.region)]

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        """The operation's result. Raises AwsError, named as the service does."""
        hub = self._hubs.setdefault(call.region, Hub(call.region))
        hub.expire(self._clock())
        if call.operation == "BatchImportFindings":
            return self._import(hub, p, caller)
        operation = self._operations.get(call.operation)
        if operation is None and call.operation != "EnableSecurityHub":
            raise unsupported(call)
        try:
            validate("securityhub", call.operation, p)
        except AwsError as error:
            raise _invalid(error.message) from None
        if operation is None:
            return self._enable(hub, call, p)
        if not hub.enabled:
            message = f"Account {self.account_id} is not subscribed to AWS Security Hub"
            raise AwsError("InvalidAccessException", message, 401)
        if p.get("ResourceArn", self._hub_arn(hub.region)) != self._hub_arn(hub.region):
            raise AwsError("ResourceNotFoundException", f"{p['ResourceArn']} does not exist", 404)
        return operation(hub, p)

    def _hub_arn(self, region: str) -> str:
        return f"arn:aws:securityhub:{region}:{self.account_id}:hub/default"

    def _product_arn(self, region: str) -> str:
        """The ARN of the account's default product, for custom findings."""
        return f"arn:aws:securityhub:{region}:{self.account_id}:product/{self.account_id}/default"

    # -- the hub

    def _enable(self, hub: Hub, call: Call, p: Parameters) -> Result:
        if hub.enabled:
            raise AwsError("ResourceConflictException", "Account is already subscribed to Security Hub", 409)
        if p.get("EnableDefaultStandards", True):
            raise unsupported(call, "it runs no security checks; set EnableDefaultStandards to false")
        hub.enabled, hub.since = True, self._clock()
        hub.generator = p.get("ControlFindingGenerator", "SECURITY_CONTROL")
        hub.tags = dict(p.get("Tags") or {})
        return {}

    def _describe(self, hub: Hub, p: Parameters) -> Result:
        arn = self._hub_arn(hub.region)
        if p.get("HubArn", arn) != arn:
            raise AwsError("ResourceNotFoundException", f"Hub {p['HubArn']} does not exist", 404)
        return {
            "HubArn": arn,
            "SubscribedAt": _iso(hub.since),
            "AutoEnableControls": True,
            "ControlFindingGenerator": hub.generator,
        }

    def _disable(self, hub: Hub, p: Parameters) -> Result:
        hub.enabled, hub.since, hub.tags = False, self._clock(), {}
        return {}

    def _tag(self, hub: Hub, p: Parameters) -> Result:
        hub.tags |= p["Tags"]
        return {}

    def _untag(self, hub: Hub, p: Parameters) -> Result:
        for key in p["TagKeys"]:
            hub.tags.pop(key, None)
        return {}

    # -- import

    def _import(self, hub: Hub, p: Parameters, caller: Principal) -> Result:
        findings = p.get("Findings")
        if not isinstance(findings, list):
            raise _invalid("Invalid parameter 'Findings'. data.Findings should be array")
        if not 1 <= len(findings) <= MAX_BATCH:
            wrong = f"more than {MAX_BATCH}" if findings else "fewer than 1"
            raise _invalid(f"Invalid parameter 'Findings'. data.Findings should NOT have {wrong} items")
        if len(orjson.dumps(findings)) > MAX_BATCH_BYTES:
            raise _invalid("Invalid parameter 'Findings'. A batch may have 6 MB.")
        product = self._product_arn(hub.region)
        for finding in findings:
            given = finding if isinstance(finding, dict) else {}
            if given.get("ProductArn", product) != product:
                raise _invalid(f'productArn: "{given["ProductArn"]}"')
            if given.get("AwsAccountId", self.account_id) != self.account_id:
                # Security Hub's answer to findings of another account.
                action = "securityhub:BatchImportFindings"
                message = f"User: {caller.arn} is not authorized to perform: {action} on resource: {product}"
                raise AwsError("AccessDeniedException", message, 403)
        failed = []
        for finding in findings:
            problem = self._import_one(hub, finding)
            if problem is not None:
                id_ = finding.get("Id") if isinstance(finding, dict) else None
                failed.append({"Id": str(id_), "ErrorCode": problem[0], "ErrorMessage": problem[1]})
        return {"FailedCount": len(failed), "SuccessCount": len(findings) - len(failed), "FailedFindings": failed}

    def _import_one(self, hub: Hub, finding: Finding) -> tuple[str, str] | None:
        """Imports a finding; returns (code, message) if it is refused."""
        if not hub.enabled:
            return "InvalidAccess", f"Account {self.account_id} is not subscribed to AWS Security Hub"
        faults = asff.faults(finding)
        if faults:
            return "InvalidInput", f"Finding does not adhere to Amazon Finding Format. {', '.join(faults)}."
        if len(orjson.dumps(finding)) > asff.MAX_BYTES:
            return "InvalidInput", "Finding size is larger than the allowed 240 KB."
        updated, now = asff.nanoseconds(finding["UpdatedAt"]), self._clock()
        assert updated is not None
        key = (finding["ProductArn"], finding["Id"])
        known = hub.findings.get(key)
        if known is not None and updated <= known.updated:
            return None  # an older update: it is ignored
        if known is None and len(hub.findings) >= MAX_KEPT:
            return "LimitExceeded", f"The embedded lab keeps {MAX_KEPT:,} findings in a region."
        made = self._completed(hub, finding, known)
        made["ProcessedAt"] = _iso(now)
        if known is None:
            hub.count += 1
            hub.findings[key] = StoredFinding(made, updated, hub.count, now)
        else:
            known.finding, known.updated, known.received = made, updated, now
        return None

    def _completed(self, hub: Hub, given: Finding, known: StoredFinding | None) -> Finding:
        """The finding to store: with the members that Security Hub adds or only investigators may change."""
        made = dict(given)
        own = {name: made[name] for name in _SHARED if name in made}
        provided = {**own, **made.get("FindingProviderFields", {})}
        if "Severity" in provided:
            severity = {**own.get("Severity", {}), **provided["Severity"]}
            made["Severity"] = _labelled(severity)
            provided["Severity"] = {k: v for k, v in made["Severity"].items() if k in ("Label", "Original")}
        made |= {name: value for name, value in provided.items() if name in _SHARED and name != "Severity"}
        made["FindingProviderFields"] = provided
        made["Region"] = hub.region
        made.setdefault("ProductName", "Default")
        made.setdefault("CompanyName", "Personal")
        made.setdefault("RecordState", "ACTIVE")
        made["ProductFields"] = {
            **made.get("ProductFields", {}),
            "aws/securityhub/FindingId": f"{made['ProductArn']}/{made['Id']}",
            "aws/securityhub/ProductName": made["ProductName"],
            "aws/securityhub/CompanyName": made["CompanyName"],
        }
        if known is not None:
            before = known.finding
            for name in _CUSTOMERS:
                made.pop(name, None)
                if name in before:
                    made[name] = before[name]
            for name in known.edited:
                made[name] = before[name]
            back = before["RecordState"] == "ARCHIVED" and made["RecordState"] == "ACTIVE"
            if back and made["Workflow"]["Status"] in ("NOTIFIED", "RESOLVED"):
                made["Workflow"] = {"Status": "NEW"}
        made["Workflow"] = {"Status": "NEW", **made.get("Workflow", {})}
        made["WorkflowState"] = "RESOLVED" if made["Workflow"]["Status"] == "RESOLVED" else "NEW"
        return made

    def _update(self, hub: Hub, p: Parameters) -> Result:
        identifiers = p["FindingIdentifiers"]
        if not 1 <= len(identifiers) <= MAX_BATCH:
            raise _invalid(f"FindingIdentifiers has {len(identifiers)} items; 1 to {MAX_BATCH} are allowed.")
        changes: dict[str, Any] = {name: p[name] for name in (*_SHARED, *_CUSTOMERS) if name in p}
        if not changes:
            raise _invalid("At least one field to update is required.")
        if "Severity" in changes:
            changes["Severity"] = _labelled(changes["Severity"])
        if "Note" in changes:
            changes["Note"] = {**changes["Note"], "UpdatedAt": _iso(self._clock())}
        processed, unprocessed, seen = [], [], set()
        for identifier in identifiers:
            key = (identifier["ProductArn"], identifier["Id"])
            kept = hub.findings.get(key)
            code, message = "", ""
            if key in seen:
                code, message = "DuplicatedFindingIdentifier", "The finding is named more than once."
            elif kept is None:
                code, message = "FindingNotFound", "Finding not found."
            else:
                made = {**kept.finding, **changes}
                if "Severity" in changes:
                    made["Severity"] = {**kept.finding.get("Severity", {}), **changes["Severity"]}
                if "Workflow" in changes:
                    made["Workflow"] = {**kept.finding["Workflow"], **changes["Workflow"]}
                    made["WorkflowState"] = "RESOLVED" if made["Workflow"]["Status"] == "RESOLVED" else "NEW"
                faults = asff.faults(made | {"ProductFields": {}})
                if faults:
                    code, message = "InvalidInput", ", ".join(faults)
                elif len(orjson.dumps(made)) > asff.MAX_BYTES:
                    code, message = "FindingTooBig", "The finding would be larger than 240 KB."
                else:
                    kept.finding = made
                    kept.received = self._clock()
                    kept.edited |= set(changes) & set(_SHARED)
            seen.add(key)
            if code:
                unprocessed.append({"FindingIdentifier": identifier, "ErrorCode": code, "ErrorMessage": message})
            else:
                processed.append(identifier)
        return {"ProcessedFindings": processed, "UnprocessedFindings": unprocessed}

    # -- search

    def _get(self, hub: Hub, p: Parameters) -> Result:
        filters = p.get("Filters") or {}
        tests = _tests(filters, self._clock())
        criteria = p.get("SortCriteria") or []
        # Newest first. Sorting is stable, so the last criterion is applied first.
        found = sorted(hub.findings.values(), key=lambda kept: (-kept.updated, kept.number))
        found = [kept for kept in found if all(test(kept.finding) for test in tests)]
        for criterion in reversed(criteria if criteria != _NEWEST_FIRST else []):
            path, _ = _filtered(criterion.get("Field", ""))
            found.sort(
                key=lambda kept, path=path: _sortable(asff.values(kept.finding, path)),  # type: ignore[misc]
                reverse=criterion.get("SortOrder") == "desc",
            )
        digest = hashlib.sha256(orjson.dumps([filters, criteria], option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        first, most = _read_token(p.get("NextToken"), digest), p.get("MaxResults") or MAX_BATCH
        page = [kept.finding for kept in found[first : first + most]]
        more = {"NextToken": _token(first + most, digest)} if len(found) > first + most else {}
        return {"Findings": page, **more}


_NEWEST_FIRST = [{"Field": "UpdatedAt", "SortOrder": "desc"}]


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidInputException", message)


def _iso(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _labelled(severity: Mapping[str, Any]) -> dict[str, Any]:
    """A severity with both Label and Normalized: either is derived from the other."""
    made = dict(severity)
    if "Label" in made:
        made["Normalized"] = asff.NORMALIZED[made["Label"]]
    elif "Normalized" in made:
        made["Label"] = max(
            (label for label, least in asff.NORMALIZED.items() if least <= made["Normalized"]),
            key=lambda label: asff.NORMALIZED[label],
        )
    return made


# Filters of different attributes must all match. Of the filters of one attribute, one inclusive and all exclusive
# filters must match. CONTAINS and NOT_CONTAINS work as the API reference says, which recommends them for automation
# rules.

Test = Callable[[Finding], bool]


def _filtered(name: str) -> tuple[str, str]:
    """(path in a finding, shape of the filters) of an attribute to filter or sort by. Raises AwsError."""
    members = service_model("securityhub")["shapes"]["AwsSecurityFindingFilters"]["members"]
    if name not in members:
        raise _invalid(f"Unknown finding attribute: {name}")
    return asff.rules()["filters"].get(name, name), members[name]["shape"]


def _tests(filters: Mapping[str, Any], now: float) -> list[Test]:
    if len(filters) > MAX_FILTERS:
        raise _invalid(f"Filters may have up to {MAX_FILTERS} attributes.")
    tests: list[Test] = []
    for name, wanted in filters.items():
        if len(wanted) > MAX_VALUES:
            raise _invalid(f"Filters.{name} may have up to {MAX_VALUES} values.")
        if wanted:
            path, shape = _filtered(name)
            make = {"StringFilterList": _strings, "MapFilterList": _map_filters}.get(shape)
            tests.append(make(name, path, wanted) if make else _any_of(shape, name, path, wanted, now))
    return tests


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "EQUALS": lambda value, want: value == want,
    "PREFIX": lambda value, want: value.startswith(want),
    "CONTAINS": lambda value, want: want in value,
}
_EXCLUSIONS = {"NOT_EQUALS": "EQUALS", "PREFIX_NOT_EQUALS": "PREFIX", "NOT_CONTAINS": "CONTAINS"}


def _split(name: str, wanted: Iterable[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """(inclusive filters, exclusive filters). Raises AwsError for a combination that isn't allowed."""
    asked, excluded = [], []
    for one in wanted:
        if "Value" not in one or "Comparison" not in one:
            raise _invalid(f"Filters.{name} needs both Value and Comparison.")
        if one["Comparison"] in _COMPARISONS:
            asked.append(one)
        elif one["Comparison"] in _EXCLUSIONS:
            excluded.append(one)
        else:
            raise _invalid(f"Filters.{name}: {one['Comparison']} is for GetFindingsV2 only.")
    used = {one["Comparison"] for one in (*asked, *excluded)}
    for kind in ("CONTAINS", "NOT_CONTAINS"):
        if kind in used and len(used) > 1:
            raise _invalid(f"Filters.{name}: {kind} can't be combined with {', '.join(sorted(used - {kind}))}.")
    if "EQUALS" in used and excluded:
        raise _invalid(f"Filters.{name}: EQUALS can't be combined with {excluded[0]['Comparison']}.")
    return asked, excluded


def _strings(name: str, path: str, wanted: list[Any]) -> Test:
    asked, excluded = _split(name, wanted)

    def test(finding: Finding) -> bool:
        values = [str(value) for value in asff.values(finding, path)]
        return _holds(asked, excluded, lambda one: values)

    return test


def _map_filters(name: str, path: str, wanted: list[Any]) -> Test:
    if any("Key" not in one for one in wanted):
        raise _invalid(f"Filters.{name} needs a Key.")
    if any(str(one.get("Comparison", "")).startswith("PREFIX") for one in wanted):
        raise _invalid(f"Filters.{name}: PREFIX is for texts only.")
    asked, excluded = _split(name, wanted)

    def test(finding: Finding) -> bool:
        maps = asff.values(finding, path)
        return _holds(asked, excluded, lambda one: [m[one["Key"]] for m in maps if one["Key"] in m])

    return test


def _holds(asked: list[Any], excluded: list[Any], values: Callable[[Any], list[str]]) -> bool:
    def matches(one: Mapping[str, Any]) -> bool:
        comparison = _EXCLUSIONS.get(one["Comparison"], one["Comparison"])
        return any(_COMPARISONS[comparison](value, one["Value"]) for value in values(one))

    return (not asked or any(map(matches, asked))) and not any(map(matches, excluded))


def _any_of(shape: str, name: str, path: str, wanted: list[Any], now: float) -> Test:
    """Filters of dates, numbers, IP addresses, keywords and booleans: any may match."""
    match shape:
        case "DateFilterList":
            spans = [_date_range(name, one, now) for one in wanted]
            return lambda finding: any(
                low <= moment <= high
                for value in asff.values(finding, path)
                if (moment := asff.nanoseconds(value)) is not None
                for low, high in spans
            )
        case "NumberFilterList":
            if any(not one for one in wanted):
                raise _invalid(f"Filters.{name} needs one of Gte, Lte, Eq, Gt, Lt.")
            return lambda finding: any(_within(value, one) for value in asff.values(finding, path) for one in wanted)
        case "IpFilterList":
            try:
                networks = [ipaddress.ip_network(one["Cidr"], strict=False) for one in wanted]
            except (KeyError, ValueError) as error:
                raise _invalid(f"Filters.{name}: {error} is no CIDR block.") from None
            return lambda finding: any(
                ipaddress.ip_address(value) in network for value in asff.values(finding, path) for network in networks
            )
        case "BooleanFilterList":
            truths = [one.get("Value") for one in wanted]
            return lambda finding: any(value in truths for value in asff.values(finding, path) or [False])
    return lambda finding: any(one.get("Value", "") in orjson.dumps(finding).decode() for one in wanted)


def _date_range(name: str, one: Mapping[str, Any], now: float) -> tuple[float, float]:
    """The inclusive bounds of a date filter in ns since the epoch."""
    if "DateRange" in one:
        days = one["DateRange"].get("Value")
        if days is None or one["DateRange"].get("Unit") != "DAYS":
            raise _invalid(f"Filters.{name}: a DateRange needs a Value and the Unit DAYS.")
        edge = (now - days * 86_400) * 1e9
        older = one["DateRange"].get("Comparison", "WITHIN") == "OLDER_THAN"
        return (float("-inf"), edge) if older else (edge, float("inf"))
    if "Start" not in one and "End" not in one:
        raise _invalid(f"Filters.{name} needs Start, End or a DateRange.")
    bounds = [asff.nanoseconds(one[edge]) if edge in one else None for edge in ("Start", "End")]
    for edge, bound in zip(("Start", "End"), bounds, strict=True):
        if edge in one and bound is None:
            raise _invalid(f"Filters.{name}.{edge}: {one[edge]} is no timestamp.")
    low, high = bounds
    return (float("-inf") if low is None else low, float("inf") if high is None else high)


def _within(value: Any, one: Mapping[str, Any]) -> bool:
    return (
        ("Gte" not in one or value >= one["Gte"])
        and ("Lte" not in one or value <= one["Lte"])
        and ("Eq" not in one or value == one["Eq"])
        and ("Gt" not in one or value > one["Gt"])
        and ("Lt" not in one or value < one["Lt"])
    )


def _sortable(values: list[Any]) -> tuple[int, Any]:
    """The sort key of a finding's values: labels by severity, missing values first."""
    if not values:
        return (0, 0)
    value = values[0]
    if isinstance(value, str):
        moment = asff.nanoseconds(value)
        if moment is not None:
            return (1, moment)
        return (1, asff.NORMALIZED[value]) if value in asff.NORMALIZED else (2, value)
    return (1, value) if isinstance(value, int | float) else (3, str(value))


def _token(first: int, digest: str) -> str:
    return base64.b64encode(orjson.dumps([first, digest])).decode()


def _read_token(token: str | None, digest: str) -> int:
    """The index at which a page begins. Raises AwsError for a token of other filters."""
    if not token:
        return 0
    try:
        first, of = orjson.loads(base64.b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        first, of = -1, ""
    if not isinstance(first, int) or first < 0 or of != digest:
        raise _invalid("Invalid NextToken.")
    return first
