"""Jobs: runs pods to completion, and retries failed ones up to the backoff limit."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.controllers.base import Controller, Key, is_active, owned_by, owner_key, ready_since
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of, owner_reference
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import parse, rfc3339

_RETRY_SECONDS = 1.0


class Jobs(Controller):
    name = "job-controller"

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.JOBS:
            yield Key.from_object(change.object)
        elif change.resource is r.PODS:
            key = owner_key(change.object, r.JOBS)
            if key is not None:
                yield key

    def reconcile(self, key: Key) -> None:
        job = self.store.get(r.JOBS, *key)
        if job is None or job["metadata"].get("deletionTimestamp"):
            return
        if any(c["status"] == "True" for c in job["status"].get("conditions") or ()):
            self._forget_in_time(job)
            return
        spec, pods = job["spec"], owned_by(self.store.list(r.PODS, key.namespace), job)
        succeeded = sum(pod["status"].get("phase") == "Succeeded" for pod in pods)
        failed = sum(pod["status"].get("phase") == "Failed" for pod in pods)
        active = [pod for pod in pods if is_active(pod)]
        finished = ""
        completions = spec.get("completions")
        if (succeeded and not active) if completions is None else succeeded >= completions:
            finished = "Complete"
        elif failed > spec["backoffLimit"]:
            finished = "Failed"
        for pod in active if finished or spec.get("suspend") else ():
            self.registry.delete(r.PODS, key.namespace, name_of(pod))
        if not finished and not spec.get("suspend"):
            wanted = spec["parallelism"]
            if completions is not None:
                wanted = min(wanted, completions - succeeded)
            elif succeeded:
                wanted = 0  # a queue of work: pods that are done show that there is no more
            for _ in range(wanted - len(active)):
                if not self._create(job):
                    break
            active = [p for p in owned_by(self.store.list(r.PODS, key.namespace), job) if is_active(p)]
        self._report(job, 0 if finished else len(active), succeeded, failed, finished)

    def _create(self, job: Object) -> bool:
        template = job["spec"]["template"]
        metadata: Object = {
            "generateName": f"{name_of(job)}-",
            "labels": dict(template["metadata"].get("labels") or {}),
            "ownerReferences": [owner_reference(r.JOBS, job)],
        }
        if template["metadata"].get("annotations"):
            metadata["annotations"] = dict(template["metadata"]["annotations"])
        try:
            pod = self.registry.create(r.PODS, namespace_of(job), {"metadata": metadata, "spec": template["spec"]})
        except ApiError as error:
            self.recorder.event(r.JOBS, job, "FailedCreate", f"Error creating: {error.message}", warning=True)
            self.enqueue(Key.from_object(job), delay=_RETRY_SECONDS)
            return False
        self.recorder.event(r.JOBS, job, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        return True

    def _report(self, job: Object, active: int, succeeded: int, failed: int, finished: str) -> None:
        now = rfc3339(self.registry.clock())
        pods = owned_by(self.store.list(r.PODS, namespace_of(job)), job)
        ready = sum(is_active(pod) and ready_since(pod) is not None for pod in pods)
        status: Object = {"ready": 0 if finished else ready}
        if finished or not job["spec"].get("suspend"):
            status["startTime"] = job["status"].get("startTime", now)
        status.update({k: v for k, v in (("active", active), ("succeeded", succeeded), ("failed", failed)) if v})
        if finished:
            reason, message = "CompletionsReached", "Reached expected number of succeeded pods"
            if finished == "Failed":
                reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            else:
                status["completionTime"] = now
            status["conditions"] = [
                {
                    "type": finished,
                    "status": "True",
                    "reason": reason,
                    "message": message,
                    "lastProbeTime": now,
                    "lastTransitionTime": now,
                }
            ]
            if finished == "Complete":
                self.recorder.event(r.JOBS, job, "Completed", "Job completed")
            else:
                self.recorder.event(r.JOBS, job, reason, message, warning=True)
        self.registry.set_status(r.JOBS, job, status)

    def _forget_in_time(self, job: Object) -> None:
        """Deletes a finished job when its time to live after that is over."""
        lifetime = job["spec"].get("ttlSecondsAfterFinished")
        if lifetime is None:
            return
        left = parse(job["status"]["conditions"][0]["lastTransitionTime"]) + lifetime - self.registry.clock()
        if left > 0:
            self.enqueue(Key.from_object(job), delay=left)
        else:
            self.registry.delete(r.JOBS, namespace_of(job), name_of(job))
