from hfhooks.errors import Fault
from hfhooks.model.ending import failed_by


def test_a_fault_of_ours_ends_a_call_as_an_exception_does() -> None:
    ending = failed_by(Fault("calling a handler", ValueError("no frame")))
    assert (ending.kind, ending.status, ending.retry_after) == ("raised", 500, None)
    assert ending.body == b"a fault in calling a handler: ValueError: no frame."


def test_a_fault_of_any_text_has_a_body() -> None:
    ending = failed_by(Fault("calling a handler", ValueError("\ud800")))
    assert rb"\ud800" in ending.body
