//! Includes and imports: what the other template sees, and what it leaves behind.

use minijinja::machinery::{Span, ast};

use super::{Scope, Sees, Writer};

impl<'a> Writer<'a> {
    /// An include. What it sets is its own.
    pub(super) fn include(&mut self, include: &ast::Include<'a>, span: Span) {
        let is_without = is_marked(self.text_at(span), "without");
        let is_captured = self.scopes.contains(&Scope::Captured);
        self.needs_context(span);
        if self.is_recursive() {
            self.refuse(span, "an include within a recursive loop: write a macro");
        } else if self.is_in_macro() {
            self.refuse(
                span,
                "an include within a macro or a call: it does not see what the macro sees",
            );
        } else if is_captured && is_without {
            self.refuse(span, "an include without context within `filter` or `set`: Jinja2 puts its text elsewhere");
        }
        self.includes = true;
        self.write("{% with %}");
        self.tag("include", span);
        match is_without {
            true => {
                self.call("without", [&include.name]);
                self.write(")");
            }
            false => self.expression(&include.name),
        }
        if include.ignore_missing {
            self.write(" ignore missing");
        }
        self.write(" %}{% endwith %}");
    }

    fn is_in_macro(&self) -> bool {
        let is_macro = |scope: &Scope| matches!(scope, Scope::Macro | Scope::Call);
        self.scopes.iter().any(is_macro)
    }

    /// Whether a recursive loop is around.
    pub(super) fn is_recursive(&self) -> bool {
        let is_recursive = |scope: &Scope| {
            matches!(
                scope,
                Scope::Loop {
                    recursive: true,
                    ..
                }
            )
        };
        self.scopes.iter().any(is_recursive)
    }

    /// The name of a template to import, which sees the context only where it is said.
    pub(super) fn imported(&mut self, name: &ast::Expr<'a>, span: Span) {
        if is_marked(self.text_at(span), "with") {
            if self.is_in_macro() {
                self.refuse(
                    span,
                    "an import with context within a macro or a call: import it outside",
                );
            }
            self.needs_context(span);
            self.includes = true;
            self.expression(name);
        } else {
            self.call("without", [name]);
            self.write(")");
        }
    }

    /// Refuses what would see the context, in a template that does not.
    pub(super) fn needs_context(&mut self, span: Span) {
        if self.sees == Sees::Nothing {
            self.refuse(
                span,
                "an imported template sees no context, and cannot include or extend here: write `with context` behind the import",
            );
        }
    }
}

/// Whether a tag ends with `with context` or `without context`, before or behind `ignore missing`.
fn is_marked(tag: &str, word: &str) -> bool {
    let words: Vec<&str> = tag.split_whitespace().collect();
    words.windows(2).any(|pair| pair == [word, "context"])
}
