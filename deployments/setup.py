"""Sets up on a Prefect server what this project needs there; applying it again does no harm.

    python deployments/setup.py [--gpus N] [--nightly on|off]      (make deploy)

Work pools and their queues, the deployments of prefect.yaml, automations (a run without a heartbeat, or that nobody
begins, is marked crashed; a failed nightly notifies), and a word on the secrets that may be there.
"""

import argparse
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from browser_control.pipeline import server

ROOT = Path(__file__).resolve().parents[1]
GPU, LOCAL, TRAINING = "gpu", "local", "training"  # two pools, and a queue of the second
NIGHTLY = "train/lfm2-350m"
FLOWS = ("train", "evaluate", "sweep")
NOTIFIER = "nightly"  # name of the notification block that hears of a failed night
SECRETS = {
    "hf-token": "HF_TOKEN, for gated or private models",
    "wandb-api-key": "WANDB_API_KEY, to log to Weights & Biases",
}
SILENCE = timedelta(seconds=90)  # of a run that sends a heartbeat every 30
STARTING = timedelta(minutes=10)  # from a worker's claim to the run's first state
_ENDS = {
    "prefect.flow-run.Completed",
    "prefect.flow-run.Failed",
    "prefect.flow-run.Crashed",
    "prefect.flow-run.Cancelled",
}
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RUNNING, _PENDING = "prefect.flow-run.Running", "prefect.flow-run.Pending"
_WAITS = {
    "prefect.flow-run.Scheduled",
    "prefect.flow-run.Late",
    "prefect.flow-run.AwaitingRetry",
    "prefect.flow-run.AwaitingConcurrencySlot",
    "prefect.flow-run.Cancelling",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Sets up work pools, deployments and automations on a Prefect server.")
    parser.add_argument("--gpus", type=_positive, metavar="N", help="training runs at a time, one a GPU (at first: 1)")
    parser.add_argument("--nightly", choices=["on", "off"], help="switches the schedule; by itself it stays as it is")
    chosen = parser.parse_args()
    server.exit_unreachable()
    with get_client(sync_client=True) as client:
        gpus = chosen.gpus or limit_of(client, GPU) or 1
        set_up_work_pool(client, GPU, "Hosts with a GPU: one worker for each GPU.", gpus)
        set_up_work_pool(client, LOCAL, "Machines that run programs as processes.", None)
        was_on = nightly_is_on(client)
        deploy()
        switch_nightly(client, was_on if chosen.nightly is None else chosen.nightly == "on")
        set_up_queue(client, LOCAL, TRAINING, 1)
        take_leases_away(client)
        set_up_automation(client, crashed_without_heartbeat(client))
        set_up_automation(client, crashed_before_it_began(client))
        notify_of_failed_nights(client)
        tell_of_secrets(client)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def limit_of(client: SyncPrefectClient, name: str) -> int | None:
    try:
        return client.read_work_pool(name).concurrency_limit
    except ObjectNotFound:
        return None


def set_up_work_pool(client: SyncPrefectClient, name: str, description: str, limit: int | None) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", description=description, concurrency_limit=limit)
        )
    else:
        client.update_work_pool(name, WorkPoolUpdate(description=description, concurrency_limit=limit))
    print(f"work pool {name}: {'no limit' if limit is None else f'{limit} at a time'}")


