from tests.campaigns.ledger import Books, Ending


def test_what_is_neither_handled_nor_ended_with_a_reason_is_lost() -> None:
    endings = {"b": Ending("failed", "not yet"), "c": Ending("failed", "")}
    books = Books(acknowledged=set("abcde"), endings=endings | {"e": Ending("ignored", "")})
    books.handled.update("a")
    assert books.lost == {"c", "d"} and not books.is_fine
