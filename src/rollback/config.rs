//! `[rollback]`, `[[rollback.step]]` and `[rollback.verify]`: what people write about the way back.
//!
//! Enters: the table. Leaves: checked values, or problems, all at once. [`Config::plan`] turns the steps into a
//! plan that can be sealed. Whether rules and sources that are named here exist is checked by `config`, which knows
//! them; the places are kept for that.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::format::FORMAT;
use super::plan::{Plan, Rung};
use super::request::is_name;
use super::step::command::read_argv;
use super::step::{Facts, OnFailure, Step, StepKind};
use crate::base::table::{Node, Placed, Read, Table, Value, nearest};
use crate::base::{Place, Problems, SourceRef, Span, Timestamp};
use crate::sys::process;

/// The rung of a step that names none.
pub const DEFAULT_RUNG: &str = "version";

/// The most steps in a file.
const MOST_STEPS: usize = 100;

/// The most retries of a step: more is a loop, not a retry.
const MOST_RETRIES: u32 = 10;

/// `[rollback]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What a due criterion does.
    pub mode: Placed<Mode>,
    /// How a person is asked.
    pub ask: Ask,
    /// In automatic mode: how long it is announced before the first step.
    pub notice: Span,
    /// How long it may take; compared and reported, never enforced.
    pub budget: Budget,
    /// The rungs, lowest first.
    pub ladder: Vec<Placed<String>>,
    /// The enabled steps in the order they were written.
    pub steps: Vec<StepConfig>,
    /// How success is proven.
    pub verify: Verify,
}

/// What a due criterion does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Says what would be done.
    #[default]
    Observe,
    /// Asks a person.
    Ask,
    /// Announces it, and does it.
    Auto,
}

/// `ask = { within = "5m", otherwise = "page" }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// How long an answer is waited for.
    pub within: Span,
    /// What happens without one.
    pub otherwise: Otherwise,
}

/// What happens when nobody answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// Somebody is paged; nothing is run.
    #[default]
    Page,
    /// It is rolled back.
    RollBack,
}

/// `budget = { decide = "5m", execute = "10m", verify = "5m" }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// From the first bad reading to the first step.
    pub decide: Span,
    /// The steps.
    pub execute: Span,
    /// The proof.
    pub verify: Span,
}

/// `[rollback.verify]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Verify {
    /// How long it may take until all is fine again.
    pub within: Span,
    /// Sources that must succeed.
    pub probes: Vec<Placed<SourceRef>>,
    /// How long it is watched afterwards.
    pub stable_for: Span,
}

/// One `[[rollback.step]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepConfig {
    /// The step itself; facts still stand as `{previous}`.
    pub step: Step,
    /// Its rung.
    pub rung: Placed<String>,
    /// The rules it is for; each must have a `rollback` condition.
    pub only_for: Vec<Placed<String>>,
    /// Where its kind's value stands.
    pub place: Place,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mode: Placed { value: Mode::default(), place: Place::default() },
            ask: Ask { within: Span::mins(5), otherwise: Otherwise::default() },
            notice: Span::secs(30),
            budget: Budget { decide: Span::mins(5), execute: Span::mins(10), verify: Span::mins(5) },
            ladder: Vec::new(),
            steps: Vec::new(),
            verify: Verify { within: Span::mins(5), probes: Vec::new(), stable_for: Span::mins(15) },
        }
    }
}

impl Config {
    /// Reads the table `[rollback]`; what is wrong is in `problems` and reads as its default.
    pub fn read(node: &Node, problems: &mut Problems) -> Config {
        let default = Config::default();
        let Some(mut table) = Table::open(node, "[rollback]", problems) else { return default };
        let p = problems;
        let config = Config {
            mode: table.or("mode", default.mode, p),
            ask: table.node("ask").map_or(default.ask, |n| Ask::read(n, p)),
            notice: table.or("notice", default.notice, p),
            budget: table.node("budget").map_or(default.budget, |n| Budget::read(n, p)),
            ladder: table.or("ladder", Vec::new(), p),
            steps: table.node("step").map_or(Vec::new(), |n| read_steps(n, p)),
            verify: table.node("verify").map_or(default.verify, |n| Verify::read(n, p)),
        };
        table.finish(p);
        config.checked(p)
    }