def deploy() -> None:
    """Applies prefect.yaml, as `prefect --no-prompt deploy --all` does."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: prefect.yaml could not be applied\n{done.stdout}{done.stderr}")


def nightly_is_on(client: SyncPrefectClient) -> bool:
    deployment = find(client, NIGHTLY)
    return deployment is not None and any(schedule.active for schedule in deployment.schedules)


def switch_nightly(client: SyncPrefectClient, on: bool) -> None:
    deployment = find(client, NIGHTLY)
    assert deployment is not None
    for schedule in deployment.schedules:
        # what is left out of an update is lost: the server puts its default in place of the parameters
        client.update_deployment_schedule(
            deployment.id, schedule.id, active=on, parameters=schedule.parameters, slug=schedule.slug
        )
    print(f"deployments: applied; the nightly of {NIGHTLY} is {'on' if on else 'off (make deploy NIGHTLY=on)'}")


def set_up_queue(client: SyncPrefectClient, pool: str, name: str, runs: int) -> None:
    """As many runs of the queue at a time; the deployments that name it have made it."""
    queue = client.read_work_queue_by_name(name, work_pool_name=pool)
    client.update_work_queue(queue.id, concurrency_limit=runs)
    print(f"work queue {pool}/{name}: {runs} at a time")


def take_leases_away(client: SyncPrefectClient) -> None:
    """An earlier release limited deployments, by leases that end a run when the server is away for minutes."""
    for deployment in client.read_deployments(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[GPU, LOCAL]))
    ):
        if deployment.global_concurrency_limit is not None:
            client.update_deployment(deployment.id, DeploymentUpdate(concurrency_limit=None))


def find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def crashed_without_heartbeat(client: SyncPrefectClient) -> AutomationCore:
    """A worker that was killed says nothing: the silence of its run does.

    Only of our flows: others may send a heartbeat every three minutes, as Prefect does by itself.
    """
    return AutomationCore(
        name="a run without a heartbeat is crashed",
        description=f"Marks a flow run as crashed {SILENCE.seconds} s after its last heartbeat.",
        trigger=_silence(client, after={_RUNNING, _HEARTBEAT}, expect={_HEARTBEAT, *_ENDS}, within=SILENCE),
        actions=[_to_crashed(server.SILENT)],
    )


def crashed_before_it_began(client: SyncPrefectClient) -> AutomationCore:
    """A worker that dies between its claim of a run and the run's start leaves it Pending, in a place of the pool."""
    return AutomationCore(
        name="a run that nobody begins is crashed",
        description=f"Marks a flow run as crashed {STARTING.seconds // 60} minutes after a worker claimed it.",
        trigger=_silence(client, after={_PENDING}, expect={_RUNNING, *_ENDS, *_WAITS}, within=STARTING),
        actions=[_to_crashed("a worker claimed it and did not begin it: that worker or its host is gone")],
    )


def _silence(client: SyncPrefectClient, after: set[str], expect: set[str], within: timedelta) -> EventTrigger:
    """Of a run of ours of which one of `after` was heard, and none of `expect` since."""
    flows = [f"prefect.flow.{client.read_flow_by_name(name).id}" for name in FLOWS]
    return EventTrigger(
        posture=Posture.Proactive,
        match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification.model_validate(
            {"prefect.resource.id": flows, "prefect.resource.role": "flow"}
        ),
        for_each={"prefect.resource.id"},
        after=after,
        expect=expect,
        within=within,
    )


def _to_crashed(words: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=words, force=False)


def notify_of_failed_nights(client: SyncPrefectClient) -> None:
    """An automation, where somebody made a notification block for it; which kind is theirs to choose."""
    blocks = [block for block in client.read_block_documents(include_secrets=False) if block.name == NOTIFIER]
    notifiers = [
        block for block in blocks if "notify" in ((block.block_schema and block.block_schema.capabilities) or [])
    ]
    if not notifiers:
        print(f"automation: a failed nightly notifies nobody; make a notification block {NOTIFIER!r} and apply again")
        return
    deployment = find(client, NIGHTLY)
    assert deployment is not None
    set_up_automation(
        client,
        AutomationCore(
            name="a failed nightly notifies",
            description=f"Failed or crashed runs of {NIGHTLY}.",
            trigger=EventTrigger(
                posture=Posture.Reactive,
                match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
                match_related=ResourceSpecification.model_validate(
                    {
                        "prefect.resource.id": f"prefect.deployment.{deployment.id}",
                        "prefect.resource.role": "deployment",
                    }
                ),
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"},
            ),
            actions=[
                SendNotification(
                    block_document_id=notifiers[0].id,
                    subject="nightly training: {{ flow_run.state.name }}",
                    body="{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
                )
            ],
        ),
    )


def set_up_automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    for present in client.read_automations_by_name(wanted.name):
        client.update_automation(present.id, wanted.model_copy(update={"enabled": present.enabled}))
        break
    else:
        client.create_automation(wanted)
    print(f"automation: {wanted.name}")


def tell_of_secrets(client: SyncPrefectClient) -> None:
    present = {block.name for block in client.read_block_documents(block_schema_type=None, include_secrets=False)}
    for name, what in SECRETS.items():
        state = "there" if name in present else f"not there ({what}; a worker's environment may have it instead)"
        print(f"secret block {name}: {state}")


if __name__ == "__main__":
    main()
