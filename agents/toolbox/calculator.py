"""Arithmetic on an expression without its execution as code. Each step is bounded before it is computed."""

import ast
import math
import operator
from collections.abc import Callable

from agents.sdk import AgentError

Number = int | float

_MAX_LENGTH = 500  # characters
_MAX_BITS = 2_000  # of an integer: about 600 digits

_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, exponent: _power(base, exponent),
}
_CONSTANTS = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": lambda number, digits=0: _round(number, digits),
    "sqrt": math.sqrt,
}


def calculator(expression: str) -> Number:
    """Work out an arithmetic expression exactly as written, e.g. `(1200 - 0.3 * 1200) / 12`.

    Numbers, + - * / // % **, parentheses, pi, e, and abs ceil exp floor log log10 log2 max min round sqrt.
    """
    if len(expression) > _MAX_LENGTH:
        raise AgentError(f"The expression is longer than {_MAX_LENGTH} characters.")
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except ZeroDivisionError:
        raise AgentError("The expression divides by zero.") from None
    except OverflowError:
        raise AgentError("The result is too large.") from None
    except RecursionError:
        raise AgentError("The expression is nested too deeply.") from None
    except (SyntaxError, SyntaxWarning, DeprecationWarning, ValueError, TypeError, MemoryError):
        raise AgentError("This is not an arithmetic expression with a result.") from None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            value: Number = number
        case ast.Name(id=name) if name in _CONSTANTS:
            value = _CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            value = _UNARY[type(sign)](_value(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            value = _BINARY[type(sign)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            value = _FUNCTIONS[name](*map(_value, args))
        case _:
            raise AgentError(f"“{ast.unparse(node)}” is not supported.")
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise OverflowError
    elif not math.isfinite(value):
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _MAX_BITS:
        raise OverflowError
    result = base**exponent
    if isinstance(result, complex):
        raise AgentError("The result is not a real number.")
    return result


def _round(number: Number, digits: Number) -> Number:
    if not isinstance(digits, int) or abs(digits) > 300:
        raise AgentError("round takes a number of digits up to 300.")
    return round(number, digits) if digits else round(number)