    /// Checks what concerns several keys, and fills the ladder in.
    fn checked(mut self, problems: &mut Problems) -> Config {
        if self.ladder.is_empty() {
            for step in &self.steps {
                if !self.ladder.iter().any(|r| r.value == step.rung.value) {
                    self.ladder.push(step.rung.clone());
                }
            }
        }
        for (i, rung) in self.ladder.iter().enumerate() {
            if self.ladder[..i].iter().any(|r| r.value == rung.value) {
                problems.error(
                    &rung.place,
                    format!("the rung `{}` stands twice in the ladder", rung.value),
                    "again here",
                );
            } else if !self.steps.iter().any(|s| s.rung.value == rung.value) {
                problems.error(&rung.place, format!("no step has the rung `{}`", rung.value), "nothing would be done");
            }
        }
        for step in self.steps.iter().filter(|s| !self.ladder.iter().any(|r| r.value == s.rung.value)) {
            problems
                .error(&step.rung.place, format!("the rung `{}` is not in the ladder", step.rung.value), "never run")
                .help("add it to `ladder` in [rollback]");
        }
        if self.mode.value != Mode::Observe && self.steps.is_empty() {
            problems
                .error(&self.mode.place, "a rollback without a step", "there is nothing to run")
                .help("write a [[rollback.step]], or mode = \"observe\"");
        }
        self
    }

    /// Checks that a rung that is named elsewhere (a rule's `rollback.rung`) exists.
    pub fn check_rung(&self, rung: &Placed<String>, problems: &mut Problems) {
        let known: Vec<&str> = self.ladder.iter().map(|r| r.value.as_str()).collect();
        if known.contains(&rung.value.as_str()) {
            return;
        }
        let problem = problems.error(&rung.place, format!("there is no rung `{}`", rung.value), "no step has it");
        match nearest(&rung.value, &known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => problem.help("a rung is the key `rung` of a [[rollback.step]]"),
            None => problem.help(format!("there are: {}", known.join(", "))),
        };
    }

    /// Checks the programs of all steps as they are on this host: each must be there, and nobody but root and the
    /// user of this process may be able to exchange it. Looks at files, so it is no part of [`Config::read`].
    pub fn check_programs(&self, problems: &mut Problems) {
        for step in &self.steps {
            let command = match &step.step.kind {
                StepKind::Command(command) => command.argv.first(),
                StepKind::Wait(_) => None,
            };
            let check = step.step.done_if.as_ref().and_then(|argv| argv.first());
            for program in command.into_iter().chain(check) {
                if let Some(why) = process::program_problem(program) {
                    problems.error(&step.place, format!("the program `{program}` cannot be trusted"), why);
                }
            }
        }
    }

    /// The plan for a deployment, ready to be sealed: facts that are known now are filled in.
    ///
    /// # Errors
    /// A fragment: a version that could be taken for an option, or a step that needs an unknown previous version.
    pub fn plan(
        &self,
        app: &str,
        version: &str,
        previous: Option<&str>,
        facts: BTreeMap<String, String>,
        sealed_at: Timestamp,
    ) -> Result<Plan, String> {
        for text in [Some(version), previous].into_iter().flatten() {
            check_version(text)?;
        }
        let known = Facts { version: Some(version.into()), previous: previous.map(Into::into), ..Facts::default() };
        let rung = |name: &Placed<String>| {
            let steps = self.steps.iter().filter(|s| s.rung.value == name.value);
            Rung { name: name.value.clone(), steps: steps.map(|s| filled(&s.step, &known)).collect() }
        };
        let rungs: Vec<Rung> = self.ladder.iter().map(rung).collect();
        if previous.is_none()
            && let Some(step) = rungs.iter().flat_map(|r| &r.steps).find(|s| needs(s, "{previous}"))
        {
            return Err(format!("the step `{}` needs the previous version, which is not known", step.name));
        }
        let (app, version, previous) = (app.into(), version.into(), previous.map(Into::into));
        Ok(Plan { format: FORMAT, app, version, previous, facts, rungs, sealed_at })
    }
}

