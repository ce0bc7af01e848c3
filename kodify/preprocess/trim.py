"""A model's completion, cut where a developer would cut it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kodify.preprocess.languages import Language
from kodify.preprocess.trim_fit import fit
from kodify.preprocess.trim_held import Held
from kodify.preprocess.trim_line import Judge
from kodify.preprocess.trim_place import ONLY_CLOSES, read_place
from kodify.preprocess.trim_repeat import Repeats
from kodify.preprocess.trim_scan import CLOSERS, OPENERS

MAX_LEADING_BLANKS = 2
MIN_CUT_OFF = 4


class TrimRules(BaseModel):
    """`one_line` by the cursor's place, for every completion or for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    one_line: Literal["mid-line", "always", "never"] = "mid-line"
    max_lines: int | None = Field(None, ge=1)


DEFAULT_RULES = TrimRules()


class Trimmer:
    """A completion as it comes. `complete` says that nothing more will be shown: the engine may stop.

    Text has "\\n" alone between lines. Whole lines are shown, each as soon as it can't be cut any more.
    """

    def __init__(
        self,
        prefix: str,
        suffix: str,
        language: Language,
        *,
        rules: TrimRules = DEFAULT_RULES,
        least_indent: int = 0,
    ) -> None:
        """`least_indent`: a line below the first with less of it is not shown."""
        self.complete = False
        self._rules = rules
        self._language = language
        self._place = read_place(prefix, suffix, language)
        self._one_line = rules.one_line == "always" or (rules.one_line == "mid-line" and self._place.is_one_line)
        self._is_one_block = False
        self._has_rest = bool(self._place.rest.strip())
        self._scanner = self._place.scanner.copy()
        # What the cursor's line ends inside of: not the string that is never closed on it.
        self._ending = self._state_after_rest()
        self._floor = len(self._scanner.stack)
        self._missing = self._place.missing
        self._judge = Judge(self._place, language, least_indent)
        self._repeats = Repeats(() if self._place.head.strip() else self._place.before, language)
        self._line: list[str] = []
        self._start = (self._scanner.copy(), self._floor, self._missing)
        self._gap = ""  # the end of the last line that counted, and the blank lines after it
        self._blanks = 0
        self._newlines = 0
        self._is_last = False  # this line closed the cursor's block
        self._only_closes = self._scanner.is_blank
        self._is_excess = False  # this line closes what the rest of the cursor's line closes
        self._held = Held()

    def feed(self, text: str) -> str:
        """What may be shown by now."""
        if not self._rules.enabled:
            return text
        for character in text:
            if self.complete:
                break
            self._take(character)
        return self._held.take()

    def finish(self) -> str:
        """The model has ended: the rest that is shown."""
        if self._rules.enabled and not self.complete:
            self._end_line(is_final=True)
            if not self.complete:
                self._stop()
        self.complete = True
        return self._held.take()

    def _take(self, character: str) -> None:
        if character == "\n":
            self._end_line()
            return
        closer = self._scanner.feed(character)
        if self._is_last and self._only_closes and character not in CLOSERS and character not in ";,":
            self._cut_line()
            return
        self._line.append(character)
        if self._scanner.is_blank:
            return
        if not self._judge.take(character, self._scanner, self._floor):
            self._drop_line()
            return
        if closer:
            self._close(closer)
        elif character not in CLOSERS and character not in ";," and not character.isspace():
            self._only_closes = False

    def _close(self, closer: str) -> None:
        stack = self._scanner.stack
        if self._is_excess:
            return
        if self._scanner.close(closer, self._floor):
            self._only_closes = False
            return
        if self._one_line and self._has_rest:
            self._is_excess = True
            return
        if not stack or OPENERS[stack[-1].bracket] != closer:
            # In the middle of a line it is no bracket, as in the patterns of a shell's `case`.
            if self._only_closes:
                self._drop_line()
        elif self._missing:
            self._missing -= 1
            self._floor -= 1
            self._is_last = self._only_closes or (self._is_last or stack[-1].ends_line)
            stack.pop()
        elif self._only_closes:
            self._drop_line()
        elif self._has_rest:
            self._is_excess = True
        else:
            self._line.pop()
            self._cut_line()

    def _end_line(self, *, is_final: bool = False) -> None:
        text = "".join(self._line)
        if self._scanner.is_blank:
            self._end_blank(text, is_final=is_final)
            return
        if not self._judge.settle(self._scanner, self._floor):
            self._drop_line()
            return
        whole = self._place.head + text if not self._newlines else text
        if (self._newlines or not self._place.head.strip()) and self._stands_below(whole, is_final=is_final):
            self._stop()
            return
        if not is_final and self._opens_for_more():
            self._one_line, self._is_one_block = False, True
        is_end = self._one_line or self._is_excess or (self._is_one_block and len(self._scanner.stack) <= self._floor)
        if self._has_rest and (is_end or is_final):
            start, floor, missing = self._start
            allowed = missing + self._place.closed_by_rest
            text = fit(text, self._place.rest, start, floor, allowed, self._ending)
        self._accept(text, whole)
        if self.complete or is_final:
            return
        self._judge.end_line(whole, self._scanner, self._floor)
        if is_end or self._is_last or self._judge.ends_block:
            self._stop()
        else:
            self._begin_line("\n", blanks=0)

    def _opens_for_more(self) -> bool:
        """One line was meant, but it ends in a bracket that opens a block, and only brackets come after the cursor."""
        return (
            self._one_line
            and self._rules.one_line == "mid-line"
            and self._has_rest
            and not self._is_excess
            and self._scanner.last in OPENERS
            and len(self._scanner.stack) > self._floor
            and set(self._place.rest) <= ONLY_CLOSES
        )

    def _end_blank(self, text: str, *, is_final: bool) -> None:
        self._gap += text
        if is_final:
            return
        blanks = self._blanks + 1
        is_enough = blanks >= 2 if self._judge.has_content else blanks > MAX_LEADING_BLANKS
        if self._one_line or is_enough or self._judge.ends_at_blank(self._scanner, self._floor):
            self._stop()
        else:
            self._begin_line(self._gap + "\n", blanks=blanks)

    def _begin_line(self, gap: str, *, blanks: int) -> None:
        self._gap, self._blanks = gap, blanks
        self._newlines += 1
        if self._rules.max_lines is not None and self._newlines >= self._rules.max_lines:
            self._stop()
            return
        self._line = []
        self._only_closes = True
        self._scanner.feed("\n")
        if self._has_rest:
            self._start = (self._scanner.copy(), self._floor, self._missing)
        self._judge.begin_line(self._scanner, after_blank=blanks > 0)

    def _stands_below(self, line: str, *, is_final: bool) -> bool:
        if self._place.repeats_next(line, self._language, in_text=self._judge.in_text):
            return True
        # The engine stopped in the middle of it.
        return (
            is_final
            and not self._has_rest
            and bool(self._place.after)
            and len(line.strip()) >= MIN_CUT_OFF
            and self._place.after[0][1].startswith(line)
        )

    def _accept(self, text: str, whole: str) -> None:
        if not text.strip() and not self._place.head.strip():
            return
        self._held.add(self._gap + text)
        self._gap = ""
        repeated = self._repeats.add(whole.rstrip()) if whole.strip() else 0
        if repeated:
            self._held.drop(repeated)
            self._stop()
        else:
            self._held.release(but=self._repeats.held)

    def _cut_line(self) -> None:
        """The line ends here, and the completion with it."""
        text = "".join(self._line)
        if text.strip():
            self._accept(text, text if self._newlines else self._place.head + text)
        if not self.complete:
            self._stop()

    def _drop_line(self) -> None:
        """The completion ends before this line. A bracket after the cursor takes the dropped one's place."""
        if self._has_rest and self._only_closes and self._line:
            text = "".join(self._line)
            self._gap += text[: len(text) - len(text.lstrip())]
        self._stop()

    def _stop(self) -> None:
        self.complete = True
        if self._repeats.is_echo:
            self._held.clear()
        self._held.release()
        if self._has_rest:
            self._held.release_space(self._gap)

    def _state_after_rest(self) -> str:
        scanner = self._place.scanner.copy()
        for character in self._place.rest:
            scanner.feed(character)
        return scanner.inside
