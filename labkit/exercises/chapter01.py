"""Exercises of chapter 01: what the shipper's role may do, and a pipeline with a broken link."""

from __future__ import annotations

from typing import Any

from labkit.alerts.arrival import wait_for_log
from labkit.calls import near, short_repr
from labkit.errors import AlertTimeoutError
from labkit.exercises import fluent_bit_role, pipeline_faults
from labkit.exercises.exercise import Wrong, exercise, keyed
from labkit.target import Target
from labkit.waiting import poll

PATIENCE = 20.0
"""Seconds for AWS to know a role, and for a canary to arrive after the mending."""
LINKS = {
    "canary": "The canary has printed its line: `lab.kube.logs` shows it. It got lost later.",
    "daemonset": "A Fluent Bit was running on every node.",
    "configuration": "Fluent Bit was looking at the right files, and wrote to the right group.",
    "service account": "The service account had its annotation, and the pods a role and a token.",
    "trust policy": "The role trusted the service account: who may take it on was as it should be.",
    "permissions": "The role could write to the log group. Something else came before that.",
    "log group": "The log group was there, under the name that Fluent Bit has.",
}
"""The links of the pipeline, and what rules each out when another one is broken."""


@exercise(
    "01-what-it-may-do",
    "Predict what Fluent Bit's role can do",
    hints=(
        "Nothing is allowed that a statement doesn't allow: look for each action in the list `Action`.",
        "An action is allowed on the resources of its statement only. Does `Resource` name more than one log group?",
    ),
)
def what_it_may_do(target: Target, predicted: Any) -> str:
    """`predicted`: for each of `fluent_bit_role.CALLS` whether the role can do it."""
    calls = fluent_bit_role.CALLS
    keyed(predicted, calls)
    unclear = [name for name, may in predicted.items() if not isinstance(may, bool)]
    if unclear:
        given = short_repr(predicted[unclear[0]])
        raise Wrong(f"It has to be `True` or `False` for each. For “{unclear[0]}” it is `{given}`.")
    if target.settings.attendee:  # the class shares the role, and no attendee may assume it
        refused: dict[str, str] | None = fluent_bit_role.as_the_policy_says()
    else:
        refused = poll(lambda: fluent_bit_role.tried_if_it_ships(target), "AWS to know the role", PATIENCE)
    if refused is None:
        raise Wrong('The role can\'t ship at present, so there is nothing to predict: run `lab.apply("fluent-bit")`.')
    wrong = [name for name in calls if predicted[name] == bool(refused[name])]
    if not wrong:
        return "\n".join(f"{name}: {refused[name] or 'allowed'} (`{calls[name].action}`)" for name in calls)
    why = []
    if any(not refused[name] for name in wrong):
        why.append("You rule out something that the policy lists.")
    if any(refused[name] and not calls[name].listed for name in wrong):
        why.append("You allow something that the policy doesn't list: what isn't allowed is denied.")
    if any(refused[name] and calls[name].listed for name in wrong):
        why.append("For one, the action is in the list. What else has to be right?")
    right = len(calls) - len(wrong)
    raise Wrong(f"{right} of {len(calls)} {'is' if right == 1 else 'are'} as you say. {' '.join(why)}")


@exercise(
    "01-mend-the-pipeline",
    "Find the broken link, and mend it",
    hints=(
        "Follow the line. Has the pod printed it? Is there a Fluent Bit on the pod's node, and what does it log? "
        "`lab.wait_for_log('\"canary\"', timeout=5)` goes along the links, too, and quotes Fluent Bit.",
        "PutLogEvents refused: look at what the role may do. AssumeRoleWithWebIdentity refused: at who may take it on. "
        "No region or no credentials: at the service account. No error at all: is it looking at the right files, and "
        "is it running? What a step has made, `lab.apply(step)` makes right.",
    ),
)
def mend_the_pipeline(target: Target, broken: Any) -> str:
    """`broken`: the name of the link. It has to be mended by now, and the canary to have arrived."""
    fault = pipeline_faults.present()
    if fault is None:
        raise Wrong("Nothing has been broken yet: run the cell with `break_a_link` first.")
    link = " ".join(broken.lower().split()) if isinstance(broken, str) else broken
    if not isinstance(link, str) or link not in LINKS:
        also = near(link, LINKS) if isinstance(link, str) else ""
        raise Wrong(f"`{short_repr(broken)}` is none of the links. {also}There are: {', '.join(LINKS)}.")
    if link != fault.link:
        raise Wrong(LINKS[link])
    if target.settings.attendee:
        return (
            f"{fault.what}\n\nThere are {len(pipeline_faults.FAULTS)} such cases: run `break_a_link` again for another."
        )
    if fault.there(target):
        raise Wrong(f"Right, it is the {link}. It isn't mended yet.")
    try:
        wait_for_log(target, '"canary"', since=None, timeout=PATIENCE)
    except AlertTimeoutError as error:
        raise Wrong(f"Right, it was the {link}. But the canary's line isn't there. {error}") from error
    if excess := list(fluent_bit_role.excess(target)):
        raise Wrong(
            f"Right, and the canary has arrived. But the role is wider than it was: {'; '.join(excess)}. An intruder "
            "in Fluent Bit could do that, too. Give it no more than it needs."
        )
    return (
        f"{fault.what} The canary's line has arrived.\n\nThere are {len(pipeline_faults.FAULTS)} faults: run "
        "`break_a_link` again for the next one."
    )
