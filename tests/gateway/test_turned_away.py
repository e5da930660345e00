from hfhooks.gateway.turned_away import TurnedAway
from hfhooks.model.happenings import Full
from tests.wired import Reports


def test_each_endpoint_is_said_once_and_so_is_the_end() -> None:
    told = TurnedAway(reports := Reports())
    told.begin("no room.")
    told.begin("many wait.", "train")
    told.begin("still many.", "train")
    assert told
    told.end(None, "deploy")
    told.end(None, "train")
    told.end("train")
    assert not told
    assert reports.all == [
        Full("no room."),
        Full("many wait.", "train"),
        Full(None),
        Full(None, "train"),
    ]
