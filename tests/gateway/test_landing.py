from hfhooks import __version__
from hfhooks.gateway.landing import landing_page
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.events import Filter


def test_endpoints_are_shown_with_their_urls_and_filters() -> None:
    wanted = Filter(("repo.content",), ("dataset:me/*",), ("refs/heads/main",))
    page = landing_page(
        [Endpoint("a"), Endpoint("b/c", wanted)], "https://me.example", is_public=True
    )
    assert "https://me.example/webhooks/a" in page and "https://me.example/webhooks/b/c" in page
    assert "2 endpoints" in page and "every event" in page and __version__ in page
    assert all(word in page for word in ("repo.content", "dataset:me/*", "refs/heads/main"))


def test_one_endpoint_is_no_plural() -> None:
    assert "1 endpoint<" in landing_page([Endpoint("a")], "http://x", is_public=False)


def test_local_urls_are_said_to_be_local() -> None:
    assert "on this machine" in landing_page([Endpoint("a")], "http://127.0.0.1", is_public=False)
    assert "on this machine" not in landing_page([Endpoint("a")], "http://a.test", is_public=True)


def test_before_the_script_is_loaded_the_page_says_so() -> None:
    assert "still loading" in landing_page([], "http://x", is_public=False)


def test_no_secret_and_no_markup_from_a_script_reaches_the_page() -> None:
    endpoint = Endpoint("a", Filter(repo=("<b>*</b>",)), secrets=("s3cret",))
    page = landing_page([endpoint], "http://x", is_public=False)
    assert "s3cret" not in page and "<b>" not in page and "&lt;b&gt;" in page


def test_the_page_needs_no_script_and_no_other_server() -> None:
    page = landing_page([Endpoint("a")], "http://x", is_public=False)
    assert not any(word in page for word in ("<script", "<link", "<img", "@import", "url("))
    assert "prefers-color-scheme: dark" in page
