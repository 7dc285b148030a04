//! Operators between two values: numbers, a number and a vector, or two vectors matched by their labels.

use super::plan::{Arithmetic, Group, Matching, Operator};
use super::vector::{Element, Part, Table, Tags, Value, Vector, hash_all};
use crate::base::label::NAME;
use crate::base::{Labels, Timestamp};

/// Applies an operator.
///
/// # Errors
/// Vectors that do not match one to one, or one to many where that is said.
pub(super) fn binary<'a>(
    operator: Operator,
    left: Value<'a>,
    right: Value<'a>,
    matching: &Matching,
) -> Result<Value<'a>, String> {
    match (left, right) {
        (Value::Number(a, newest), Value::Number(b, other)) => {
            let value = operator.of(a, b).unwrap_or(f64::NAN);
            Ok(Value::Number(value, newest.max(other)))
        }
        (Value::Vector(vector), Value::Number(number, newest)) => {
            let with = |element: &Element<'_>| operator.outcome(element.value, number, element.value);
            Ok(Value::Vector(with_number(operator, vector, newest, with)))
        }
        (Value::Number(number, newest), Value::Vector(vector)) => {
            let with = |element: &Element<'_>| operator.outcome(number, element.value, element.value);
            Ok(Value::Vector(with_number(operator, vector, newest, with)))
        }
        (Value::Vector(left), Value::Vector(right)) => match operator {
            Operator::And => Ok(Value::Vector(present(left, &right, matching, true))),
            Operator::Unless => Ok(Value::Vector(present(left, &right, matching, false))),
            Operator::Or => Ok(Value::Vector(either(left, right, matching))),
            _ => matched(operator, left, right, matching).map(Value::Vector),
        },
    }
}

impl Arithmetic {
    pub(super) fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Arithmetic::Add => a + b,
            Arithmetic::Subtract => a - b,
            Arithmetic::Multiply => a * b,
            Arithmetic::Divide => a / b,
            Arithmetic::Modulo => a % b,
            Arithmetic::Power => a.powf(b),
            Arithmetic::Atan2 => a.atan2(b),
        }
    }
}

impl Operator {
    /// The value of two numbers; none for operators on sets and for filters.
    pub(super) fn of(self, a: f64, b: f64) -> Option<f64> {
        match self {
            Operator::Arithmetic(arithmetic) => Some(arithmetic.of(a, b)),
            Operator::Bool(relation) => Some(f64::from(u8::from(relation.holds(a, b)))),
            Operator::Filter(_) | Operator::And | Operator::Or | Operator::Unless => None,
        }
    }

    /// The value of an element; a filter that holds keeps `kept`.
    fn outcome(self, a: f64, b: f64, kept: f64) -> Option<f64> {
        match self {
            Operator::Filter(relation) => relation.holds(a, b).then_some(kept),
            other => other.of(a, b),
        }
    }

    fn drops_name(self) -> bool {
        matches!(self, Operator::Arithmetic(_) | Operator::Bool(_))
    }
}

fn with_number<'a>(
    operator: Operator,
    mut vector: Vector<'a>,
    newest: Timestamp,
    with: impl Fn(&Element<'a>) -> Option<f64>,
) -> Vector<'a> {
    vector.elements.retain_mut(|element| {
        let Some(value) = with(element) else { return false };
        element.value = value;
        element.newest = element.newest.max(newest);
        element.drop_name |= operator.drops_name();
        true
    });
    vector
}

impl Matching {
    /// The labels that decide which elements belong together.
    fn part(&self) -> Part<'_> {
        Part { listed: &self.labels, only: self.on }
    }
}

/// The signatures of a vector, to look others up in.
struct Side<'v, 'a> {
    elements: &'v [Element<'a>],
    part: Part<'v>,
    table: Table,
    hints: Vec<usize>,
    /// The element that stands for each place of the table.
    firsts: Vec<usize>,
}

