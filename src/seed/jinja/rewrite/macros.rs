//! Macros and call blocks: their parameters, and what they are when they are not given.

use minijinja::machinery::ast;

use super::{OURS, Scope, Writer};

impl<'a> Writer<'a> {
    /// The parameters and the body of a macro.
    pub(super) fn parameters(&mut self, declared: &ast::Macro<'a>, scope: Scope) {
        self.parameter_names(declared);
        self.write(" %}");
        self.macro_body(declared, scope);
    }

    pub(super) fn parameter_names(&mut self, declared: &ast::Macro<'a>) {
        self.write("(");
        for name in &declared.args {
            self.target(name);
            self.write(", ");
        }
        self.write(")");
    }

    /// The body of a macro. Defaults are set in it, where they see the arguments before them.
    pub(super) fn macro_body(&mut self, declared: &ast::Macro<'a>, scope: Scope) {
        self.scoped(scope, |writer| writer.macro_parts(declared));
    }

    fn macro_parts(&mut self, declared: &ast::Macro<'a>) {
        let outside = std::mem::take(&mut self.read);
        let start = self.out.len();
        self.macro_statements(declared);
        // The engine keeps for a macro what it reads, but misses some: in `set x = x`, in filters.
        let read = self.read.iter().map(|name| format!("{{{{ {name} }}}}"));
        let read = format!("{{% if false %}}{}{{% endif %}}", read.collect::<String>());
        if !self.read.is_empty() {
            self.out.insert_str(start, &read);
        }
        self.read.extend(outside);
    }

    fn macro_statements(&mut self, declared: &ast::Macro<'a>) {
        let without_default = declared.args.len() - declared.defaults.len();
        for (index, name) in declared.args.iter().enumerate() {
            let ast::Expr::Var(parameter) = name else {
                continue;
            };
            let name = parameter.id;
            let default = index.checked_sub(without_default);
            if let Some(default) = default.and_then(|index| declared.defaults.get(index)) {
                self.write(format_args!(
                    "{{% if {name} is undefined %}}{{% set {name} = "
                ));
                self.expression(default);
                self.write(" %}{% else %}");
            }
            self.write(format_args!("{{% set {name} = {OURS}received({name}) %}}"));
            if default.is_some() {
                self.write("{% endif %}");
            }
        }
        self.body(&declared.body);
    }
}
