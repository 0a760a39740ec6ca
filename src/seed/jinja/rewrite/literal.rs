//! Literals: numbers, and strings with their escapes.

use minijinja::machinery::{Span, ast};
use minijinja::value::ValueKind;

use super::Writer;

/// What minijinja makes of an escape in a string, and Python does not, or the other way round.
const ESCAPES: [&str; 6] = ["\\/", "\\a", "\\v", "\\N", "\\U", "\\\n"];

impl Writer<'_> {
    pub(super) fn constant(&mut self, constant: &ast::Const, span: Span) {
        let value = &constant.value;
        match (value.kind(), value.as_str()) {
            (_, Some(text)) => {
                let written = self.text_at(span);
                if let Some(escape) = ESCAPES.iter().find(|escape| has_escape(written, escape)) {
                    let escape = escape.escape_debug();
                    self.refuse(span, format!("`{escape}` in a string: write the character"));
                }
                self.write(quoted(text));
            }
            (ValueKind::Number, _) if value.is_integer() => self.write(value),
            (ValueKind::Number, _) => {
                let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
                match number.is_finite() {
                    true => self.write(format_args!("{number:?}")),
                    false => self.write("1e999"),
                }
            }
            (ValueKind::Bool, _) => self.write(value.is_true()),
            _ => self.write("none"),
        }
    }
}

/// Whether an escape stands in a string literal.
fn has_escape(written: &str, escape: &str) -> bool {
    written.replace("\\\\", "").contains(escape)
}

/// A string literal.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
