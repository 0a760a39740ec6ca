//! Operators: their signs, and chains of them.

use minijinja::machinery::ast;

/// What stands in a chain of operations to the left.
pub(super) fn chain<'b, 'a>(
    operation: &'b ast::BinOp<'a>,
    is_link: impl Fn(ast::BinOpKind) -> bool,
) -> (&'b ast::Expr<'a>, Vec<(ast::BinOpKind, &'b ast::Expr<'a>)>) {
    let mut rest = vec![(operation.op, &operation.right)];
    let mut first = &operation.left;
    while let ast::Expr::BinOp(inner) = first {
        if !is_link(inner.op) {
            break;
        }
        rest.push((inner.op, &inner.right));
        first = &inner.left;
    }
    rest.reverse();
    (first, rest)
}

/// The sign of an arithmetic operation.
pub(super) fn sign(op: ast::BinOpKind) -> Option<&'static str> {
    Some(match op {
        ast::BinOpKind::Add => "+",
        ast::BinOpKind::Sub => "-",
        ast::BinOpKind::Mul => "*",
        ast::BinOpKind::Div => "/",
        ast::BinOpKind::FloorDiv => "//",
        ast::BinOpKind::Rem => "%",
        ast::BinOpKind::Pow => "**",
        ast::BinOpKind::Concat => "~",
        _ => return None,
    })
}

/// The sign of a comparison.
pub(super) fn comparison(op: ast::BinOpKind) -> &'static str {
    match op {
        ast::BinOpKind::Eq => "==",
        ast::BinOpKind::Ne => "!=",
        ast::BinOpKind::Lt => "<",
        ast::BinOpKind::Lte => "<=",
        ast::BinOpKind::Gt => ">",
        ast::BinOpKind::Gte => ">=",
        _ => "in",
    }
}

/// The sign of a comparison in a chain of them.
pub(super) fn comparing(op: ast::CompareOpKind) -> &'static str {
    match op {
        ast::CompareOpKind::Eq => "==",
        ast::CompareOpKind::Ne => "!=",
        ast::CompareOpKind::Lt => "<",
        ast::CompareOpKind::Lte => "<=",
        ast::CompareOpKind::Gt => ">",
        ast::CompareOpKind::Gte => ">=",
        ast::CompareOpKind::In => "in",
        ast::CompareOpKind::NotIn => "not in",
    }
}

/// Whether Jinja2 makes a number of this before it renders, which may be below zero: in a power it
/// then forgets the brackets.
pub(super) fn is_negative(expression: &ast::Expr) -> bool {
    let is_number =
        |operand: &ast::Expr| is_negative(operand) || matches!(operand, ast::Expr::Const(_));
    match expression {
        ast::Expr::UnaryOp(unary) => is_number(&unary.expr),
        ast::Expr::BinOp(operation) => is_number(&operation.left) && is_number(&operation.right),
        _ => false,
    }
}
