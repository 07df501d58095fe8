"""What an error says to the user."""

import pickle

from benchmark import errors
from benchmark.errors import BenchmarkError, UnknownNameError


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all_known_ones_in_order():
    error = UnknownNameError("backbone", "ResNet5O", ["VGG16", "ResNet50", "MobileNet"])

    assert str(error) == ("Unknown backbone 'ResNet5O'. Did you mean 'ResNet50'? Known: MobileNet, ResNet50, VGG16.")


def test_no_name_is_suggested_where_none_is_near():
    error = UnknownNameError("mode", "zzz", ["native", "unit"])

    assert str(error) == "Unknown mode 'zzz'. Known: native, unit."


def test_of_very_many_names_the_nearest_are_shown_with_their_number():
    names = [f"set_{number}" for number in range(1200)]

    message = str(UnknownNameError("dataset", "set_77x", names))

    assert message.startswith("Unknown dataset 'set_77x'. The nearest of 1,200 known ones: set_77")
    assert len(message) < 200


def test_every_kind_of_error_is_one_the_user_can_fix_and_has_its_own_word_for_the_ledger():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BenchmarkError)]

    words = {kind.__name__: kind.error_type for kind in kinds}

    # A ConfigError ends a command before there is a cell to write it into, so it needs no word of its own.
    assert words.pop("ConfigError") == words["BenchmarkError"] == "invalid"
    assert len(set(words.values())) == len(words) == 7


def test_an_unknown_name_keeps_its_message_on_the_way_from_another_process():
    error = UnknownNameError("mode", "unti", ["native", "unit"])

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is UnknownNameError
    assert str(copy) == str(error)
