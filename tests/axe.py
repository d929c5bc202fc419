"""Accessibility of a page, as axe finds it in both themes."""

from playwright.sync_api import Page

from tests.site import ROOT


def serious(page: Page) -> None:
    """Fail for a finding of axe that is serious or critical."""
    if not page.evaluate("'axe' in globalThis"):
        page.evaluate((ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text())
    page.emulate_media(reduced_motion="reduce")
    for theme in ("dark", "light"):
        found = page.evaluate(
            """async (theme) => {
              document.documentElement.dataset.theme = theme;
              await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
              return (await axe.run(document, {resultTypes: ["violations"]})).violations
                .filter(({impact}) => impact === "serious" || impact === "critical")
                .flatMap(({id, nodes}) => nodes.map(({html, any}) => [id, any[0]?.message, html.slice(0, 200)]));
            }""",
            theme,
        )
        assert found == [], theme
