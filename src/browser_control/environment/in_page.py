"""Web tasks whose episodes may begin in a page that is open already.

Of each, tests/environment/in_page.py played episode after episode in one page that was never loaded again, beside one
that always was, and found no difference (docs/environment.md).
"""

IN_PAGE = frozenset(["click-test", "click-button", "login-user", "click-checkboxes", "choose-list", "click-tab-2"])
