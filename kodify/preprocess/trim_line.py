"""Whether a line still belongs to the completion: told by its first characters."""

from __future__ import annotations

from kodify.preprocess.languages import Language
from kodify.preprocess.trim_place import Place
from kodify.preprocess.trim_scan import CLOSERS, Scanner

PREAMBLE = ("@", "#[", "///", "/*", "*")


class Judge:
    """Sees each line of the completion from its start, and remembers what the lines before it opened."""

    def __init__(self, place: Place, language: Language, least_indent: int = 0) -> None:
        self._place = place
        self._least_indent = least_indent
        self._language = language
        has_head = bool(place.head.strip())
        self.has_content = has_head
        self.ends_block = False
        self._has_head = has_head
        self._base: int | None = place.indent if has_head else None
        self._only_preamble = True
        self._opens_block = False  # the first line did
        self._is_its_end = False  # and the completion is that block alone
        self._last_indent = 0
        self._last_opens = False
        self._last_line = ""
        self._settled = has_head
        self._is_first = not has_head
        self._word = ""
        self._after_blank = False
        self._inside = self._in_cursors_text = place.scanner.spans_lines
        self._open = len(place.scanner.stack)  # brackets, where the line begins

    @property
    def in_text(self) -> bool:
        """The line begins inside the string or comment of several lines that the cursor is in."""
        return self._in_cursors_text

    def begin_line(self, scanner: Scanner, *, after_blank: bool) -> None:
        self._settled, self._word, self._after_blank = False, "", after_blank
        self._inside = scanner.spans_lines
        self._in_cursors_text = self._in_cursors_text and scanner.spans_lines
        self._open = len(scanner.stack)

    def take(self, character: str, scanner: Scanner, floor: int) -> bool:
        """False: the completion ends before this line."""
        if self._settled:
            return True
        self._word += character
        return self._decide(scanner, floor, is_whole=False)

    def settle(self, scanner: Scanner, floor: int) -> bool:
        return self._settled or self._decide(scanner, floor, is_whole=True)

    def end_line(self, line: str, scanner: Scanner, floor: int) -> None:
        """The line counts: `line` is all of it, with what stood before the cursor."""
        language, text = self._language, line.strip()
        is_open = len(scanner.stack) > floor
        match language.blocks:
            case "indent":
                opens = scanner.last == ":" and not scanner.stack
            case "words":
                opens = self._opens_by_word(text)
            case "brackets":
                opens = is_open
            case "none":
                opens = False
        is_preamble = (scanner.in_line_comment and self._is_comment(text)) or text.startswith(PREAMBLE)
        if self._only_preamble and not (is_preamble and not opens):
            self._only_preamble = False
            self._opens_block = opens
            begins = bool(language.begins(language.top_level, text))
            self._is_its_end = opens and language.blocks in ("indent", "words") and (self._has_head or begins)
        self.has_content = True
        self._is_first = False
        self._last_indent, self._last_opens, self._last_line = scanner.indent, opens, line.rstrip()

    def ends_at_blank(self, scanner: Scanner, floor: int) -> bool:
        """Whether a blank line here is the end, whatever follows."""
        if not self.has_content or self._inside or scanner.spans_lines or len(scanner.stack) > floor:
            return False
        if self._language.blocks == "brackets":
            return self._opens_block or (self._base == 0 and not scanner.stack)
        return self._base == 0 and not scanner.stack and self._last_indent == 0 and not self._last_opens

    def _decide(self, scanner: Scanner, floor: int, *, is_whole: bool) -> bool:
        answer = self._answer(scanner, floor, is_whole=is_whole)
        self._settled = answer is not None
        return answer is not False

    def _answer(self, scanner: Scanner, floor: int, *, is_whole: bool) -> bool | None:
        language, indent = self._language, scanner.indent
        if self._base is None:
            self._base = max(self._place.indent, indent)
        if self._inside:
            return True
        if indent < self._least_indent and not self._is_first:
            return False
        if language.blocks == "none":
            return self._may_follow(scanner, is_whole=is_whole)
        if self._word[0] in CLOSERS and scanner.has_brackets:
            return True
        if self._open > floor:
            # Only a language of indentation has words that can't stand in brackets.
            return self._may_follow(scanner, is_whole=is_whole) if language.blocks == "indent" else True
        if language.blocks == "words" and (indent < self._base or (self._is_its_end and indent <= self._base)):
            return self._may_end(indent, is_whole=is_whole)
        if indent < self._base:
            return False
        if self._is_its_end and indent <= self._base:
            return language.begins(language.continuation, self._word, is_whole=is_whole)
        if self._after_blank and self._opens_block and not self._is_first and indent <= self._base:
            return False
        return self._may_follow(scanner, is_whole=is_whole)

    def _may_end(self, indent: int, *, is_whole: bool) -> bool | None:
        """A line that leaves the block: its end, unless the suffix has that."""
        ends = self._language.begins(self._language.block_end, self._word, is_whole=is_whole)
        if ends:
            self.ends_block = True
            return not self._place.ends_below(indent, self._language)
        if self._is_its_end and indent == self._base:
            goes_on = self._language.begins(self._language.continuation, self._word, is_whole=is_whole)
            return True if goes_on else (None if ends is None or goes_on is None else False)
        return ends

    def _may_follow(self, scanner: Scanner, *, is_whole: bool) -> bool | None:
        """In column 0: not what begins another top-level thing."""
        if scanner.indent or self._base or self._is_first:
            return True
        if self._after_blank and not self._open:
            return False
        if self._only_preamble:
            return True
        language = self._language
        marks = (language.line_comment,) if language.line_comment else ()
        comment = language.begins(marks, self._word, is_whole=is_whole)
        begins = language.begins(language.top_level, self._word, is_whole=is_whole)
        if language.terminator and not self._last_line.endswith(language.terminator):
            begins = False
        if comment or begins:
            return False
        return None if comment is None or begins is None else True

    def _is_comment(self, text: str) -> bool:
        return self._language.line_comment is not None and text.startswith(self._language.line_comment)

    def _opens_by_word(self, text: str) -> bool:
        language = self._language
        starts = language.begins(language.block_start, text) or text.endswith((" do", " then", "|"))
        return bool(starts) and not any(end in text for end in language.block_end) and not text.endswith("/>")
