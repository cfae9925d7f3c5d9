from space_app.limits import SESSIONS
from space_app.stopping import Stops


def test_a_visitor_stops_only_the_question_that_is_open():
    stops = Stops()
    stops.stop("a")
    stops.begin("a")
    stops.begin("b")
    assert not stops.is_stopped("a")
    stops.stop("a")
    assert stops.is_stopped("a") and not stops.is_stopped("b")
    stops.begin("a")
    assert not stops.is_stopped("a")
    stops.stop("a")
    stops.end("a")
    assert not stops.is_stopped("a")


def test_visitors_who_left_are_forgotten():
    stops = Stops()
    for number in range(SESSIONS + 1):
        stops.begin(str(number))
        stops.stop(str(number))
    assert not stops.is_stopped("0") and stops.is_stopped(str(SESSIONS))