fn check_version(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 200 || text.starts_with('-') || text.chars().any(char::is_control) {
        return Err("a version is 1 to 200 bytes, does not begin with a hyphen and has no control characters".into());
    }
    Ok(())
}

fn needs(step: &Step, fact: &str) -> bool {
    let StepKind::Command(command) = &step.kind else { return false };
    command.argv.iter().chain(step.done_if.iter().flatten()).any(|a| a == fact)
}

fn filled(step: &Step, facts: &Facts) -> Step {
    let mut step = step.clone();
    if let StepKind::Command(command) = &mut step.kind {
        command.argv = facts.fill(&command.argv);
    }
    step.done_if = step.done_if.map(|argv| facts.fill(&argv));
    step
}

impl Ask {
    fn read(node: &Node, problems: &mut Problems) -> Ask {
        let mut ask = Config::default().ask;
        if let Some(mut table) = Table::open(node, "`ask`", problems) {
            ask.within = table.or("within", ask.within, problems);
            ask.otherwise = table.or("otherwise", ask.otherwise, problems);
            table.finish(problems);
        }
        ask
    }
}

impl Budget {
    fn read(node: &Node, problems: &mut Problems) -> Budget {
        let mut budget = Config::default().budget;
        if let Some(mut table) = Table::open(node, "`budget`", problems) {
            budget.decide = table.or("decide", budget.decide, problems);
            budget.execute = table.or("execute", budget.execute, problems);
            budget.verify = table.or("verify", budget.verify, problems);
            table.finish(problems);
        }
        budget
    }
}

impl Verify {
    fn read(node: &Node, problems: &mut Problems) -> Verify {
        let mut verify = Config::default().verify;
        if let Some(mut table) = Table::open(node, "[rollback.verify]", problems) {
            verify.within = table.or("within", verify.within, problems);
            verify.probes = table.or("probes", Vec::new(), problems);
            verify.stable_for = table.or("stable_for", verify.stable_for, problems);
            table.finish(problems);
        }
        verify
    }
}

fn read_steps(node: &Node, problems: &mut Problems) -> Vec<StepConfig> {
    let Value::List(nodes) = &node.value else {
        problems
            .error(&node.place, "steps are a list of tables", format!("this is {}", node.kind()))
            .help("write the heading with two brackets: [[rollback.step]]");
        return Vec::new();
    };
    if nodes.len() > MOST_STEPS {
        problems.error(&node.place, format!("{} steps", nodes.len()), format!("at most {MOST_STEPS}"));
    }
    nodes.iter().take(MOST_STEPS).filter_map(|n| read_step(n, problems)).collect()
}

