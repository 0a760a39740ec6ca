//! Expressions: operators, attributes and literals as calls of our own functions.

use minijinja::machinery::{Span, ast};

use super::super::names::{FILTERS, TESTS, is_name_of_method};
use super::sign::{chain, comparing, comparison, is_negative, sign};
use super::{OURS, Scope, Writer};

/// Functions of ours that are Python's, too: an undefined argument is their business.
const GLOBALS: [&str; 6] = ["range", "dict", "namespace", "cycler", "joiner", "lipsum"];

impl<'a> Writer<'a> {
    /// Writes an expression so that anything can stand before and behind it.
    pub(super) fn expression(&mut self, expression: &ast::Expr<'a>) {
        let span = expression.span();
        self.go_to(span);
        match expression {
            ast::Expr::Var(var) => self.variable(var.id, span),
            ast::Expr::Const(constant) => self.constant(constant, span),
            ast::Expr::Slice(slice) => {
                self.call("slice", [&slice.expr]);
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    self.write(", ");
                    match bound {
                        Some(bound) => self.expression(bound),
                        None => self.write("none"),
                    }
                }
                self.write(")");
            }
            ast::Expr::UnaryOp(unary) => match unary.op {
                ast::UnaryOpKind::Not => {
                    self.write("(not ");
                    self.expression(&unary.expr);
                    self.write(")");
                }
                ast::UnaryOpKind::Neg => {
                    self.call("negative", [&unary.expr]);
                    self.write(")");
                }
            },
            ast::Expr::BinOp(operation) => self.operation(operation),
            ast::Expr::Compare(comparison) => {
                self.call("compare", [&comparison.expr]);
                for operation in &comparison.ops {
                    self.write(format_args!(", \"{}\", ", comparing(operation.op)));
                    self.expression(&operation.expr);
                }
                self.write(")");
            }
            ast::Expr::IfExpr(choice) => self.choice(choice, false),
            ast::Expr::Filter(_) => {
                self.write("(");
                self.filters(expression);
                self.write(")");
            }
            ast::Expr::Test(test) => {
                self.check_name(span, test.name, TESTS, "0 is ");
                let is_bare = !self.text_at(span)[test.name.len()..]
                    .trim_start()
                    .starts_with('(');
                if is_bare && matches!(test.args[..], [ast::CallArg::Pos(ast::Expr::UnaryOp(_))]) {
                    self.refuse(span, "a test of a negative number: put brackets around it");
                }
                if self.is_chained(&test.expr) {
                    self.refuse(span, "a test behind a test: put brackets around the first");
                }
                self.write("(");
                self.expression(&test.expr);
                self.write(format_args!(" is {}", test.name));
                self.arguments(&test.args, "");
                self.write(")");
            }
            // What is missing is then named by the engine.
            ast::Expr::GetAttr(get) if !is_name_of_method(get.name) => {
                self.expression(&get.expr);
                self.write(format_args!(".{}", get.name));
            }
            ast::Expr::GetAttr(get) => {
                self.call("attr", [&get.expr]);
                self.write(format_args!(", \"{}\")", get.name));
            }
            ast::Expr::GetItem(get) if is_plain_key(&get.subscript_expr) => {
                self.expression(&get.expr);
                self.write("[");
                self.expression(&get.subscript_expr);
                self.write("]");
            }
            ast::Expr::GetItem(get) => {
                self.call("item", [&get.expr]);
                self.write(", ");
                self.expression(&get.subscript_expr);
                self.write(")");
            }
            ast::Expr::Call(call) => self.called(call, span),
            ast::Expr::List(list) => {
                self.write(format_args!("{OURS}list(["));
                self.items(&list.items);
                self.write("])");
            }
            ast::Expr::Tuple(tuple) => {
                self.write("(");
                self.items(&tuple.items);
                self.write(")");
            }
            ast::Expr::Map(map) => {
                self.write(format_args!("{OURS}dict(["));
                for (key, value) in map.keys.iter().zip(&map.values) {
                    self.write("(");
                    self.expression(key);
                    self.write(", ");
                    self.expression(value);
                    self.write("), ");
                }
                self.write("])");
            }
        }
    }

    fn choice(&mut self, choice: &ast::IfExpr<'a>, is_joined: bool) {
        let outside = std::mem::replace(&mut self.is_conditional, true);
        self.write("(");
        let mut choice = choice;
        loop {
            self.expression(&choice.true_expr);
            self.write(" if ");
            self.expression(&choice.test_expr);
            match &choice.false_expr {
                // In a row, not in brackets, whose depth is bounded.
                Some(ast::Expr::IfExpr(next)) => {
                    self.write(" else ");
                    choice = next;
                    continue;
                }
                Some(otherwise) => {
                    self.write(" else ");
                    self.expression(otherwise);
                }
                None if is_joined => self.write(" else \"\""),
                None => {}
            }
            break;
        }
        self.write(")");
        self.is_conditional = outside;
    }

    /// Whether a test stands before another without brackets, which Jinja2 does not read.
    fn is_chained(&self, tested: &ast::Expr<'a>) -> bool {
        match tested {
            ast::Expr::Test(test) if test.args.is_empty() => {
                let end = test.span().end_offset as usize;
                let after = self.source.get(end..).unwrap_or_default();
                !after.trim_start().starts_with(')')
            }
            ast::Expr::UnaryOp(unary) if matches!(unary.op, ast::UnaryOpKind::Not) => {
                self.is_chained(&unary.expr)
            }
            _ => false,
        }
    }

    /// Writes filters in a chain, without brackets around each.
    pub(super) fn filters(&mut self, expression: &ast::Expr<'a>) {
        let mut chain = Vec::new();
        let mut base = Some(expression);
        while let Some(ast::Expr::Filter(filter)) = base {
            chain.push(filter);
            base = filter.expr.as_ref();
        }
        if let Some(base) = base {
            self.expression(base);
            self.write("|");
        }
        for (index, filter) in chain.iter().rev().enumerate() {
            if index > 0 {
                self.write("|");
            }
            self.go_to(filter.span());
            self.check_name(filter.span(), filter.name, FILTERS, "0|");
            self.write(filter.name);
            self.arguments(&filter.args, "");
        }
    }

    /// Writes a call, without its brackets in a tag `call`.
    pub(super) fn called(&mut self, call: &ast::Call<'a>, span: Span) {
        let mut given = "given";
        match call.identify_call() {
            ast::CallType::Function("super") => self.write("super"),
            ast::CallType::Function("loop") => return self.recursion(call, span),
            ast::CallType::Function(name) => {
                if GLOBALS.contains(&name) {
                    given = "";
                }
                self.variable(name, span);
            }
            ast::CallType::Block(name) => self.write(format_args!("self.{name}")),
            ast::CallType::Method(ast::Expr::Var(var), name) if var.id == "loop" => {
                given = if name == "changed" { "defined" } else { "" };
                self.variable(var.id, span);
                self.write(format_args!(".{name}"));
            }
            ast::CallType::Method(object, name) => {
                self.expression(object);
                self.write(format_args!(".{name}"));
            }
            ast::CallType::Object(object) => {
                self.write("(");
                self.expression(object);
                self.write(")");
            }
        }
        self.arguments(&call.args, given);
        if call.args.is_empty() {
            self.write("()");
        }
    }

    /// `loop(items)`, in a recursive loop.
    fn recursion(&mut self, call: &ast::Call<'a>, span: Span) {
        let of_loop = self.scopes.iter().rev().find_map(|scope| match scope {
            Scope::Loop { unpacked, .. } => Some(*unpacked),
            _ => None,
        });
        self.names_loop = true;
        match (of_loop, call.args.as_slice()) {
            (Some(unpacked), [ast::CallArg::Pos(items)]) => {
                self.write("loop(");
                self.call("iter", [items]);
                self.write(format_args!(", {unpacked}))"));
            }
            _ => self.refuse(
                span,
                "`loop()` is called in a recursive loop, with its items",
            ),
        }
    }

    /// Writes arguments in brackets, where there are any, each through a function of ours if there
    /// is one: what a macro is given may be undefined, which is not the same as not given.
    fn arguments(&mut self, arguments: &[ast::CallArg<'a>], given: &str) {
        if arguments.is_empty() {
            return;
        }
        self.write("(");
        for argument in arguments {
            let value = match argument {
                ast::CallArg::Pos(value) => value,
                ast::CallArg::Kwarg(name, value) => {
                    self.write(format_args!("{name}="));
                    value
                }
                ast::CallArg::PosSplat(value) => {
                    self.write("*");
                    self.call("iter", [value]);
                    self.write(", false), ");
                    continue;
                }
                ast::CallArg::KwargSplat(value) => {
                    self.write("**");
                    self.expression(value);
                    self.write(", ");
                    continue;
                }
            };
            let is_defined = matches!(value, ast::Expr::Const(_) | ast::Expr::List(_));
            if !given.is_empty() && !is_defined {
                self.call(given, [value]);
                self.write("), ");
            } else {
                self.expression(value);
                self.write(", ");
            }
        }
        self.write(")");
    }

    /// Begins a call of a function of ours.
    pub(super) fn call<const N: usize>(&mut self, function: &str, first: [&ast::Expr<'a>; N]) {
        self.write(format_args!("{OURS}{function}("));
        for argument in first {
            self.expression(argument);
        }
    }

    fn items(&mut self, items: &[ast::Expr<'a>]) {
        for item in items {
            self.expression(item);
            self.write(", ");
        }
    }

    /// An operation; a chain of them to the left, `a + b - c`, as one call.
    fn operation(&mut self, operation: &ast::Spanned<ast::BinOp<'a>>) {
        let word = match operation.op {
            ast::BinOpKind::ScAnd => "and",
            ast::BinOpKind::ScOr => "or",
            op => match sign(op) {
                Some(_) => return self.arithmetic(operation),
                None => {
                    self.call("compare", [&operation.left]);
                    self.write(format_args!(", \"{}\", ", comparison(op)));
                    self.expression(&operation.right);
                    return self.write(")");
                }
            },
        };
        let (first, rest) = chain(operation, |op| {
            matches!(
                (op, word),
                (ast::BinOpKind::ScAnd, "and") | (ast::BinOpKind::ScOr, "or")
            )
        });
        self.write("(");
        self.expression(first);
        for (_, right) in rest {
            self.write(format_args!(" {word} "));
            self.expression(right);
        }
        self.write(")");
    }

    fn arithmetic(&mut self, operation: &ast::Spanned<ast::BinOp<'a>>) {
        let is_power = matches!(operation.op, ast::BinOpKind::Pow);
        if is_power
            && is_negative(&operation.left)
            && !matches!(operation.right, ast::Expr::Const(_))
        {
            self.refuse(
                operation.span(),
                "a power of a negative number: set a variable to the number before",
            );
        }
        let (first, rest) = chain(operation, |op| sign(op).is_some());
        let is_joined = |index: usize| matches!(rest.get(index), Some((ast::BinOpKind::Concat, _)));
        self.write(format_args!("{OURS}math("));
        self.operand(first, is_joined(0));
        for (index, (op, right)) in rest.iter().enumerate() {
            self.write(format_args!(", \"{}\", ", sign(*op).unwrap_or_default()));
            self.operand(right, is_joined(index));
        }
        self.write(")");
    }

    /// What is calculated with. Next to `~`, an `if` without `else` is an empty text.
    fn operand(&mut self, operand: &ast::Expr<'a>, is_joined: bool) {
        match operand {
            ast::Expr::IfExpr(choice) if is_joined && choice.false_expr.is_none() => {
                self.choice(choice, true);
            }
            _ => self.expression(operand),
        }
    }

    fn variable(&mut self, name: &'a str, span: Span) {
        if name.starts_with(OURS) {
            self.refuse(span, format!("names that begin with `{OURS}` are ours"));
        }
        match name {
            "loop" => match self.own_loop() {
                Some(true) => {
                    self.names_loop = true;
                    self.write("loop");
                }
                Some(false) => self.refuse(
                    span,
                    "`loop` in the test of a loop, or in a macro within one: set a variable to it before",
                ),
                // That of whoever includes this, if any.
                None => self.write(format_args!("{OURS}loop")),
            },
            "self" => self.refuse(span, "`self` only calls a block: write `self.name()`"),
            "varargs" | "kwargs" if self.scopes.contains(&Scope::Macro) => self.refuse(
                span,
                "macros have no `varargs` and `kwargs` here: give the macro a list or a dict",
            ),
            _ => {
                if !GLOBALS.contains(&name) {
                    self.reads(name);
                }
                self.write(name);
            }
        }
    }
}

/// Whether a key in brackets means the same to both: a string that is no name of a method, or an
/// index from the start.
fn is_plain_key(key: &ast::Expr) -> bool {
    match key {
        ast::Expr::Const(key) => match key.value.as_str() {
            Some(key) => !is_name_of_method(key),
            None => key.value.is_integer(),
        },
        _ => false,
    }
}
