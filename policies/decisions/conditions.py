"""Conditions of decision rules: CEL over named features, checked before anything is evaluated, computed over columns.

A condition may use numbers, true, false, features, ! - * / % + - < <= > >= == != in && || ?: and double(x): no other
function, no text, no macro. So it cannot loop, and cannot reach anything but features. Types are checked here as CEL
would at each evaluation. What cannot fail is computed over columns of N people; what can, such as a division of whole
numbers by a feature, the library `cel` computes person by person, and where it fails the condition does not hold.

Called by `rule_file.py` and `policy.py`.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from nextone.policies.names import EngineMissing
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import nearest

from .features import Feature, Kind

Array = NDArray[Any]
Columns = Mapping[str, Array]

MOST_CHARACTERS = 500
MOST_DEPTH = 16  # of brackets; CEL's own parser and ours recurse
EXACT = 2.0**53  # numbers up to here are the same as int64 and float64
INT64 = 2**63

TOKEN = re.compile(
    r"\s*(?:(?P<double>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)|(?P<int>\d+)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:()\[\],]))",
    re.ASCII,
)
COMPARED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "<": (operator.lt, "below"), "<=": (operator.le, "at most"), ">": (operator.gt, "above"),
    ">=": (operator.ge, "at least"), "==": (operator.eq, "="), "!=": (operator.ne, "other than"),
}  # fmt: skip


class ConditionError(UserError):
    """A condition that is not taken: what is wrong, and in which column."""


class Typed(NamedTuple):
    """A part of a condition."""

    kind: Kind
    low: float  # of its values, where it is a number
    high: float
    over: Callable[[Columns], Any]  # its values, (N,) or one for all
    safe: bool  # it cannot fail, and columns give the bits that CEL gives
    words: str
    binds: int  # how strongly the words hold together: -1 a choice, 0 or, 1 and, 2 a comparison, 3 one thing


class Condition(NamedTuple):
    """A condition that was checked."""

    text: str
    names: frozenset[str]  # of the features that it needs
    words: str  # in plain English
    over: Callable[[Columns], Any] | None  # None: it can fail, and CEL evaluates it
    program: Any  # of the library

    def holds(self, columns: Columns, n: int) -> Array:
        """Whether it holds for each of n people, (n,) bool."""
        if self.over is None:
            return self.by_cel(columns, n)
        return np.array(np.broadcast_to(self.over(columns), (n,)))

    def by_cel(self, columns: Columns, n: int) -> Array:
        """The same by the library, one person after the other; false where it fails."""
        rows = {name: columns[name].tolist() for name in self.names}
        return np.array([self._holds({name: rows[name][k] for name in rows}) for k in range(n)], np.bool_)

    def _holds(self, values: dict[str, Any]) -> bool:
        try:
            return bool(self.program.execute(values))
        except (ArithmeticError, TypeError, ValueError, RuntimeError):  # what the library raises
            return False


def condition(text: str, features: Mapping[str, Feature]) -> Condition:
    """Check a condition over these features. Raises ConditionError, EngineMissing."""
    if len(text) > MOST_CHARACTERS:
        raise ConditionError(f"has {len(text):,} characters, at most {MOST_CHARACTERS}; make several rules of it")
    parser = _Parser(text, features)
    whole = parser.whole()
    try:
        import cel  # late: it takes half a second, and a bad condition is refused before
    except ModuleNotFoundError:
        raise EngineMissing("conditions need common-expression-language: pip install 'nextone[rules]'") from None
    try:
        program = cel.compile(text)
    except (ValueError, RuntimeError) as error:
        raise ConditionError(f"is not CEL: {str(error).splitlines()[0][:120]}") from None
    names = frozenset(parser.names)
    return Condition(text, names, whole.words, whole.over if whole.safe else None, program)


class _Parser:
    """Recursive descent over CEL's grammar, as far as it is allowed here."""

    def __init__(self, text: str, features: Mapping[str, Feature]) -> None:
        self.features, self.names = features, set[str]()
        self.tokens: list[tuple[str, str, int]] = []  # kind, text, column
        self.at = self.depth = 0
        end = 0
        while text[end:].strip():
            found = TOKEN.match(text, end)
            column = end + len(text[end:]) - len(text[end:].lstrip()) + 1
            if found is None:
                raise ConditionError(f"column {column}: {text[column - 1]!r} has no place in a condition; {ALLOWED}")
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)], column))
            end = found.end()
        self.tokens.append(("end", "", len(text) + 1))

    def whole(self) -> Typed:
        found = self.choice()
        if self.tokens[self.at][0] != "end":
            self.fail(f"unexpected {self.tokens[self.at][1]!r}; {ALLOWED}")
        if found.kind != "bool":
            raise ConditionError(f"is a number ({found.kind}), must be true or false; compare it with something")
        return found

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        raise ConditionError(f"column {self.tokens[self.at if at is None else at][2]}: {problem}")

    def takes(self, *signs: str) -> str:
        """The next token if it is one of these, which is then passed; else empty."""
        kind, text, _ = self.tokens[self.at]
        if text in signs and kind != "end":
            self.at += 1
            return text
        return ""

    def must(self, sign: str) -> None:
        if not self.takes(sign):
            before = self.tokens[self.at][1]
            self.fail(f"{sign!r} is missing" + (f" before {before!r}" if before else ""))

    def choice(self) -> Typed:
        """a ? b : c, or less."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            self.fail(f"nested deeper than {MOST_DEPTH}; make several rules of it")
        at, found = self.at, self.alternatives()
        if self.takes("?"):
            self.want(found, "bool", at)
            yes = self.alternatives()
            self.must(":")
            no = self.choice()
            if yes.kind != no.kind:
                self.fail(f"one of {yes.kind}, the other of {no.kind}; write double(x) around one", at)
            low, high = min(yes.low, no.low), max(yes.high, no.high)
            words = f"{yes.words} if {_held(found, 2)}, else {no.words}"
            over = _of(lambda a, b, c: np.where(a, b, c), found, yes, no)
            found = Typed(yes.kind, low, high, over, found.safe and yes.safe and no.safe, words, -1)
        self.depth -= 1
        return found

    def alternatives(self) -> Typed:
        return self.joined("||", self.every, np.logical_or, " or ", 0)

    def every(self) -> Typed:
        return self.joined("&&", self.comparison, np.logical_and, " and ", 1)

    def joined(
        self, sign: str, part: Callable[[], Typed], of: Callable[[Any, Any], Any], word: str, binds: int
    ) -> Typed:
        at, found = self.at, part()
        while self.takes(sign):
            self.want(found, "bool", at)
            at, right = self.at, part()
            self.want(right, "bool", at)
            both = (each.words if each.binds in (binds, 2, 3) else f"({each.words})" for each in (found, right))
            words = word.join(both)
            found = Typed("bool", 0, 1, _of(of, found, right), found.safe and right.safe, words, binds)
        return found

    def comparison(self) -> Typed:
        at, found = self.at, self.sum()
        while sign := self.takes(*COMPARED, "in"):
            if sign == "in":
                found = self.among(found, at)
                continue
            right, (of, word) = self.sum(), COMPARED[sign]
            numbers = found.kind != "bool" and right.kind != "bool"
            if not numbers and (found.kind != right.kind or sign not in ("==", "!=")):
                self.fail(f"{sign} between {found.kind} and {right.kind}; compare numbers with numbers", at)
            safe = found.safe and right.safe and (not numbers or max(map(_most, (found, right))) <= EXACT)
            words = f"{_held(found, 3)} {word} {_held(right, 3)}"
            found = Typed("bool", 0, 1, _of(of, found, right), safe, words, 2)
        return found

    def among(self, found: Typed, at: int) -> Typed:
        """x in [a, b], what stands after `in`."""
        self.must("[")
        each = [self.choice()]
        while self.takes(","):
            each.append(self.choice())
        self.must("]")
        if any((one.kind == "bool") != (found.kind == "bool") for one in each):
            self.fail("compare numbers with a list of numbers", at)
        safe = found.safe and all(one.safe and _most(one) <= EXACT for one in each) and _most(found) <= EXACT

        def over(columns: Columns) -> Any:
            x, equal = found.over(columns), np.bool_(False)
            for one in each:
                equal = equal | (x == one.over(columns))
            return equal

        words = f"{_held(found, 3)} one of {', '.join(one.words for one in each)}"
        return Typed("bool", 0, 1, over, safe, words, 2)

    def sum(self) -> Typed:
        at, found = self.at, self.product()
        while sign := self.takes("+", "-"):
            right = self.product()
            self.same_numbers(found, right, sign, at)
            low, high = (found.low + right.low, found.high + right.high)
            if sign == "-":
                low, high = found.low - right.high, found.high - right.low
            of: Callable[[Any, Any], Any] = operator.add if sign == "+" else operator.sub
            found = self.calculated(found, right, sign, of, low, high)
        return found

    def product(self) -> Typed:
        at, found = self.at, self.unary()
        while sign := self.takes("*", "/", "%"):
            right = self.unary()
            self.same_numbers(found, right, sign, at)
            if sign == "%" and found.kind == "double":
                self.fail("% is of whole numbers (int)", at)
            corners = [_times(a, b) for a in (found.low, found.high) for b in (right.low, right.high)]
            low, high = min(corners), max(corners)
            if sign == "*":
                found = self.calculated(found, right, sign, operator.mul, low, high)
                continue
            never_0 = right.low > 0 or right.high < 0
            least = min(abs(right.low), abs(right.high)) if never_0 else 0.0
            most = _most(found) / least if least else np.inf  # of a quotient of doubles
            if found.kind == "int":
                most = _most(found)
            of = {"/": np.divide if found.kind == "double" else _quotient, "%": np.fmod}[sign]
            found = self.calculated(found, right, sign, of, -most, most, never_0)
        return found

    def calculated(
        self, left: Typed, right: Typed, sign: str, of: Callable[[Any, Any], Any], low: float, high: float,
        defined: bool = True,
    ) -> Typed:  # fmt: skip
        bounded = max(abs(low), abs(high)) <= EXACT
        safe = left.safe and right.safe and bounded and defined
        words = f"({left.words} {sign} {right.words})"
        return Typed(left.kind, low, high, _of(of, left, right), safe, words, 3)

    def unary(self) -> Typed:
        at, signs = self.at, ""
        while sign := self.takes("!", "-"):
            signs += sign
        found = self.primary(negative=signs.endswith("-"))
        for sign in reversed(signs):
            if sign == "!":
                self.want(found, "bool", at)
                over = _of(np.logical_not, found)
                found = Typed("bool", 0, 1, over, found.safe, f"not {_held(found, 3)}", 3)
            else:
                if found.kind == "bool":
                    self.fail("- of true or false; write !", at)
                over, words = _of(operator.neg, found), f"-{found.words}"
                found = Typed(found.kind, -found.high, -found.low, over, found.safe, words, 3)
        return found

    def primary(self, negative: bool) -> Typed:
        kind, text, _ = self.tokens[self.at]
        if self.takes("("):
            found = self.choice()
            self.must(")")
            return found
        self.at += 1
        if kind in ("int", "double"):
            return self.number(kind, text, negative)
        if kind == "name":
            return self.named(text)
        return self.fail(f"unexpected {text!r}; {ALLOWED}" if text else f"ends too early; {ALLOWED}", self.at - 1)

    def number(self, kind: str, text: str, negative: bool) -> Typed:
        if kind == "int":
            whole = int(text)
            if whole >= INT64 + negative:
                self.fail("a number too large; at most 2**63 - 1", self.at - 1)
            return Typed("int", whole, whole, lambda _: whole, whole <= EXACT, text, 3)
        value = float(text)
        if not value < np.inf:
            self.fail("a number too large", self.at - 1)
        return Typed("double", value, value, lambda _: value, True, text, 3)

    def named(self, name: str) -> Typed:
        at = self.at - 1
        if name in ("true", "false"):
            value = name == "true"
            return Typed("bool", 0, 1, lambda _: np.bool_(value), True, "always" if value else "never", 3)
        if self.takes("("):
            if name != "double":
                self.fail(f"function {name[:40]!r} is not allowed; {ALLOWED}", at)
            found = self.choice()
            self.must(")")
            if found.kind == "bool":
                self.fail("double(x) is of a number", at)
            return Typed("double", found.low, found.high, _of(np.float64, found), found.safe, found.words, found.binds)
        feature = self.features.get(name)
        if feature is None:
            self.fail(f"unknown feature {name[:60]!r}{nearest(name, tuple(self.features))}"[:300], at)
        self.names.add(name)
        words = name.replace("_", " ")
        return Typed(feature.kind, feature.low, feature.high, lambda columns: columns[name], True, words, 3)

    def want(self, found: Typed, kind: Kind, at: int) -> None:
        if found.kind != kind:
            self.fail(f"is a number ({found.kind}), must be true or false; compare it with something", at)

    def same_numbers(self, left: Typed, right: Typed, sign: str, at: int) -> None:
        if left.kind != right.kind or left.kind == "bool":
            flag = "bool" in (left.kind, right.kind)
            remedy = "use numbers" if flag else "write double(x) around the whole number"
            self.fail(f"{left.kind} {sign} {right.kind}: {remedy}", at)


ALLOWED = "conditions have features, numbers, ! - * / % + < <= > >= == != in && || ?: ( ) and double(x)"


def _of(function: Callable[..., Any], *parts: Typed) -> Callable[[Columns], Any]:
    """The function of parts, over columns."""
    return lambda columns: function(*(part.over(columns) for part in parts))


def _held(part: Typed, binds: int) -> str:
    """The words of a part of something that binds so strongly."""
    return part.words if part.binds >= binds else f"({part.words})"


def _most(part: Typed) -> float:
    return max(abs(part.low), abs(part.high))


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _quotient(a: Array, b: Array) -> Array:
    """Of whole numbers, towards zero, as CEL has it."""
    whole: Array = (a - np.fmod(a, b)) // b
    return whole
