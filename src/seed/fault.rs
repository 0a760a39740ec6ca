//! What an error of the template engine says to an operator.

use minijinja::{Error, Value};

use crate::files::Fault;

/// The one variable of a template that is always secret.
const FALLBACK_PASSWORD_HASH: &str = "fallback_password_hash";

/// Takes the innermost error: where an included template fails, that is the one to mend.
pub(super) fn fault_of(error: &Error) -> Fault {
    let mut innermost = error;
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if let Some(next) = next.downcast_ref::<Error>()
            && next.line().is_some()
        {
            innermost = next;
        }
        cause = next.source();
    }
    let reason = match innermost.detail() {
        Some(detail) => format!("{}: {detail}", innermost.kind()),
        None => innermost.kind().to_string(),
    };
    Fault {
        file: innermost.name().unwrap_or("?").to_owned(),
        line: innermost.line(),
        reason,
    }
}

/// Leaves out the password hash: `{% include fallback_password_hash %}` would name it as the
/// template that is not there.
pub(super) fn without_secret(fault: Fault, context: &Value) -> Fault {
    match context
        .get_attr(FALLBACK_PASSWORD_HASH)
        .as_ref()
        .map(Value::as_str)
    {
        Ok(Some(secret)) => Fault {
            reason: fault.reason.replace(secret, "…"),
            ..fault
        },
        _ => fault,
    }
}