impl<'v, 'a> Side<'v, 'a> {
    /// Calls `twice` with two elements that have the same signature.
    fn new(
        elements: &'v [Element<'a>],
        part: Part<'v>,
        mut twice: impl FnMut(&Element<'a>, &Element<'a>),
    ) -> Side<'v, 'a> {
        let mut side = Side {
            elements,
            part,
            table: Table::with_capacity(elements.len()),
            hints: part.hints(),
            firsts: Vec::new(),
        };
        for (i, element) in elements.iter().enumerate() {
            match side.find(&element.labels) {
                Ok(place) => twice(&elements[side.firsts[place]], element),
                Err(hash) => {
                    side.table.insert(hash);
                    side.firsts.push(i);
                }
            }
        }
        side
    }

    /// The place of a signature, or its hash.
    fn find(&mut self, labels: &Labels) -> Result<usize, u64> {
        let hash = self.part.hash(labels, &mut self.hints);
        let same = |place: usize| self.part.same(&self.elements[self.firsts[place]].labels, labels);
        self.table.find(hash, same).ok_or(hash)
    }
}

/// The elements on the left that have a partner, or those that have none.
fn present<'a>(mut left: Vector<'a>, right: &Vector<'a>, matching: &Matching, wanted: bool) -> Vector<'a> {
    let mut side = Side::new(&right.elements, matching.part(), |_, _| {});
    left.elements.retain(|element| side.find(&element.labels).is_ok() == wanted);
    left
}

fn either<'a>(mut left: Vector<'a>, right: Vector<'a>, matching: &Matching) -> Vector<'a> {
    let right_distinct = right.distinct;
    let mut side = Side::new(&left.elements, matching.part(), |_, _| {});
    let added: Vec<Element<'a>> =
        right.elements.into_iter().filter(|element| side.find(&element.labels).is_err()).collect();
    left.distinct = (left.distinct && added.is_empty()) || (left.elements.is_empty() && right_distinct);
    left.elements.extend(added);
    left
}

fn matched<'a>(
    operator: Operator,
    left: Vector<'a>,
    right: Vector<'a>,
    matching: &Matching,
) -> Result<Vector<'a>, String> {
    // An empty side ends it before the other is looked at, as in Prometheus.
    let [fill_left, fill_right] = matching.fill;
    if left.elements.is_empty() && fill_left.is_none() || right.elements.is_empty() && fill_right.is_none() {
        return Ok(Vector { elements: Vec::new(), distinct: true });
    }
    let many_right = matches!(matching.group, Group::Right(_));
    let (many, one) = if many_right { (right, left) } else { (left, right) };
    let (fill_many, fill_one) = if many_right { (fill_right, fill_left) } else { (fill_left, fill_right) };
    let mut clash = None;
    let mut side = Side::new(&one.elements, matching.part(), |a, b| {
        clash.get_or_insert_with(|| ((*a.labels).clone(), (*b.labels).clone()));
    });
    if let Some((a, b)) = clash {
        let (side, signature) = (if many_right { "left" } else { "right" }, matching.part().of(&a));
        return Err(format!(
            "many-to-many matching is not allowed: {a} and {b} on the {side} side have the same matching labels {signature}"
        ));
    }
    let one_to_one = matches!(matching.group, Group::OneToOne);
    let mut joined =
        Joined { operator, matching, elements: Vec::with_capacity(many.elements.len()), table: Table::default() };
    let mut taken = vec![false; one.elements.len()];
    let mut has_many = vec![false; one.elements.len()];
    for element in many.elements {
        let place = side.find(&element.labels).ok();
        let Some(place) = place else {
            if let Some(fill) = fill_one {
                joined.filled(&element, fill, many_right, true)?;
            }
            continue;
        };
        has_many[place] = true;
        let partner = &one.elements[place];
        let (a, b) = if many_right { (partner.value, element.value) } else { (element.value, partner.value) };
        // Where a filter lets nothing through there is no result that could be ambiguous.
        let Some(value) = operator.outcome(a, b, a) else { continue };
        if one_to_one && std::mem::replace(&mut taken[place], true) {
            return Err(ambiguous(matching, &matching.part().of(&element.labels)));
        }
        joined.push(element, partner, value)?;
    }
    if let Some(fill) = fill_many {
        for (element, _) in one.elements.iter().zip(has_many).filter(|(_, has)| !has) {
            joined.filled(element, fill, many_right, false)?;
        }
    }
    // One to one, each has a signature of its own, and the name is no part of it.
    let distinct = one_to_one && fill_one.is_none() && !matching.labels.iter().any(|label| label == NAME);
    Ok(Vector { elements: joined.elements, distinct })
}

