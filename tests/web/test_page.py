"""The program in docs/web.md does what the page says."""

import hmac
import re
import runpy
from pathlib import Path

import httpx2
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "web.md"


@pytest.mark.asyncio
async def test_the_page_s_program_takes_in_orders_and_pushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each; what is not signed, or no order, is refused."""
    program = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert program
    (tmp_path / "page.py").write_text(program[1])
    monkeypatch.chdir(tmp_path)
    app = runpy.run_path("page.py")["app"]
    signature = hmac.digest(b"what GitHub was told, too", b"{}", "sha256").hex()
    signed = {"X-Hub-Signature-256": f"sha256={signature}"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://page") as client,
    ):
        again = {"Idempotency-Key": "a"}
        orders = [await client.post("/orders", json={"id": "order-1"}, headers=again) for _ in range(2)]
        assert [(order.status_code, order.json()) for order in orders] == [(202, {"id": "order-1"})] * 2
        assert (await client.post("/orders", json={"amount": 1})).json()["field"] == "id"
        codes = [(await client.post("/pushes", content=b"{}", headers=headers)).status_code for headers in (signed, {})]
        assert codes == [202, 401]
