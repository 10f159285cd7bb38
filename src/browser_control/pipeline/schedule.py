"""What a schedule missed: a machine that slept for five nights trains once when it wakes up, not five times."""

from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterExpectedStartTime
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import deployment, flow_run


def superseded() -> str:
    """In words, why the running flow run need not run; empty where it must.

    It comes from a schedule, and a later one of the same deployment is due or was run: those that wait for a slot get
    it in any order. A run that somebody asked for, or tried again, is never superseded.
    """
    if not deployment.id:
        return ""
    with get_client(sync_client=True) as client:
        this = client.read_flow_run(flow_run.id)
        if not this.auto_scheduled or this.deployment_id is None or this.run_count > 1:
            return ""
        after = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[this.deployment_id]),
            expected_start_time=FlowRunFilterExpectedStartTime(after_=this.expected_start_time),
        )
        others = client.read_flow_runs(flow_run_filter=after)
    now = datetime.now(UTC)
    if not any(each.auto_scheduled and each.id != this.id and _due(each, now) for each in others):
        return ""
    return f"missed at {this.expected_start_time:%Y-%m-%d %H:%M} UTC; a later one of the same schedule is due"


def _due(run: FlowRun, now: datetime) -> bool:
    return run.expected_start_time is not None and run.expected_start_time <= now