/// The results of matching.
struct Joined<'m, 'a> {
    operator: Operator,
    matching: &'m Matching,
    elements: Vec<Element<'a>>,
    table: Table,
}

impl<'a> Joined<'_, 'a> {
    fn push(&mut self, many: Element<'a>, one: &Element<'a>, value: f64) -> Result<(), String> {
        let newest = many.newest.max(one.newest);
        let drop_name = many.drop_name || matches!(self.operator, Operator::Bool(_));
        let labels = result_labels(self.operator, self.matching, many.labels, &one.labels);
        self.add(Element { labels, value, newest, drop_name })
    }

    /// An element whose partner is missing, with a number in its place. `is_many`: whether it is of the many.
    fn filled(&mut self, element: &Element<'a>, fill: f64, many_right: bool, is_many: bool) -> Result<(), String> {
        let is_left = is_many != many_right;
        let (a, b) = if is_left { (element.value, fill) } else { (fill, element.value) };
        let Some(value) = self.operator.outcome(a, b, a) else { return Ok(()) };
        let nothing = Labels::empty();
        let labels = if is_many || matches!(self.matching.group, Group::OneToOne) {
            result_labels(self.operator, self.matching, element.labels.clone(), &nothing)
        } else {
            let known = Tags::Own(self.matching.part().of(&element.labels));
            result_labels(self.operator, self.matching, known, &element.labels)
        };
        let drop_name = element.drop_name || matches!(self.operator, Operator::Bool(_));
        self.add(Element { labels, value, newest: element.newest, drop_name })
    }

    fn add(&mut self, element: Element<'a>) -> Result<(), String> {
        if !matches!(self.matching.group, Group::OneToOne) {
            let hash = hash_all(&element.labels);
            let held = &self.elements;
            if self.table.find(hash, |i| *held[i].labels == *element.labels).is_some() {
                return Err(ambiguous(self.matching, &self.matching.part().of(&element.labels)));
            }
            self.table.insert(hash);
        }
        self.elements.push(element);
        Ok(())
    }
}

fn ambiguous(matching: &Matching, signature: &Labels) -> String {
    match matching.group {
        Group::OneToOne => format!(
            "several elements on the left side match {signature}: many-to-one matching must be explicit (group_left or \
             group_right)"
        ),
        _ => format!("several results have the same labels for {signature}: grouping labels must keep them apart"),
    }
}

fn result_labels<'a>(operator: Operator, matching: &Matching, many: Tags<'a>, one: &Labels) -> Tags<'a> {
    let arithmetic = matches!(operator, Operator::Arithmetic(_));
    let one_to_one = matches!(matching.group, Group::OneToOne);
    let keeps = |name: &str| {
        if name == NAME && arithmetic {
            return false;
        }
        !one_to_one || matching.labels.iter().any(|label| label == name) == matching.on
    };
    let labels = if many.iter().all(|(name, _)| keeps(name)) { many } else { Tags::Own(many.filtered(keeps)) };
    match &matching.group {
        Group::Left(include) | Group::Right(include) if !include.is_empty() => {
            let included = include.iter().fold((*labels).clone(), |labels, name| labels.with(name, one.get(name)));
            Tags::Own(included)
        }
        _ => labels,
    }
}
