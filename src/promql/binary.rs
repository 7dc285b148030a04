//! Operators between two values: numbers, a number and a vector, or two vectors matched by their labels.

use std::collections::{HashMap, HashSet};

use super::evaluate::{Element, Value, Vector};
use super::plan::{Arithmetic, Group, Matching, Operator};
use crate::base::Labels;
use crate::base::label::NAME;

/// Applies an operator.
///
/// # Errors
/// Vectors that do not match one to one, or one to many where that is said.
pub(super) fn binary(operator: Operator, left: Value, right: Value, matching: &Matching) -> Result<Value, String> {
    match (left, right) {
        (Value::Number(a, newest), Value::Number(b, other)) => {
            let value = operator.of(a, b).unwrap_or(f64::NAN);
            Ok(Value::Number(value, newest.max(other)))
        }
        (Value::Vector(vector), Value::Number(number, newest)) => {
            let with = |element: &Element| operator.outcome(element.value, number, element.value);
            Ok(Value::Vector(with_number(operator, vector, newest, with)))
        }
        (Value::Number(number, newest), Value::Vector(vector)) => {
            let with = |element: &Element| operator.outcome(number, element.value, element.value);
            Ok(Value::Vector(with_number(operator, vector, newest, with)))
        }
        (Value::Vector(left), Value::Vector(right)) => match operator {
            Operator::And => Ok(Value::Vector(both(left, &right, matching))),
            Operator::Unless => Ok(Value::Vector(only_left(left, &right, matching))),
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

fn with_number(
    operator: Operator,
    vector: Vector,
    newest: crate::base::Timestamp,
    with: impl Fn(&Element) -> Option<f64>,
) -> Vector {
    let apply = |mut element: Element| {
        element.value = with(&element)?;
        element.newest = element.newest.max(newest);
        element.drop_name |= operator.drops_name();
        Some(element)
    };
    vector.into_iter().filter_map(apply).collect()
}

impl Matching {
    /// The labels that decide which elements belong together.
    fn signature(&self, labels: &Labels) -> Labels {
        let listed = |name: &str| self.labels.binary_search_by(|l| l.as_str().cmp(name)).is_ok();
        if self.on { labels.filtered(listed) } else { labels.filtered(|name| name != NAME && !listed(name)) }
    }

    fn signatures(&self, vector: &Vector) -> HashSet<Labels> {
        vector.iter().map(|element| self.signature(&element.labels)).collect()
    }
}

fn both(left: Vector, right: &Vector, matching: &Matching) -> Vector {
    let there = matching.signatures(right);
    left.into_iter().filter(|element| there.contains(&matching.signature(&element.labels))).collect()
}

fn only_left(left: Vector, right: &Vector, matching: &Matching) -> Vector {
    let there = matching.signatures(right);
    left.into_iter().filter(|element| !there.contains(&matching.signature(&element.labels))).collect()
}

fn either(mut left: Vector, right: Vector, matching: &Matching) -> Vector {
    let there = matching.signatures(&left);
    left.extend(right.into_iter().filter(|element| !there.contains(&matching.signature(&element.labels))));
    left
}

fn matched(operator: Operator, left: Vector, right: Vector, matching: &Matching) -> Result<Vector, String> {
    // An empty side ends it before the other is looked at, as in Prometheus.
    if left.is_empty() || right.is_empty() {
        return Ok(Vec::new());
    }
    let many_right = matches!(matching.group, Group::Right(_));
    let (many, one) = if many_right { (right, left) } else { (left, right) };
    let one = by_signature(one, matching, if many_right { "left" } else { "right" })?;
    let mut results = Vec::with_capacity(many.len());
    let mut taken: HashSet<Labels> = HashSet::new();
    for element in many {
        let signature = matching.signature(&element.labels);
        let Some(partner) = one.get(&signature) else { continue };
        let (a, b) = if many_right { (partner, &element) } else { (&element, partner) };
        // Where a filter lets nothing through there is no result that could be ambiguous.
        let Some(value) = operator.outcome(a.value, b.value, a.value) else { continue };
        let labels = result_labels(operator, matching, &element.labels, &partner.labels);
        let distinct = match matching.group {
            Group::OneToOne => taken.insert(signature.clone()),
            Group::Left(_) | Group::Right(_) => taken.insert(labels.clone()),
        };
        if !distinct {
            return Err(ambiguous(matching, &signature));
        }
        let drop_name = element.drop_name || matches!(operator, Operator::Bool(_));
        results.push(Element { labels, value, newest: element.newest.max(partner.newest), drop_name });
    }
    Ok(results)
}

fn by_signature(one: Vector, matching: &Matching, side: &str) -> Result<HashMap<Labels, Element>, String> {
    let mut found: HashMap<Labels, Element> = HashMap::with_capacity(one.len());
    for element in one {
        let signature = matching.signature(&element.labels);
        if let Some(other) = found.get(&signature) {
            return Err(format!(
                "many-to-many matching is not allowed: {} and {} on the {side} side have the same matching labels \
                 {signature}",
                other.labels, element.labels
            ));
        }
        found.insert(signature, element);
    }
    Ok(found)
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

fn result_labels(operator: Operator, matching: &Matching, many: &Labels, one: &Labels) -> Labels {
    let arithmetic = matches!(operator, Operator::Arithmetic(_));
    let keeps = |name: &str| {
        if name == NAME && arithmetic {
            return false;
        }
        let listed = matching.labels.iter().any(|l| l == name);
        !matches!(matching.group, Group::OneToOne) || listed == matching.on
    };
    let labels = many.filtered(keeps);
    match &matching.group {
        Group::OneToOne => labels,
        Group::Left(include) | Group::Right(include) => {
            include.iter().fold(labels, |labels, name| labels.with(name, one.get(name)))
        }
    }
}
