//! A step that runs a program: `command = ["/usr/local/bin/switch", "--to", "{previous}"]`.
//!
//! Arguments are argv, never a shell's line. It failed when it exits with anything but 0, is over its time or could
//! not be started. Whether it may run twice nobody can know from outside: `repeatable` or `done_if` say so.

use serde::{Deserialize, Serialize};

use super::{Facts, fact_name};
use crate::base::table::{Node, Placed, Read, nearest};
use crate::base::{Place, Problems};

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program first; facts that were not known when the plan was sealed still stand as `{criterion}`.
    pub argv: Vec<String>,
}

impl Command {
    /// Reads the value of `command`.
    pub fn read(node: &Node, problems: &mut Problems) -> Option<Command> {
        read_argv(node, problems).map(|argv| Command { argv })
    }

    /// The program's name without its folder.
    pub fn default_name(&self) -> String {
        let program = self.argv.first().map(String::as_str).unwrap_or_default();
        program.rsplit('/').next().unwrap_or(program).to_string()
    }
}

/// Reads a list of arguments: a program with a whole path or a plain name, facts that exist.
pub fn read_argv(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let argv: Vec<Placed<String>> = Read::read(node, problems)?;
    let before = problems.errors();
    match argv.first() {
        None => {
            problems
                .error(&node.place, "a command without a program", "an empty list")
                .help(r#"["/path/program", "argument"]"#);
        }
        Some(program) => check_program(program, problems),
    }
    for argument in &argv {
        check_argument(&argument.value, &argument.place, problems);
    }
    (problems.errors() == before).then(|| argv.into_iter().map(|a| a.value).collect())
}

fn check_program(program: &Placed<String>, problems: &mut Problems) {
    let name = &program.value;
    if name.is_empty() || fact_name(name).is_some() {
        problems.error(&program.place, "a command without a program", "this names none");
    } else if name.contains('/') && !name.starts_with('/') {
        problems
            .error(&program.place, "a program with a relative path", "relative to what is not known when it runs")
            .help("write the whole path, or a name that stands in one of the usual folders");
    }
}

fn check_argument(argument: &str, place: &Place, problems: &mut Problems) {
    if argument.contains('\0') {
        problems.error(place, "an argument with a NUL byte", "no program can be given this");
    }
    if let Some(name) = fact_name(argument)
        && !Facts::NAMES.contains(&name)
    {
        let known = Facts::NAMES.map(|n| format!("{{{n}}}")).join(", ");
        let help = match nearest(name, &Facts::NAMES) {
            Some(near) => format!("did you mean {{{near}}}?"),
            None => format!("known are {known}"),
        };
        problems.error(place, format!("unknown fact `{argument}`"), "nothing would replace this").help(help);
    }
}
