//! A template over its data.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::parse::{Node, Operand, Pipeline};
use super::{Data, MAX_QUERIES, MAX_STEPS, MAX_TEXT, Query, format, function};

/// A value on its way.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    /// Milliseconds since 1970.
    Time(i64),
    Labels(Rc<BTreeMap<String, String>>),
    /// Labels and value of one result of a query.
    Sample(Rc<Sample>),
    List(Rc<Vec<Value>>),
    /// What `args` makes.
    Args(Rc<BTreeMap<String, Value>>),
    /// What the template was given.
    Given,
}

/// Labels and value.
pub(super) type Sample = (Rc<BTreeMap<String, String>>, f64);

impl Value {
    pub(super) fn of(text: impl Into<Rc<str>>) -> Value {
        Value::Text(text.into())
    }

    /// The name of its type, as messages of Go have it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Time(_) => "time.Time",
            Value::Labels(_) => "map[string]string",
            Value::Sample(_) => "sample",
            Value::List(_) => "list",
            Value::Args(_) => "map[string]interface {}",
            Value::Given => "data",
        }
    }

    /// As it is printed.
    pub(super) fn text(&self) -> String {
        match self {
            Value::Nil => "<nil>".into(),
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Float(n) => format::float(*n),
            Value::Text(text) => text.to_string(),
            Value::Time(at) => format::time(*at),
            Value::Labels(labels) => {
                let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Value::Sample(sample) => {
                format!("{{{} {}}}", Value::Labels(sample.0.clone()).text(), format::float(sample.1))
            }
            Value::List(list) => format!("[{} values]", list.len()),
            Value::Args(args) => format!("[{} values]", args.len()),
            Value::Given => "<data>".into(),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(n) => *n != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Labels(labels) => !labels.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Args(args) => !args.is_empty(),
            Value::Time(_) | Value::Sample(_) | Value::Given => true,
        }
    }
}

/// What an expansion works with.
pub(super) struct Run<'a, 'q> {
    pub(super) data: &'a Data<'a>,
    query: &'a mut Query<'q>,
    variables: Vec<(String, Value)>,
    steps: usize,
    queries: usize,
    out: String,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) fn run(nodes: &[Node], data: &Data<'_>, query: &mut Query<'_>) -> Result<String, String> {
    let labels = Value::Labels(Rc::new(data.labels.clone()));
    let external = Value::Labels(Rc::new(data.external.labels.clone()));
    let variables = [
        ("", Value::Given),
        ("labels", labels),
        ("externalLabels", external),
        ("externalURL", Value::of(data.external.url.as_str())),
        ("value", Value::Float(data.value)),
    ];
    let variables = variables.map(|(name, value)| (name.to_string(), value)).to_vec();
    let mut run = Run { data, query, variables, steps: 0, queries: 0, out: String::new() };
    run.nodes(nodes, &Value::Given)?;
    Ok(run.out)
}

impl Run<'_, '_> {
    pub(super) fn step(&mut self, n: usize) -> Result<(), String> {
        self.steps += n;
        if self.steps > MAX_STEPS { Err(format!("more than {MAX_STEPS} steps")) } else { Ok(()) }
    }

