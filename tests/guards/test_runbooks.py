"""Each alert has a runbook, each runbook an alert, and annotations lead from one to the other."""

import re
from pathlib import Path

from tests.support.monitoring import rules

ROOT = Path(__file__).parents[2]
RUNBOOKS = "docs/operating/runbooks.md"


def test_each_alert_leads_to_its_runbook():
    headings = set(re.findall(r"^## (\S+)$", (ROOT / RUNBOOKS).read_text(encoding="utf-8"), re.MULTILINE))
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules() if "alert" in rule}

    assert headings == set(links)
    assert links == {alert: f"{RUNBOOKS}#{alert.lower()}" for alert in links}
