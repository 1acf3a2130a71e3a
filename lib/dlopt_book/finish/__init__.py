"""The last pass over the built site: what a reader's machine would have to do on every visit is done here, once.

Mathematics is typeset, icons and style rules that no page uses are left out, scripts wait until the page is shown, and
images say their size. Every step may be repeated on pages that are finished already.
"""

from dlopt_book.finish.site import finish

__all__ = ["finish"]