    pub(super) fn ask(&mut self, text: &str) -> Result<Value, String> {
        self.queries += 1;
        if self.queries > MAX_QUERIES {
            return Err(format!("more than {MAX_QUERIES} queries"));
        }
        let points = (self.query)(text).map_err(|why| format!("error executing query: {why}"))?;
        self.step(points.len())?;
        let sample = |point: crate::promql::Point| {
            let labels = point.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Value::Sample(Rc::new((Rc::new(labels), point.value)))
        };
        Ok(Value::List(Rc::new(points.into_iter().map(sample).collect())))
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        self.out.push_str(text);
        if self.out.len() > MAX_TEXT { Err(format!("more than {MAX_TEXT} bytes")) } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            self.step(1)?;
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.write(text).map(|()| Flow::Next),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let text = if matches!(value, Value::Nil) { "<no value>".into() } else { value.text() };
                    self.write(&text)?;
                }
                Ok(Flow::Next)
            }
            Node::If(branches, otherwise) => {
                let scope = self.variables.len();
                let mut chosen = otherwise;
                for (condition, body) in branches {
                    if self.pipeline(condition, dot)?.is_true() {
                        chosen = body;
                        break;
                    }
                }
                let flow = self.nodes(chosen, dot);
                self.variables.truncate(scope);
                flow
            }
            Node::With(pipeline, body, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = if value.is_true() { self.nodes(body, &value) } else { self.nodes(otherwise, dot) };
                self.variables.truncate(scope);
                flow
            }
            Node::Range(pipeline, body, otherwise) => {
                let scope = self.variables.len();
                let flow = self.range(pipeline, body, otherwise, dot);
                self.variables.truncate(scope);
                flow
            }
            Node::Break => Ok(Flow::Break),
            Node::Continue => Ok(Flow::Continue),
        }
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let items: Vec<(Value, Value)> = match self.commands(pipeline, dot)? {
            Value::List(list) => list.iter().zip(0..).map(|(item, i)| (Value::Int(i), item.clone())).collect(),
            Value::Labels(labels) => {
                labels.iter().map(|(name, value)| (Value::of(name.as_str()), Value::of(value.as_str()))).collect()
            }
            Value::Args(args) => args.iter().map(|(k, v)| (Value::of(k.as_str()), v.clone())).collect(),
            Value::Nil => Vec::new(),
            other => return Err(format!("range cannot go over {}", other.type_name())),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let scope = self.variables.len();
        for (key, item) in items {
            self.step(1)?;
            let values = if pipeline.variables.len() == 2 { vec![key, item.clone()] } else { vec![item.clone()] };
            for (name, value) in pipeline.variables.iter().zip(values) {
                self.set(name, value, pipeline.declares);
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &str, value: Value, is_new: bool) {
        match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            Some((_, held)) if !is_new => *held = value,
            _ => self.variables.push((name.to_string(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for command in &pipeline.commands {
            self.step(1)?;
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Nil) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to non-function".into());
            }
            return self.operand(first, dot);
        };
        if matches!(*name, "and" | "or") {
            return self.logic(*name == "and", rest, piped, dot);
        }
        let mut values = rest.iter().map(|o| self.operand(o, dot)).collect::<Result<Vec<Value>, String>>()?;
        values.extend(piped);
        function::call(self, name, &values).map_err(|why| format!("error calling {name}: {why}"))
    }

    /// `and` and `or` look at no more values than they need.
    fn logic(&mut self, is_and: bool, rest: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for operand in rest {
            let value = self.operand(operand, dot)?;
            if value.is_true() != is_and {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| "wrong number of args: want at least 1 got 0".into())
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Function(name) => {
                function::call(self, name, &[]).map_err(|why| format!("error calling {name}: {why}"))
            }
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(b) => Ok(Value::Bool(*b)),
            Operand::Int(n) => Ok(Value::Int(*n)),
            Operand::Float(n) => Ok(Value::Float(*n)),
            Operand::Text(text) => Ok(Value::of(text.as_str())),
            Operand::Fields(fields) => self.fields(dot.clone(), fields),
            Operand::Variable(name, fields) => {
                let held = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
                self.fields(held.unwrap_or(Value::Nil), fields)
            }
            Operand::Inner(pipeline, fields) => {
                let value = self.commands(pipeline, dot)?;
                self.fields(value, fields)
            }
        }
    }

    fn fields(&mut self, mut value: Value, fields: &[String]) -> Result<Value, String> {
        for field in fields {
            value = match (&value, field.as_str()) {
                (Value::Given, "Labels") => self.variables[1].1.clone(),
                (Value::Given, "ExternalLabels") => self.variables[2].1.clone(),
                (Value::Given, "ExternalURL") => self.variables[3].1.clone(),
                (Value::Given, "Value") => Value::Float(self.data.value),
                (Value::Sample(sample), "Labels") => Value::Labels(sample.0.clone()),
                (Value::Sample(sample), "Value") => Value::Float(sample.1),
                // A label that is not there is an empty text.
                (Value::Labels(labels), name) => Value::of(labels.get(name).map_or("", String::as_str)),
                (Value::Args(args), name) => args.get(name).cloned().unwrap_or(Value::Nil),
                (other, name) => return Err(format!("can't evaluate field {name} in type {}", other.type_name())),
            };
        }
        Ok(value)
    }
}
