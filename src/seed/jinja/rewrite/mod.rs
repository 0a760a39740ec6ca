//! A template of Python's Jinja2, written anew as one that minijinja renders to the same text.
//!
//! Where the two engines read the same template in different ways, the difference is in the
//! compiled code, out of a filter's reach: what a scope is, what an include leaves behind, how
//! operators treat values of different kinds. So each template is parsed with minijinja's own
//! parser and written out again: operators become calls of functions in [`super::operator`],
//! scopes are made explicit with `{% with %}`. Where no other spelling helps, the template is
//! refused with a word.
//!
//! Lines are kept, so that an error names the line of the operator's text.

mod expression;
mod include;
mod literal;
mod macros;
mod sign;
mod statement;

use std::collections::BTreeSet;
use std::fmt::Display;

use minijinja::machinery::{Span, ast, parse};
use minijinja::syntax::SyntaxConfig;

use super::names::is_in;

/// What our own names in a template begin with. An operator's template has none of them.
pub(super) const OURS: &str = "_py_";

/// How a template is used, which decides what it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sees {
    /// The variables of whoever renders or includes it.
    Context,
    /// None of them: it is imported, or included `without context`.
    Nothing,
}

/// What minijinja is given in place of a template's text. A text that is no template stays as it
/// is, for minijinja to say so; one that must be refused becomes one that says why when it is
/// rendered, in the line of the reason.
pub(super) fn rewritten(source: &str, sees: Sees) -> String {
    let Ok(ast::Stmt::Template(template)) = parse(source, "", SyntaxConfig::default()) else {
        return source.to_owned();
    };
    let mut writer = Writer {
        source,
        sees,
        out: String::new(),
        line: 1,
        scopes: Vec::new(),
        read: BTreeSet::new(),
        is_conditional: false,
        names_loop: false,
        includes: false,
        has_scoped_block: false,
        frames: vec![Frame::default()],
        unset: BTreeSet::new(),
        refused: None,
    };
    writer.body(&template.children);
    if let Some((span, reason)) = writer.refused {
        let lines = "\n".repeat(usize::from(span.start_line).saturating_sub(1));
        return format!("{{{{ {lines}{reason} }}}}");
    }
    if writer.out.ends_with('\n') {
        writer.out.push('\n'); // the engine drops the last one
    }
    let unset = writer.unset.iter();
    let unset = unset.map(|name| format!("{{% set {name} = {OURS}undefined %}}"));
    writer.out.insert_str(0, &unset.collect::<String>());
    if sees == Sees::Nothing {
        let own = format!("{OURS}loop");
        let hidden = writer.read.iter().copied().chain([own.as_str()]);
        let hidden = hidden.map(|name| format!("{{% set {name} = {OURS}undefined %}}"));
        writer.out.insert_str(0, &hidden.collect::<String>());
    }
    writer.out
}

/// Writes the syntax tree of a template as a template.
struct Writer<'a> {
    source: &'a str,
    sees: Sees,
    out: String,
    /// The line that is being written.
    line: u16,
    scopes: Vec<Scope>,
    /// The variables that the template reads somewhere.
    read: BTreeSet<&'a str>,
    /// Whether it depends on a condition what is written is rendered at all.
    is_conditional: bool,
    /// Whether `loop` was named, and a template included, since that was asked last.
    names_loop: bool,
    includes: bool,
    /// Whether there was a scoped block since that was asked last.
    has_scoped_block: bool,
    /// The names of the template itself, and of each scope that is open.
    frames: Vec<Frame<'a>>,
    /// The names that are undefined until the template sets them, whatever the context has.
    unset: BTreeSet<&'a str>,
    /// The first thing in it that must be refused: an expression that fails.
    refused: Option<(Span, String)>,
}

/// The names that stood in a scope so far.
#[derive(Default)]
struct Frame<'a> {
    /// In it.
    here: BTreeSet<&'a str>,
    /// Those that scopes further in read.
    within: BTreeSet<&'a str>,
}

/// What encloses a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The body of a loop: whether its items are unpacked, and it is recursive.
    Loop { unpacked: bool, recursive: bool },
    /// A test of a loop's items, which sees no `loop`.
    LoopTest,
    /// What has names of its own: `with`, the `else` of a loop.
    Names,
    /// The same, whose text goes elsewhere: `filter`, `set` with a body.
    Captured,
    /// The body of a macro.
    Macro,
    /// The body of a call block.
    Call,
    /// A block.
    Block,
}

impl<'a> Writer<'a> {
    fn write(&mut self, text: impl Display) {
        let before = self.out.len();
        self.out += &text.to_string();
        let lines = self.out[before..].matches('\n').count();
        self.line = self
            .line
            .saturating_add(u16::try_from(lines).unwrap_or(u16::MAX));
    }

    /// Goes to the line where something stood, if it is further down. Within a tag only.
    fn go_to(&mut self, span: Span) {
        let lines = usize::from(span.start_line.saturating_sub(self.line));
        self.write("\n".repeat(lines));
    }

    fn refuse(&mut self, span: Span, reason: impl Into<String>) {
        let reason = literal::quoted(&reason.into());
        self.fail(span, format!("{OURS}refused({reason})"));
    }

    /// Lets the template fail as that expression does.
    fn fail(&mut self, span: Span, expression: String) {
        self.refused.get_or_insert((span, expression));
    }

    /// Refuses an unknown filter or test. Python does so before it renders, but for what stands
    /// behind an `if`.
    fn check_name(&mut self, span: Span, name: &str, known: &str, failing: &str) {
        let is_known = is_in(name, known) || self.is_conditional;
        if !is_known {
            self.fail(span, format!("{failing}{name}"));
        }
    }

    /// Whether `loop` is a loop's own here: there may be none, or one that is out of reach.
    fn own_loop(&self) -> Option<bool> {
        let mut is_within_macro = false;
        for scope in self.scopes.iter().rev() {
            match scope {
                Scope::Loop { .. } => return Some(!is_within_macro),
                Scope::LoopTest => return Some(false),
                Scope::Macro => is_within_macro = true,
                Scope::Block => return None,
                Scope::Names | Scope::Captured | Scope::Call => {}
            }
        }
        None
    }

    /// Notes that a variable is read.
    fn reads(&mut self, name: &'a str) {
        self.read.insert(name);
        let Some((here, outer)) = self.frames.split_last_mut() else {
            return;
        };
        here.here.insert(name);
        // A block sees nothing of what is around it.
        let scopes = self.scopes.iter().rev();
        let seen = scopes.take_while(|scope| **scope != Scope::Block);
        for (frame, _) in outer.iter_mut().rev().zip(seen) {
            frame.within.insert(name);
        }
    }

    /// Notes that a variable is set. For Python it is undefined in its scope until then, also where
    /// inner scopes read it before, whatever there is outside.
    fn sets(&mut self, name: &'a str, span: Span) {
        let is_top = self.scopes.is_empty();
        let Some(frame) = self.frames.last_mut().filter(|_| !self.is_conditional) else {
            return;
        };
        if frame.here.insert(name) && frame.within.contains(name) {
            match is_top {
                true => _ = self.unset.insert(name),
                false => self.refuse(
                    span,
                    format!("`{name}` is read further in before it is set here: set it before"),
                ),
            }
        }
    }

    /// What stands at a span in the operator's text.
    fn text_at(&self, span: Span) -> &'a str {
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        self.source.get(start..end).unwrap_or_default()
    }
}
