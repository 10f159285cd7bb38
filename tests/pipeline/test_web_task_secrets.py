"""A flow knows beforehand which secrets its web tasks need, so that no other program inherits them."""

import shutil
from pathlib import Path

import pytest
import yaml

from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.run import web_task_secrets
from browser_control.web_tasks import registry

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"


def test_the_secrets_of_the_chosen_web_tasks_are_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})
    folder = Path(shutil.copytree(SHOP, tmp_path / "shop"))
    path = folder / "order-shirts" / "task.yaml"
    values = yaml.safe_load(path.read_text())
    login = ['fill textbox "Word" with "{secret:SHOP_WORD}"']
    path.write_text(yaml.safe_dump({**values, "before": login}))
    overrides = [f"environment.web_tasks=[{folder}]", "training.web_tasks=[shop.order-shirts]"]
    chosen = Parameters(config="smollm2_135m_local_lora.yaml", overrides=overrides)
    assert web_task_secrets(chosen) == {"SHOP_WORD"}
    others = Parameters(config="smollm2_135m_local_lora.yaml", overrides=overrides[:1])
    assert web_task_secrets(others) == frozenset()
