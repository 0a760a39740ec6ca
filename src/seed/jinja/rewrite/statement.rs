//! Statements: what has names of its own in Jinja2 gets them by `{% with %}`.

use minijinja::machinery::{Span, ast};

use super::literal::quoted;
use super::{Frame, OURS, Scope, Writer};

impl<'a> Writer<'a> {
    pub(super) fn body(&mut self, body: &[ast::Stmt<'a>]) {
        for statement in body {
            self.statement(statement);
        }
    }

    /// Writes a body whose names nobody else sees.
    fn own_names(&mut self, scope: Scope, body: &[ast::Stmt<'a>]) {
        let has_names = has_names(body);
        if has_names {
            self.write("{% with %}");
        }
        self.scoped(scope, |writer| writer.body(body));
        if has_names {
            self.write("{% endwith %}");
        }
    }

    /// Writes what stands in a scope.
    pub(super) fn scoped(&mut self, scope: Scope, write: impl FnOnce(&mut Self)) {
        let outside = std::mem::replace(&mut self.is_conditional, false);
        self.scopes.push(scope);
        self.frames.push(Frame::default());
        write(self);
        self.frames.pop();
        self.scopes.pop();
        self.is_conditional = outside;
    }

    pub(super) fn tag(&mut self, word: &str, span: Span) {
        self.write("{% ");
        self.go_to(span);
        self.write(format_args!("{word} "));
    }

    fn statement(&mut self, statement: &ast::Stmt<'a>) {
        match statement {
            ast::Stmt::Template(template) => self.body(&template.children),
            ast::Stmt::EmitExpr(emit) => {
                self.write("{{ ");
                self.expression(&emit.expr);
                self.write(" }}");
            }
            ast::Stmt::EmitRaw(raw) => self.raw(raw.raw),
            ast::Stmt::ForLoop(each) => self.for_loop(each, each.span()),
            ast::Stmt::IfCond(condition) => self.condition(condition),
            ast::Stmt::WithBlock(with) => self.with(with, with.span()),
            ast::Stmt::Set(set) => {
                self.tag("set", set.span());
                let before = self.out.len();
                self.write(" = ");
                self.unpacked(&set.target, &set.expr);
                // What the value reads is read before it is set.
                let after = self.out.len();
                self.assigned(&set.target);
                let target = self.out.split_off(after);
                self.out.insert_str(before, &target);
                self.write(" %}");
            }
            ast::Stmt::SetBlock(set) => {
                self.tag("set", set.span());
                self.assigned(&set.target);
                if let Some(filter) = &set.filter {
                    if has_arguments(filter) && has_names(&set.body) {
                        self.refuse(
                            set.span(),
                            "filters of a `set` see what is set in it: set it outside",
                        );
                    }
                    self.write(" | ");
                    self.filters(filter);
                }
                self.write(" %}");
                self.own_names(Scope::Captured, &set.body);
                self.write("{% endset %}");
            }
            ast::Stmt::AutoEscape(escape) => {
                self.tag("autoescape", escape.span());
                self.expression(&escape.enabled);
                self.write(" %}");
                self.own_names(Scope::Names, &escape.body);
                self.write("{% endautoescape %}");
            }
            ast::Stmt::FilterBlock(block) => {
                // Its filters see what is set in it.
                self.write("{% with %}");
                self.tag("filter", block.span());
                self.filters(&block.filter);
                self.write(" %}");
                self.scoped(Scope::Captured, |writer| writer.body(&block.body));
                self.write("{% endfilter %}{% endwith %}");
            }
            ast::Stmt::Block(block) => self.block(block, block.span()),
            ast::Stmt::Import(import) => {
                self.tag("import", import.span());
                self.imported(&import.expr, import.span());
                self.write(" as ");
                self.assigned(&import.name);
                self.write(" %}");
            }
            ast::Stmt::FromImport(import) => {
                self.tag("import", import.span());
                self.imported(&import.expr, import.span());
                self.write(format_args!(" as {OURS}module %}}"));
                for (name, alias) in &import.names {
                    let ast::Expr::Var(original) = name else {
                        continue;
                    };
                    self.write("{% set ");
                    self.assigned(alias.as_ref().unwrap_or(name));
                    let name = quoted(original.id);
                    self.write(format_args!(" = {OURS}attr({OURS}module, {name}) %}}"));
                }
            }
            ast::Stmt::Extends(extends) => {
                self.needs_context(extends.span());
                self.tag("extends", extends.span());
                self.expression(&extends.name);
                self.write(" %}");
            }
            ast::Stmt::Include(include) => self.include(include, include.span()),
            ast::Stmt::Macro(declared) => {
                self.sets(declared.name, declared.span());
                self.tag("macro", declared.span());
                self.write(declared.name);
                self.parameters(declared, Scope::Macro);
                self.write("{% endmacro %}");
            }
            ast::Stmt::CallBlock(block) => {
                self.tag("call", block.span());
                if !block.macro_decl.args.is_empty() {
                    self.parameter_names(&block.macro_decl);
                }
                self.write(" ");
                self.called(&block.call, block.span());
                self.write(" %}");
                self.macro_body(&block.macro_decl, Scope::Call);
                self.write("{% endcall %}");
            }
            ast::Stmt::Do(call) => self.refuse(
                call.span(),
                "Jinja2 knows no tag `do` without an extension: write `{% set _ = … %}`",
            ),
        }
    }

    /// Text between tags. What looks like a tag came from a `raw` block, or stands before one.
    fn raw(&mut self, text: &str) {
        let is_plain = !["{{", "{%", "{#"].iter().any(|open| text.contains(open));
        if is_plain && !text.ends_with('{') {
            self.write(text);
        } else {
            for (index, part) in text.split("{%").enumerate() {
                if index > 0 {
                    self.write("{{ \"{%\" }}");
                }
                if !part.is_empty() {
                    self.write(format_args!("{{% raw %}}{part}{{% endraw %}}"));
                }
            }
        }
    }

    fn for_loop(&mut self, each: &ast::ForLoop<'a>, span: Span) {
        let unpacked = matches!(each.target, ast::Expr::List(_));
        if each.recursive && self.is_recursive() {
            self.refuse(
                span,
                "a recursive loop within another: `loop.depth` is not told apart, write a macro",
            );
        }
        self.tag("for", span);
        self.target(&each.target);
        self.write(" in ");
        self.call("iter", [&each.iter]);
        self.write(format_args!(", {unpacked})"));
        if let Some(test) = &each.filter_expr {
            self.write(" if ");
            self.scoped(Scope::LoopTest, |writer| writer.expression(test));
        }
        self.write(if each.recursive {
            " recursive %}"
        } else {
            " %}"
        });
        let before = (self.names_loop, self.includes, self.has_scoped_block);
        (self.names_loop, self.includes) = (each.recursive, false);
        self.has_scoped_block = false;
        let scope = Scope::Loop {
            unpacked,
            recursive: each.recursive,
        };
        let start = self.out.len();
        self.own_names(scope, &each.body);
        let (end, names_loop, includes) = (self.out.len(), self.names_loop, self.includes);
        if !each.else_body.is_empty() {
            self.write("{% else %}");
            self.own_names(Scope::Names, &each.else_body);
        }
        if includes && (names_loop || self.has_scoped_block) {
            // What it includes sees its `loop` then, and only then.
            self.out.insert_str(end, "{% endwith %}");
            let visible = format!("{{% with {OURS}loop = loop %}}");
            self.out.insert_str(start, &visible);
        }
        self.names_loop |= before.0;
        self.includes |= before.1;
        self.has_scoped_block |= before.2;
        self.write("{% endfor %}");
    }

    fn condition(&mut self, condition: &ast::Spanned<ast::IfCond<'a>>) {
        self.tag("if", condition.span());
        let outside = std::mem::replace(&mut self.is_conditional, true);
        let mut condition = condition;
        loop {
            self.expression(&condition.expr);
            self.write(" %}");
            self.body(&condition.true_body);
            match condition.false_body.as_slice() {
                [ast::Stmt::IfCond(next)] => {
                    self.tag("elif", next.span());
                    condition = next;
                }
                [] => break,
                otherwise => {
                    self.write("{% else %}");
                    self.body(otherwise);
                    break;
                }
            }
        }
        self.write("{% endif %}");
        self.is_conditional = outside;
    }

    /// `with`, whose values see nothing of each other.
    fn with(&mut self, with: &ast::WithBlock<'a>, span: Span) {
        self.tag("with", span);
        if !with.assignments.is_empty() {
            self.write("(");
            for (target, _) in &with.assignments {
                self.target(target);
                self.write(", ");
            }
            self.write(") = (");
            for (target, value) in &with.assignments {
                self.unpacked(target, value);
                self.write(", ");
            }
            self.write(")");
        }
        self.write(" %}");
        self.scoped(Scope::Names, |writer| writer.body(&with.body));
        self.write("{% endwith %}");
    }

    fn block(&mut self, block: &ast::Block<'a>, span: Span) {
        let opening = self.text_at(span);
        let opening = opening.split("%}").next().unwrap_or_default();
        let is_scoped = opening.split_whitespace().any(|word| word == "scoped");
        if !is_scoped && !self.scopes.iter().all(|scope| *scope == Scope::Block) {
            self.refuse(
                span,
                format!(
                    "the block sees what is set around it only if it is scoped: write `{{% block {} scoped %}}`",
                    block.name
                ),
            );
        }
        self.has_scoped_block |= is_scoped;
        self.tag("block", span);
        self.write(block.name);
        self.write(if block.required {
            " required %}"
        } else {
            " %}"
        });
        let outside = match is_scoped {
            true => Vec::new(),
            false => std::mem::take(&mut self.scopes),
        };
        self.own_names(Scope::Block, &block.body);
        if !is_scoped {
            self.scopes = outside;
        }
        self.write("{% endblock %}");
    }

    /// What is assigned to, in the scope around it.
    fn assigned(&mut self, target: &ast::Expr<'a>) {
        self.target(target);
        let mut targets = vec![target];
        while let Some(target) = targets.pop() {
            match target {
                ast::Expr::Var(var) => self.sets(var.id, var.span()),
                ast::Expr::List(list) => targets.extend(&list.items),
                _ => {}
            }
        }
    }

    /// What is assigned to: the name itself, or names in brackets.
    pub(super) fn target(&mut self, target: &ast::Expr<'a>) {
        match target {
            ast::Expr::Var(var) => {
                if var.id.starts_with(OURS) {
                    self.refuse(
                        var.span(),
                        format!("names that begin with `{OURS}` are ours"),
                    );
                }
                self.write(var.id);
            }
            ast::Expr::GetAttr(attribute) => {
                self.target(&attribute.expr);
                self.write(format_args!(".{}", attribute.name));
            }
            ast::Expr::List(list) => {
                self.write("(");
                for item in &list.items {
                    self.target(item);
                    self.write(", ");
                }
                self.write(")");
            }
            other => self.refuse(other.span(), "nothing can be assigned to this"),
        }
    }

    /// What is assigned, as a list where it is unpacked.
    fn unpacked(&mut self, target: &ast::Expr<'a>, value: &ast::Expr<'a>) {
        if matches!(target, ast::Expr::List(_)) {
            self.call("iter", [value]);
            self.write(", false)");
        } else {
            self.expression(value);
        }
    }
}

/// Whether a filter in a chain has arguments.
fn has_arguments(filter: &ast::Expr) -> bool {
    match filter {
        ast::Expr::Filter(filter) => {
            !filter.args.is_empty() || filter.expr.as_ref().is_some_and(has_arguments)
        }
        _ => false,
    }
}

/// Whether a body sets names that are its own.
fn has_names(body: &[ast::Stmt]) -> bool {
    body.iter().any(|statement| match statement {
        ast::Stmt::Set(_)
        | ast::Stmt::SetBlock(_)
        | ast::Stmt::Import(_)
        | ast::Stmt::FromImport(_)
        | ast::Stmt::Macro(_) => true,
        ast::Stmt::IfCond(condition) => {
            has_names(&condition.true_body) || has_names(&condition.false_body)
        }
        _ => false,
    })
}
