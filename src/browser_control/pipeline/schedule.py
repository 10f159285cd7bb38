"""What a schedule missed: a machine that slept for five nights trains once when it wakes up, not five times."""

from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runtime import deployment, flow_run


def superseded() -> str:
    """In words, why the running flow run need not run: it comes from a schedule, and a later one is due. Else empty."""
    if not deployment.id:
        return ""
    with get_client(sync_client=True) as client:
        this = client.read_flow_run(flow_run.id)
        if not this.auto_scheduled or this.expected_start_time is None:
            return ""
        waiting = client.read_flow_runs(flow_run_filter=_waiting(this))
    now = datetime.now(UTC)
    later = [each for each in waiting if each.auto_scheduled and each.id != this.id and _due(each, now)]
    if not later:
        return ""
    return f"missed at {this.expected_start_time:%Y-%m-%d %H:%M} UTC; a later one of the same schedule is due"


def _waiting(this: FlowRun) -> FlowRunFilter:
    """Runs of the same deployment that are to start after this one, and wait."""
    assert this.deployment_id is not None
    return FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[this.deployment_id]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=this.expected_start_time),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )


def _due(run: FlowRun, now: datetime) -> bool:
    return run.expected_start_time is not None and run.expected_start_time <= now