/// Reads one step; none when it is switched off or has no usable kind.
fn read_step(node: &Node, problems: &mut Problems) -> Option<StepConfig> {
    let mut table = Table::open(node, "a rollback step", problems)?;
    let p = problems;
    let kind = read_kind(&mut table, p);
    let enabled = table.or("enabled", true, p);
    let place = table.place().clone();
    let rung = table.or("rung", Placed { value: DEFAULT_RUNG.to_string(), place: place.clone() }, p);
    let only_for: Vec<Placed<String>> = table.or("only_for", Vec::new(), p);
    let timeout: Placed<Span> = table.or("timeout", Placed { value: Span::mins(1), place: place.clone() }, p);
    let retries: Placed<u32> = table.or("retries", Placed { value: 0, place }, p);
    let name: Option<String> = table.get("name", p);
    let (on_failure, repeatable) = (table.or("on_failure", OnFailure::Halt, p), table.or("repeatable", false, p));
    let done_if = table.node("done_if").and_then(|n| read_argv(n, p));
    let env = table.node("env").map_or(BTreeMap::new(), |n| read_env(n, p));
    let dir = table.get::<Placed<PathBuf>>("dir", p).and_then(|d| check_dir(d, p));
    table.finish(p);
    let (kind, place) = kind?;
    if !is_name(&rung.value) {
        p.error(&rung.place, format!("`{}` is no name", rung.value), "a-z, 0-9 and hyphens");
    }
    if timeout.value <= Span::ZERO {
        p.error(&timeout.place, "a step that has no time", "nothing ends within this");
    }
    let step = Step {
        name: name.unwrap_or_else(|| kind.default_name()),
        kind,
        timeout: timeout.value,
        retries: retries.value,
        on_failure,
        repeatable,
        done_if,
        only_for: only_for.iter().map(|r| r.value.clone()).collect(),
        env,
        dir,
    };
    check_retries(&step, &retries.place, p);
    enabled.then_some(StepConfig { step, rung, only_for, place })
}

/// The one kind key of a step, and where its value stands.
fn read_kind(table: &mut Table<'_>, problems: &mut Problems) -> Option<(StepKind, Place)> {
    let present: Vec<(&str, Place)> =
        StepKind::KEYS.into_iter().filter_map(|key| Some((key, table.node(key)?.place.clone()))).collect();
    match present.as_slice() {
        [(key, place)] => StepKind::read(key, table, problems).map(|kind| (kind, place.clone())),
        [] => {
            problems
                .error(table.place(), "a step that does nothing", "it has no kind")
                .help(format!("it takes exactly one of: {}", StepKind::KEYS.join(", ")));
            None
        }
        [(first, place), others @ ..] => {
            let problem = problems.error(place, "a step of two kinds", format!("`{first}` here"));
            for (key, place) in others {
                problem.also(place, format!("and `{key}` here"));
            }
            problem.help("write two steps");
            None
        }
    }
}

fn check_retries(step: &Step, place: &Place, problems: &mut Problems) {
    if step.retries > MOST_RETRIES {
        problems.error(place, format!("{} retries", step.retries), format!("at most {MOST_RETRIES}"));
    }
    if step.retries > 0 && !step.is_repeatable() && step.done_if.is_none() {
        problems
            .error(place, "retries of a step that may run only once", "it would never be tried again")
            .help("add `repeatable = true`, or a `done_if` that says whether it happened");
    }
}

fn check_dir(dir: Placed<PathBuf>, problems: &mut Problems) -> Option<PathBuf> {
    if dir.value.is_absolute() {
        return Some(dir.value);
    }
    problems.error(&dir.place, "a relative folder", "relative to what is not known when it runs");
    None
}

fn read_env(node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Some(mut table) = Table::open(node, "`env`", problems) else { return env };
    for entry in table.rest() {
        let letters = entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !letters || entry.key.starts_with(|c: char| c.is_ascii_digit()) || entry.key.is_empty() {
            problems.error(&entry.place, format!("`{}` is no name of a variable", entry.key), "A-Z, a-z, 0-9 and _");
        } else if entry.key.starts_with("BACKSTOP_") {
            problems.error(&entry.place, format!("`{}` is set by backstop itself", entry.key), "choose another name");
        } else if let Some(value) = String::read(&entry.node, problems) {
            if value.contains('\0') {
                problems.error(&entry.node.place, "a value with a NUL byte", "no program can be given this");
            }
            env.insert(entry.key.clone(), value);
        }
    }
    env
}

/// Reads one of a few words.
fn one_of<T: Copy>(node: &Node, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let text = String::read(node, problems)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let help = match nearest(&text, &known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of: {}", known.join(", ")),
    };
    problems.error(&node.place, format!("`{text}` is not known here"), "").help(help);
    None
}

