//! A clause held against an observation.
//!
//! With `every`, `any`, `none` and `share` a path is split behind its last part that can give several values
//! (`events[*]`), and what follows (`.domain`) is looked up in each of these: an event without a domain counts as one
//! whose domain is wrong, instead of not counting.

use super::Observation;
use super::clause::{Clause, Literal, Operator, Prefix, Subject, Takes, Test};
use super::figure::Figure;
use super::item::{Item, quoted, shown};
use super::secret;
use super::version::Version;
use crate::base::Unit;

impl Clause {
    pub(super) fn check(&self, seen: &Observation<'_>) -> Result<(), String> {
        let Some(test) = &self.test else {
            return self.check_statement(seen);
        };
        match self.prefix {
            None => self.check_one(test, seen),
            Some(Prefix::Len) => {
                let length = self.length(seen)?;
                let holds = test.holds(Some(&Item::Number(length as f64)), seen.now);
                if holds { Ok(()) } else { Err(format!("saw a length of {}", shown(length as f64, self.unit()))) }
            }
            Some(prefix) => self.check_elements(prefix, test, seen),
        }
    }

    /// A subject that is the statement.
    fn check_statement(&self, seen: &Observation<'_>) -> Result<(), String> {
        match self.subject.items(seen)?.first() {
            Some(Item::Bool(true)) => Ok(()),
            Some(_) => Err(format!("it is {}", self.subject.opposite())),
            None => Err("it is missing".into()),
        }
    }

    fn check_one(&self, test: &Test, seen: &Observation<'_>) -> Result<(), String> {
        let items = self.subject.items(seen)?;
        let item = match (items.as_slice(), test) {
            ([], _) => None,
            ([item], _) | ([item, ..], Test::Exists | Test::Missing) => Some(item),
            (many, _) => return Err(format!("saw {} values; write `every`, `any` or `none` before it", many.len())),
        };
        if let Some(Item::Figure(figure)) = item
            && let Some(unit) = test.contradicted(*figure)
        {
            return Err(figure.contradiction(unit));
        }
        match (test.holds(item, seen.now), item) {
            (true, _) => Ok(()),
            (false, None) => Err(self.absent(seen)),
            (false, Some(item)) => Err(format!("saw {}", self.show(item))),
        }
    }

    fn check_elements(&self, prefix: Prefix, test: &Test, seen: &Observation<'_>) -> Result<(), String> {
        let (n_good, total) = self.count(test, seen)?;
        let holds = match prefix {
            Prefix::Every => total > 0 && n_good == total,
            Prefix::Any => n_good > 0,
            Prefix::None => n_good == 0,
            Prefix::Share | Prefix::Len => {
                let (operator, limit) = self.limit.unwrap_or((Operator::AtLeast, 1.0));
                total > 0 && operator.holds(&(n_good as f64 / total as f64), &limit)
            }
        };
        match (holds, total) {
            (true, _) => Ok(()),
            (false, 0) => Err("saw no element at all".into()),
            (false, _) => Err(format!("saw {n_good} of {total}")),
        }
    }

    /// Of how many elements the test is true, and how many there are.
    fn count(&self, test: &Test, seen: &Observation<'_>) -> Result<(usize, usize), String> {
        let Subject::Json(path) = &self.subject else {
            return Err("there is nothing to count".into());
        };
        let elements = path.elements(seen.document()?)?;
        let n_good = elements.iter().filter(|e| test.holds(e.map(Item::Json).as_ref(), seen.now)).count();
        Ok((n_good, elements.len()))
    }

    fn length(&self, seen: &Observation<'_>) -> Result<usize, String> {
        if matches!(self.subject, Subject::Body) {
            // A body's length is what was transferred, not its characters.
            return seen.bytes().map(<[u8]>::len).ok_or_else(|| "it is missing".into());
        }
        let items = self.subject.items(seen)?;
        if matches!(&self.subject, Subject::Json(path) if path.is_plural()) {
            return Ok(items.len());
        }
        let Some(item) = items.first() else {
            return Err("it is missing".into());
        };
        item.length().ok_or_else(|| format!("saw {}, which has no length", self.show(item)))
    }

    pub(super) fn measure(&self, seen: &Observation<'_>) -> Option<f64> {
        match (self.prefix, &self.test) {
            (None, _) => match self.subject.items(seen).ok()?.as_slice() {
                [item] => item.number(),
                _ => None,
            },
            (Some(Prefix::Len), _) => self.length(seen).ok().map(|n| n as f64),
            (Some(Prefix::Share), Some(test)) => match self.count(test, seen).ok()? {
                (_, 0) => None,
                (n_good, total) => Some(n_good as f64 / total as f64),
            },
            (Some(prefix), Some(test)) => {
                self.count(test, seen).ok()?;
                Some(if self.check_elements(prefix, test, seen).is_ok() { 1.0 } else { 0.0 })
            }
            (Some(_), None) => None,
        }
    }

