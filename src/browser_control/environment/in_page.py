"""Web tasks whose episodes may begin in a page that is open already.

Of each, tests/environment/in_page.py played episode after episode in one page that was never loaded again, beside one
that always was, and found no difference (docs/environment.md).
"""

_NAMES = """
    ascending-numbers bisect-angle buy-ticket choose-list circle-center click-button
    click-button-sequence click-checkboxes click-checkboxes-large click-checkboxes-soft click-checkboxes-transfer
    click-collapsible click-collapsible-2 click-collapsible-2-nodelay click-collapsible-nodelay click-color
    click-dialog click-dialog-2 click-link click-menu click-menu-2 click-option click-shades
    click-shape click-tab click-tab-2 click-tab-2-easy click-tab-2-hard click-tab-2-medium click-test click-test-2
    click-test-transfer click-widget copy-paste copy-paste-2 count-shape count-sides daily-calendar drag-box
    drag-circle drag-cube drag-items drag-items-grid drag-shapes drag-shapes-2 drag-single-shape drag-sort-numbers
    draw-circle draw-line enter-date enter-password enter-text enter-text-2 enter-text-dynamic enter-time
    find-greatest find-midpoint find-word focus-text focus-text-2 form-sequence form-sequence-2 generate-number
    grid-coordinate guess-number highlight-text highlight-text-2 hot-cold identify-shape login-user multi-layouts
    multi-orderings navigate-tree number-checkboxes odd-or-even order-food phone-book read-table read-table-2
    resize-textarea right-angle scroll-text scroll-text-2 search-engine sign-agreement simple-algebra
    simple-arithmetic social-media social-media-all social-media-some stock-market terminal text-editor
    text-transform tic-tac-toe unicode-test use-autocomplete use-autocomplete-nodelay use-slider use-slider-2
    use-spinner visual-addition
"""
IN_PAGE = frozenset(_NAMES.split())
