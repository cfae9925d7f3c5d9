"""Files on servers are told apart without the keys that open them."""

import pytest

from fusargpt.geo.remote import identity
from fusargpt.scenes.settings import SceneSettings

SCENE = "https://data.example.org/scene.tif"


@pytest.mark.parametrize(
    "signed",
    [
        "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={}&X-Amz-Expires=60&X-Amz-Signature=secret{}",
        "?X-Goog-Credential=me%40x&X-Goog-Signature=secret{}&X-Goog-Date={}",
        "?se={}&sp=r&sv=2021-06-08&sr=b&sig=secret{}",
        "?Expires={}&Signature=secret{}&Key-Pair-Id=K",
        "?access_token=secret{}{}",
        "?token=secret{}{}",
    ],
)
def test_a_renewed_signature_is_the_same_file(signed: str) -> None:
    first, second = (SCENE + signed.format(number, number) for number in (1, 2))
    assert identity(first) == identity(second) == SCENE


def test_passwords_are_hidden_and_other_queries_hashed() -> None:
    assert identity("https://me:secret@data.example.org/scene.tif") == SCENE
    one, two = identity(f"{SCENE}?id=first&token=a"), identity(f"{SCENE}?id=second&token=a")
    assert one != two and "first" not in one and one.startswith(SCENE)
    assert identity(f"{SCENE}?token=b&id=first") == one
    assert identity("folder/a?token=1.tif") == "folder/a?token=1.tif"


def test_a_run_s_conditions_hold_no_secret_and_outlive_a_signature() -> None:
    settings = SceneSettings(task="count", aef="https://me:secret@field.example.org/aef")
    first, second = (settings.conditions(f"{SCENE}?sig=secret{number}", 504, 0) for number in (1, 2))
    assert first == second and "secret" not in str(first)
