"""Agents of other libraries on a running site whose worker is killed in mid-tool."""

from collections import Counter

from tests.conftest import BRISK
from tests.site import Site, wait_until

AGENTS = ",".join(f"{name}=tests.foreign_agents:{name}" for name in ("durable", "graph"))
DONE = {
    "durable": (Counter({"response 0": 1, "response 1": 1, "response 2": 1, "first": 1, "second": 2}), "Now first. "),
    "graph": (Counter({"plan": 1, "act": 2, "first": 1, "second": 2}), "Planned. "),
}


def test_a_worker_killed_in_mid_tool_costs_no_response_and_no_complete_tool_twice(own_site, tmp_path):
    site: Site = own_site(workers=1, **BRISK, NETRA_AGENTS=AGENTS)
    user = site.register("foreign")
    socket = user.connect()
    for agent, (done, begin) in DONE.items():
        notes = tmp_path / agent
        run_id = socket.ask(str(notes), agent)["run_id"]
        wait_until(lambda: site.workers[-1].poll() is not None, "the end of the worker")
        site.repair()
        end = socket.answer(run_id)
        assert end["final_response"].startswith(begin)
        assert Counter(notes.read_text().splitlines()) == done