    pub(super) fn measure_text(&self, seen: &Observation<'_>) -> Option<String> {
        if self.prefix.is_some() {
            return self.measure(seen).map(|n| n.to_string());
        }
        match self.subject.items(seen).ok()?.as_slice() {
            [Item::Json(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)))] => {
                Some(value.to_string())
            }
            [Item::Figure(figure)] => Some(figure.value().to_string()),
            [item @ (Item::Number(_) | Item::Bool(_) | Item::Mode(_))] => Some(item.show(Unit::Count)),
            [item] => item.text().map(str::to_string),
            _ => None,
        }
    }

    /// What was seen, for people; hidden where its name says that it is a secret, or its look.
    fn show(&self, item: &Item<'_>) -> String {
        match item.text() {
            _ if secret::is_named(&self.subject.label()) => "something else (hidden)".into(),
            Some(text) => item.show_text(&secret::hide(text)),
            None => item.show(self.unit()),
        }
    }

    /// That nothing was found, with the first line of an output in which it was looked for.
    fn absent(&self, seen: &Observation<'_>) -> String {
        let is_sought = match &self.subject {
            Subject::Number { finder, .. } => finder.is_some(),
            Subject::Version { .. } => true,
            _ => false,
        };
        let text = seen.words().filter(|_| is_sought && !secret::is_named(&self.subject.label()));
        match text.as_deref().and_then(|text| text.lines().next()) {
            Some(line) if !line.is_empty() => {
                format!("it is missing; the output begins {}", quoted(&secret::hide(line)))
            }
            _ => "it is missing".into(),
        }
    }

    /// The unit that figures are shown in: the subject's, or the one they are compared in.
    fn unit(&self) -> Unit {
        match self.subject.takes() {
            _ if self.prefix == Some(Prefix::Len) => self.test.as_ref().map_or(Unit::Count, Test::unit),
            Takes::Seconds => Unit::Seconds,
            Takes::Bytes => Unit::Bytes,
            _ => self.test.as_ref().map_or(Unit::Count, Test::unit),
        }
    }
}

impl Test {
    fn unit(&self) -> Unit {
        match self {
            Test::Compare(_, Literal::Number(_, unit)) => *unit,
            Test::Not(test) => test.unit(),
            _ => Unit::Count,
        }
    }

    /// The unit that a figure cannot be held against.
    fn contradicted(&self, figure: Figure) -> Option<Unit> {
        let literals = match self {
            Test::Compare(_, literal) => std::slice::from_ref(literal),
            Test::In(all) => all.as_slice(),
            Test::Not(test) => return test.contradicted(figure),
            _ => &[],
        };
        literals.iter().find_map(|literal| match literal {
            Literal::Number(limit, unit) if figure.against(*limit, *unit).is_none() => Some(*unit),
            _ => None,
        })
    }
}

impl Subject {
    /// Everything that the subject means.
    fn items<'s>(&self, seen: &'s Observation<'_>) -> Result<Vec<Item<'s>>, String> {
        let one = match self {
            Subject::Json(path) => return Ok(path.all(seen.document()?)?.into_iter().map(Item::Json).collect()),
            Subject::Status => seen.status.map(|n| Item::Number(f64::from(n))),
            Subject::Time => seen.seconds.map(Item::Number),
            Subject::Cert => seen.cert.map(Item::Number),
            Subject::Header(name) => header(name, seen),
            Subject::Body => seen.bytes().map(|bytes| Item::Text(String::from_utf8_lossy(bytes))),
            Subject::Exit => seen.exit.map(|n| Item::Number(f64::from(n))),
            Subject::Text => seen.words().map(Item::Text),
            Subject::Number { name, finder } => number(name.as_deref(), finder.as_ref(), seen),
            Subject::Version { finder } => version(finder, seen),
            Subject::Exists => seen.exists.map(Item::Bool),
            Subject::Missing => seen.exists.map(|exists| Item::Bool(!exists)),
            Subject::Writable => seen.writable.map(Item::Bool),
            Subject::Age => seen.age.map(Item::Number),
            Subject::Size => seen.size.map(|n| Item::Number(n as f64)),
            Subject::Mode => seen.mode.map(|mode| Item::Mode(mode & 0o7777)),
            Subject::Open => seen.open.map(Item::Bool),
            Subject::Closed => seen.open.map(|open| Item::Bool(!open)),
            Subject::Banner => seen.banner.map(|bytes| Item::Text(String::from_utf8_lossy(bytes))),
        };
        Ok(one.into_iter().collect())
    }

    /// What the opposite of a statement is called.
    fn opposite(&self) -> &'static str {
        match self {
            Subject::Exists => "missing",
            Subject::Missing => "there",
            Subject::Writable => "not writable",
            Subject::Open => "closed",
            Subject::Closed => "open",
            _ => "not so",
        }
    }
}

/// All fields of this name as one text, as RFC 9110 (section 5.3) allows.
fn header<'s>(name: &str, seen: &'s Observation<'_>) -> Option<Item<'s>> {
    let all: Vec<_> =
        seen.headers?.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    match all.as_slice() {
        [] => None,
        [one] => Some(Item::Text(one.clone())),
        many => Some(Item::Text(many.join(", ").into())),
    }
}

fn number<'s>(name: Option<&str>, finder: Option<&regex::Regex>, seen: &Observation<'_>) -> Option<Item<'s>> {
    let known = match name {
        None => seen.number,
        Some(name) => seen.numbers.iter().find(|(n, _)| n == name).map(|(_, value)| *value),
    };
    if let Some(known) = known {
        return Some(Item::Number(known));
    }
    match finder {
        Some(finder) => Figure::find(&seen.words()?, finder).map(Item::Figure),
        None => seen.document().ok()?.as_object()?.get(name?)?.as_f64().map(Item::Number),
    }
}

fn version<'s>(finder: &regex::Regex, seen: &'s Observation<'_>) -> Option<Item<'s>> {
    if let Some(text) = seen.version {
        return Some(Item::Version(Version::parse(text.trim())?, text.trim().into()));
    }
    let text = seen.words()?;
    let found = finder.captures(&text)?;
    let found = found.get(1).or(found.get(2))?.as_str();
    Some(Item::Version(Version::parse(found)?, found.to_string().into()))
}
