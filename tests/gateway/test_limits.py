from hfhooks.gateway.limits import check_media_type, json_object


def test_identity_is_no_compression() -> None:
    check_media_type({"content-type": "application/json", "content-encoding": "identity"})


def test_a_json_object_is_returned() -> None:
    assert json_object(b' {"a": [1, null]} ') == {"a": [1, None]}
