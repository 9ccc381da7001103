"""JSON templates of `manifests/`: fills in `${placeholders}` with account, region and names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from labkit.errors import StepError
from labkit.target import Target


def template(target: Target, name: str, **values: str) -> Any:
    """The template `manifests/<name>.json` with the lab's account, region and names, and `values`, filled in.

    Raises `StepError` if the file can't be read, isn't JSON or has a placeholder that nothing fills in.
    """
    settings, identity = target.settings, target.aws.identity
    known = {
        "partition": identity.partition,
        "account_id": identity.account_id,
        "region": settings.region,
        "cluster": settings.cluster,
        "log_group": settings.log_group,
        "prefix": settings.prefix,
        "role_name": settings.role_name,
    }
    return fill(settings.root / "manifests" / f"{name}.json", **{**known, **values})


def fill(path: Path, **values: str) -> Any:
    """A JSON template with its `${placeholders}` replaced. Raises `StepError` for one that has no value."""
    try:
        # Not string.Template: `$.rule` is a selector of a filter pattern, and stays as it is.
        text = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], path.read_text(encoding="utf-8"))
        return json.loads(text)
    except OSError as error:
        raise StepError(
            f"{path} can't be read: {error.strerror}.", hint="Run from the workshop's folder, or set LABKIT_ROOT."
        ) from error
    except KeyError as error:
        raise StepError(
            f"{path} has a placeholder ${{{error.args[0]}}} that nothing fills in.",
            hint=f"Use one of: {', '.join(values)}.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise StepError(f"{path} is not a valid template: {error}.", hint="Correct the file.") from error
