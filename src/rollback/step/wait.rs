//! A step that lets time pass: `wait = "5s"`.
//!
//! It cannot fail and may always be repeated. Conditions are no matter of a run, which knows no rules: they are
//! judged after the rung, by `[rollback.verify]`.

use serde::{Deserialize, Serialize};

use crate::base::table::{Node, Value};
use crate::base::{Problems, Span};

/// A pause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// How long, at most [`Wait::LONGEST`].
    pub span: Span,
}

impl Wait {
    /// The longest pause: a run that takes longer is no rollback.
    pub const LONGEST: Span = Span::hours(1);

    /// Reads the value of `wait`.
    pub fn read(node: &Node, problems: &mut Problems) -> Option<Wait> {
        let span = match &node.value {
            Value::Text(text) => Span::parse(text),
            other => Err(format!("{other:?} is no duration")),
        };
        match span {
            Ok(span) if span <= Wait::LONGEST => return Some(Wait { span }),
            Ok(span) => {
                problems.error(&node.place, format!("a pause of {}", span.human()), "longer than an hour");
            }
            Err(_) => {
                problems.error(&node.place, "`wait` takes a duration", "not a duration").help(
                    "for example: wait = \"5s\"; what must be true after the steps is said by `probes` in [rollback.verify]",
                );
            }
        }
        None
    }

    /// `wait 5s`.
    pub fn default_name(&self) -> String {
        format!("wait {}", self.span)
    }
}
