"""What axe-core finds on a page that a browser shows, and what of it is wider than its window."""

from __future__ import annotations

from importlib.resources import files

from tests.dashboard.browser import Browser

AXE = files("axe_core_python").joinpath("axe.min.js")
RULES = "{runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}}"
FOUND = """(async () => (await axe.run(document, %s)).violations.map(
    one => `${one.id}: ${one.nodes.map(node => `${node.target} ${node.any.map(why => why.message)}`).join('; ')}`))()"""
KEYS = {"Tab": 9, "Enter": 13, "ArrowDown": 40}


def violations(browser: Browser) -> list[str]:
    """Each rule of WCAG 2.1, levels A and AA, that the page breaks, with the elements that do."""
    browser.run(AXE.read_text(encoding="utf-8") + "; 0")
    answer = browser.call("Runtime.evaluate", expression=FOUND % RULES, returnByValue=True, awaitPromise=True)
    return answer["result"]["value"]


def resize(browser: Browser, width: int, height: int = 900) -> None:
    """Another window, as of a telephone."""
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )


def beyond_the_window(browser: Browser) -> int:
    """Pixels by which the page is wider than its window."""
    return browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def press(browser: Browser, key: str) -> None:
    """A key of the keyboard."""
    for kind in ("rawKeyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])


def reached_by_tab(browser: Browser, until: str = "", most: int = 40) -> list[str]:
    """What the key Tab comes to, one after the other, as the names of elements; up to one of a name, if that is said."""
    reached: list[str] = []
    while len(reached) < most and until not in reached:
        press(browser, "Tab")
        here = browser.run("document.activeElement && document.activeElement.tagName.toLowerCase()")
        if here in (None, "body"):
            break
        reached.append(here)
    return reached