impl Read for Mode {
    fn read(node: &Node, problems: &mut Problems) -> Option<Mode> {
        one_of(node, &[("observe", Mode::Observe), ("ask", Mode::Ask), ("auto", Mode::Auto)], problems)
    }
}

impl Read for Otherwise {
    fn read(node: &Node, problems: &mut Problems) -> Option<Otherwise> {
        one_of(node, &[("page", Otherwise::Page), ("roll back", Otherwise::RollBack)], problems)
    }
}

impl Read for OnFailure {
    fn read(node: &Node, problems: &mut Problems) -> Option<OnFailure> {
        one_of(node, &[("halt", OnFailure::Halt), ("continue", OnFailure::Continue)], problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::Entry;

    /// A tree as `config` makes it, all at one place.
    fn node(value: &serde_json::Value) -> Node {
        use serde_json::Value as Json;
        let value = match value {
            Json::String(text) => Value::Text(text.clone()),
            Json::Number(n) => Value::Whole(n.as_i64().unwrap()),
            Json::Bool(b) => Value::Bool(*b),
            Json::Array(list) => Value::List(list.iter().map(node).collect()),
            Json::Object(map) => Value::Table(
                map.iter().map(|(k, v)| Entry { key: k.clone(), place: Place::default(), node: node(v) }).collect(),
            ),
            Json::Null => panic!("nothing is null"),
        };
        Node { value, place: Place::default() }
    }

    fn read(json: serde_json::Value) -> (Config, Vec<String>) {
        let mut problems = Problems::default();
        let config = Config::read(&node(&json), &mut problems);
        (config, problems.list.iter().map(|p| p.title.clone()).collect())
    }

    #[test]
    fn an_empty_table_observes_and_does_nothing() {
        assert_eq!(read(serde_json::json!({})), (Config::default(), vec![]));
    }

    #[test]
    fn every_key_is_read() {
        let (config, problems) = read(serde_json::json!({
            "mode": "auto", "ask": {"within": "2m", "otherwise": "roll back"}, "notice": "10s",
            "budget": {"decide": "1m"}, "ladder": ["restart", "version"],
            "verify": {"within": "1m", "probes": ["http.api", "host"], "stable_for": "2m"},
            "step": [
                {"command": ["/bin/switch", "{previous}"], "name": "switch", "timeout": "5s", "retries": 2,
                 "repeatable": true, "on_failure": "continue", "only_for": ["errors"], "env": {"A": "b"}, "dir": "/srv"},
                {"wait": "2s", "rung": "restart"},
                {"wait": "9s", "enabled": false},
            ],
        }));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((config.mode.value, config.ask.otherwise), (Mode::Auto, Otherwise::RollBack));
        assert_eq!((config.budget.decide, config.budget.execute), (Span::mins(1), Span::mins(10)));
        assert_eq!(config.verify.probes[1].value, SourceRef::new("host", "host"));
        let plan = config.plan("shop", "2.1.0", Some("2.0.3"), BTreeMap::new(), Timestamp(7)).unwrap();
        let names: Vec<(&str, Vec<&str>)> =
            plan.rungs.iter().map(|r| (r.name.as_str(), r.steps.iter().map(|s| s.name.as_str()).collect())).collect();
        assert_eq!(names, [("restart", vec!["wait 2s"]), ("version", vec!["switch"])]);
        assert!(!needs(&plan.rungs[1].steps[0], "{previous}"), "it was filled in");
        assert_eq!(
            config.plan("shop", "2.1.0", None, BTreeMap::new(), Timestamp(7)),
            Err("the step `switch` needs the previous version, which is not known".into())
        );
        assert!(config.plan("shop", "--force", Some("1"), BTreeMap::new(), Timestamp(7)).is_err());
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let step = |step: serde_json::Value| serde_json::json!({ "step": [step] });
        for (json, title) in [
            (serde_json::json!({"mode": "oberve"}), "`oberve` is not known here"),
            (serde_json::json!({"mode": "ask"}), "a rollback without a step"),
            (serde_json::json!({"moed": "ask"}), "unknown key `moed`"),
            (serde_json::json!({"step": {"wait": "1s"}}), "steps are a list of tables"),
            (
                serde_json::json!({"step": [{"wait": "1s"}], "ladder": ["restart", "version"]}),
                "no step has the rung `restart`",
            ),
            (
                serde_json::json!({"step": [{"wait": "1s"}], "ladder": ["version", "version"]}),
                "the rung `version` stands twice in the ladder",
            ),
            (
                serde_json::json!({"step": [{"wait": "1s", "rung": "a"}, {"wait": "1s"}], "ladder": ["version"]}),
                "the rung `a` is not in the ladder",
            ),
            (step(serde_json::json!({"name": "x"})), "a step that does nothing"),
            (step(serde_json::json!({"wait": "1s", "command": ["/bin/true"]})), "a step of two kinds"),
            (step(serde_json::json!({"wait": "up == 1"})), "`wait` takes a duration"),
            (step(serde_json::json!({"wait": "2h"})), "a pause of 2 h"),
            (step(serde_json::json!({"command": []})), "a command without a program"),
            (step(serde_json::json!({"command": ["{version}"]})), "a command without a program"),
            (step(serde_json::json!({"command": ["bin/x"]})), "a program with a relative path"),
            (step(serde_json::json!({"command": ["/bin/x", "{previos}"]})), "unknown fact `{previos}`"),
            (
                step(serde_json::json!({"command": ["/bin/x"], "retries": 1})),
                "retries of a step that may run only once",
            ),
            (step(serde_json::json!({"command": ["/bin/x"], "timeout": "0s"})), "a step that has no time"),
            (step(serde_json::json!({"command": ["/bin/x"], "dir": "srv"})), "a relative folder"),
            (step(serde_json::json!({"command": ["/bin/x"], "env": {"1A": "b"}})), "`1A` is no name of a variable"),
            (
                step(serde_json::json!({"command": ["/bin/x"], "env": {"BACKSTOP_X": "b"}})),
                "`BACKSTOP_X` is set by backstop itself",
            ),
            (step(serde_json::json!({"command": ["/bin/x"], "rung": "A b"})), "`A b` is no name"),
            (step(serde_json::json!({"command": ["/bin/x"], "user": "root"})), "unknown key `user`"),
        ] {
            assert_eq!(read(json.clone()).1, [title], "{json}");
        }
    }

    #[test]
    fn a_rung_that_is_named_elsewhere_must_exist() {
        let (config, _) = read(serde_json::json!({"step": [{"wait": "1s"}]}));
        let mut problems = Problems::default();
        let placed = |name: &str| Placed { value: name.to_string(), place: Place::default() };
        config.check_rung(&placed("version"), &mut problems);
        assert_eq!(problems.list.len(), 0);
        config.check_rung(&placed("versoin"), &mut problems);
        assert_eq!(problems.list[0].help.as_deref(), Some("did you mean `version`?"));
    }

    #[test]
    fn programs_are_looked_at_where_they_are() {
        assert_eq!(process::program_problem("/bin/sh"), None);
        assert_eq!(process::program_problem("sh"), None);
        assert!(process::program_problem("/nowhere/x").is_some_and(|why| why.contains("No such file")));
        assert!(process::program_problem("no-such-program").is_some_and(|why| why.starts_with("it is in none of")));
        let (config, _) = read(serde_json::json!({"step": [{"command": ["/nowhere/x"], "done_if": ["/bin/sh"]}]}));
        let mut problems = Problems::default();
        config.check_programs(&mut problems);
        assert_eq!(problems.list.len(), 1);
    }
}
