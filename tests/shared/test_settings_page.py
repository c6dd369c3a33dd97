from tools.settings_table import PAGE, page


def test_the_settings_page_is_what_the_code_declares() -> None:
    assert PAGE.read_text() == page(), "run: python -m tools.settings_table"
